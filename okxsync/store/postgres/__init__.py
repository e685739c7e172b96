"""The engine of a database on a PostgreSQL server; see ``store.database``."""

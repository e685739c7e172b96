"""The database: schema and migrations, the writer, queries, the raw log."""

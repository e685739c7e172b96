"""Reading the database: status, accounts, frames, and whether the tables agree."""

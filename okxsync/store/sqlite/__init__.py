"""SQLite: the only package that knows its library, its PRAGMAs, its files and its write-ahead log."""

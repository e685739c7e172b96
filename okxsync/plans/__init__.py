"""Plans: one operation, previewed once, confirmed, and executed on many accounts."""

"""One operation on many accounts: planned once, previewed, approved, and then sent by the daemon."""

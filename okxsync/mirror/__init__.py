"""Reading the database: the public reader and its changes; status, accounts, raw frames, and the ledger check."""

"""Which account of OKX a name stands for, and whether its key will do."""

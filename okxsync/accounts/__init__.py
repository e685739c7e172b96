"""Which OKX account a name stands for, and whether its key is usable."""

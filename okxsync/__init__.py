"""okxsync: an exact local copy of many OKX accounts, with proof that nothing is missing."""

__version__ = "0.1.0"

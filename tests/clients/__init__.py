"""Clients of other people, unmodified, on the built-in exchange."""

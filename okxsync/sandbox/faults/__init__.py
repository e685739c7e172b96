"""Faults that the exchange injects on request."""

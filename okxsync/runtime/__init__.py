"""Utilities of a long-running process: clocks, limits, supervision, logging."""

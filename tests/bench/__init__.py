"""Benchmarks, run by hand: each figure beside its baseline from the same run."""

"""A local OKX-compatible exchange: for tests, demonstrations and benchmarks, without a network and without real money.

``exchange`` is pure state: no I/O, an injected clock, deterministic by seed. ``server`` offers it over REST and
WebSocket. ``faults`` injects errors. The sandbox imports nothing from the rest of the package, because it is there to
check it: a shared bug would not be found.
"""

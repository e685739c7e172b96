"""A local OKX-compatible exchange: for tests, demonstrations and benchmarks, without network and without real money.

``exchange`` is the pure state (no I/O, injected clock, deterministic by seed); the server puts REST and WebSocket
around it. It shares no code with the client side of this package, so that the two check each other.
"""

"""The pure state of the exchange: no I/O, an injected clock, deterministic by seed."""

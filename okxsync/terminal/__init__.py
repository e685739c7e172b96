"""``okxsync terminal``: a page in the browser that shows the mirror, and how far each number can be trusted.

    database -> reader (one thread) -> book (rows, diffs) -> ring (encoded once) -> server -> one WebSocket a page

It reads through ``mirror`` alone and never writes.
"""

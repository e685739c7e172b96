"""WebSocket connections: the socket, its session, one connection, and the pool of all."""

"""REST and WebSocket around the state."""

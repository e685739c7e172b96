"""The live half: socket, connection, and the feed that holds them all."""

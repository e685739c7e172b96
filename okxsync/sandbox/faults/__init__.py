"""What the exchange does wrong on request, and when."""

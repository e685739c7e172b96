"""The REST client: signed requests within OKX's rate limits, retries, and the exchange's clock."""

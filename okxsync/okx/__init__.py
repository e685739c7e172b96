"""The rules of OKX, without I/O: sites, signing, control frames, models, channels, codes, endpoints, rate limits."""

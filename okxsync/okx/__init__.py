"""All that is OKX's, without I/O: sites, signing, frames, models, channels, error codes, limits."""

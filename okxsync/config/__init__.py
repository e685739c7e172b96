"""accounts.toml: settings, secrets, units."""

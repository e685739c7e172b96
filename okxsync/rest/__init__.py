"""The asking half: a signed, limited, retried REST client, and what is asked with it."""

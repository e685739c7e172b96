"""What is requested over REST, and why: gaps, live channels to verify, data that is not pushed; backfill, verify."""

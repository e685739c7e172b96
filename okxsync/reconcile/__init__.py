"""What REST is asked for, and why: gaps, checks of live channels, what is not pushed, verify."""

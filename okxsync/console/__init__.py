"""Tables and progress bars of the commands."""

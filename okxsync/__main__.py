"""``python -m okxsync``."""

from okxsync.cli import main

main()

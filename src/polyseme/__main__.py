"""``python -m polyseme`` is the command ``polyseme``."""

from polyseme.cli import main

main()

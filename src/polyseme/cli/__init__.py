"""The command line: ``polyseme COMMAND``; each command is a few lines over the library.

Results go to stdout, all else to stderr. Exit status: 0 done, 1 failed (one line says why), 2 not
understood, 130 interrupted. The library is imported inside the commands, so help comes at once.
"""

from __future__ import annotations

import os
import sys

from polyseme.cli import commands, corpus, evaluate, export, senses, serve, tasks, train
from polyseme.cli.app import app

__all__ = [
    "app",
    "commands",
    "corpus",
    "evaluate",
    "export",
    "main",
    "senses",
    "serve",
    "tasks",
    "train",
]


def main() -> None:
    """Run the command that the arguments ask for."""
    try:
        try:
            app(prog_name="polyseme")
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # What is left in the buffer has nowhere to go, not even at the interpreter's end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)

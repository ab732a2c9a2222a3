"""The command line: `maskwright COMMAND`, also as `python -m maskwright`."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command that the process was started with.

    Exit status 0 done, 2 wrong use or bad input, 1 failed, 130 interrupted. What a user can put right is told in one
    line on stderr; a traceback is a bug of ours.
    """
    from maskwright.cli.app import app
    from maskwright.cli.terminal import Interrupted
    from maskwright.errors import MaskwrightError

    _print_anywhere()
    try:
        app(prog_name="maskwright")  # also as python -m maskwright
    except MaskwrightError as error:
        _leave("" if error.is_told_elsewhere else f"error: {error}", error.exit_status)
    except Interrupted as interruption:
        _leave(f"interrupted: {interruption}", 130)
    except KeyboardInterrupt:
        _leave("interrupted", 130)
    except BrokenPipeError:
        # whoever read our output has seen enough; Python must find nothing to flush
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _print_anywhere() -> None:
    """Signs like × and → must never stop a command, whatever encoding the output has."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def _leave(message: str, status: int) -> None:
    sys.stdout.flush()
    if message:
        print(message, file=sys.stderr)
    sys.exit(status)

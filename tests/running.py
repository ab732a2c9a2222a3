"""Two ways to run a command: as a process, and in this one, which is quicker."""

from __future__ import annotations

import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO

import pytest

from maskwright.cli import main


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit status and what it said."""

    status: int
    out: str
    err: str


def run_process(*arguments: object) -> Outcome:
    """The command as users start it."""
    words = [sys.executable, "-m", "maskwright", *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, encoding="utf-8")
    return Outcome(done.returncode, done.stdout, done.stderr)


def run_here(*arguments: object) -> Outcome:
    """The same without the seconds that a new process needs to load torch."""
    out, err, words = StringIO(), StringIO(), sys.argv
    sys.argv = ["maskwright", *map(str, arguments)]
    try:
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as left:
            main()
    finally:
        sys.argv = words
    return Outcome(int(left.value.code or 0), out.getvalue(), err.getvalue())

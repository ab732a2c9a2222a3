"""The command line: `maskwright COMMAND`, also as `python -m maskwright`."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

_LESS_MEMORY = "take fewer or smaller images at once, stop other programs, or work on a machine with more memory"


def main() -> None:
    """Run the command that the process was started with.

    Exit status 0 done, 2 wrong use or bad input, 1 failed, 130 interrupted, 143 ended by SIGTERM. What a user can
    correct is one line on stderr; a traceback is a bug of ours.
    """
    from maskwright.cli.terminal import STATUS_OF_STOP, Interrupted, Terminated
    from maskwright.errors import MaskwrightError, is_out_of_memory
    from maskwright.files import WITHOUT_ROOM

    _print_anywhere()
    try:
        with _closing_on_signals():
            from maskwright.cli.app import run

            status = run()
    except MaskwrightError as error:
        _leave("" if error.is_reported_elsewhere else f"error: {error}", error.exit_status)
    except Interrupted as interruption:
        _leave(f"interrupted: {interruption}", interruption.exit_status)
    except (KeyboardInterrupt, Terminated) as stop:
        _leave("interrupted", STATUS_OF_STOP[type(stop)])
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        _leave(f"error: there is not enough memory ({type(error).__name__}); {_LESS_MEMORY}", 1)
    except BrokenPipeError:
        _leave("", 1)  # the reader of our output has seen enough
    except OSError as error:
        if error.errno not in WITHOUT_ROOM:
            raise
        _leave(f"error: {error.filename or 'the output'} cannot be written ({error.strerror}); make room", 2)
    else:
        _leave("", status)


def _print_anywhere() -> None:
    """Signs like × and → must never stop a command, whatever encoding the output has."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


@contextmanager
def _closing_on_signals() -> Iterator[None]:
    """Let SIGTERM end the command as Ctrl-C does: files are completed, workers ended.

    Under torchrun SIGTERM ends a process at once, as it may wait for others that have ended already.
    """
    from maskwright.cli.terminal import Terminated
    from maskwright.files import Stopping

    handlers = {signal.SIGINT: Stopping(KeyboardInterrupt)}
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        handlers[signal.SIGTERM] = Stopping(Terminated)
    is_main = threading.current_thread() is threading.main_thread()  # others may handle no signals
    heard = [number for number in handlers if is_main and signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, handlers[number]) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(message: str, status: int) -> NoReturn:
    try:
        sys.stdout.flush()
    except OSError:  # its reader is gone, or its disk is full; Python must find nothing to flush
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if message:
        print(message, file=sys.stderr)
    sys.exit(status)

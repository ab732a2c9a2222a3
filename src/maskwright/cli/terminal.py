"""What commands say while they work: results on stdout, progress and warnings on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from maskwright.errors import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from maskwright.evaluation import Metrics

# between two plain lines of progress
_SECONDS_BETWEEN_LINES = 5.0


class Advance(Protocol):
    """Reports to a progress display what was done since the last call; the total may become known only now."""

    def __call__(self, count: int, total: int | None = None) -> None: ...


class Interrupted(Exception):
    """The user or the system stopped the command; the message says what is kept.

    Attributes:
        exit_status: that of a command which the signal ended.
    """

    def __init__(self, message: str, exit_status: int) -> None:
        super().__init__(message)
        self.exit_status = exit_status


class Terminated(BaseException):
    """SIGTERM came; like `KeyboardInterrupt` no `except Exception` stops it, and everything is closed on its way."""


# of a command that a signal ended: 128 and its number
STATUS_OF_STOP: dict[type[BaseException], int] = {KeyboardInterrupt: 130, Terminated: 143}


def say(text: str = "") -> None:
    """A line of the result, or several; seen at once even in a pipe. Names from files cannot steer the terminal."""
    print("\n".join(printable(line, longest=None) for line in text.split("\n")), flush=True)


def warn(text: str) -> None:
    """A line that the user should not miss."""
    print(f"warning: {printable(text)}", file=sys.stderr, flush=True)


@contextmanager
def keeping(what_is_kept: Callable[[], str]) -> Iterator[None]:
    """Work that may be stopped by Ctrl-C or SIGTERM, and what the user still has then."""
    try:
        yield
    except (KeyboardInterrupt, Terminated) as stop:
        raise Interrupted(what_is_kept(), STATUS_OF_STOP[type(stop)]) from None


@contextmanager
def progress(what: str, total: int | None = None) -> Iterator[Advance]:
    """A bar on a terminal, a line now and then elsewhere, both with how many are done in a second."""
    if not sys.stderr.isatty():
        yield _plain_lines(what, total)
        return
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TextColumn

    columns = (*Progress.get_default_columns(), MofNCompleteColumn(), TextColumn("{task.fields[pace]}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as display:
        task = display.add_task(what, total=total, pace="")
        pace = _Pace()

        def advance(count: int, total: int | None = total) -> None:
            pace.advance(count)
            display.update(task, advance=count, total=total, pace=str(pace))

        yield advance


@contextmanager
def fetching_bar() -> Iterator[Callable[[int, int | None], None]]:
    """A bar on a terminal from the first to the last byte of a file that is fetched; nothing elsewhere.

    Yields:
        What takes (bytes that are here, bytes of the whole file), as `maskwright.load` calls it.
    """
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, TransferSpeedColumn

    columns = (*Progress.get_default_columns(), DownloadColumn(), TransferSpeedColumn())
    display = Progress(*columns, console=Console(stderr=True), transient=True)
    task = display.add_task("fetching weights", total=None)

    def update(done: int, total: int | None) -> None:
        display.start()
        display.update(task, completed=done, total=total)
        if done == total:
            display.stop()

    try:
        yield update
    finally:
        display.stop()


class _Pace:
    """How many things were done so far, and in a second."""

    def __init__(self) -> None:
        self.done, self._start = 0, monotonic()

    def advance(self, count: int) -> None:
        self.done += count

    def __str__(self) -> str:
        return f"{self.done / max(monotonic() - self._start, 1e-6):.1f} a second"


def _plain_lines(what: str, total: int | None) -> Advance:
    pace, last = _Pace(), monotonic()

    def advance(count: int, total: int | None = total) -> None:
        nonlocal last
        pace.advance(count)
        if pace.done == total or monotonic() - last >= _SECONDS_BETWEEN_LINES:
            last = monotonic()
            print(f"{what}: {pace.done}" + (f" of {total}" if total else "") + f", {pace}", file=sys.stderr, flush=True)

    return advance


def print_metrics(metrics: Metrics) -> None:
    """The table of an evaluation."""
    from maskwright.evaluation import metrics_table

    print_table(metrics_table(metrics))


def print_table(table: RenderableType) -> None:
    """A table of rich's."""
    from rich.console import Console

    console = Console()
    # a pipe has no width of its own, and a table cut to 80 columns loses numbers
    console.print(table, width=None if console.is_terminal else 120)
    sys.stdout.flush()

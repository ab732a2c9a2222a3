"""Writing files so that after a crash or a signal the old file or the new file is there, whole."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from typing_extensions import Self

from maskwright.errors import OutputError

# what file systems raise for want of room: the disk, the user's share of it, the largest file allowed
WITHOUT_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# end of the name of a file that is not whole yet
UNFINISHED = ".unfinished"
_STOPPING = (signal.SIGINT, signal.SIGTERM)


def replace_file(path: Path, content: str | bytes, *, survives_power_cut: bool = True) -> None:
    """Write a file beside its path, make sure that it is on the disk, and move it there.

    Args:
        path: of the file.
        content: of the new file.
        survives_power_cut: wait until the disk has it; without, that is left to the operating system.

    Raises:
        OutputError: the folder cannot be written to, or the disk is full; the old file is still there.
    """
    data = content.encode() if isinstance(content, str) else content
    with output_errors(path):
        try:
            with unfinished(path).open("wb") as file:
                file.write(data)
                file.flush()
                if survives_power_cut:
                    os.fsync(file.fileno())
            unfinished(path).replace(path)
        except BaseException:
            unfinished(path).unlink(missing_ok=True)  # it would go on filling a full disk
            raise


def unfinished(path: Path) -> Path:
    """Where a file grows until it is whole."""
    return path.with_name(path.name + UNFINISHED)


class GrowingFile:
    """A file to which whole pieces are added: after a piece that found no room, it ends with the one before.

    Raises:
        OutputError: it cannot be written, or the disk is full.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with output_errors(path):
            self._file = path.open("ab", buffering=0)

    def write(self, piece: str | bytes) -> None:
        """Add a piece; it is in the file on return, and no signal cuts it."""
        rest = piece.encode() if isinstance(piece, str) else piece
        with output_errors(self._path), uninterrupted():
            end = self._file.seek(0, os.SEEK_END)
            try:
                while rest:
                    rest = rest[self._file.write(rest) :]
            except OSError:
                with suppress(OSError):
                    self._file.truncate(end)
                raise

    def flush(self) -> None:
        """Does nothing, as nothing is ever held back; users of a file may call it."""

    def close(self) -> None:
        """Nothing is written by it."""
        self._file.close()


def claim_folder(folder: Path) -> None:
    """Make an output folder, or make sure that the one there can be written.

    Raises:
        OutputError: it cannot.
    """
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(13, "Permission denied")


class FolderLock:
    """Keeps an output folder to one run at a time, from `take` until it is closed or the process ends, however it ends.

    The system keeps the lock, on the folder itself: no file is left behind. Where the system or the file system cannot
    lock folders (Windows, some network drives), nothing is refused.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor: int | None = None

    def take(self) -> None:
        """Lock the folder, which must be there; once is enough.

        Raises:
            OutputError: another run has it.
        """
        if sys.platform == "win32" or self._descriptor is not None:
            return
        import fcntl

        with output_errors(self._folder):
            descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                return
            raise OutputError(
                f"output folder {self._folder} is in use: another maskwright writes into it just now; wait until that "
                "has ended, or choose another folder"
            ) from None
        self._descriptor = descriptor
        _close_in_children(descriptor)

    def take_if_there(self) -> None:
        """Lock the folder where it exists; a run that is refused for another reason then makes none.

        Raises:
            OutputError: another run has it.
        """
        if self._folder.is_dir():
            self.take()

    def close(self) -> None:
        """Leave the folder to others."""
        if self._descriptor is not None:
            _LOCKED.discard(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


# descriptors of locked folders in this process
_LOCKED: set[int] = set()
_watched: list[bool] = []  # not empty: children close those


def _close_in_children(descriptor: int) -> None:
    """A worker that outlives its killed parent for some seconds must not hold the lock."""
    _LOCKED.add(descriptor)
    if not _watched:
        os.register_at_fork(after_in_child=_close_inherited)
        _watched.append(True)


def _close_inherited() -> None:
    for descriptor in _LOCKED:
        os.close(descriptor)
    _LOCKED.clear()


@contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turn what file systems raise into an `OutputError` about `path`."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"output {path} cannot be written ({reason}); make room or choose another folder") from error


class Stopping:
    """A handler of a signal that raises an error and remembers it: some libraries swallow what comes in a callback."""

    def __init__(self, error: type[BaseException]) -> None:
        self._error = error
        self.has_come = False

    def __call__(self, *_: object) -> NoReturn:
        """The signal came, or came before and was swallowed."""
        self.has_come = True
        raise self._error


def obey_signals() -> None:
    """Raise the error of a signal that came and was swallowed; for loops that would go on for long."""
    if threading.current_thread() is threading.main_thread():
        for number in _STOPPING:
            handler = signal.getsignal(number)
            if isinstance(handler, Stopping) and handler.has_come:
                handler(number, None)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold back Ctrl-C and SIGTERM until the end of a block that must not be left halfway.

    Signals reach only the main thread, so that in others there is nothing to do.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    handlers: dict[int, Any] = {}
    try:
        for number in _STOPPING:
            if signal.getsignal(number) is not None:  # None: not set by Python, which cannot restore it
                handlers[number] = signal.signal(number, lambda number, _: came.append(number))
        yield
    finally:
        for held, handler in handlers.items():
            signal.signal(held, handler)
        if came:
            signal.raise_signal(came[0])

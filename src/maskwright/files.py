"""Writing files so that whoever looks, after a crash too, finds the old one or the new one, whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from maskwright.errors import OutputError


def replace_file(path: Path, content: str | bytes) -> None:
    """Write a file beside its place, make sure that it is on the disk, and move it there.

    Raises:
        OutputError: the folder cannot be written to, or the disk is full; the old file is still there.
    """
    data = content.encode() if isinstance(content, str) else content
    with blaming(path):
        try:
            with unfinished(path).open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            unfinished(path).replace(path)
        except OSError:
            unfinished(path).unlink(missing_ok=True)  # it would go on filling a full disk
            raise


def unfinished(path: Path) -> Path:
    """Where a file grows until it is whole."""
    return path.with_name(path.name + ".unfinished")


def claim_folder(folder: Path) -> None:
    """Make an output folder, or make sure that the one there can be written.

    Raises:
        OutputError: it cannot.
    """
    with blaming(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(13, "Permission denied")


@contextmanager
def blaming(path: Path) -> Iterator[None]:
    """Turn what file systems raise into an `OutputError` about `path`."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"output {path} cannot be written ({reason}); make room or choose another folder") from error

"""The run's log: one JSON object a line in `log.jsonl`, and the same numbers for TensorBoard where it is installed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maskwright.errors import OutputError
from maskwright.files import GrowingFile, replace_file
from maskwright.training.events import EventFile, missing_tensorboard


class Logbook:
    """Append-only log of a run; reopened at a step, it forgets what came after it.

    Args:
        folder: of the run.
        step: optimiser steps done; lines of later steps, left by a run that was killed, are dropped.

    Raises:
        OutputError: the log there is broken, or cannot be written.
    """

    def __init__(self, folder: Path, step: int) -> None:
        path = folder / "log.jsonl"
        kept = [line for line in _lines(path) if line["step"] <= step] if step else []
        replace_file(path, "".join(json.dumps(line) + "\n" for line in kept))
        self._file = GrowingFile(path)
        self._events = EventFile(folder, step) if missing_tensorboard() is None else None

    def write(self, step: int, numbers: Mapping[str, Any], part: str) -> None:
        """Add a line: the step, the part (`train` or `val`) and its numbers.

        Raises:
            OutputError: the disk is full; the log ends with the line before.
        """
        self._file.write(json.dumps({"step": step, "part": part, **numbers}) + "\n")
        if self._events is not None:
            scalars = {f"{part}/{name}": value for name, value in numbers.items() if isinstance(value, int | float)}
            self._events.write(step, scalars)

    def close(self) -> None:
        """Close both; nothing is written by it."""
        self._file.close()
        if self._events is not None:
            self._events.close()


def _lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a log; a last line that a kill cut short is not one.

    Raises:
        OutputError: a line before the last is no entry of a log.
    """
    texts = path.read_bytes().split(b"\n") if path.exists() else [b""]
    last = texts.pop()  # empty behind a whole line
    return [_entry(text, path, number) for number, text in enumerate(texts, start=1)] + _entry_if_whole(last)


def _entry(text: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        line = json.loads(text)
        is_entry = isinstance(line, dict) and isinstance(line["step"], int)
    except (ValueError, KeyError, RecursionError):
        is_entry = False
    if not is_entry:
        raise OutputError(
            f"{path}, line {number} is not an entry of the log of a run: "
            f"{text[:40].decode(errors='replace')!r}; put the old file back, or move it away and resume without it"
        )
    return dict(line)


def _entry_if_whole(text: bytes) -> list[dict[str, Any]]:
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return []
    return [line] if isinstance(line, dict) and isinstance(line.get("step"), int) else []

"""The run's log: one JSON object a line in `log.jsonl`, and the same numbers for TensorBoard."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maskwright.files import replace_file


class Logbook:
    """Append-only log of a run; reopened at a step, it forgets what came after it.

    Args:
        folder: of the run.
        step: optimiser steps done; lines of later steps, left by a run that was killed, are dropped.
    """

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # imported late: it takes a second

        path = folder / "log.jsonl"
        kept = [line for line in _lines(path) if line["step"] <= step]
        replace_file(path, "".join(json.dumps(line) + "\n" for line in kept))
        self._file = path.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(folder), purge_step=step + 1 if step else None)

    def write(self, step: int, numbers: Mapping[str, Any], part: str) -> None:
        """Add a line: the step, the part (`train` or `val`) and its numbers."""
        self._file.write(json.dumps({"step": step, "part": part, **numbers}) + "\n")
        self._file.flush()
        for name, value in numbers.items():
            if isinstance(value, int | float):
                self._board.add_scalar(f"{part}/{name}", value, step)

    def close(self) -> None:
        """Flush and close both."""
        self._file.close()
        self._board.close()


def _lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a log; a last line that a kill cut short is not one."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            continue
    return lines

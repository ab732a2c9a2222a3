"""TensorBoard's event files, each event on the disk when its call returns.

TensorBoard's own writer hands events to a thread and waits for it; after Ctrl-C or a full
disk it may wait for ever.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maskwright.errors import MissingDependency
from maskwright.files import GrowingFile

_FORMAT = "brain.Event:2"


def missing_tensorboard() -> MissingDependency | None:
    """Why no events are written; None where they are."""
    try:
        from tensorboard.summary.writer import record_writer  # noqa: F401 - the part that writes
    except ModuleNotFoundError:
        return MissingDependency("tensorboard", "train", "writing TensorBoard events")
    return None


class EventFile:
    """A new event file in a folder; TensorBoard shows all that lie there as one.

    Args:
        folder: of the run.
        step: optimiser steps done; events of later steps in older files are purged.

    Raises:
        OutputError: the file cannot be written, or the disk is full.
    """

    def __init__(self, folder: Path, step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{os.getpid()}.{time.monotonic_ns()}"
        self._file = GrowingFile(folder / name)
        self._records = RecordWriter(self._file)
        self._add(file_version=_FORMAT)
        if step:
            self._add(step=step + 1, session_log=SessionLog(status=SessionLog.START))

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Add scalars of a step."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in numbers.items()]
        self._add(step=step, summary=Summary(value=values))

    def close(self) -> None:
        """Close the file, to which nothing more is written."""
        self._file.close()

    def _add(self, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._records.write(Event(wall_time=time.time(), **content).SerializeToString())

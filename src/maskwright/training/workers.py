"""Worker processes that read images: what to say when one is killed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from maskwright.errors import TrainingError

# the start of torch's message about a lost worker; its signal handler may raise it at any moment
_OF_TORCH = ("DataLoader worker", "Unexpected bus error encountered in worker")


@contextmanager
def killed_worker_errors() -> Iterator[None]:
    """Turn torch's error about a killed worker into ours.

    Raises:
        TrainingError: a worker was killed; the checkpoints on disk are from before.
    """
    try:
        yield
    except RuntimeError as error:
        reason = str(error).splitlines()[0] if str(error) else ""
        if not reason.startswith(_OF_TORCH):
            raise
        raise TrainingError(
            f"a worker that reads images has ended: {reason.strip().rstrip('.')}; most often memory has run out, in a "
            "container the shared one: lower data.workers (0 uses none) or train.batch_size, or give /dev/shm more. "
            "The last checkpoint is from before; go on by resuming"
        ) from None

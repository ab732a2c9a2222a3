"""What a run saves when an image turns out to be broken."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from maskwright.errors import DataError
from maskwright.training.setup import Run


@contextmanager
def saved_before_broken_images(run: Run) -> Iterator[None]:
    """Write a checkpoint before an image that cannot be read ends the run, so that no step is lost.

    Raises:
        DataError: the same, with the ways to go on.
    """
    begun_at = run.state.progress.step
    try:
        yield
    except DataError as error:
        done = run.state.progress.step
        if done > begun_at:
            run.write_checkpoint()
        key = run.recipe.data.keys("train")[0]
        ways = f"mend or remove the image, or set {key}.skip_bad=true"
        kept = f"; step {done} is kept in {run.folder.last}: {ways}, and go on with --resume" if done else f"; {ways}"
        explained = DataError(f"{error}{kept}")
        explained.is_reported_elsewhere = error.is_reported_elsewhere
        raise explained from error

"""When a training says something, and what: at its start, of its steps, after the first one, and at its end."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import Any

import torch

from maskwright.training.setup import ProgressCallback, Run

# without a line; slow machines take minutes for a step, and a silent program looks dead
_MOST_SILENCE_S = 60.0


class Lines:
    """The lines of a run: those of its log, which depend only on the step, and others that are shown in between.

    Args:
        run: the run that they describe.
        report: called with all of them.
    """

    def __init__(self, run: Run, report: ProgressCallback) -> None:
        self._run, self._report, self._begun_at = run, report, run.state.progress.step
        self._first = self._logged = self._shown = perf_counter()
        self._skipped: set[str] = set()

    def start(self) -> None:
        """What the run starts from; in the log only where the run itself begins."""
        run = self._run
        write = run.show if run.is_resumed else run.log
        write(self._begun_at, run.start, "start", self._report)
        self.restart()
        self._first = self._shown

    def restart(self) -> None:
        """Begin to count seconds anew, after work that is none of a step."""
        self._logged = self._shown = perf_counter()

    def step(self, numbers: Mapping[str, Any]) -> None:
        """The numbers of a step, if it is time for them, and what the first one foretells."""
        run, now, config = self._run, perf_counter(), self._run.recipe.train
        done = run.state.progress.step
        is_first = done == self._begun_at + 1
        if done == 1 or done % config.log_every == 0 or done == config.num_steps:
            run.log(done, {**numbers, "seconds": now - self._logged}, "train", self._report)
            self._logged = self._shown = now
            self._report_skipped()
        elif is_first or now - self._shown > _MOST_SILENCE_S:
            run.show(done, {**numbers, "seconds": now - self._shown}, "train", self._report)
            self._shown = now
        if is_first:
            self._foretell(now - self._first)

    def _report_skipped(self) -> None:
        """Images that turned out broken in any process since the last time, each reported once."""
        run = self._run
        if not run.may_skip:
            return
        found = run.world.gather(run.skipped_lines()) or []
        lines = [line for line in dict.fromkeys(line for own in found for line in own) if line not in self._skipped]
        self._skipped.update(lines)
        if lines:
            run.log(run.state.progress.step, {"images": lines}, "skipped", self._report)

    def stop(self) -> None:
        """Why a run ends before its last step, if it does."""
        run, config = self._run, self._run.recipe.train
        progress = run.state.progress
        if progress.step >= config.num_steps:
            return
        numbers = {
            "reason": "patience",
            "evaluations": progress.stale,
            "best_metric": config.best_metric,
            "best": progress.best,
            "best_step": progress.best_step,
        }
        write = run.log if progress.step > self._begun_at else run.show
        write(progress.step, numbers, "stop", self._report)

    def _foretell(self, seconds: float) -> None:
        """The time that all steps will take if they are as slow as the first, and the memory that it took."""
        run = self._run
        num_left = run.recipe.train.num_steps - run.state.progress.step
        numbers = {"seconds_per_step": seconds, "seconds": seconds * num_left, "memory_bytes": peak_memory(run.device)}
        run.show(run.state.progress.step, numbers, "estimate", self._report)


def peak_memory(device: torch.device) -> int | None:
    """The most bytes that this process has taken so far, on the GPU or in the machine; None where that is unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak

"""How far a run is."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        step: optimiser steps done.
        best: best value of `train.best_metric` so far.
        stale: evaluations since then that had no lower loss than all before them either.
        best_step: steps that were done when the best value was found.
        lowest_loss: of all evaluations so far.
    """

    step: int = 0
    best: float | None = None
    stale: int = 0
    best_step: int | None = None
    lowest_loss: float | None = None

    @property
    def is_best(self) -> bool:
        """Whether the weights are those with the best value."""
        return self.best_step == self.step

    def after_evaluation(self, value: float | None, loss: float | None = None) -> Progress:
        """With one more evaluation; a value of None or NaN (no ground truth) is never better.

        An evaluation whose loss is the lowest so far is not stale: a falling loss may show in the metric later.
        """
        falls = loss is not None and (self.lowest_loss is None or loss < self.lowest_loss)
        after = replace(self, lowest_loss=loss) if falls else self
        if value is None or math.isnan(value) or (self.best is not None and value <= self.best):
            return after if falls else replace(after, stale=self.stale + 1)
        return replace(after, best=value, stale=0, best_step=self.step)

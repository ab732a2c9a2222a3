"""Loss formulas that no family owns, as sums with their own counts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class LossSum:
    """A loss as a sum and what it is divided by.

    Kept apart so that the sums of several images, micro-batches or processes can be joined before the division: then
    two processes give the very loss of one.

    Attributes:
        total: () float32 sum, with its graph.
        count: () float32 number of summands, without graph; may be zero, then the loss is zero.
    """

    total: Tensor
    count: Tensor

    def mean(self) -> Tensor:
        """() the loss of only this batch."""
        return self.total / self.count.clamp(min=1)


def loss_sum(total: Tensor, count: int) -> LossSum:
    """A `LossSum` in float32 from a sum and a number of summands."""
    return LossSum(total.float(), torch.tensor(float(count), device=total.device))


def smooth_l1_sum(predicted: Tensor, wanted: Tensor, beta: float) -> Tensor:
    """Summed smooth L1 (Fast R-CNN, eq. 3): quadratic below `beta`, linear above; `beta` 0 is plain L1."""
    return F.smooth_l1_loss(predicted, wanted, beta=beta, reduction="sum")

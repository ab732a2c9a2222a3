"""Random subsets of positives and negatives for the losses."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from maskwright.ops.matching import BACKGROUND


class Sample(NamedTuple):
    """Indices of the chosen boxes, each in ascending order."""

    positive: Tensor
    negative: Tensor


def sample_balanced(
    objects: Tensor, count: int, positive_share: float, generator: torch.Generator, *, keeps_ratio: bool = False
) -> Sample:
    """Choose at most `count` boxes, at most `positive_share` of them positive; negatives fill up (Fast R-CNN, 2.3).

    Args:
        objects: (N,) matched object of each box, `BACKGROUND` or `IGNORED`, as `match_boxes` gives it.
        count: boxes to choose.
        positive_share: largest share of positives.
        generator: CPU generator. Where there are no more candidates than `count`, all are taken.
        keeps_ratio: negatives do not fill up: where there are fewer positives than allowed, there are fewer negatives
            too, so that the share stays; none without positives (matterport).
    """
    positive = torch.nonzero(objects >= 0).flatten()
    negative = torch.nonzero(objects == BACKGROUND).flatten()
    num_positive = min(len(positive), int(count * positive_share))
    wanted = int(num_positive / positive_share - num_positive) if keeps_ratio else count - num_positive
    num_negative = min(len(negative), wanted)
    return Sample(choose(positive, num_positive, generator), choose(negative, num_negative, generator))


def choose(candidates: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` of the (N,) candidates without replacement, their order kept; all of them if there are no more."""
    if count >= len(candidates):
        return candidates
    indices = torch.randperm(len(candidates), generator=generator)[:count].sort().values
    return candidates[indices.to(candidates.device)]

"""The head that all levels share: class, box and mask coefficients of every anchor, with two of its losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskwright.models.yolact.anchor_targets import AnchorTargets
from maskwright.models.yolact.initialise import initialise
from maskwright.models.yolact.rules import BOX_WEIGHTS, LossRule
from maskwright.ops.box_coding import decode_boxes, encode_boxes
from maskwright.ops.losses import LossSum, loss_sum, smooth_l1_sum
from maskwright.ops.matching import IGNORED


@dataclass(frozen=True, eq=False)
class HeadOutput:
    """What the head says of each of A anchors.

    Attributes:
        logits: (B, A, C + 1), background last.
        deltas: (B, A, 4).
        coefficients: (B, A, k) from -1 to 1.
        anchors: (A, 4) x1 y1 x2 y2 as shares of the network input, finest level first.
    """

    logits: Tensor
    deltas: Tensor
    coefficients: Tensor
    anchors: Tensor

    def scores(self) -> Tensor:
        """(B, A, C) class probabilities without the background's."""
        return self.logits.softmax(dim=-1)[..., :-1]

    def boxes(self) -> Tensor:
        """(B, A, 4) x1 y1 x2 y2 as shares of the network input, not clipped."""
        return decode_boxes(self.deltas, self.anchors, BOX_WEIGHTS)


class PredictionHead(nn.Module):
    """3×3 convolutions, then three 3×3 predictors (YOLACT, fig. 4)."""

    def __init__(
        self,
        *,
        in_channels: int,
        channels: int,
        num_convs: int,
        anchors_per_cell: int,
        num_classes: int,
        num_prototypes: int,
    ) -> None:
        super().__init__()
        self.num_classes, self.num_prototypes = num_classes, num_prototypes
        widths = [in_channels] + [channels] * num_convs
        pairs = zip(widths[:-1], widths[1:], strict=True)
        self.convs = nn.ModuleList(nn.Conv2d(before, after, 3, padding=1) for before, after in pairs)
        self.class_logits = nn.Conv2d(widths[-1], anchors_per_cell * (num_classes + 1), 3, padding=1)
        self.deltas = nn.Conv2d(widths[-1], anchors_per_cell * 4, 3, padding=1)
        self.coefficients = nn.Conv2d(widths[-1], anchors_per_cell * num_prototypes, 3, padding=1)
        initialise(self)

    def forward(self, levels: Sequence[Tensor], anchors: Tensor) -> HeadOutput:
        """Levels (B, C, h, w), finest first, and the anchors of all of them, in the order (level, row, column)."""
        parts = [self._level(level) for level in levels]
        logits, deltas, coefficients = (torch.cat(part, dim=1).float() for part in zip(*parts, strict=True))
        return HeadOutput(logits, deltas, coefficients.tanh(), anchors)

    def _level(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        for conv in self.convs:
            features = F.relu(conv(features), inplace=True)
        return (
            _by_anchor(self.class_logits(features), self.num_classes + 1),
            _by_anchor(self.deltas(features), 4),
            _by_anchor(self.coefficients(features), self.num_prototypes),
        )

    def losses(self, output: HeadOutput, targets: Sequence[AnchorTargets], rule: LossRule) -> dict[str, LossSum]:
        """Box and class loss, both divided by the positive anchors of the batch (SSD, eq. 1).

        Args:
            output: of this head.
            targets: the objects of each image's anchors.
            rule: factors, and the share of negatives.
        """
        box, classes, num_positives = [], [], 0
        for logits, deltas, target in zip(output.logits, output.deltas, targets, strict=True):
            positive = target.positives()
            wanted = encode_boxes(target.boxes[target.objects[positive]], output.anchors[positive], BOX_WEIGHTS)
            box.append(smooth_l1_sum(deltas[positive], wanted, beta=1.0))
            classes.append(_mined_cross_entropy(logits, target, rule.negatives_per_positive))
            num_positives += len(positive)
        return {
            "box": loss_sum(rule.box_factor * torch.stack(box).sum(), num_positives),
            "class": loss_sum(rule.class_factor * torch.stack(classes).sum(), num_positives),
        }


def _by_anchor(maps: Tensor, numbers: int) -> Tensor:
    """(B, K·n, h, w) → (B, h·w·K, n)."""
    return maps.permute(0, 2, 3, 1).reshape(len(maps), -1, numbers)


def _mined_cross_entropy(logits: Tensor, target: AnchorTargets, negatives_per_positive: int) -> Tensor:
    """Summed cross-entropy of the positives and of the background anchors that look least like it (SSD, section 2.2).

    An image without objects gives as many negatives as one with a single positive.
    """
    background = logits.shape[-1] - 1
    labels = target.anchor_labels(background)
    is_positive = target.objects >= 0
    with torch.no_grad():
        hardness = logits.logsumexp(dim=-1) - logits[:, background]
        hardness = hardness.masked_fill(is_positive | (target.objects == IGNORED), 0.0)
        count = negatives_per_positive * is_positive.sum().clamp(min=1)
        rank = hardness.argsort(descending=True, stable=True).argsort()
        is_negative = (rank < count) & ~is_positive & (target.objects != IGNORED)
    chosen = is_positive | is_negative
    return F.cross_entropy(logits[chosen], labels[chosen], reduction="sum")

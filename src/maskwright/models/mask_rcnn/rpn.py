"""Region proposal network: score every anchor, propose the best (Faster R-CNN, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskwright.models.mask_rcnn.object_matching import TrueObjects
from maskwright.models.mask_rcnn.rules import BoxRegression, MatchingRule, ProposalRule, RpnNormalizer, SamplingRule
from maskwright.ops.anchors import grid_anchors
from maskwright.ops.box_coding import decode_boxes, encode_boxes
from maskwright.ops.boxes import clip_boxes, clip_to_windows, has_sides_of
from maskwright.ops.losses import LossSum, loss_sum, smooth_l1_sum
from maskwright.ops.randomness import random_generator
from maskwright.ops.sampling import sample_balanced
from maskwright.structures import ImageBatch


@dataclass(frozen=True, eq=False)
class RpnOutput:
    """What the head says of each anchor.

    Attributes:
        logits: (B, A) objectness.
        deltas: (B, A, 4).
        anchors: (A, 4) x1 y1 x2 y2 in pixels of the network input, finest level first.
        level_counts: anchors of each level.
    """

    logits: Tensor
    deltas: Tensor
    anchors: Tensor
    level_counts: tuple[int, ...]


class RpnHead(nn.Module):
    """3×3 convolutions, then two 1×1 predictors, shared by all levels.

    Args:
        in_channels: of the feature maps.
        channels: of the convolutions.
        num_convs: how many there are.
        anchors_per_cell: how many.
        is_softmax: two scores for each anchor, background and object, instead of one.
    """

    def __init__(
        self, *, in_channels: int, channels: int, num_convs: int, anchors_per_cell: int, is_softmax: bool
    ) -> None:
        super().__init__()
        self.is_softmax = is_softmax
        sizes = [in_channels, *[channels] * num_convs]
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(sizes))
        self.objectness = nn.Conv2d(channels, anchors_per_cell * (2 if is_softmax else 1), 1)
        self.deltas = nn.Conv2d(channels, anchors_per_cell * 4, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, h, w) → logits (B, A) and deltas (B, A, 4) of the level's anchors, ordered by row, column, anchor."""
        for conv in self.convs:
            features = F.relu(conv(features), inplace=True)
        logits = self.objectness(features).permute(0, 2, 3, 1).flatten(1).float()
        if self.is_softmax:  # a softmax of two is the sigmoid of their difference
            background, foreground = logits.unflatten(1, (-1, 2)).unbind(dim=2)
            logits = foreground - background
        deltas = self.deltas(features).permute(0, 2, 3, 1).reshape(len(features), -1, 4)
        return logits, deltas.float()


class Rpn(nn.Module):
    """The head with its anchors, its loss and its choice of proposals.

    Args:
        head: predicts `cells.shape[1]` anchors per cell.
        cells: (L, anchors of a cell, 4) on each level.
        strides_px: distance of the anchors of each level; None: the input's side divided by the map's.
        matching: which anchors are foreground.
        sampling: how many enter the loss.
        regression: coding and loss of the deltas.
        normalizer: what the losses are divided by.
    """

    cells: Tensor

    def __init__(
        self,
        *,
        head: RpnHead,
        cells: Tensor,
        strides_px: Sequence[int] | None,
        matching: MatchingRule,
        sampling: SamplingRule,
        regression: BoxRegression,
        normalizer: RpnNormalizer,
    ) -> None:
        super().__init__()
        self.head, self.strides_px = head, strides_px
        self.register_buffer("cells", cells, persistent=False)
        self.matching, self.sampling, self.regression, self.normalizer = matching, sampling, regression, normalizer

    def forward(self, levels: Sequence[Tensor], batch: ImageBatch) -> RpnOutput:
        logits, deltas = zip(*(self.head(features) for features in levels), strict=True)
        grids = [(features.shape[-2], features.shape[-1]) for features in levels]
        strides = (
            [(batch.padded_size[0] // grid[0], batch.padded_size[1] // grid[1]) for grid in grids]
            if self.strides_px is None
            else [(stride, stride) for stride in self.strides_px]
        )
        anchors = [grid_anchors(*level) for level in zip(self.cells, grids, strides, strict=True)]
        counts = tuple(len(level_anchors) for level_anchors in anchors)
        return RpnOutput(torch.cat(logits, dim=1), torch.cat(deltas, dim=1), torch.cat(anchors), counts)

    def losses(self, output: RpnOutput, truth: Sequence[TrueObjects], keys: Sequence[int]) -> dict[str, LossSum]:
        """Objectness over the sampled anchors, box deltas over the positive ones (Faster R-CNN, eq. 1)."""
        objectness, box, num_sampled, num_positive = [], [], 0, 0
        for logits, deltas, objects, key in zip(output.logits, output.deltas, truth, keys, strict=True):
            matches = objects.match(output.anchors, self.matching)
            positive, negative = sample_balanced(
                matches.objects,
                self.sampling.count,
                self.sampling.positive_share,
                random_generator(key, "rpn"),
                keeps_ratio=self.sampling.keeps_ratio,
            )
            sampled = torch.cat([positive, negative])
            is_object = torch.zeros_like(logits[sampled])
            is_object[: len(positive)] = 1
            objectness.append(F.binary_cross_entropy_with_logits(logits[sampled], is_object, reduction="sum"))
            wanted_boxes = objects.single.boxes[matches.objects[positive]]
            wanted = encode_boxes(wanted_boxes, output.anchors[positive], self.regression.weights)
            box.append(smooth_l1_sum(deltas[positive], wanted, self.regression.beta))
            num_sampled, num_positive = num_sampled + len(sampled), num_positive + len(positive)
        most_sampled = self.sampling.count * len(truth)
        counts = {
            "sampled_anchors": (num_sampled, num_sampled),
            "anchors_per_image": (most_sampled, most_sampled),
            "box_positives": (num_sampled, 4 * num_positive),
        }[self.normalizer]
        return {
            "rpn_objectness": loss_sum(torch.stack(objectness).sum(), counts[0]),
            "rpn_box": loss_sum(torch.stack(box).sum(), counts[1]),
        }

    def propose(self, output: RpnOutput, batch: ImageBatch, rule: ProposalRule) -> list[Tensor]:
        """The proposals of each image, (P, 4) each, best first, clipped, without gradient."""
        boxes, logits, levels = self._candidates(output, batch, rule)
        is_valid = has_sides_of(boxes, rule.min_side_px)
        proposals = []
        for image_boxes, image_logits, image_valid in zip(boxes, logits, is_valid, strict=True):
            image_boxes = image_boxes[image_valid]
            kept = rule.suppress(
                image_boxes, image_logits[image_valid], levels[image_valid], rule.nms_iou, rule.after_nms
            )
            proposals.append(image_boxes[kept])
        return proposals

    @torch.no_grad()
    def _candidates(self, output: RpnOutput, batch: ImageBatch, rule: ProposalRule) -> tuple[Tensor, Tensor, Tensor]:
        """A fixed number of best anchors per level: boxes (B, T, 4), logits (B, T), levels (T,)."""
        chosen, levels, first = [], [], 0
        for level, count in enumerate(output.level_counts if rule.levels_apart else [len(output.anchors)]):
            best = output.logits[:, first : first + count].topk(min(rule.before_nms, count), dim=1).indices
            chosen.append(best + first)
            levels.append(torch.full((best.shape[1],), level, device=best.device))
            first += count
        index = torch.cat(chosen, dim=1)
        deltas = output.deltas.gather(1, index[:, :, None].expand(-1, -1, 4))
        boxes = decode_boxes(deltas, output.anchors[index], self.regression.weights)
        if rule.clips_to_input:
            boxes = clip_boxes(boxes, batch.padded_size)
        else:
            boxes = clip_to_windows(boxes, batch.windows[:, None])
        return boxes, output.logits.gather(1, index), torch.cat(levels)

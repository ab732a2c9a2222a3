"""Region proposal network: score every anchor, propose the best (Faster R-CNN, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskwright.models.mask_rcnn.rules import BoxRegression, MatchingRule, ProposalRule, SamplingRule
from maskwright.ops.anchors import grid_anchors
from maskwright.ops.box_coding import decode_boxes, encode_boxes
from maskwright.ops.boxes import has_sides_of
from maskwright.ops.losses import LossSum, loss_sum, smooth_l1_sum
from maskwright.ops.matching import match_boxes
from maskwright.ops.nms import suppress
from maskwright.ops.randomness import random_generator
from maskwright.ops.sampling import sample_balanced
from maskwright.structures import ImageBatch, Targets


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
    """3×3 convolutions, then two 1×1 predictors, shared by all levels."""

    def __init__(self, *, channels: int, num_convs: int, anchors_per_cell: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(num_convs))
        self.objectness = nn.Conv2d(channels, anchors_per_cell, 1)
        self.deltas = nn.Conv2d(channels, anchors_per_cell * 4, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) → logits (B, H·W·K) and deltas (B, H·W·K, 4), anchors in the order (row, column, anchor)."""
        for conv in self.convs:
            features = F.relu(conv(features), inplace=True)
        logits = self.objectness(features).permute(0, 2, 3, 1).flatten(1)
        deltas = self.deltas(features).permute(0, 2, 3, 1).reshape(len(features), -1, 4)
        return logits.float(), deltas.float()


class Rpn(nn.Module):
    """The head with its anchors, its loss and its choice of proposals.

    Args:
        head: predicts `cells.shape[1]` anchors per cell.
        cells: (L, K, 4) anchors of one cell on each level.
        matching: which anchors are foreground.
        sampling: how many enter the loss.
        regression: coding and loss of the deltas.
    """

    cells: Tensor

    def __init__(
        self,
        *,
        head: RpnHead,
        cells: Tensor,
        matching: MatchingRule,
        sampling: SamplingRule,
        regression: BoxRegression,
    ) -> None:
        super().__init__()
        self.head = head
        self.register_buffer("cells", cells, persistent=False)
        self.matching, self.sampling, self.regression = matching, sampling, regression

    def forward(self, levels: Sequence[Tensor], batch: ImageBatch) -> RpnOutput:
        logits, deltas = zip(*(self.head(features) for features in levels), strict=True)
        grids = [(features.shape[-2], features.shape[-1]) for features in levels]
        anchors = [
            grid_anchors(cells, grid, (batch.padded_size[0] // grid[0], batch.padded_size[1] // grid[1]))
            for cells, grid in zip(self.cells, grids, strict=True)
        ]
        counts = tuple(len(level_anchors) for level_anchors in anchors)
        return RpnOutput(torch.cat(logits, dim=1), torch.cat(deltas, dim=1), torch.cat(anchors), counts)

    def losses(self, output: RpnOutput, batch: ImageBatch, targets: Sequence[Targets]) -> dict[str, LossSum]:
        """Objectness over the sampled anchors and box deltas over the positive ones, both divided by all sampled.

        Faster R-CNN, eq. (1), with torchvision's divisor.
        """
        objectness, box, num_sampled = [], [], 0
        for logits, deltas, target, key in zip(output.logits, output.deltas, targets, batch.keys, strict=True):
            rule = self.matching
            matches = match_boxes(
                output.anchors, target.boxes, rule.positive_iou, rule.negative_iou, rule.keeps_best_of_each_object
            )
            positive, negative = sample_balanced(
                matches.objects, self.sampling.count, self.sampling.positive_share, random_generator(key, "rpn")
            )
            sampled = torch.cat([positive, negative])
            is_object = torch.zeros_like(logits[sampled])
            is_object[: len(positive)] = 1
            objectness.append(F.binary_cross_entropy_with_logits(logits[sampled], is_object, reduction="sum"))
            wanted_boxes = target.boxes[matches.objects[positive]]
            wanted = encode_boxes(wanted_boxes, output.anchors[positive], self.regression.weights)
            box.append(smooth_l1_sum(deltas[positive], wanted, self.regression.beta))
            num_sampled += len(sampled)
        return {
            "rpn_objectness": loss_sum(torch.stack(objectness).sum(), num_sampled),
            "rpn_box": loss_sum(torch.stack(box).sum(), num_sampled),
        }

    def propose(self, output: RpnOutput, batch: ImageBatch, rule: ProposalRule) -> list[Tensor]:
        """The proposals of each image, (P, 4) each, best first, clipped to the image, without gradient."""
        boxes, scores, levels = self._candidates(output, batch, rule.before_nms)
        is_valid = has_sides_of(boxes, rule.min_side_px)
        proposals = []
        for image_boxes, image_scores, image_valid in zip(boxes, scores, is_valid, strict=True):
            image_boxes, image_levels = image_boxes[image_valid], levels[image_valid]
            kept = suppress(image_boxes, image_scores[image_valid], image_levels, rule.nms_iou, rule.after_nms)
            proposals.append(image_boxes[kept])
        return proposals

    @torch.no_grad()
    def _candidates(self, output: RpnOutput, batch: ImageBatch, limit: int) -> tuple[Tensor, Tensor, Tensor]:
        """A fixed number of best anchors per level: boxes (B, T, 4), scores (B, T), levels (T,)."""
        chosen, levels, first = [], [], 0
        for level, count in enumerate(output.level_counts):
            best = output.logits[:, first : first + count].topk(min(limit, count), dim=1).indices
            chosen.append(best + first)
            levels.append(torch.full((best.shape[1],), level, device=best.device))
            first += count
        index = torch.cat(chosen, dim=1)
        deltas = output.deltas.gather(1, index[:, :, None].expand(-1, -1, 4))
        boxes = decode_boxes(deltas, output.anchors[index], self.regression.weights)
        limits = boxes.new_tensor([[width, height, width, height] for height, width in batch.sizes])
        boxes = torch.minimum(boxes.clamp(min=0), limits[:, None, :])
        return boxes, output.logits.gather(1, index).sigmoid(), torch.cat(levels)

"""YOLACT (Bolya et al. 2019): prototypes for the image and coefficients for each object, in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from maskwright.models.backbones.backbone import Backbone
from maskwright.models.necks.fpn import Fpn
from maskwright.models.segmenter import AS_RECIPE, Limits, Segmenter
from maskwright.models.yolact.anchor_targets import match_anchors
from maskwright.models.yolact.detect import select
from maskwright.models.yolact.mask_loss import assemble_positives, mask_losses
from maskwright.models.yolact.prediction_head import HeadOutput, PredictionHead
from maskwright.models.yolact.protonet import Protonet
from maskwright.models.yolact.rescoring import Rescoring
from maskwright.models.yolact.rules import DetectionRule, LossRule, MatchingRule
from maskwright.models.yolact.semantic_head import SemanticHead
from maskwright.ops.anchors import relative_anchors
from maskwright.ops.boxes import scale_boxes
from maskwright.ops.losses import LossSum
from maskwright.structures import Categories, ImageBatch, Instances, PrototypeMasks, Targets


@dataclass(frozen=True)
class AnchorRule:
    """Sizes of the anchors on each level, their ratios, and whether all are square."""

    sizes_px: tuple[tuple[float, ...], ...]
    ratios: tuple[float, ...]
    is_square: bool

    def lay(self, grids: Sequence[tuple[int, int]], size: tuple[int, int]) -> Tensor:
        """(A, 4) the anchors of all levels over a network input of `size` (H, W); `grids` are their (rows, columns)."""
        levels = zip(self.sizes_px, grids, strict=True)
        return torch.cat([relative_anchors(sizes, self.ratios, self.is_square, grid, size) for sizes, grid in levels])


class Yolact(Segmenter):
    """The whole one-stage network. `losses` trains it, `detect` uses it.

    Targets and instances have pixels of the network input; inside, boxes are shares of its sides, as in SSD.
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        fpn: Fpn,
        protonet: Protonet,
        head: PredictionHead,
        semantic_head: SemanticHead,
        rescoring: Rescoring | None,
        anchors: AnchorRule,
        matching: MatchingRule,
        learning: LossRule,
        detection: DetectionRule,
        categories: Categories,
    ) -> None:
        super().__init__()
        self.backbone, self.fpn, self.protonet, self.head = backbone, fpn, protonet, head
        self.semantic_head, self.rescoring = semantic_head, rescoring
        self.anchors, self.matching, self.learning, self.detection = anchors, matching, learning, detection
        self.categories = categories

    def losses(self, batch: ImageBatch, targets: Sequence[Targets]) -> dict[str, LossSum]:
        """The losses of a batch, their factors included: box, class, mask, semantic and, in YOLACT++, mask_iou.

        Args:
            batch: B images.
            targets: their objects in pixels of the network input; crowds make anchors neutral.
        """
        levels = self._levels(batch)
        prototypes, output = self.protonet(levels[0]), self._head(levels, batch)
        matched = [match_anchors(output.anchors, target, batch.padded_size, self.matching) for target in targets]
        masks = [
            assemble_positives(*image, rule=self.learning)
            for image in zip(prototypes, output.coefficients, matched, batch.keys, strict=True)
        ]
        num_positives = sum(len(target.positives()) for target in matched)
        losses = {
            **self.head.losses(output, matched, self.learning),
            **mask_losses(masks, num_positives, self.learning),
            **self.semantic_head.losses(levels[0], matched, self.learning.semantic_factor),
        }
        if self.rescoring is not None:
            losses |= self.rescoring.losses(masks, num_positives, self.learning.mask_iou_factor)
        return losses

    def detect(self, batch: ImageBatch, limits: Limits = AS_RECIPE) -> list[Instances]:
        """Boxes by suppression; masks are kept as prototypes and coefficients, of the detections only.

        Args:
            batch: B images.
            limits: which detections are wanted. The recipe's own threshold works as in the original: it drops anchors
                of which no class scores above it, but not the lower classes of the others.
        """
        levels = self._levels(batch)
        prototypes, output = self.protonet(levels[0]), self._head(levels, batch)
        rule = self.detection.within(limits)
        everything = zip(prototypes, output.boxes(), output.scores(), output.coefficients, batch.sizes, strict=True)
        found = [self._instances(*image, batch.padded_size, rule) for image in everything]
        return found if limits.score is None else [instances.above(limits.score) for instances in found]

    def _instances(
        self,
        prototypes: Tensor,
        boxes: Tensor,
        scores: Tensor,
        coefficients: Tensor,
        size: tuple[int, int],
        padded_size: tuple[int, int],
        rule: DetectionRule,
    ) -> Instances:
        """One image: prototypes (k, h, w), and boxes (A, 4), scores (A, C), coefficients (A, k) of all anchors."""
        selection = select(scale_boxes(boxes, (1, 1), padded_size), scores, rule)
        boxes, grid = boxes[selection.anchors], (prototypes.shape[-2], prototypes.shape[-1])
        masks = PrototypeMasks(
            size=size,
            prototypes=prototypes.permute(1, 2, 0).contiguous(),
            coefficients=coefficients[selection.anchors],
            boxes=scale_boxes(boxes, (1, 1), grid),
            extent=(grid[0] * size[0] / padded_size[0], grid[1] * size[1] / padded_size[1]),
            threshold=rule.mask_threshold,
        )
        quality = None if self.rescoring is None else self.rescoring(masks.probabilities(), selection.labels)
        return Instances(
            size=size,
            boxes=scale_boxes(boxes, (1, 1), padded_size),
            labels=selection.labels,
            scores=selection.scores,
            masks=masks,
            categories=self.categories,
            mask_scores=None if quality is None else selection.scores * quality,
        )

    def _levels(self, batch: ImageBatch) -> list[Tensor]:
        stages = self.backbone(batch.pixels.contiguous(memory_format=torch.channels_last))
        levels: list[Tensor] = self.fpn(stages[1:])  # C3–C5: C2 is too large to be fast
        return levels

    def _head(self, levels: Sequence[Tensor], batch: ImageBatch) -> HeadOutput:
        grids = [(level.shape[-2], level.shape[-1]) for level in levels]
        output: HeadOutput = self.head(levels, self.anchors.lay(grids, batch.padded_size).to(levels[0].device))
        return output

"""Semantic FPN (Kirillov et al. 2019): the pyramid and the semantic head of Panoptic FPN, without objects."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from maskwright.models.backbones.backbone import Backbone
from maskwright.models.mask_rcnn.semantic_head import SemanticHead
from maskwright.models.segmenter import AS_RECIPE, Limits, Segmenter
from maskwright.ops.losses import LossSum
from maskwright.structures import Categories, CropMasks, ImageBatch, Instances, SemanticMap, Targets


class SemanticFpn(Segmenter):
    """A class for every pixel and nothing else; its weights have the names that they have in a Panoptic FPN.

    Args:
        backbone: pixels to stages.
        fpn: stages to the levels of a pyramid.
        semantic_head: P2–P5 to a class for every pixel.
        categories: of the things, which share one output; no object of them is found.
    """

    def __init__(
        self, *, backbone: Backbone, fpn: nn.Module, semantic_head: SemanticHead, categories: Categories
    ) -> None:
        super().__init__()
        self.backbone, self.fpn, self.semantic_head = backbone, fpn, semantic_head
        self.categories = categories

    def losses(self, batch: ImageBatch, targets: Sequence[Targets]) -> dict[str, LossSum]:
        """The loss `semantic` of a batch.

        Args:
            batch: B images.
            targets: with the semantic maps of the images at network size; objects count for nothing.
        """
        return self.semantic_head.losses(self._logits(batch), targets)

    def detect(self, batch: ImageBatch, limits: Limits = AS_RECIPE) -> list[Instances]:  # noqa: ARG002 - of objects
        """The semantic map of each image, as `Instances` without objects, at network size."""
        maps = self.semantic_head.maps(self._logits(batch), batch.sizes)
        return [self._without_objects(semantic) for semantic in maps]

    def _logits(self, batch: ImageBatch) -> Tensor:
        levels = self.fpn(self.backbone(batch.pixels.contiguous(memory_format=torch.channels_last)))
        logits: Tensor = self.semantic_head(levels[: len(self.semantic_head.strides_px)])
        return logits

    def _without_objects(self, semantic: SemanticMap) -> Instances:
        nothing = semantic.grid.new_zeros(0)
        return Instances(
            size=semantic.size,
            boxes=nothing.reshape(0, 4),
            labels=nothing.long(),
            scores=nothing,
            masks=CropMasks.from_crops([], semantic.size),
            categories=self.categories,
            semantic=semantic,
        )

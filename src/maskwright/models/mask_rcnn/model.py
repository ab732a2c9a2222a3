"""Mask R-CNN (He et al. 2017): propose, classify and refine, segment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from maskwright.models.backbones.backbone import Backbone
from maskwright.models.mask_rcnn.box_stages import BoxStages
from maskwright.models.mask_rcnn.object_matching import TrueObjects
from maskwright.models.mask_rcnn.proposal_targets import sample_rois
from maskwright.models.mask_rcnn.roi_features import PoolingRule, RoiFeatures
from maskwright.models.mask_rcnn.roi_head import Columns, RoiHead
from maskwright.models.mask_rcnn.rpn import Rpn
from maskwright.models.mask_rcnn.rules import DetectionRule, MatchingRule, ProposalRule, SamplingRule
from maskwright.models.mask_rcnn.semantic_head import SemanticHead
from maskwright.models.segmenter import AS_RECIPE, Limits, Segmenter, Selected
from maskwright.ops.losses import LossSum
from maskwright.structures import Categories, ImageBatch, Instances, Masks, SemanticMap, Targets


@dataclass(frozen=True)
class RoiRule:
    """How the second stage takes its RoIs: pooling, matching, sampling."""

    pooling: PoolingRule
    matching: MatchingRule
    sampling: SamplingRule
    adds_true_boxes: bool


class MaskRcnn(Segmenter):
    """The whole two-stage network. `losses` trains it, `detect` uses it; coordinates are those of the network input.

    Args:
        backbone: pixels to stages.
        fpn: stages to the feature maps of both stages; a pyramid, or a single map.
        strides_px: of the maps that RoIs are pooled from.
        rpn: maps to proposals.
        shared: layers between pooling and all heads (res5 of C4 models).
        boxes: RoIs to classes and boxes.
        heads: RoIs to what else an object has, by the names of their weights and in the order of their losses.
        semantic_head: maps to a class for every pixel; None: none.
        roi: how the second stage takes its RoIs.
        train_proposals: from scored anchors to proposals, in training.
        test_proposals: the same in testing.
        detection: from classified RoIs to detections.
        categories: names and ids of the classes.
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        fpn: nn.Module,
        strides_px: Sequence[int],
        rpn: Rpn,
        shared: nn.Module | None,
        boxes: BoxStages,
        heads: Mapping[str, RoiHead],
        semantic_head: SemanticHead | None,
        roi: RoiRule,
        train_proposals: ProposalRule,
        test_proposals: ProposalRule,
        detection: DetectionRule,
        categories: Categories,
    ) -> None:
        super().__init__()
        self.backbone, self.fpn, self.rpn, self.res5 = backbone, fpn, rpn, shared
        self.boxes, self.box_head, self.cascade = boxes, boxes.first, boxes.further
        for name, head in heads.items():
            self.add_module(name, head)
        self.semantic_head = semantic_head
        self.head_names, self.strides_px, self.roi = tuple(heads), tuple(strides_px), roi
        self.train_proposals, self.test_proposals, self.detection = train_proposals, test_proposals, detection
        self.categories = categories

    @property
    def heads(self) -> dict[str, RoiHead]:
        """The heads beside the boxes, by name."""
        return {name: cast(RoiHead, self.get_submodule(name)) for name in self.head_names}

    def losses(self, batch: ImageBatch, targets: Sequence[Targets]) -> dict[str, LossSum]:
        """The losses of a batch: rpn_objectness, rpn_box, class, box (Mask R-CNN, section 3), and those of its heads.

        Args:
            batch: B images.
            targets: their objects in pixels of the images at network size; crowds are no objects to be found.
        """
        truth = [TrueObjects.of(target) for target in _in_input(targets, batch)]
        levels = self.encode(batch)
        output = self.rpn(levels, batch)
        samples = sample_rois(
            self.rpn.propose(output, batch, self.train_proposals),
            truth,
            batch.keys,
            matching=self.roi.matching,
            sampling=self.roi.sampling,
            adds_true_boxes=self.roi.adds_true_boxes,
            num_classes=self.boxes.first.num_classes,
        )
        features = self._features(levels)
        of_boxes, for_heads = self.boxes.losses(features, samples, truth, batch.windows)
        losses = {**self.rpn.losses(output, truth, batch.keys), **of_boxes}
        for head in self.heads.values():
            losses |= head.losses(features, for_heads, truth, batch.keys)
        return losses | self._semantic_losses(levels, targets)

    def detect(self, batch: ImageBatch, limits: Limits = AS_RECIPE) -> list[Instances]:
        """Boxes first; masks and keypoints only on the detections that remain (Mask R-CNN, section 3.1, inference).

        Args:
            batch: B images.
            limits: which detections are wanted.

        Returns:
            The instances of each image, in pixels of the image at network size.
        """
        levels = self.encode(batch)
        return self.complete(levels, batch, self.find(levels, batch, limits))

    def encode(self, batch: ImageBatch) -> list[Tensor]:
        """The feature maps of a batch, which `find` and `complete` work on."""
        levels: list[Tensor] = self.fpn(self.backbone(batch.pixels.contiguous(memory_format=torch.channels_last)))
        return levels

    def find(self, levels: Sequence[Tensor], batch: ImageBatch, limits: Limits = AS_RECIPE) -> list[Selected]:
        """The boxes of a batch; arguments as for `detect`."""
        rule = self.detection.within(limits)
        features = self._features(levels)
        proposals = self.rpn.propose(self.rpn(levels, batch), batch, self.test_proposals)
        return self.boxes.select(self.boxes.classify(features, proposals, batch.windows), batch.windows, rule)

    def complete(self, levels: Sequence[Tensor], batch: ImageBatch, selected: Sequence[Selected]) -> list[Instances]:
        """Masks, keypoints and semantic maps for boxes in each image, from `find` or from elsewhere."""
        columns = self._columns(levels, batch, selected)
        if self.semantic_head is not None:
            columns["semantic"] = self._semantic(self.semantic_head, levels, batch)
        images = zip(batch.sizes, selected, batch.shifts, strict=True)
        return [
            Instances(
                size=size,
                boxes=found.boxes - shift,
                labels=found.labels,
                scores=found.scores,
                categories=self.categories,
                **{"masks": None, **{name: column[index] for name, column in columns.items()}},
            )
            for index, (size, found, shift) in enumerate(images)
        ]

    def segment(
        self, levels: Sequence[Tensor], batch: ImageBatch, selected: Sequence[Selected]
    ) -> Sequence[Masks | None]:
        """Only the masks of such boxes; None of a model without masks."""
        return self._columns(levels, batch, selected).get("masks", [None] * len(selected))

    def _columns(self, levels: Sequence[Tensor], batch: ImageBatch, selected: Sequence[Selected]) -> Columns:
        """What all heads say of the boxes."""
        features, columns = self._features(levels), Columns()
        for head in self.heads.values():
            columns |= head.detect(features, selected, batch)
        return columns

    def _features(self, levels: Sequence[Tensor]) -> RoiFeatures:
        # P6 serves only the RPN (FPN, section 4.1)
        shared = nn.Identity() if self.res5 is None else self.res5
        return RoiFeatures(levels[: len(self.strides_px)], self.strides_px, self.roi.pooling, shared)

    def _semantic_losses(self, levels: Sequence[Tensor], targets: Sequence[Targets]) -> dict[str, LossSum]:
        if self.semantic_head is None:
            return {}
        return self.semantic_head.losses(self.semantic_head(levels[: len(self.strides_px)]), targets)

    def _semantic(self, head: SemanticHead, levels: Sequence[Tensor], batch: ImageBatch) -> list[SemanticMap]:
        return head.maps(head(levels[: len(self.strides_px)]), batch.sizes)


def _in_input(targets: Sequence[Targets], batch: ImageBatch) -> Sequence[Targets]:
    """The targets in pixels of the network input, which differ where images do not lie at its top left."""
    if not batch.corners:
        return targets
    return [
        target.moved(top, left, batch.padded_size) for target, (top, left) in zip(targets, batch.corners, strict=True)
    ]

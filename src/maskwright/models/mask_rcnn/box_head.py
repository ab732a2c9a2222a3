"""Class and box refinement of each RoI (Fast R-CNN, section 2)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskwright.models.backbones.norms import ConvNorm
from maskwright.models.mask_rcnn.proposal_targets import RoiSample
from maskwright.models.mask_rcnn.rules import BoxRegression, DetectionRule
from maskwright.ops.box_coding import decode_boxes, encode_boxes
from maskwright.ops.boxes import clip_boxes, has_sides_of
from maskwright.ops.losses import LossSum, loss_sum, smooth_l1_sum
from maskwright.ops.nms import suppress
from maskwright.structures import Targets


class BoxHead(nn.Module):
    """Convolutions, fully connected layers, and two predictors: C + 1 classes, background last, and C × 4 deltas."""

    def __init__(
        self,
        *,
        in_channels: int,
        pool_px: int,
        num_convs: int,
        conv_channels: int,
        num_fcs: int,
        fc_channels: int,
        norm: str,
        norm_eps: float,
        num_classes: int,
        regression: BoxRegression,
    ) -> None:
        super().__init__()
        self.num_classes, self.pool_px, self.regression = num_classes, pool_px, regression
        conv_sizes = [in_channels, *[conv_channels] * num_convs]
        fc_sizes = [conv_sizes[-1] * pool_px**2, *[fc_channels] * num_fcs]
        self.convs = nn.ModuleList(ConvNorm(a, b, 3, norm=norm, norm_eps=norm_eps) for a, b in pairwise(conv_sizes))
        self.fcs = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(fc_sizes))
        self.class_logits = nn.Linear(fc_channels, num_classes + 1)
        self.deltas = nn.Linear(fc_channels, num_classes * 4)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if isinstance(module, nn.Linear):
                nn.init.kaiming_uniform_(module.weight, a=1)
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.class_logits.weight, std=0.01)
        nn.init.normal_(self.deltas.weight, std=0.001)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """(P, C, M, M) → class logits (P, classes + 1) and deltas (P, classes, 4)."""
        for conv in self.convs:
            pooled = F.relu(conv(pooled), inplace=True)
        vectors = pooled.flatten(1)
        for fc in self.fcs:
            vectors = F.relu(fc(vectors), inplace=True)
        deltas = self.deltas(vectors).reshape(-1, self.num_classes, 4)
        return self.class_logits(vectors).float(), deltas.float()

    def losses(
        self, class_logits: Tensor, deltas: Tensor, samples: Sequence[RoiSample], targets: Sequence[Targets]
    ) -> dict[str, LossSum]:
        """Cross-entropy over all RoIs, smooth L1 of the true class's deltas over the positives; both divided by all."""
        labels = torch.cat([sample.labels for sample in samples])
        positive = torch.nonzero(labels < self.num_classes).flatten()
        rois = torch.cat([sample.rois[: len(sample.objects)] for sample in samples])
        boxes = torch.cat([target.boxes[sample.objects] for sample, target in zip(samples, targets, strict=True)])
        wanted = encode_boxes(boxes, rois, self.regression.weights)
        predicted = deltas[positive, labels[positive]]
        return {
            "class": loss_sum(F.cross_entropy(class_logits, labels, reduction="sum"), len(labels)),
            "box": loss_sum(smooth_l1_sum(predicted, wanted, self.regression.beta), len(labels)),
        }

    def select(
        self, class_logits: Tensor, deltas: Tensor, proposals: Tensor, size: tuple[int, int], rule: DetectionRule
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The detections of one image: boxes (N, 4), labels (N,), scores (N,), best first.

        Every class of every RoI is a candidate of its own, as in the original.

        Args:
            class_logits: (P, classes + 1).
            deltas: (P, classes, 4).
            proposals: (P, 4).
            size: (height, width) of the image within the network input.
            rule: thresholds.
        """
        scores = class_logits.softmax(dim=1)[:, :-1]
        roi, label = torch.nonzero(scores > rule.score_threshold, as_tuple=True)
        boxes = clip_boxes(decode_boxes(deltas[roi, label], proposals[roi], self.regression.weights), size)
        is_large = has_sides_of(boxes, rule.min_side_px)
        boxes, label, score = boxes[is_large], label[is_large], scores[roi, label][is_large]
        kept = suppress(boxes, score, label, rule.nms_iou, rule.max_detections)
        return boxes[kept], label[kept], score[kept]

"""Semantic segmentation on P3, which only training uses: it makes the features better (YOLACT, section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskwright.models.yolact.anchor_targets import AnchorTargets
from maskwright.models.yolact.initialise import initialise
from maskwright.ops.losses import LossSum, loss_sum


class SemanticHead(nn.Module):
    """A 1×1 convolution to one logit per class; a pixel may belong to several classes."""

    def __init__(self, *, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.logits = nn.Conv2d(in_channels, num_classes, 1)
        initialise(self)

    def losses(self, finest: Tensor, targets: Sequence[AnchorTargets], factor: float) -> dict[str, LossSum]:
        """Binary cross-entropy summed over classes, averaged over pixels and images.

        Args:
            finest: (B, C, h, w) P3.
            targets: whose objects' masks, at P3's size, say what is where.
            factor: of the loss.
        """
        logits = self.logits(finest).float()
        wanted = torch.zeros_like(logits)
        for image, target in zip(wanted, targets, strict=True):
            image.index_add_(0, target.labels, target.masks.shrunk((image.shape[-2], image.shape[-1])).float())
        total = F.binary_cross_entropy_with_logits(logits, wanted.clamp_(max=1), reduction="sum")
        return {"semantic": loss_sum(factor * total / logits[0, 0].numel(), len(logits))}

"""Mask re-scoring of YOLACT++ (section 6): the IoU of a mask with its object, predicted only from the mask."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskwright.models.yolact.initialise import initialise
from maskwright.models.yolact.mask_loss import AssembledMasks
from maskwright.ops.losses import LossSum, loss_sum, smooth_l1_sum
from maskwright.ops.masks import crop_cells, inside_cells


class Rescoring(nn.Module):
    """3×3 convolutions with stride 2 and without padding, a 1×1 to the classes, and the maximum over the map.

    Args:
        channels: of the strided convolutions.
        num_classes: C.
        min_area: true masks of at most this many prototype cells are not learnt from.
    """

    def __init__(self, *, channels: Sequence[int], num_classes: int, min_area: int) -> None:
        super().__init__()
        self.min_area = min_area
        self.smallest_grid = 2 ** (len(channels) + 1) - 1  # of which one cell is left after the strided convolutions
        widths = [1, *channels]
        pairs = zip(widths[:-1], widths[1:], strict=True)
        self.convs = nn.ModuleList(nn.Conv2d(before, after, 3, stride=2) for before, after in pairs)
        self.convs.append(nn.Conv2d(widths[-1], num_classes, 1))
        initialise(self)

    def forward(self, masks: Tensor, labels: Tensor) -> Tensor:
        """Cropped mask probabilities (N, h, w) and classes (N,) → (N,) IoU with the truth, of that class."""
        return self.of_all_classes(masks).gather(1, labels[:, None])[:, 0]

    def of_all_classes(self, masks: Tensor) -> Tensor:
        """(N, h, w) → (N, C)."""
        rows, columns = (max(0, self.smallest_grid - side) for side in masks.shape[1:])
        features = F.pad(masks, (0, columns, 0, rows))[:, None]  # small inputs: background around
        for conv in self.convs:
            features = F.relu(conv(features))
        return F.max_pool2d(features, features.shape[2:]).flatten(1).float()

    def losses(self, masks: Sequence[AssembledMasks], num_positives: int, factor: float) -> dict[str, LossSum]:
        """Smooth L1 between predicted and real IoU; its gradient reaches the masks too."""
        total = torch.stack([self._image_loss(image) for image in masks]).sum()
        return {"mask_iou": loss_sum(factor * total, num_positives)}

    def _image_loss(self, masks: AssembledMasks) -> Tensor:
        is_large = masks.true.sum(dim=(1, 2)) > self.min_area
        true = masks.true[is_large]
        grid = (true.shape[-2], true.shape[-1])
        probabilities = masks.logits[is_large].sigmoid() * inside_cells(crop_cells(masks.boxes[is_large], grid), grid)
        with torch.no_grad():
            found = probabilities > 0.5
            ious = (found & true).sum(dim=(1, 2)) / (found | true).sum(dim=(1, 2))
        return smooth_l1_sum(self(probabilities, masks.labels[is_large]), ious, beta=1.0)

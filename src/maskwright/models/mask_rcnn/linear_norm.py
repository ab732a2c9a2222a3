"""A fully connected layer and its batch normalisation, as matterport's box head has them."""

from __future__ import annotations

import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn import functional as F

from maskwright.models.backbones.norms import BatchNorm, scale_and_shift


class LinearNorm(nn.Module):
    """Linear layer, then batch normalisation; one product where the statistics are fixed, or where there is one RoI."""

    def __init__(self, in_channels: int, out_channels: int, *, norm_eps: float) -> None:
        super().__init__()
        self.linear = nn.Linear(in_channels, out_channels)
        self.norm = BatchNorm(out_channels, norm_eps)

    def forward(self, vectors: Tensor) -> Tensor:
        """(P, in_channels) → (P, out_channels)."""
        # one RoI has no statistics of its own; processes exchange theirs, so all of them must do so
        is_alone = len(vectors) == 1 and not torch.distributed.is_initialized()
        if self.norm.training and not is_alone:
            normalised: Tensor = self.norm(self.linear(vectors)[:, :, None, None])
            return normalised[:, :, 0, 0]
        scale, shift = scale_and_shift(self.norm)
        return F.linear(vectors, self.linear.weight * scale[:, None], self.linear.bias * scale + shift)

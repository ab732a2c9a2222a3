"""Protonet: prototype masks of the whole image, of which every mask is a combination (YOLACT, section 3.1)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from maskwright.models.yolact.initialise import initialise


class Protonet(nn.Module):
    """3×3 convolutions on P3, ×2 enlargement, another 3×3, and a 1×1 to k prototypes (YOLACT, fig. 3)."""

    def __init__(self, *, in_channels: int, channels: int, num_convs: int, num_prototypes: int) -> None:
        super().__init__()
        widths = [in_channels] + [channels] * (num_convs + 1)
        pairs = zip(widths[:-1], widths[1:], strict=True)
        self.convs = nn.ModuleList(nn.Conv2d(before, after, 3, padding=1) for before, after in pairs)
        self.prototypes = nn.Conv2d(channels, num_prototypes, 1)
        initialise(self)

    def forward(self, finest: Tensor) -> Tensor:
        """P3 (B, C, h, w) → prototypes (B, k, 2h, 2w), none negative (the ReLU lets background be clear zero)."""
        features = finest
        for conv in self.convs[:-1]:
            features = F.relu(conv(features), inplace=True)
        features = F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)
        features = F.relu(self.convs[-1](features), inplace=True)
        return F.relu(self.prototypes(features)).float()

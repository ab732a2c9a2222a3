"""A binary mask per class for each RoI (Mask R-CNN, section 3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskwright.models.backbones.norms import ConvNorm
from maskwright.models.mask_rcnn.proposal_targets import RoiSample
from maskwright.ops.losses import LossSum, loss_sum
from maskwright.structures import Targets


class MaskHead(nn.Module):
    """Convolutions, a deconvolution that doubles the resolution, and one 1×1 predictor per class."""

    def __init__(
        self,
        *,
        in_channels: int,
        pool_px: int,
        num_convs: int,
        channels: int,
        norm: str,
        norm_eps: float,
        num_classes: int,
        rois_per_image: int | None,
        target_samples: int,
    ) -> None:
        super().__init__()
        self.pool_px, self.rois_per_image, self.target_samples = pool_px, rois_per_image, target_samples
        sizes = [in_channels, *[channels] * num_convs]
        self.convs = nn.ModuleList(
            ConvNorm(a, b, 3, norm=norm, norm_eps=norm_eps) for a, b in zip(sizes, sizes[1:], strict=False)
        )
        self.upsample = nn.ConvTranspose2d(channels, channels, 2, stride=2)
        self.logits = nn.Conv2d(channels, num_classes, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, pooled: Tensor, labels: Tensor) -> Tensor:
        """(F, C, M, M) and the class of each RoI (F,) → mask logits of that class alone, (F, 2M, 2M).

        Only the asked class's predictor runs: classes do not compete, so the others change nothing.
        """
        for conv in self.convs:
            pooled = F.relu(conv(pooled), inplace=True)
        features = F.relu(self.upsample(pooled), inplace=True)
        weight, bias = self.logits.weight[labels, :, 0, 0], self.logits.bias
        assert bias is not None
        logits = torch.einsum("fchw,fc->fhw", features, weight.to(features)) + bias[labels][:, None, None]
        return logits.float()

    def losses(
        self, mask_logits: Tensor, samples: Sequence[RoiSample], targets: Sequence[Targets]
    ) -> dict[str, LossSum]:
        """Mean binary cross-entropy over the pixels of each positive RoI, divided by the positives.

        Args:
            mask_logits: (F, 2M, 2M) of the true class of each positive.
            samples: positives only.
            targets: of the same images.
        """
        wanted = torch.cat(
            [
                target.masks.sampled(sample.rois, sample.objects, 2 * self.pool_px, self.target_samples)
                for sample, target in zip(samples, targets, strict=True)
            ]
        )
        pixels = F.binary_cross_entropy_with_logits(mask_logits, wanted, reduction="none")
        return {"mask": loss_sum(pixels.mean(dim=(1, 2)).sum(), len(mask_logits))}

"""Modulated deformable convolution (DCNv2, Zhu et al. 2019): every tap moves and is weighted, as the features say."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

from maskwright.models.backbones.norms import ConvNorm, folded_norm


class DeformableConvNorm(ConvNorm):
    """As `ConvNorm`, but the taps of the convolution are moved and weighted.

    Of the K·K·3 channels that `offsets` gives for a K × K kernel, the first K·K·2 are (dy, dx) of each tap in pixels,
    the last K·K its weight before the sigmoid. They start at zero: no tap moves, and all weigh one half. The
    convolution keeps its bias in front of the norm, as the released YOLACT++ models have it.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, norm: str, norm_eps: float
    ) -> None:
        super().__init__(in_channels, out_channels, kernel, stride=stride, norm=norm, norm_eps=norm_eps)
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride=stride, padding=kernel // 2)
        self.offsets = nn.Conv2d(in_channels, 3 * kernel * kernel, kernel, stride=stride, padding=kernel // 2)
        for parameter in (self.offsets.weight, self.offsets.bias, self.conv.bias):
            assert parameter is not None
            nn.init.zeros_(parameter)

    def forward(self, features: Tensor) -> Tensor:
        taps = self.conv.weight[0, 0].numel()
        moves, weights = self.offsets(features).float().split([2 * taps, taps], dim=1)
        fold = folded_norm(self.norm)
        weight, bias = self.conv.weight, self.conv.bias
        if fold is not None:
            assert bias is not None
            scale, shift = fold
            weight, bias = weight * scale[:, None, None, None], bias * scale + shift
        with torch.autocast(features.device.type, enabled=False):  # the operator knows single precision only
            moved: Tensor = deform_conv2d(
                features.float(), moves, weight, bias, self.conv.stride, self.conv.padding, mask=weights.sigmoid()
            )
        result = moved.to(features.dtype)
        if fold is None and self.norm is not None:
            result = self.norm(result)
        return result

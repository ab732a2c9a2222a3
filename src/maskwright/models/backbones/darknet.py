"""DarkNet-53 (YOLOv3, Redmon & Farhadi 2018): residual blocks of a 1×1 and a 3×3 convolution in five stages."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from maskwright.models.backbones.backbone import Backbone
from maskwright.models.backbones.norms import ConvNorm

_BLOCKS = (1, 2, 8, 8, 4)  # of each stage (YOLOv3, table 1)
_SLOPE = 0.1  # of the leaky ReLU; in the released configuration, the paper does not say


class LeakyConvNorm(ConvNorm):
    """A convolution, its normalisation and a leaky ReLU."""

    def forward(self, features: Tensor) -> Tensor:
        return F.leaky_relu(super().forward(features), _SLOPE, inplace=True)


class Block(nn.Module):
    """1×1 down to half the channels, 3×3 up again, beside a shortcut; nothing is activated after the sum."""

    def __init__(self, channels: int, *, norm: str, norm_eps: float) -> None:
        super().__init__()
        self.conv1 = LeakyConvNorm(channels, channels // 2, 1, norm=norm, norm_eps=norm_eps)
        self.conv2 = LeakyConvNorm(channels // 2, channels, 3, norm=norm, norm_eps=norm_eps)

    def forward(self, features: Tensor) -> Tensor:
        residual: Tensor = self.conv2(self.conv1(features))
        return features + residual


class DarkNet53(Backbone):
    """Stem and five stages, each a convolution with stride 2 and its blocks; the last four stages give C2–C5.

    Args:
        in_channels: of the images.
        width: channels of the stem; each stage has twice those before it.
        norm: name of the normalisation after each convolution.
        norm_eps: added to its variance.
    """

    def __init__(self, *, in_channels: int, width: int, norm: str, norm_eps: float) -> None:
        super().__init__()
        self.stem = LeakyConvNorm(in_channels, width, 3, norm=norm, norm_eps=norm_eps)
        self.stages = nn.ModuleList()
        for stage, count in enumerate(_BLOCKS):
            channels = width * 2 ** (stage + 1)
            halving = LeakyConvNorm(channels // 2, channels, 3, stride=2, norm=norm, norm_eps=norm_eps)
            blocks = [Block(channels, norm=norm, norm_eps=norm_eps) for _ in range(count)]
            self.stages.append(nn.Sequential(halving, *blocks))
        self.channels = tuple(width * 2**stage for stage in (2, 3, 4, 5))
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, ConvNorm):
                nn.init.kaiming_normal_(module.conv.weight, a=_SLOPE, mode="fan_out", nonlinearity="leaky_relu")

    def parts(self) -> Sequence[nn.Module]:
        """The stem and the five stages."""
        return [self.stem, *self.stages]

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """(B, C, H, W) → C2, C3, C4, C5 at strides 4, 8, 16, 32."""
        features = self.stem(pixels)
        outputs = []
        for stage in self.stages:
            features = stage(features)
            outputs.append(features)
        return outputs[1:]

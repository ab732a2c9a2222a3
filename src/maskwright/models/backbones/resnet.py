"""ResNet (He et al. 2016) from its parts: a stem, and stages of basic or bottleneck blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from maskwright.models.backbones.backbone import Backbone
from maskwright.models.backbones.norms import ConvNorm

# blocks of res2–res5 (He et al. 2016, table 1)
NUM_BLOCKS: dict[int, tuple[int, int, int, int]] = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
FIRST_BOTTLENECKS = 50  # shallower networks have basic blocks
EXPANSION = 4  # channels that a bottleneck gives, over those between its convolutions
STEM_STRIDE_PX = 4  # pooling included

# in_channels, out_channels, kernel, and by name what `ConvNorm` takes → a convolution with its norm
Convolution = Callable[..., ConvNorm]


class ReluConvNorm(ConvNorm):
    """A convolution, its normalisation and a ReLU."""

    def forward(self, features: Tensor) -> Tensor:
        return F.relu(super().forward(features), inplace=True)


class SamePooling(nn.Module):
    """3×3 max pooling with stride 2 that pads as Keras does: right and below, and all around an odd number of cells.

    What is padded is below every value. The port of matterport's model pads zeros; after a ReLU that is the same.
    """

    def forward(self, features: Tensor) -> Tensor:
        height, width = features.shape[-2:]
        # `ceil_mode` lets the last windows reach one cell beyond the end
        return F.max_pool2d(features, 3, stride=2, padding=(height % 2, width % 2), ceil_mode=True)


class BasicBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut."""

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int, dilation: int, convolution: Convolution
    ) -> None:
        super().__init__()
        self.conv1 = convolution(in_channels, out_channels, 3, stride=stride, dilation=dilation)
        self.conv2 = convolution(out_channels, out_channels, 3, dilation=dilation)
        self.shortcut = _shortcut(in_channels, out_channels, stride, convolution)

    def forward(self, features: Tensor) -> Tensor:
        residual = self.conv2(F.relu(self.conv1(features), inplace=True))
        return F.relu(residual.add_(self.shortcut(features)), inplace=True)


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 beside a shortcut.

    Args:
        in_channels: of the features.
        channels: between the convolutions.
        out_channels: of the result.
        stride: of the block.
        stride_in_1x1: the stride sits in the first 1×1, as in MSRA's weights, or in the 3×3.
        dilation: of the 3×3.
        convolution: makes the 1×1s and the shortcut.
        middle: makes the 3×3, which may have groups or be deformable.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        out_channels: int,
        *,
        stride: int,
        stride_in_1x1: bool,
        dilation: int,
        convolution: Convolution,
        middle: Convolution,
    ) -> None:
        super().__init__()
        first, second = (stride, 1) if stride_in_1x1 else (1, stride)
        self.conv1 = convolution(in_channels, channels, 1, stride=first)
        self.conv2 = middle(channels, channels, 3, stride=second, dilation=dilation)
        self.conv3 = convolution(channels, out_channels, 1)
        self.shortcut = _shortcut(in_channels, out_channels, stride, convolution)

    def forward(self, features: Tensor) -> Tensor:
        residual = F.relu(self.conv1(features), inplace=True)
        residual = F.relu(self.conv2(residual), inplace=True)
        return F.relu(self.conv3(residual).add_(self.shortcut(features)), inplace=True)


def _shortcut(in_channels: int, out_channels: int, stride: int, convolution: Convolution) -> nn.Module:
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return convolution(in_channels, out_channels, 1, stride=stride)


class ResNet(Backbone):
    """Stem, pooling, and as many of the stages res2–res5 as are given; their convolutions are initialised here.

    Args:
        stem: from pixels to features at stride 2, after a ReLU.
        pooling: from those to stride 4.
        stages: of blocks.
        channels: that each stage gives.
        strides_px: of the same.
    """

    def __init__(
        self,
        *,
        stem: nn.Module,
        pooling: nn.Module,
        stages: Sequence[nn.Sequential],
        channels: Sequence[int],
        strides_px: Sequence[int],
    ) -> None:
        super().__init__()
        self.stem, self.pooling, self.stages = stem, pooling, nn.ModuleList(stages)
        self.channels, self.strides_px = tuple(channels), tuple(strides_px)
        initialise_convolutions(self)

    def parts(self) -> Sequence[nn.Module]:
        """Stem, res2, res3, res4, res5."""
        return [self.stem, *self.stages]

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """(B, C, H, W) → C2, C3, C4, C5 at `strides_px`, or fewer."""
        features = self.pooling(self.stem(pixels))
        outputs = []
        for stage in self.stages:
            features = stage(features)
            outputs.append(features)
        return outputs


def initialise_convolutions(part: nn.Module) -> None:
    """Random weights that keep the variance through ReLUs (He et al. 2015), no biases; offsets of taps stay."""
    for module in part.modules():
        if isinstance(module, ConvNorm):
            nn.init.kaiming_normal_(module.conv.weight, mode="fan_out", nonlinearity="relu")
            if module.conv.bias is not None:
                nn.init.zeros_(module.conv.bias)

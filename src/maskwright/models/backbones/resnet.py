"""ResNet (He et al. 2016): basic and bottleneck blocks in four stages."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from maskwright.errors import ConfigError
from maskwright.models.backbones.backbone import Backbone
from maskwright.models.backbones.deformable import DeformableConvNorm
from maskwright.models.backbones.norms import ConvNorm

# blocks per stage and whether they are bottlenecks (He et al. 2016, table 1)
_DEPTHS: dict[int, tuple[tuple[int, int, int, int], bool]] = {
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
}
_BOTTLENECK_EXPANSION = 4


class BasicBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut."""

    def __init__(self, in_channels: int, channels: int, *, stride: int, norm: str, norm_eps: float) -> None:
        super().__init__()
        self.conv1 = ConvNorm(in_channels, channels, 3, stride=stride, norm=norm, norm_eps=norm_eps)
        self.conv2 = ConvNorm(channels, channels, 3, norm=norm, norm_eps=norm_eps)
        self.shortcut = _shortcut(in_channels, channels, stride, norm, norm_eps)

    def forward(self, features: Tensor) -> Tensor:
        residual = self.conv2(F.relu(self.conv1(features), inplace=True))
        return F.relu(residual.add_(self.shortcut(features)), inplace=True)


class Bottleneck(nn.Module):
    """1×1 down, 3×3, 1×1 up beside a shortcut; the stride sits in the 3×3, or in the first 1×1 for MSRA weights."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        stride: int,
        stride_in_1x1: bool,
        is_deformable: bool,
        norm: str,
        norm_eps: float,
    ) -> None:
        super().__init__()
        wide = channels * _BOTTLENECK_EXPANSION
        first, second = (stride, 1) if stride_in_1x1 else (1, stride)
        self.conv1 = ConvNorm(in_channels, channels, 1, stride=first, norm=norm, norm_eps=norm_eps)
        convolution = DeformableConvNorm if is_deformable else ConvNorm
        self.conv2 = convolution(channels, channels, 3, stride=second, norm=norm, norm_eps=norm_eps)
        self.conv3 = ConvNorm(channels, wide, 1, norm=norm, norm_eps=norm_eps)
        self.shortcut = _shortcut(in_channels, wide, stride, norm, norm_eps)

    def forward(self, features: Tensor) -> Tensor:
        residual = F.relu(self.conv1(features), inplace=True)
        residual = F.relu(self.conv2(residual), inplace=True)
        return F.relu(self.conv3(residual).add_(self.shortcut(features)), inplace=True)


def _shortcut(in_channels: int, out_channels: int, stride: int, norm: str, norm_eps: float) -> nn.Module:
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return ConvNorm(in_channels, out_channels, 1, stride=stride, norm=norm, norm_eps=norm_eps)


class ResNet(Backbone):
    """Stem and stages res2–res5.

    Args:
        depth: 18, 34, 50 or 101.
        width: channels of the stem.
        norm: name of the normalisation after each convolution.
        norm_eps: added to its variance.
        stride_in_1x1: the stride of a stage's first bottleneck sits in its first 1×1.
        deformable_from: stage, 2 to 5, from which 3×3 convolutions of bottlenecks are deformable; None: nowhere.
        deformable_every: only in every so many blocks of such a stage, counted from its first (YOLACT++, section 6).
    """

    def __init__(
        self,
        *,
        depth: int,
        width: int,
        norm: str,
        norm_eps: float,
        stride_in_1x1: bool,
        deformable_from: int | None = None,
        deformable_every: int = 1,
    ) -> None:
        super().__init__()
        num_blocks, is_bottleneck = _DEPTHS[depth]
        if deformable_from is not None and not is_bottleneck:
            raise ConfigError(
                f"backbone.deformable_from needs bottleneck blocks, which a ResNet-{depth} has not: use 50"
            )
        self.stem = ConvNorm(3, width, 7, stride=2, norm=norm, norm_eps=norm_eps)
        self.stages = nn.ModuleList()
        in_channels, channels = width, []
        for stage, count in enumerate(num_blocks):
            blocks = nn.Sequential()
            for block in range(count):
                stride = 2 if stage > 0 and block == 0 else 1
                narrow = width * 2**stage
                if is_bottleneck:
                    blocks.append(
                        Bottleneck(
                            in_channels,
                            narrow,
                            stride=stride,
                            stride_in_1x1=stride_in_1x1,
                            is_deformable=_is_deformable(stage + 2, block, deformable_from, deformable_every),
                            norm=norm,
                            norm_eps=norm_eps,
                        )
                    )
                else:
                    blocks.append(BasicBlock(in_channels, narrow, stride=stride, norm=norm, norm_eps=norm_eps))
                in_channels = narrow * (_BOTTLENECK_EXPANSION if is_bottleneck else 1)
            self.stages.append(blocks)
            channels.append(in_channels)
        self.channels = tuple(channels)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, ConvNorm):
                nn.init.kaiming_normal_(module.conv.weight, mode="fan_out", nonlinearity="relu")

    def parts(self) -> Sequence[nn.Module]:
        """Stem, res2, res3, res4, res5."""
        return [self.stem, *self.stages]

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """(B, 3, H, W) → C2, C3, C4, C5 at strides 4, 8, 16, 32."""
        features = F.max_pool2d(F.relu(self.stem(pixels), inplace=True), 3, stride=2, padding=1)
        outputs = []
        for stage in self.stages:
            features = stage(features)
            outputs.append(features)
        return outputs


def _is_deformable(stage: int, block: int, deformable_from: int | None, deformable_every: int) -> bool:
    return deformable_from is not None and stage >= deformable_from and block % deformable_every == 0

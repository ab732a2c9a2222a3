"""Feature pyramid network (Lin et al. 2017): strong semantics at every resolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from maskwright.models.backbones.norms import ConvNorm


class Fpn(nn.Module):
    """Top-down pathway with lateral connections (FPN, fig. 3), and coarser levels made from the coarsest.

    Args:
        in_channels: of the backbone stages that it takes, finest first.
        channels: of every level.
        norm: name of the normalisation after each convolution.
        norm_eps: added to its variance.
        upsampling: how a coarser level is enlarged, `nearest` (FPN) or `bilinear` (YOLACT).
        has_relu: whether each level ends in a ReLU, as in YOLACT.
        extra: from the coarsest level to further ones.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        channels: int,
        norm: str,
        norm_eps: float,
        extra: nn.Module,
        upsampling: Literal["nearest", "bilinear"] = "nearest",
        has_relu: bool = False,
    ) -> None:
        super().__init__()
        self.channels, self.upsampling, self.has_relu = channels, upsampling, has_relu
        self.laterals = nn.ModuleList(ConvNorm(c, channels, 1, norm=norm, norm_eps=norm_eps) for c in in_channels)
        self.outputs = nn.ModuleList(ConvNorm(channels, channels, 3, norm=norm, norm_eps=norm_eps) for _ in in_channels)
        self.extra = extra
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, stages: Sequence[Tensor]) -> list[Tensor]:
        """The stages → one level each and the extra ones, (B, channels, h, w), finest first."""
        merged = self.laterals[-1](stages[-1])
        levels = [self._output(-1, merged)]
        for index in reversed(range(len(stages) - 1)):
            finer = self.laterals[index](stages[index])
            merged = finer + F.interpolate(merged, size=finer.shape[-2:], mode=self.upsampling)
            levels.insert(0, self._output(index, merged))
        return [*levels, *self.extra(levels[-1])]

    def _output(self, index: int, merged: Tensor) -> Tensor:
        level: Tensor = self.outputs[index](merged)
        return F.relu(level, inplace=True) if self.has_relu else level


class Subsampled(nn.Module):
    """One level more: every second pixel of the coarsest (FPN, section 4.1, footnote: P6 only for the RPN)."""

    def forward(self, coarsest: Tensor) -> list[Tensor]:
        return [F.max_pool2d(coarsest, 1, stride=2)]


class StridedConvolutions(nn.Module):
    """`count` levels more, each by a 3×3 convolution with stride 2 from the one before (YOLACT: P6 and P7)."""

    def __init__(self, *, channels: int, count: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(channels, channels, 3, stride=2, padding=1) for _ in range(count))

    def forward(self, coarsest: Tensor) -> list[Tensor]:
        levels = []
        for conv in self.convs:
            coarsest = conv(coarsest)
            levels.append(coarsest)
        return levels

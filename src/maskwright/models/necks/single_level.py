"""One feature map instead of a pyramid: the last stage as it is, or through two convolutions."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from maskwright.models.backbones.norms import ConvNorm


class LastStage(nn.Module):
    """The backbone's last stage: res4 in C4 models, dilated res5 in DC5 models.

    Args:
        channels: of it.
    """

    def __init__(self, *, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, stages: Sequence[Tensor]) -> list[Tensor]:
        """The stages → only the last one."""
        return [stages[-1]]


class ConvolvedStage(nn.Module):
    """The backbone's last stage through a 1×1 and a 3×3 convolution, as Simple Mask R-CNN has it.

    Args:
        in_channels: of the stage.
        channels: of the result.
    """

    def __init__(self, *, in_channels: int, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.lateral = ConvNorm(in_channels, channels, 1, norm="none", norm_eps=0.0)
        self.output = ConvNorm(channels, channels, 3, norm="none", norm_eps=0.0)
        for conv in (self.lateral.conv, self.output.conv):
            assert conv.bias is not None
            nn.init.kaiming_uniform_(conv.weight, a=1)
            nn.init.zeros_(conv.bias)

    def forward(self, stages: Sequence[Tensor]) -> list[Tensor]:
        """The stages → one map, (B, channels, h, w)."""
        return [self.output(self.lateral(stages[-1]))]

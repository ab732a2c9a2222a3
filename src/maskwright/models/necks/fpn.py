"""Feature pyramid network (Lin et al. 2017): strong semantics at every resolution."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from maskwright.models.backbones.norms import ConvNorm


class Fpn(nn.Module):
    """Top-down pathway with lateral connections (FPN, fig. 3), and P6 for the RPN alone.

    Attributes:
        channels: of every level.
    """

    def __init__(self, *, in_channels: Sequence[int], channels: int, norm: str, norm_eps: float) -> None:
        super().__init__()
        self.channels = channels
        self.laterals = nn.ModuleList(ConvNorm(c, channels, 1, norm=norm, norm_eps=norm_eps) for c in in_channels)
        self.outputs = nn.ModuleList(ConvNorm(channels, channels, 3, norm=norm, norm_eps=norm_eps) for _ in in_channels)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, stages: Sequence[Tensor]) -> list[Tensor]:
        """C2–C5 → P2–P6, each (B, channels, H, W)."""
        merged = self.laterals[-1](stages[-1])
        levels = [self.outputs[-1](merged)]
        finer_parts = list(zip(stages[:-1], self.laterals[:-1], self.outputs[:-1], strict=True))
        for stage, lateral, output in reversed(finer_parts):
            finer = lateral(stage)
            merged = finer + F.interpolate(merged, size=finer.shape[-2:], mode="nearest")
            levels.insert(0, output(merged))
        # P6 is every second pixel of P5 (FPN, section 4.1, footnote)
        return [*levels, F.max_pool2d(levels[-1], 1, stride=2)]

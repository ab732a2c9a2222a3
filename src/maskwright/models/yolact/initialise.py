"""The initial weights of YOLACT's own parts."""

from __future__ import annotations

from torch import nn


def initialise(part: nn.Module) -> None:
    """Xavier-uniform convolutions with zero biases, as in YOLACT's code for everything above the backbone."""
    for module in part.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)

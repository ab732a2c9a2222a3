"""Exponential moving average of the weights: smoother, and usually better, than the last step's."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AveragedWeights:
    """Averages of a model's parameters and buffers; integer buffers are copied.

    Attributes:
        state: name → averaged tensor, as in the model's `state_dict`.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state: dict[str, Tensor] = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update_(self, model: nn.Module, step: int) -> None:
        """Move towards the model's weights after step `step` (from 0); early steps count less history."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                self.state[name].lerp_(value, 1 - decay)
            else:
                self.state[name].copy_(value)

"""The optimiser of a recipe and the learning rate of each step."""

from __future__ import annotations

import math

import torch
from torch import nn

from maskwright.config.train import TrainConfig


def build_optimiser(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """SGD with momentum or AdamW over the trainable parameters; biases and norms have a weight decay of their own."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": config.norm_weight_decay},
    ]
    if config.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum, fused=True)
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)


def learning_rate(step: int, config: TrainConfig) -> float:
    """The rate of one step (counted from 0): linear warm-up, then steps or a cosine down to zero at the end."""
    if config.schedule == "step":
        rate = config.learning_rate * config.step_factor ** sum(step >= drop for drop in config.steps)
    else:
        rate = config.learning_rate * 0.5 * (1 + math.cos(math.pi * step / config.num_steps))
    if step < config.warmup_steps:
        progress = step / config.warmup_steps
        rate *= config.warmup_factor * (1 - progress) + progress
    return rate


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Give every parameter group the rate; the schedule has no state of its own to restore."""
    for group in optimiser.param_groups:
        group["lr"] = rate

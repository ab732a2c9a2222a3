"""Normalisation layers by name, and the convolution that each follows."""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any, cast

import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn import functional as F

from maskwright.errors import ConfigError

GROUPS = 32  # Wu & He 2018, the number that all published GroupNorm detectors use


class FrozenBatchNorm(nn.Module):
    """Batch normalisation with fixed statistics and affine parameters; all four are buffers."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        for name, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            self.register_buffer(name, torch.full((channels,), value))

    def forward(self, features: Tensor) -> Tensor:
        scale, shift = scale_and_shift(self)
        return features * scale[:, None, None] + shift[:, None, None]


def scale_and_shift(norm: FrozenBatchNorm | nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Batch normalisation with fixed statistics as y = scale · x + shift, both (C,)."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return scale, norm.bias - norm.running_mean * scale


def _group_norm(channels: int, eps: float) -> nn.Module:
    groups = min(GROUPS, channels // 2)
    if groups == 0 or channels % groups:
        raise ConfigError(f"{channels} channels cannot be normalised in {groups} equal groups; choose a multiple of 32")
    return nn.GroupNorm(groups, channels, eps=eps)


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation whose training statistics are those of the whole step, over all processes.

    So that several processes train as one does, on any device (torch's own needs a GPU).
    """

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__(channels, eps=eps)

    def forward(self, features: Tensor) -> Tensor:
        if not self.training or not torch.distributed.is_initialized():
            return super().forward(features)
        values = features.float()
        mean, variance, count = _joint_moments(values)
        self._track_(mean.detach(), variance.detach(), count)
        scale = self.weight * (variance + self.eps).rsqrt()
        shift = self.bias - mean * scale
        return (values * scale[:, None, None] + shift[:, None, None]).to(features.dtype)

    @torch.no_grad()
    def _track_(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        momentum = self.momentum * (count > 0)  # no RoI in any process: nothing to track
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance * count / (count - 1).clamp(min=1), momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)


def freeze_batch_norms(model: nn.Module) -> None:
    """Keep statistics, weight and bias of all batch norms, also when the model is put into training mode later."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval().requires_grad_(False)
            module.train = MethodType(_stay, module)  # type: ignore[method-assign]  # any class of batch norm, as it is


def _stay(module: nn.Module, mode: bool = True) -> nn.Module:  # noqa: ARG001  # as `nn.Module.train` has it
    return module


_NORMS: dict[str, Callable[[int, float], nn.Module]] = {
    "batch": BatchNorm,
    "frozen_batch": FrozenBatchNorm,
    "group": _group_norm,
}


def _joint_moments(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (C,) and variance (C,) of (B, C, H, W) over all processes, and how many values each is over.

    From each process's own mean and squares around it (Chan et al. 1979), in one message: sums of plain squares would
    lose the digits that training needs where a mean is large beside its spread.
    """
    count = values.numel() / values.shape[1]
    mean = values.sum((0, 2, 3)) / max(count, 1)
    squares = (values - mean[:, None, None]).square().sum((0, 2, 3))
    means, all_squares, counts = _of_all_processes(torch.stack([mean, squares, torch.full_like(mean, count)]))
    total = counts[:, 0].sum()
    joint = (counts * means).sum(0) / total.clamp(min=1)
    return joint, (all_squares + counts * (means - joint).square()).sum(0) / total.clamp(min=1), total


def _of_all_processes(values: Tensor) -> Tensor:
    """The (N, …) values of each process, as (N, processes, …)."""
    is_own = torch.arange(torch.distributed.get_world_size(), device=values.device) == torch.distributed.get_rank()
    gathered: Tensor = _SumOverProcesses.apply(is_own[:, None] * values[:, None])
    return gathered


class _SumOverProcesses(torch.autograd.Function):
    """The sum over all processes; so is its gradient, since the sum enters every process's loss."""

    @staticmethod
    def forward(_: Any, values: Tensor) -> Tensor:
        total = values.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return _SumOverProcesses.forward(context, gradient)


class ConvNorm(nn.Module):
    """A convolution and its normalisation; without a norm the convolution has a bias, whatever `has_bias` says.

    While the statistics are fixed (a frozen norm, or evaluation mode) they are folded into the weights: one pass over
    the feature map fewer, in training with frozen norms too.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        has_bias: bool = False,
        norm: str,
        norm_eps: float,
    ) -> None:
        super().__init__()
        if norm != "none" and norm not in _NORMS:
            raise ConfigError(f"no norm called {norm!r}; choose one of none, {', '.join(_NORMS)}")
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel,
            stride=stride,
            padding=dilation * (kernel // 2),
            dilation=dilation,
            groups=groups,
            bias=has_bias or norm == "none",
        )
        self.norm = None if norm == "none" else _NORMS[norm](out_channels, norm_eps)

    def forward(self, features: Tensor) -> Tensor:
        fold = _fold(self.norm)
        if fold is not None:
            return self.convolve(features, *_folded(self.conv.weight, self.conv.bias, *fold))
        features = self.convolve(features, self.conv.weight, self.conv.bias)
        return features if self.norm is None else self.norm(features)

    def convolve(self, features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The convolution with its own weights, or with those that have the norm folded in."""
        conv = self.conv
        return F.conv2d(features, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups)


def _fold(norm: nn.Module | None) -> tuple[Tensor, Tensor] | None:
    """`scale_and_shift` of a norm whose statistics are fixed (a frozen one, or in evaluation mode); else None."""
    is_fixed = isinstance(norm, FrozenBatchNorm) or (isinstance(norm, nn.BatchNorm2d) and not norm.training)
    return scale_and_shift(cast(FrozenBatchNorm, norm)) if is_fixed else None


def _folded(weight: Tensor, bias: Tensor | None, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Weight and bias of the convolution that scales and shifts its result too."""
    return weight * scale[:, None, None, None], shift if bias is None else torch.addcmul(shift, bias, scale)

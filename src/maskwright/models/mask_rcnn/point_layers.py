"""The two networks of PointRend's mask head: one for a small mask of each RoI, one for single points."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class CoarseHead(nn.Module):
    """A small mask of each class from a grid of features: convolutions, then fully connected layers.

    Args:
        in_channels: of the features.
        pool_px: side of their grid; even.
        width: channels of the 2×2 convolution of stride 2; a 1×1 convolution comes first where features have others.
        num_fcs: fully connected layers.
        fc_channels: of those.
        num_channels: masks of each RoI.
        mask_px: their side.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        pool_px: int,
        width: int,
        num_fcs: int,
        fc_channels: int,
        num_channels: int,
        mask_px: int,
    ) -> None:
        super().__init__()
        self.pool_px, self.mask_px = pool_px, mask_px
        self.project = None if in_channels == width else nn.Conv2d(in_channels, width, 1)
        self.halve = nn.Conv2d(width, width, 2, stride=2)
        sizes = [width * (pool_px // 2) ** 2, *[fc_channels] * num_fcs]
        self.fcs = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.logits = nn.Linear(sizes[-1], num_channels * mask_px**2)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if isinstance(module, nn.Linear):
                nn.init.kaiming_uniform_(module.weight, a=1)
            if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.logits.weight, std=0.001)

    def forward(self, grids: Tensor) -> Tensor:
        """(P, channels, pool_px, pool_px) → logits of K masks (P, K, mask_px, mask_px) float32."""
        if self.project is not None:
            grids = F.relu(self.project(grids))
        vectors = F.relu(self.halve(grids)).flatten(1)
        for fc in self.fcs:
            vectors = F.relu(fc(vectors))
        masks: Tensor = self.logits(vectors).float().unflatten(1, (-1, self.mask_px, self.mask_px))
        return masks


class PointHead(nn.Module):
    """A perceptron for each point: features of the image there, and before every layer the coarse logits there.

    Args:
        in_channels: of the image's features.
        num_fcs: layers in front of the predictor.
        width: of those.
        num_channels: masks of each RoI.
    """

    def __init__(self, *, in_channels: int, num_fcs: int, width: int, num_channels: int) -> None:
        super().__init__()
        sizes = [in_channels, *[width] * num_fcs]
        # linear layers, in the shape that the published weights have: convolutions of one point
        self.fcs = nn.ModuleList(nn.Conv1d(a + num_channels, b, 1) for a, b in pairwise(sizes))
        self.logits = nn.Conv1d(sizes[-1] + num_channels, num_channels, 1)
        for module in (*self.fcs, self.logits):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(module.bias)
        nn.init.normal_(self.logits.weight, std=0.001)

    def forward(self, fine: Tensor, coarse: Tensor, channels: Tensor) -> Tensor:
        """Logits of one mask at each point; the predictors of the others change nothing and do not run.

        Args:
            fine: (P, S, channels) of the image.
            coarse: (P, S, K) logits.
            channels: (P,) int64 which of the K masks of each RoI.

        Returns:
            (P, S) float32.
        """
        values = fine
        for fc in cast(Iterable[nn.Conv1d], self.fcs):
            values = _linear(values, coarse, fc.weight[..., 0], fc.bias).relu_()
        weight, bias = self.logits.weight[channels, :, 0], self.logits.bias
        assert bias is not None
        own, others = weight.to(values).split([values.shape[-1], coarse.shape[-1]], dim=1)
        logits = torch.einsum("ptc,pc->pt", values, own) + torch.einsum("ptk,pk->pt", coarse.to(values), others)
        return (logits + bias[channels, None]).float()


def _linear(values: Tensor, coarse: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A linear layer on (P, S, C) values and (P, S, K) coarse logits, which need not be copied behind each other."""
    own, others = weight.split([values.shape[-1], coarse.shape[-1]], dim=1)
    return F.linear(values, own, bias).add_(F.linear(coarse, others))

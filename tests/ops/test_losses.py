"""Losses as sums with counts: joined before they are divided."""

from __future__ import annotations

import pytest
import torch

from maskwright.ops.losses import LossSum, loss_sum, smooth_l1_sum


def test_joined_sums_give_the_mean_of_all() -> None:
    values = torch.arange(10, dtype=torch.float32)
    first, second = loss_sum(values[:3].sum(), 3), loss_sum(values[3:].sum(), 7)
    joined = LossSum(first.total + second.total, first.count + second.count)
    assert joined.mean() == values.mean()


def test_nothing_to_sum_is_a_loss_of_zero_with_a_gradient() -> None:
    weight = torch.ones(3, requires_grad=True)
    mean = loss_sum(weight[:0].sum(), 0).mean()
    mean.backward()
    assert mean == 0
    assert torch.equal(weight.grad, torch.zeros(3))


def test_sum_is_float32_whatever_it_was_computed_in() -> None:
    summed = loss_sum(torch.tensor(2.0, dtype=torch.bfloat16), 4)
    assert summed.total.dtype == summed.count.dtype == torch.float32
    assert summed.mean() == 0.5


@pytest.mark.parametrize(
    ("difference", "beta", "expected"),
    [(0.5, 1.0, 0.125), (2.0, 1.0, 1.5), (-2.0, 1.0, 1.5), (2.0, 0.0, 2.0), (0.0, 0.0, 0.0), (1.0, 0.5, 0.75)],
)
def test_smooth_l1_by_hand(difference: float, beta: float, expected: float) -> None:
    assert smooth_l1_sum(torch.tensor([difference]), torch.zeros(1), beta) == pytest.approx(expected)

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from maskwright.training.ema import AveragedWeights

DECAYS = st.floats(0.1, 0.999)


def set_weight_(model: nn.Module, value: float) -> None:
    with torch.no_grad():
        model.weight.fill_(value)


@given(DECAYS, st.integers(0, 10_000), st.floats(-10, 10), st.floats(-10, 10))
def test_an_update_is_the_weighted_mean_of_average_and_weights(decay: float, step: int, old: float, new: float) -> None:
    model = nn.BatchNorm2d(1)
    set_weight_(model, old)
    average = AveragedWeights(model, decay)
    set_weight_(model, new)
    average.update_(model, step)
    share = min(decay, (1 + step) / (10 + step))
    assert abs(average.state["weight"].item() - (share * old + (1 - share) * new)) < 1e-4


@given(DECAYS, st.floats(-10, 10))
def test_weights_that_stay_are_their_own_average(decay: float, value: float) -> None:
    model = nn.BatchNorm2d(1)
    set_weight_(model, value)
    average = AveragedWeights(model, decay)
    for step in range(5):
        average.update_(model, step)
    assert torch.equal(average.state["weight"], model.weight)


def test_the_first_steps_soon_forget_the_random_weights() -> None:
    model = nn.BatchNorm2d(1)
    set_weight_(model, 0.0)
    average = AveragedWeights(model, 0.999)
    set_weight_(model, 1.0)
    for step in range(20):
        average.update_(model, step)
    assert average.state["weight"].item() > 0.99


def test_statistics_are_averaged_and_counters_copied() -> None:
    model = nn.BatchNorm2d(2)
    average = AveragedWeights(model, 0.5)
    model(torch.randn(4, 2, 3, 3) + 7)
    average.update_(model, 100)
    assert average.state["num_batches_tracked"] == 1
    assert torch.allclose(average.state["running_mean"], model.running_mean / 2)


def test_the_average_is_apart_from_the_model() -> None:
    model = nn.BatchNorm2d(1)
    average = AveragedWeights(model, 0.9)
    set_weight_(model, 5.0)
    assert average.state["weight"].item() == 1.0
    assert average.state.keys() == model.state_dict().keys()

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from maskwright.config.train import TrainConfig
from maskwright.training.optim import build_optimiser, learning_rate, set_learning_rate

# the paper's: 0.02, a tenth at 60k and 80k, warm-up of 1000 from a thousandth
PAPER = TrainConfig()
COSINE = TrainConfig(schedule="cosine", iterations=100, learning_rate=1.0, warmup_iterations=0)


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (0, 0.00002),
        (500, 0.01001),
        (999, 0.01998002),
        (1000, 0.02),
        (59_999, 0.02),
        (60_000, 0.002),
        (79_999, 0.002),
        (80_000, 0.0002),
        (89_999, 0.0002),
    ],
)
def test_step_schedule_by_hand(step: int, rate: float) -> None:
    assert learning_rate(step, PAPER) == pytest.approx(rate)


@pytest.mark.parametrize(
    ("step", "rate"), [(0, 1.0), (25, (1 + math.sqrt(0.5)) / 2), (50, 0.5), (75, 0.1464466), (100, 0)]
)
def test_cosine_schedule_by_hand(step: int, rate: float) -> None:
    assert learning_rate(step, COSINE) == pytest.approx(rate)


@pytest.mark.parametrize(("step", "factor"), [(0, 0.1), (1, 0.325), (2, 0.55), (3, 0.775), (4, 1.0), (5, 1.0)])
def test_warm_up_is_linear_and_multiplies_the_schedule(step: int, factor: float) -> None:
    warmed = COSINE.model_copy(update={"warmup_iterations": 4, "warmup_factor": 0.1})
    assert learning_rate(step, warmed) == pytest.approx(factor * learning_rate(step, COSINE))


@pytest.mark.parametrize(("given", "steps", "taken"), [(500, 10, 5), (4, 100, 4), (50, 100, 50), (9, 1, 0)])
def test_a_warm_up_takes_at_most_half_of_the_run(given: int, steps: int, taken: int) -> None:
    config = COSINE.model_copy(update={"warmup_iterations": given, "iterations": steps})
    assert config.warmup_steps == taken
    unwarmed = config.model_copy(update={"warmup_iterations": 0})
    assert learning_rate(taken, config) == learning_rate(taken, unwarmed)
    if taken:
        assert learning_rate(taken - 1, config) < learning_rate(taken - 1, unwarmed)


@given(st.integers(0, 89_999))
def test_no_rate_is_above_the_peak_or_below_zero(step: int) -> None:
    for config in (PAPER, PAPER.model_copy(update={"schedule": "cosine"})):
        assert 0 <= learning_rate(step, config) <= config.learning_rate


def a_model() -> nn.Module:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1, bias=False))
    model[2].requires_grad_(False)
    return model


@pytest.mark.parametrize(("name", "kind"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)])
def test_biases_and_norms_have_a_decay_of_their_own(name: str, kind: type) -> None:
    model = a_model()
    config = TrainConfig(optimiser=name, weight_decay=0.3, norm_weight_decay=0.01)
    optimiser = build_optimiser(model, config)
    assert isinstance(optimiser, kind)
    decays = {id(p): group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    assert decays[id(model[0].weight)] == 0.3
    assert {decays[id(p)] for p in (model[0].bias, model[1].weight, model[1].bias)} == {0.01}


def test_what_is_frozen_is_not_optimised() -> None:
    model = a_model()
    optimiser = build_optimiser(model, TrainConfig())
    assert sum(len(group["params"]) for group in optimiser.param_groups) == 4


def test_every_group_gets_the_rate() -> None:
    optimiser = build_optimiser(a_model(), TrainConfig())
    set_learning_rate(optimiser, 0.125)
    assert [group["lr"] for group in optimiser.param_groups] == [0.125, 0.125]


def test_momentum_is_that_of_the_recipe() -> None:
    optimiser = build_optimiser(a_model(), TrainConfig(momentum=0.7))
    assert {group["momentum"] for group in optimiser.param_groups} == {0.7}

"""Training, its checkpoints and its validation where the network is not on the CPU: on a simulated card."""

from __future__ import annotations

import sys
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
import torch

import maskwright as mw
from maskwright.checkpoints.native import read_native

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for the module of the simulated card

from simulated_card import CARD, simulated_card


class _StoppedError(Exception):
    pass


@pytest.fixture(autouse=True)
def _fused_optimisers(monkeypatch) -> None:
    """As on a card, torch's fused optimisers work there."""
    module = sys.modules[torch.optim.Optimizer.__module__]
    monkeypatch.setattr(module, "_get_fused_kernels_supported_devices", lambda: ["cpu", "cuda", CARD])


def trained(arguments: dict[str, Any], *, on_card: bool, stop: int | None = None, resume: bool = False) -> list[float]:
    losses: list[float] = []

    def report(step: int, numbers: Any, part: str) -> None:
        if part == "train":
            losses.append(numbers["loss"])
            if step == stop:
                raise _StoppedError

    with simulated_card() if on_card else nullcontext("cpu") as device, suppress(_StoppedError):
        mw.train(**{**arguments, "device": device}, resume=resume, report=report)
    return losses


def last_weights(arguments: dict[str, Any]) -> dict[str, torch.Tensor]:
    return read_native(Path(arguments["output"]) / "checkpoints" / "last.safetensors").weights


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:for .* copying from a non-meta:UserWarning")  # the simulated card's name misleads
@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_a_run_trains_is_measured_and_is_taken_up_again_on_a_card_as_on_the_cpu(training, tmp_path, optimiser) -> None:
    changes = {
        "train.iterations": 4,
        "train.checkpoint_every": 2,
        "train.log_every": 1,
        "train.evaluate_every": 4,
        "train.optimiser": optimiser,
        "train.learning_rate": 1e-4,
        "train.ema_decay": 0.9,
        "train.clip_norm": 1.0,
    }
    here, there, broken = (training(tmp_path / name, changes, validates=True) for name in ("here", "there", "broken"))
    wanted = trained(here, on_card=False)
    found = trained(there, on_card=True)
    assert found == pytest.approx(wanted, rel=1e-3)
    for name, value in last_weights(here).items():
        torch.testing.assert_close(last_weights(there)[name], value, rtol=1e-2, atol=1e-3)
    assert len(trained(broken, on_card=True, stop=3)) == 3
    assert trained(broken, on_card=True, resume=True) == found[2:]
    assert all(torch.equal(value, last_weights(broken)[name]) for name, value in last_weights(there).items())

"""What a training says of itself, and when."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import Arguments, log_of
from torch import nn

import maskwright as mw
from maskwright.config import load_recipe
from maskwright.training import lines
from maskwright.training.facts import machine_facts
from maskwright.training.lines import peak_memory

Training = Callable[..., Arguments]
CPU = torch.device("cpu")


def shown_by(arguments: Arguments, **more: Any) -> list[tuple[int, str, dict[str, Any]]]:
    shown: list[tuple[int, str, dict[str, Any]]] = []
    mw.train(**arguments, **more, report=lambda step, numbers, part: shown.append((step, part, dict(numbers))))
    return shown


def test_a_start_says_machine_data_length_and_weights(training: Training, tmp_path: Path) -> None:
    (step, part, start), *_ = shown_by(training(tmp_path / "run", {"train.iterations": 5}, validates=True))
    assert (step, part) == (0, "start")
    expected = {
        "device": "cpu, 1 thread",
        "precision": "fp32",
        "images": 10,
        "objects": 18,
        "validation_images": 10,
        "classes": ["brick", "egg"],
        "steps": 5,
        "batch_size": 2,
        "epochs": 1.0,
        "initial_weights": None,
    }
    assert {name: start[name] for name in expected} == expected
    assert start["weights"] > 10_000
    assert log_of(tmp_path / "run", "start")[0]["images"] == 10


def test_time_and_memory_are_reported_after_the_first_step(training: Training, tmp_path: Path) -> None:
    arguments = training(tmp_path / "run", {"train.iterations": 3, "train.checkpoint_every": 1})
    shown = shown_by(arguments)
    assert [(step, part) for step, part, _ in shown[:4]] == [(0, "start"), (1, "train"), (1, "estimate"), (2, "train")]
    estimate = shown[2][2]
    assert estimate["seconds"] == pytest.approx(2 * estimate["seconds_per_step"])
    assert estimate["memory_bytes"] == peak_memory(CPU) or estimate["memory_bytes"] > 50_000_000
    assert log_of(tmp_path / "run", "estimate") == []  # a matter of the machine, not of the run


def test_a_run_that_goes_on_is_not_silent_either(training: Training, tmp_path: Path) -> None:
    settings = {"train.iterations": 6, "train.checkpoint_every": 2, "train.log_every": 100}
    arguments = training(tmp_path / "run", settings)

    def interrupt(step: int, numbers: dict[str, Any], part: str) -> None:
        if (step, part) == (1, "estimate"):
            (tmp_path / "reached").touch()
            monkey.setattr(lines.Lines, "step", stop)

    def stop(self: lines.Lines, numbers: dict[str, Any]) -> None:
        if self._run.state.progress.step == 3:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as monkey, pytest.raises(KeyboardInterrupt):
        mw.train(**arguments, report=interrupt)
    shown = shown_by(arguments, resume=True)
    assert [(step, part) for step, part, _ in shown] == [(2, "start"), (3, "train"), (3, "estimate"), (6, "train")]
    assert [line["step"] for line in log_of(tmp_path / "run")] == [1, 6]  # the same lines as those of an unbroken run
    assert len(log_of(tmp_path / "run", "start")) == 1


def test_a_slow_run_shows_a_line_a_minute_and_logs_those_of_its_recipe(
    training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter(range(0, 100_000, 40))
    monkeypatch.setattr(lines, "perf_counter", lambda: float(next(ticks)))  # 40 seconds a look
    settings = {"train.iterations": 7, "train.log_every": 6}
    shown = shown_by(training(tmp_path / "run", settings))
    assert [step for step, part, _ in shown if part == "train"] == [1, 3, 5, 6, 7]
    seconds = {step: numbers["seconds"] for step, part, numbers in shown if part == "train"}
    assert (seconds[3], seconds[5], seconds[6]) == (80.0, 80.0, 200.0)
    assert [line["step"] for line in log_of(tmp_path / "run")] == [1, 6, 7]


@pytest.mark.parametrize(
    ("name", "smaller"),
    [
        ("mask_rcnn", "nuclei/mask_rcnn_small"),
        ("yolact", "nuclei/yolact_small"),
        ("nuclei/mask_rcnn_small", None),
        ("nuclei/yolact_small", None),
    ],
)
def test_on_a_machine_without_gpu_the_recipe_that_fits_it_is_named(name: str, smaller: str | None) -> None:
    from maskwright.models.build import build_model

    recipe = load_recipe(name, {"categories": ["cell"]})
    with torch.device("meta"):
        model = build_model(recipe)
    facts = machine_facts(recipe, model, CPU)
    assert facts.get("smaller") == smaller
    assert facts["weights"] == sum(parameter.numel() for parameter in model.parameters())


def test_a_gpu_is_called_by_its_name_and_no_smaller_recipe_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    with torch.device("meta"):
        model = nn.Linear(10_000, 10_000)
    facts = machine_facts(load_recipe("mask_rcnn"), model, torch.device("cuda", 0))
    assert facts == {"device": "cuda:0 (NVIDIA H200)", "weights": 100_010_000}

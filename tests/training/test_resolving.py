"""What a run settles before its first step: its length and its precision."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from tiny_runs import Arguments, are_equal, log_of, tensors_of

import maskwright as mw
from maskwright.checkpoints.native import read_native
from maskwright.config import load_recipe
from maskwright.predict import precision
from maskwright.training.distributed import World
from maskwright.training.folder import RunFolder
from maskwright.training.resolving import with_length

Training = Callable[..., Arguments]


@pytest.mark.parametrize(("epochs", "images", "batch_size", "steps"), [(3, 10, 2, 15), (1, 10, 4, 3), (0.1, 3, 8, 1)])
def test_epochs_become_steps_by_the_images_and_the_batch(
    epochs: float, images: int, batch_size: int, steps: int
) -> None:
    recipe = load_recipe("mask_rcnn", {"train.epochs": epochs, "train.batch_size": batch_size})
    train = with_length(recipe, images).train
    assert (train.num_steps, train.epochs) == (steps, None)
    assert with_length(load_recipe("mask_rcnn"), images) == load_recipe("mask_rcnn")


def test_a_run_of_two_epochs_is_the_run_of_as_many_steps(training: Training, tmp_path: Path) -> None:
    shown: list[dict[str, object]] = []
    result = mw.train(
        **training(tmp_path / "epochs", {"train.epochs": 0.6, "train.iterations": None}),
        report=lambda step, numbers, part: shown.append(dict(numbers)) if part == "start" else None,
    )
    assert result.steps == 3  # of two images each, of ten
    assert (shown[0]["steps"], shown[0]["epochs"]) == (3, 0.6)
    mw.train(**training(tmp_path / "steps", {"train.iterations": 3}))
    assert are_equal(tensors_of(tmp_path / "epochs"), tensors_of(tmp_path / "steps"))
    assert read_native(result.last).recipe["train"]["iterations"] == 3


def test_a_run_goes_on_in_the_precision_that_it_began_with(
    training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"train.precision": "auto", "train.iterations": 2, "train.checkpoint_every": 1}
    arguments = training(tmp_path / "run", settings)

    def interrupt(step: int, numbers: dict[str, object], part: str) -> None:
        if (step, part) == (2, "train"):
            raise KeyboardInterrupt

    monkeypatch.setattr(precision, "has_native_bf16", lambda device: True)
    with pytest.raises(KeyboardInterrupt):
        mw.train(**arguments, report=interrupt)
    (start,) = log_of(tmp_path / "run", "start")
    assert (start["precision"], start["precision_reason"]) == ("bf16", "this processor computes it natively")
    assert yaml.safe_load(RunFolder(tmp_path / "run").recipe.read_text())["train"]["precision"] == "bf16"
    monkeypatch.setattr(precision, "has_native_bf16", lambda device: False)  # taken up on another machine
    shown: list[dict[str, object]] = []
    mw.train(**arguments, resume=True, report=lambda step, numbers, part: shown.append(dict(numbers)))
    assert (shown[0]["precision"], shown[0]["precision_reason"]) == ("bf16", "as the run began")
    mw.train(**training(tmp_path / "whole", {**settings, "train.precision": "bf16"}))
    assert are_equal(tensors_of(tmp_path / "run"), tensors_of(tmp_path / "whole"))


def test_all_processes_compute_in_the_precision_of_the_main_one(monkeypatch: pytest.MonkeyPatch) -> None:
    class Second(World):
        def from_main(self, _: object) -> object:
            return precision.Choice("bf16", "chosen by the main process")

    from maskwright.training.resolving import with_precision

    monkeypatch.setattr(precision, "has_native_bf16", lambda device: False)
    recipe = load_recipe("mask_rcnn")
    resolved, _ = with_precision(recipe, mw.load("nuclei/yolact_small", device="cpu").device, None, Second(1, 2, 1))
    assert resolved.train.precision == "bf16"

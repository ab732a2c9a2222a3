"""What a run expects of its results, and what it does with numbers that are none."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import Arguments, log_of, steps_of

import maskwright as mw
from maskwright.errors import ConfigError, TrainingError
from maskwright.evaluation import Metrics
from maskwright.evaluation.expected import Check
from maskwright.training.validation import ImageLosses, Validation, _means

Training = Callable[..., Arguments]
EVERY_STEP = {"train.evaluate_every": 1, "train.checkpoint_every": 1}


def pretend(monkeypatch: pytest.MonkeyPatch, values: list[float | None]) -> None:
    """Let the evaluations of a run find these mask APs, one after the other."""
    ahead = iter(values)
    monkeypatch.setattr(Validation, "metrics", lambda self, predictor: Metrics({"mask": {"AP": next(ahead)}}))
    monkeypatch.setattr(Validation, "losses", lambda self, predictor: {"mask": 0.25})


def test_checks_are_of_the_last_evaluation(training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, [0.4, 0.3])
    settings = {**EVERY_STEP, "train.iterations": 2, "expected.mask.AP": "0.32 ± 0.02"}
    result = mw.train(**training(tmp_path / "run", settings, validates=True))
    assert result.checks == [Check("mask.AP", 0.32, 0.02, 0.3)]
    assert result.checks[0].is_met
    assert json.loads((tmp_path / "run" / "metrics.json").read_text()) == {"mask": {"AP": 0.4}}  # of the best weights


def test_metrics_with_augmentation_are_kept_where_the_last_weights_are_the_best(
    training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**EVERY_STEP, "train.iterations": 2, "train.evaluates_augmented": True}
    for name, values, kept in (
        ("rising", [0.1, 0.2, 0.3], {"mask": {"AP": 0.2}, "augmented": {"mask": {"AP": 0.3}}}),
        ("falling", [0.2, 0.1, 0.3], {"mask": {"AP": 0.2}}),
    ):
        pretend(monkeypatch, values)
        result = mw.train(**training(tmp_path / name, settings, validates=True))
        assert result.metrics.lookup("augmented.mask.AP") == 0.3
        assert json.loads((tmp_path / name / "metrics.json").read_text()) == kept
        assert [line["mask.AP"] for line in log_of(tmp_path / name, "augmented")] == [0.3]


def test_a_run_that_stopped_early_checks_what_it_had_then(
    training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, [0.3, 0.1, 0.5])
    settings = {**EVERY_STEP, "train.patience": 1, "expected.mask.AP": "0.1 +- 0.01"}
    arguments = training(tmp_path / "run", settings, validates=True)
    result = mw.train(**arguments)
    assert (result.steps, [check.is_met for check in result.checks]) == (2, [True])
    again = mw.train(**arguments, resume=True)
    assert (again.steps, [check.found for check in again.checks]) == (2, [0.5])
    assert json.loads((tmp_path / "run" / "metrics.json").read_text()) == {"mask": {"AP": 0.3}}


def test_a_metric_without_ground_truth_is_kept_as_null_and_meets_nothing(
    training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, [None, None])
    settings = {"train.iterations": 2, "train.evaluate_every": None, "expected.mask.AP": "0.5 ± 0.5"}
    result = mw.train(**training(tmp_path / "run", settings, validates=True))
    assert [check.is_met for check in result.checks] == [False]
    assert steps_of(tmp_path / "run", "best") == 2
    assert json.loads((tmp_path / "run" / "metrics.json").read_text()) == {"mask": {"AP": None}}


def test_what_comes_after_the_last_step_may_change_when_a_run_is_taken_up(training: Training, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"train.iterations": 1}
    mw.train(**training(tmp_path / "run", settings, validates=True))
    settings |= {"expected.mask.AP": "0 ± 1", "train.evaluates_augmented": True, "augmented.short_sides": [64]}
    result = mw.train(**training(tmp_path / "run", settings, validates=True), resume=True)
    assert [check.is_met for check in result.checks] == [True]
    assert "augmented" in result.metrics


def test_augmentation_that_the_model_does_not_know_is_refused_before_the_first_step(
    training: Training, panoptic: dict[str, str], tmp_path: Path
) -> None:
    data = {f"data.{part}.panoptic_{key}": value for part in ("train", "val") for key, value in panoptic.items()}
    heads = {"semantic_head.is_on": True, "rpn.is_on": False, "mask_head.is_on": False}
    settings = {**data, **heads, "train.evaluates_augmented": True, "train.best_metric": "semantic.mIoU"}
    with pytest.raises(ConfigError, match="views of an image cannot be joined"):
        mw.train(**training(tmp_path / "run", settings, validates=True))
    assert not (tmp_path / "run").exists()


def test_panoptic_quality_can_be_expected_and_select_the_best(
    training: Training, panoptic: dict[str, str], tmp_path: Path
) -> None:
    settings = {f"data.{part}.panoptic_{key}": value for part in ("train", "val") for key, value in panoptic.items()}
    settings |= {"semantic_head.is_on": True, "semantic_head.channels": 16, "train.iterations": 1}
    settings |= {"train.best_metric": "panoptic.PQ", "expected.panoptic.PQ_stuff": "0.5 ± 0.5"}
    result = mw.train(**training(tmp_path / "run", settings, validates=True))
    assert [check.name for check in result.checks] == ["panoptic.PQ_stuff"]


# losses that are no numbers


def test_a_validation_loss_that_is_no_number_ends_the_run_and_is_not_the_best(
    training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def losses(self: Validation, predictor: mw.Predictor) -> dict[str, float]:
        return _means([ImageLosses("7.png", {"mask": (math.nan, 1.0)})])

    monkeypatch.setattr(Validation, "losses", losses)
    with pytest.raises(TrainingError, match=r"validation: loss term 'mask' is nan in 7\.png"):
        mw.train(**training(tmp_path / "run", {**EVERY_STEP, "train.iterations": 2}, validates=True))
    assert not (tmp_path / "run" / "checkpoints" / "best.safetensors").exists()


def test_means_do_not_depend_on_the_order_of_images() -> None:
    images = [
        ImageLosses(str(n), {"box": (0.1 * n, float(n % 3)), "mask": (1e16 if n == 3 else 0.3, 1.0)}) for n in range(9)
    ]
    expected = _means(images)
    assert expected["box"] == pytest.approx(3.6 / 9)
    for shift in range(1, 9):
        assert _means(images[shift:] + images[:shift]) == expected

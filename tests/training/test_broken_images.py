"""An image whose pixels turn out broken: skipped where that is allowed, and otherwise a run keeps what it has."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import Arguments, are_equal, log_of, tensors_of

import maskwright as mw
from maskwright.errors import DataError

Training = Callable[..., Arguments]
NAME = "4.png"


@pytest.fixture
def cut(dataset: Path, tmp_path: Path) -> dict[str, Any]:
    """Where the images are, one of which has its header and no more than half of its pixels."""
    shutil.copytree(dataset / "images", tmp_path / "images")
    (path,) = (tmp_path / "images").glob(NAME)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return {"data.train.images": str(tmp_path / "images"), "train.iterations": 8, "train.checkpoint_every": 100}


def test_a_broken_image_is_skipped_where_that_is_allowed_and_reported_once(
    training: Training, cut: dict[str, Any], tmp_path: Path
) -> None:
    heard: list[tuple[str, Any]] = []
    arguments = training(tmp_path / "run", {**cut, "data.train.skip_bad": True})
    mw.train(**arguments, report=lambda step, numbers, part: heard.append((part, numbers)))
    (line,) = log_of(tmp_path / "run", "skipped")
    assert len(line["images"]) == 1
    assert NAME in line["images"][0]
    assert [numbers["images"] for part, numbers in heard if part == "skipped"] == [line["images"]]


@pytest.mark.parametrize("workers", [1])
def test_what_stands_in_for_it_is_the_same_after_a_resume_and_with_workers(
    training: Training, cut: dict[str, Any], tmp_path: Path, workers: int
) -> None:
    settings = {**cut, "data.train.skip_bad": True, "train.checkpoint_every": 1}
    mw.train(**training(tmp_path / "whole", settings))
    arguments = training(tmp_path / "halves", {**settings, "data.workers": workers})

    def stop(step: int, numbers: Any, part: str) -> None:
        if part == "train" and step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mw.train(**arguments, report=stop)
    mw.train(**arguments, resume=True)
    assert are_equal(tensors_of(tmp_path / "whole"), tensors_of(tmp_path / "halves"))


def test_without_leave_the_run_keeps_its_state_says_how_to_go_on_and_can(
    training: Training, cut: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(DataError) as caught:
        mw.train(**training(tmp_path / "run", cut))
    message = str(caught.value)
    assert NAME in message
    assert "data.train.skip_bad=true" in message
    assert "\n" not in message
    done = len(log_of(tmp_path / "run"))
    if done:
        assert f"step {done} is kept in {tmp_path / 'run' / 'checkpoints' / 'last.safetensors'}" in message
    mw.train(**training(tmp_path / "run", {**cut, "data.train.skip_bad": True}), resume=True)
    assert log_of(tmp_path / "run")[-1]["step"] == 8


def test_a_broken_image_of_the_validation_is_left_out_of_its_measures(
    training: Training, cut: dict[str, Any], tmp_path: Path
) -> None:
    settings = {"data.val.images": cut["data.train.images"], "data.val.skip_bad": True, "train.iterations": 2}
    result = mw.train(**training(tmp_path / "run", settings, validates=True))
    assert result.metrics is not None
    assert result.metrics["images"] == 9
    with pytest.raises(DataError, match=NAME):
        mw.train(**training(tmp_path / "other", {**settings, "data.val.skip_bad": False}, validates=True))


def test_a_share_of_the_training_data_is_validated_on(training: Training, tmp_path: Path) -> None:
    result = mw.train(**training(tmp_path / "run", {"data.val.share": 0.3, "train.iterations": 1}))
    assert result.metrics is not None
    assert result.metrics["images"] == 3
    (start,) = log_of(tmp_path / "run", "start")
    assert (start["images"], start["validation_images"]) == (7, 3)

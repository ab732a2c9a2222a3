"""A training needs something to learn from, and says how much of its data teaches nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import Arguments, log_of

import maskwright as mw
from maskwright.config import load_recipe
from maskwright.errors import DataError
from maskwright.training.distributed import World
from maskwright.training.setup import Run, prepare_run

Training = Callable[..., Arguments]


def rewritten(dataset: Path, folder: Path, change: Callable[[dict[str, Any]], object]) -> dict[str, str]:
    """The dataset's annotations, changed, as overrides of a recipe."""
    document = json.loads((dataset / "annotations.json").read_text())
    change(document)
    path = folder / "changed.json"
    path.write_text(json.dumps(document))
    return {"data.train.annotations": str(path)}


def all_crowds(document: dict[str, Any], share: float = 1.0) -> None:
    count = round(share * len(document["annotations"]))
    for place, annotation in enumerate(document["annotations"]):
        annotation["iscrowd"] = int(place < count)


def all_bad(document: dict[str, Any], share: float = 1.0) -> None:
    for annotation in document["annotations"][: round(share * len(document["annotations"]))]:
        annotation["bbox"] = [5, 5, 0, 0]
        annotation["segmentation"] = []


def prepared(arguments: Arguments) -> Run:
    recipe = load_recipe(arguments["recipe"], arguments["overrides"])
    return prepare_run(recipe, Path(arguments["output"]), World(0, 1, 0), torch.device("cpu"), resume=False)


def refused(arguments: Arguments) -> str:
    with pytest.raises(DataError) as raised:
        mw.train(**arguments)
    assert not Path(arguments["output"]).exists()
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_file_of_crowds_alone_is_refused_before_the_first_step(
    training: Training, dataset: Path, tmp_path: Path
) -> None:
    message = refused(training(tmp_path / "run", rewritten(dataset, tmp_path, all_crowds)))
    assert "each of its 19 annotations is marked as a crowd (iscrowd 1), which no loss learns from" in message
    assert message.endswith("set data.train.crowds=objects")


def test_crowds_that_are_objects_after_all_are_trained_on(training: Training, dataset: Path, tmp_path: Path) -> None:
    changes = rewritten(dataset, tmp_path, all_crowds)
    run = prepared(training(tmp_path / "run", {**changes, "data.train.crowds": "objects"}))
    assert run.start["objects"] == 19
    assert not any("crowds" in line for line in run.start.get("warnings", []))


def test_a_dataset_that_skip_bad_has_emptied_is_refused(training: Training, dataset: Path, tmp_path: Path) -> None:
    changes = rewritten(dataset, tmp_path, all_bad)
    message = refused(training(tmp_path / "run", {**changes, "data.train.skip_bad": True}))
    assert "data.train.skip_bad leaves no object to train on, because of" in message
    assert "`maskwright data check` lists all" in message


def test_a_choice_of_classes_that_leaves_no_object_is_named(training: Training, dataset: Path, tmp_path: Path) -> None:
    def without_eggs(document: dict[str, Any]) -> None:
        document["annotations"] = [entry for entry in document["annotations"] if entry["category_id"] == 3]

    changes = {**rewritten(dataset, tmp_path, without_eggs), "data.train.only": ["egg"]}
    assert "no image has an object of the classes in data.train.only" in refused(training(tmp_path / "run", changes))


@pytest.mark.parametrize(("share", "is_reported"), [(0.5, True), (0.3, False)])
def test_a_run_warns_where_half_of_the_annotations_are_crowds(
    share: float, is_reported: bool, training: Training, dataset: Path, tmp_path: Path
) -> None:
    changes = rewritten(dataset, tmp_path, lambda document: all_crowds(document, share))
    mw.train(**training(tmp_path / "run", {**changes, "train.iterations": 1, "train.warmup_iterations": 0}))
    (start,) = log_of(tmp_path / "run", "start")
    reported = [line for line in start.get("warnings", []) if "of 19 annotations are marked as crowds" in line]
    assert len(reported) == is_reported


@pytest.mark.parametrize(("share", "is_reported"), [(0.6, True), (0.3, False)])
def test_a_run_warns_where_skip_bad_has_left_out_half(
    share: float, is_reported: bool, training: Training, dataset: Path, tmp_path: Path
) -> None:
    changes = rewritten(dataset, tmp_path, lambda document: all_bad(document, share))
    run = prepared(training(tmp_path / "run", {**changes, "data.train.skip_bad": True}))
    reported = [line for line in run.start.get("warnings", []) if "data.train.skip_bad left out" in line]
    assert len(reported) == is_reported


def test_a_warm_up_longer_than_half_of_the_run_is_reported(training: Training, tmp_path: Path) -> None:
    run = prepared(training(tmp_path / "run", {"train.iterations": 6, "train.warmup_iterations": 1000}))
    assert run.start["warnings"] == [
        "train.warmup_iterations=1000 is more than half of the 6 steps: the warm-up ends after 3"
    ]


def test_a_validation_without_an_object_is_reported_at_the_start(
    training: Training, dataset: Path, tmp_path: Path
) -> None:
    changes = rewritten(dataset, tmp_path, lambda document: document.update(annotations=[]))
    changes = {"data.val.annotations": changes["data.train.annotations"]}
    run = prepared(training(tmp_path / "run", changes, validates=True))
    (reported,) = [line for line in run.start["warnings"] if "nothing to measure" in line]
    assert reported.endswith("none of its 10 images has an object; the best checkpoint is the last one then")

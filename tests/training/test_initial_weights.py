"""A training starts from a backbone or a whole model, completely or not at all, and never over a resumed state."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import Arguments
from torch import Tensor

import maskwright as mw
from maskwright.checkpoints.class_rows import match_names
from maskwright.checkpoints.native import read_native
from maskwright.checkpoints.writing import write_foreign
from maskwright.cli.row_lines import row_lines
from maskwright.cli.train_lines import LinePrinter
from maskwright.config import load_recipe
from maskwright.errors import CheckpointError, ConfigError
from maskwright.models.build import build_model
from maskwright.training.distributed import World
from maskwright.training.setup import Run, prepare_run

Training = Callable[..., Arguments]
START = "train.initial_weights"


def prepared(arguments: Arguments, *, resume: bool = False) -> Run:
    recipe = load_recipe(arguments["recipe"], arguments["overrides"])
    return prepare_run(recipe, Path(arguments["output"]), World(0, 1, 0), torch.device("cpu"), resume=resume)


def as_classifier(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """A backbone of ours under the names of torchvision's ResNets."""
    named = {}
    for name, value in weights.items():
        if name.startswith("backbone.stem."):
            kind, _, last = name.removeprefix("backbone.stem.").partition(".")
            named[f"{'conv1' if kind == 'conv' else 'bn1'}.{last}"] = value
        elif name.startswith("backbone."):
            _, _, stage, block, part, kind, last = name.split(".")
            if part == "shortcut":
                inner = f"downsample.{0 if kind == 'conv' else 1}"
            else:
                inner = f"{'conv' if kind == 'conv' else 'bn'}{part[-1]}"
            named[f"layer{int(stage) + 1}.{block}.{inner}.{last}"] = value
    return named | {"fc.weight": torch.zeros(1000, 64), "fc.bias": torch.zeros(1000)}


@pytest.fixture
def classifier(training: Training, tmp_path: Path) -> Path:
    """A file like an ImageNet ResNet's, of the tiny network and another seed."""
    weights = prepared(training(tmp_path / "other", {"train.seed": 5})).state.model.state_dict()
    path = tmp_path / "resnet.pth"
    torch.save(as_classifier(weights), path)
    return path


@pytest.fixture
def trained(training: Training, tmp_path: Path) -> Path:
    """The checkpoint of a short run."""
    return mw.train(**training(tmp_path / "first", {"train.iterations": 1, "train.seed": 5})).last


def same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> set[str]:
    """The parts of which all learnt tensors agree."""
    equal: dict[str, bool] = {}
    for name, value in found.items():
        if name.endswith("weight") and value.ndim > 1:
            part = name.partition(".")[0]
            equal[part] = equal.get(part, True) and torch.equal(value, wanted[name])
    return {part for part, is_equal in equal.items() if is_equal}


def test_a_backbone_is_taken_and_the_rest_is_random(training: Training, classifier: Path, tmp_path: Path) -> None:
    plain = prepared(training(tmp_path / "plain")).state.model.state_dict()
    other = prepared(training(tmp_path / "another", {"train.seed": 5})).state.model.state_dict()
    run = prepared(training(tmp_path / "run", {START: str(classifier)}))
    started = run.state.model.state_dict()
    assert same(started, other) == {"backbone"}
    assert same(started, plain) == {"fpn", "rpn", "box_head", "mask_head"}


def test_the_averaged_weights_start_there_too(training: Training, classifier: Path, tmp_path: Path) -> None:
    run = prepared(training(tmp_path / "run", {START: str(classifier)}))
    average = run.state.average
    assert average is not None
    assert all(torch.equal(average.state[name], value) for name, value in run.state.model.state_dict().items())


def test_a_whole_model_is_taken_with_all_its_weights(training: Training, trained: Path, tmp_path: Path) -> None:
    run = prepared(training(tmp_path / "run", {START: str(trained)}))
    wanted = read_native(trained).weights
    assert all(torch.equal(value, wanted[name]) for name, value in run.state.model.state_dict().items())
    assert run.state.progress.step == 0


def test_a_weights_name_of_the_recipe_is_one_too(training: Training, trained: Path, tmp_path: Path) -> None:
    absent = {"source": "package://assets/absent.safetensors", "licence": "CC0"}
    with pytest.raises(CheckpointError, match=r"absent\.safetensors does not exist"):
        prepared(training(tmp_path / "run", {START: "mine", "weights": {"mine": absent}}))


def test_the_log_says_what_was_taken(training: Training, classifier: Path, trained: Path, tmp_path: Path) -> None:
    for path, part in ((classifier, "backbone"), (trained, "model")):
        output = tmp_path / part
        mw.train(**training(output, {START: str(path), "train.iterations": 1}))
        first = json.loads((output / "log.jsonl").read_text().splitlines()[0])
        assert (first["part"], first["step"]) == ("start", 0)
        assert (first["initial_weights"], first["taken"]) == (str(path), part)
        assert first["tensors"] > 50


def test_a_resumed_run_goes_on_without_the_file_it_started_from(
    training: Training, classifier: Path, tmp_path: Path
) -> None:
    arguments = training(tmp_path / "run", {START: str(classifier), "train.iterations": 3, "train.checkpoint_every": 1})
    last = mw.train(**arguments).last
    classifier.unlink()
    resumed = prepared(arguments, resume=True)
    assert resumed.state.progress.step == 3
    wanted = read_native(last, with_training=True).training
    found = resumed.state.model.state_dict()
    assert all(torch.equal(value, wanted[f"weights/{name}"]) for name, value in found.items())
    starts = [line for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines() if '"start"' in line]
    assert len(starts) == 1


def refused(training: Training, output: Path, overrides: dict[str, Any]) -> str:
    with pytest.raises((CheckpointError, ConfigError)) as raised:
        mw.train(**training(output, overrides))
    assert not output.exists()
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_file_that_is_not_there_is_refused_before_the_folder_is_made(training: Training, tmp_path: Path) -> None:
    assert "absent.pth does not exist" in refused(training, tmp_path / "run", {START: "absent.pth"})
    assert "has no weights called 'imagenet'" in refused(training, tmp_path / "run", {START: "imagenet"})


def test_a_backbone_that_fits_in_part_is_refused(training: Training, classifier: Path, tmp_path: Path) -> None:
    message = refused(training, tmp_path / "run", {START: str(classifier), "backbone.depth": 34})
    assert "train.initial_weights: checkpoint" in message
    assert "missing, first backbone.stages.0.2.conv1.conv.weight" in message


def test_an_added_class_keeps_all_of_the_old_ones_and_starts_at_random(
    training: Training, trained: Path, tmp_path: Path
) -> None:
    changes = {"categories": ["hen", "brick", "egg"]}
    fresh = prepared(training(tmp_path / "fresh", changes)).state.model.state_dict()
    run = prepared(training(tmp_path / "run", {**changes, START: str(trained)}))
    wanted, started = read_native(trained).weights, run.state.model.state_dict()
    for name in ("box_head.class_logits.weight", "mask_head.logits.bias"):
        assert torch.equal(started[name][1:], wanted[name]) and torch.equal(started[name][0], fresh[name][0])
    of_classes = ("box_head.class_logits", "box_head.deltas", "mask_head.logits")
    others = [name for name in wanted if not name.startswith(of_classes)]
    assert all(torch.equal(started[name], wanted[name]) for name in others)
    assert run.start is not None
    assert (run.start["taken"], run.start["skipped"], run.start["random"]) == ("part of the model", {}, [])
    rows = run.start["class_rows"]
    assert (rows["kept"], rows["moved"], rows["fresh"]) == ((), {"brick": (0, 1), "egg": (1, 2)}, ("hen",))


def test_the_same_classes_in_another_order_keep_their_rows(training: Training, trained: Path, tmp_path: Path) -> None:
    run = prepared(training(tmp_path / "run", {"categories": ["egg", "brick"], START: str(trained)}))
    wanted, started = read_native(trained).weights, run.state.model.state_dict()
    name = "box_head.class_logits.weight"
    assert torch.equal(started[name], wanted[name][[1, 0, 2]])
    assert run.start is not None and run.start["taken"] == "model"


def test_rows_in_the_order_of_the_file_are_to_be_had_by_name(training: Training, trained: Path, tmp_path: Path) -> None:
    changes = {"data.train.rename": {"brick": "hen", "egg": "cow"}, "train.class_rows": "position"}
    run = prepared(training(tmp_path / "run", {**changes, START: str(trained)}))
    wanted = read_native(trained).weights
    assert all(torch.equal(value, wanted[name]) for name, value in run.state.model.state_dict().items())


def test_foreign_files_have_the_classes_of_the_recipe_that_they_are_recognised_as(
    training: Training, tiny: Path, tmp_path: Path
) -> None:
    coco = build_model(load_recipe(str(tiny), {"categories": "coco_with_holes", "train.seed": 5})).state_dict()
    write_foreign(tmp_path / "coco.pth", coco, "torchvision")
    classes = {"categories": ["dog", "person", "newthing"], "data.train.rename": {"brick": "dog", "egg": "newthing"}}
    fresh = prepared(training(tmp_path / "fresh", classes)).state.model.state_dict()
    run = prepared(training(tmp_path / "run", {**classes, START: str(tmp_path / "coco.pth")}))
    started = run.state.model.state_dict()
    name = "mask_head.logits.weight"
    assert torch.equal(started[name][:2], coco[name][[17, 0]]) and torch.equal(started[name][2], fresh[name][2])
    assert run.start is not None
    said = list(row_lines("class", json.loads(json.dumps(run.start["class_rows"]))))
    assert said[:2] == [
        "  class rows moved: dog (17 → 0), person (0 → 1)",
        "  class rows that start at random: newthing",
    ]
    assert said[2].startswith("  class rows of the checkpoint without use: bicycle, car,") and "N/A × 10" in said[2]


def test_names_that_differ_in_case_or_spacing_are_reported_and_start_at_random() -> None:
    rows = vars(match_names(["traffic light", "dog"], ["Traffic_Light", "dog"]))
    said = list(row_lines("class", rows))
    assert said[1] == "  class rows that start at random: Traffic_Light"
    assert "'Traffic_Light' starts at random although the checkpoint has 'traffic light'" in said[3]
    assert "data.train.rename={'Traffic_Light': 'traffic light'}" in said[3]


def test_a_model_with_another_backbone_is_refused(training: Training, trained: Path, tmp_path: Path) -> None:
    message = refused(training, tmp_path / "run", {START: str(trained), "backbone.depth": 34})
    assert "its backbone is another one" in message
    assert "first backbone.stages.0.2.conv1.conv.weight" in message


def test_weights_that_are_not_finite_are_refused(training: Training, classifier: Path, tmp_path: Path) -> None:
    state = torch.load(classifier, weights_only=True)
    torch.save({**state, "bn1.bias": state["bn1.bias"] * float("nan")}, classifier)
    assert "not finite numbers" in refused(training, tmp_path / "run", {START: str(classifier)})


@pytest.mark.parametrize("num_frozen", [0, 2])
def test_a_random_start_is_reported_and_so_are_frozen_stages(
    num_frozen: int, training: Training, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = prepared(training(tmp_path / "run", {"backbone.frozen_stages": num_frozen})).start
    assert (start["initial_weights"], start["frozen_stages"]) == (None, num_frozen)
    LinePrinter()(0, start, "start")
    shown = capsys.readouterr()
    lines = shown.err.splitlines() if num_frozen else shown.out.splitlines()
    [line] = [line for line in lines if line.removeprefix("warning: ").startswith("starts at random")]
    assert ("backbone.frozen_stages=2 keeps the first stages random" in line) == bool(num_frozen)
    assert "give train.initial_weights=FILE" in line

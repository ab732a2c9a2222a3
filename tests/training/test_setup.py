"""What is wrong with a run is said before its first step."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import Arguments, tensors_of

import maskwright as mw
from maskwright.config import load_recipe
from maskwright.data.samplers import SampleRequest
from maskwright.errors import CheckpointError, ConfigError, DataError
from maskwright.structures import Categories
from maskwright.training.datasets import ids_of_dataset
from maskwright.training.distributed import World
from maskwright.training.setup import Run, prepare_run

Training = Callable[..., Arguments]


def prepared(arguments: Arguments) -> Run:
    recipe = load_recipe(arguments["recipe"], arguments["overrides"])
    return prepare_run(recipe, Path(arguments["output"]), World(0, 1, 0), torch.device("cpu"), resume=False)


def rewritten(dataset: Path, folder: Path, change: Callable[[dict[str, Any]], None]) -> str:
    """A changed copy of the annotations."""
    document = json.loads((dataset / "annotations.json").read_text())
    change(document)
    path = folder / "changed.json"
    path.write_text(json.dumps(document))
    return str(path)


# the data


@pytest.mark.parametrize("key", ["data.train.images", "data.train.annotations"])
def test_training_data_must_be_named(key: str, training: Training, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"needs data\.train\.images=FOLDER and data\.train\.annotations=FILE"):
        mw.train(**training(tmp_path / "run", {key: None}))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("key", ["data.val.images", "data.val.annotations"])
def test_validation_data_is_named_whole_or_not_at_all(key: str, training: Training, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"needs both data\.val\.images=FOLDER and data\.val\.annotations=FILE"):
        mw.train(**training(tmp_path / "run", {key: None}, validates=True))


def test_an_empty_dataset_is_refused(training: Training, dataset: Path, tmp_path: Path) -> None:
    path = rewritten(dataset, tmp_path, lambda document: document.update(images=[], annotations=[]))
    with pytest.raises(DataError, match=r"changed\.json: the dataset is empty"):
        mw.train(**training(tmp_path / "run", {"data.train.annotations": path}))
    assert not (tmp_path / "run").exists()


def test_a_dataset_with_defects_is_refused_unless_they_may_be_left_out(
    training: Training, dataset: Path, tmp_path: Path
) -> None:
    path = rewritten(dataset, tmp_path, lambda document: document["images"][3].update(file_name="gone.png"))
    overrides = {"data.train.annotations": path}
    with pytest.raises(DataError, match=r"1 defect \(missing-image 1\), first image 4 \('gone\.png'\)"):
        prepared(training(tmp_path / "run", overrides))
    run = prepared(training(tmp_path / "run", {**overrides, "data.train.skip_bad": True}))
    assert len(run.training_set) == 9


def test_images_without_objects_are_trained_on_unless_switched_off(training: Training, tmp_path: Path) -> None:
    assert len(prepared(training(tmp_path / "with")).training_set) == 10
    assert len(prepared(training(tmp_path / "without", {"data.uses_empty_images": False})).training_set) == 9


def test_nothing_left_to_train_on_is_refused(training: Training, dataset: Path, tmp_path: Path) -> None:
    path = rewritten(dataset, tmp_path, lambda document: document.update(annotations=[]))
    with pytest.raises(DataError, match="no image has an object to train on"):
        prepared(training(tmp_path / "run", {"data.train.annotations": path, "data.uses_empty_images": False}))


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_turns_out_broken_is_reported_in_one_line(
    workers: int, training: Training, dataset: Path, tmp_path: Path
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for path in (dataset / "images").iterdir():
        (images / path.name).write_bytes(path.read_bytes()[:400])
    with pytest.raises(DataError, match=r"^image .*\.png is broken or cut off") as caught:
        mw.train(**training(tmp_path / "run", {"data.train.images": str(images), "data.workers": workers}))
    assert "\n" not in str(caught.value)


def test_fewer_images_than_a_step_holds_are_enough(training: Training, tmp_path: Path) -> None:
    run = prepared(training(tmp_path / "run", {"train.batch_size": 16}))
    assert len(next(run.samples(0))) == 16


# categories


def test_categories_come_from_the_annotations(training: Training, tmp_path: Path) -> None:
    recipe = prepared(training(tmp_path / "run")).recipe
    assert [(category.id, category.name) for category in recipe.categories] == [(3, "brick"), (7, "egg")]


def test_labels_go_by_name_where_ids_differ(training: Training, tmp_path: Path) -> None:
    run = prepared(training(tmp_path / "run", {"categories": ["egg", "stone", "brick"]}))
    plain = prepared(training(tmp_path / "plain"))
    request = SampleRequest(2, 1)
    labels, expected = run.training_set[request].targets.labels, plain.training_set[request].targets.labels
    assert torch.equal(labels, torch.tensor([2, 0])[expected])


def test_categories_that_the_recipe_lacks_are_refused(training: Training, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"training annotations have categories that the recipe has not: egg"):
        prepared(training(tmp_path / "run", {"categories": ["brick"]}))


def test_validation_categories_that_training_lacks_are_refused(
    training: Training, dataset: Path, tmp_path: Path
) -> None:
    path = rewritten(dataset, tmp_path, lambda document: document["categories"].append({"id": 9, "name": "hen"}))
    with pytest.raises(ConfigError, match=r"validation annotations have categories that the recipe has not: hen"):
        prepared(training(tmp_path / "run", {"data.val.annotations": path}, validates=True))


def test_validation_categories_of_another_spelling_are_reported_with_the_rename_that_mends_it(
    training: Training, dataset: Path, tmp_path: Path
) -> None:
    path = rewritten(dataset, tmp_path, lambda document: document["categories"][0].update(name="Brick "))
    with pytest.raises(ConfigError) as caught:
        prepared(training(tmp_path / "run", {"data.val.annotations": path}, validates=True))
    assert "data.val.rename={'Brick ': 'brick'}" in str(caught.value)
    mended = {"data.val.annotations": path, "data.val.rename": {"Brick ": "brick"}}
    assert prepared(training(tmp_path / "run", mended, validates=True)).validation is not None


def test_a_class_that_a_dataset_lacks_gets_an_id_that_none_has() -> None:
    own, dataset = Categories(("a", "b", "c"), (1, 2, 3)), Categories(("b",), (1,))
    found = ids_of_dataset(own, dataset, "train")
    assert found.names == own.names
    assert found.label_of(1) == 1
    assert len(set(found.ids)) == 3


# batch norms


@pytest.mark.parametrize(
    ("batch_size", "accumulate", "limit", "is_frozen"),
    [(4, 1, 5, True), (4, 1, 4, False), (4, 2, 3, True), (4, 2, 2, False), (1, 1, None, False)],
)
def test_batch_norms_are_frozen_when_too_few_images_are_computed_together(
    batch_size: int, accumulate: int, limit: int | None, is_frozen: bool, training: Training, tmp_path: Path
) -> None:
    settings = {
        "train.batch_size": batch_size,
        "train.accumulate": accumulate,
        "train.freezes_norms_below": limit,
    }
    run = prepared(training(tmp_path / "run", settings))
    norms = [module for module in run.state.model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    optimised = {id(parameter) for group in run.state.optimiser.param_groups for parameter in group["params"]}
    assert norms
    assert {norm.training for norm in norms} == {not is_frozen}
    assert {id(norm.weight) in optimised for norm in norms} == {not is_frozen}


def test_frozen_batch_norms_leave_training_as_they_entered_it(training: Training, tmp_path: Path) -> None:
    settings = {"train.iterations": 2, "train.freezes_norms_below": 6, "train.ema_decay": None}
    before = prepared(training(tmp_path / "untrained", settings)).state.model.state_dict()
    mw.train(**training(tmp_path / "run", settings))
    after = tensors_of(tmp_path / "run")
    norms = [name for name in before if ".norm." in name]
    assert norms
    assert all(torch.equal(before[name], after[name]) for name in norms)
    assert not torch.equal(before["backbone.stem.conv.weight"], after["backbone.stem.conv.weight"])


# the rest


def test_a_best_metric_that_is_none_is_refused_before_the_first_step(training: Training, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"train\.best_metric: no metric is called 'mask\.APP'; .*mask\.AP"):
        mw.train(**training(tmp_path / "run", {"train.best_metric": "mask.APP"}, validates=True))
    assert not (tmp_path / "run").exists()


def test_a_best_metric_of_masks_is_refused_for_a_model_without_them(training: Training, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"best_metric is mask\.AP, but the model gives only box; set it to box\.AP"):
        mw.train(**training(tmp_path / "run", {"mask_head.is_on": False}, validates=True))


def test_weights_before_the_first_step_are_a_function_of_the_seed(training: Training, tmp_path: Path) -> None:
    def weights(name: str, seed: int) -> torch.Tensor:
        torch.manual_seed(hash(name) % 1000)
        run = prepared(training(tmp_path / name, {"train.seed": seed}))
        return next(run.state.model.parameters())

    assert torch.equal(weights("a", 1), weights("b", 1))
    assert not torch.equal(weights("c", 1), weights("d", 2))


def test_a_broken_checkpoint_is_refused_on_resume(training: Training, tmp_path: Path) -> None:
    arguments = training(tmp_path / "run", {"train.iterations": 1})
    last = mw.train(**arguments).last
    last.write_bytes(last.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"last\.safetensors cannot be read"):
        mw.train(**arguments, resume=True)

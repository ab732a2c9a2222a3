"""A run on a list of datasets: one class list, rare classes and small datasets drawn more often, exact resume."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tiny_runs import (
    Arguments,
    are_equal,
    free_port,
    log_of,
    tensors_of,
    train_as_rank,
    train_until_killed,
    write_dataset,
)

import maskwright as mw
from maskwright.cli.train_lines import LinePrinter
from maskwright.config import load_recipe
from maskwright.data.samplers import SampleRequest
from maskwright.errors import ConfigError
from maskwright.training.distributed import World
from maskwright.training.setup import Run, prepare_run

Training = Callable[..., Arguments]


@pytest.fixture(scope="module")
def tables(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The ten images, and four others whose bricks are called stone; one of these has a hen for an egg."""
    folder = tmp_path_factory.mktemp("second") / "data"
    write_dataset(folder, num_images=4)
    path = folder / "annotations.json"
    document = json.loads(path.read_text())
    document["categories"] = [{"id": 7, "name": "stone"}, {"id": 3, "name": "egg"}, {"id": 8, "name": "hen"}]
    for entry in document["annotations"]:
        is_hen = entry["id"] == 31
        entry["category_id"] = 8 if is_hen else {3: 7, 7: 3}[entry["category_id"]]
    path.write_text(json.dumps(document))
    return [
        {"images": str(dataset / "images"), "annotations": str(dataset / "annotations.json")},
        {"images": str(folder / "images"), "annotations": str(path), "rename": {"stone": "brick"}, "repeats": 2.5},
    ]


@pytest.fixture(scope="module")
def several(tiny: Path, tables: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Training:
    """Arguments of `mw.train` with a recipe that lists both."""
    path = tmp_path_factory.mktemp("recipe") / "several.yaml"
    recipe = {"base": str(tiny), "data": {"train": tables, "repeat_threshold": 0.5}}
    path.write_text(yaml.safe_dump(recipe))

    def arguments(output: Path, overrides: dict[str, Any] | None = None) -> Arguments:
        return {"recipe": str(path), "overrides": overrides or {}, "output": str(output), "device": "cpu"}

    return arguments


def prepared(arguments: Arguments) -> Run:
    recipe = load_recipe(arguments["recipe"], arguments["overrides"])
    return prepare_run(recipe, Path(arguments["output"]), World(0, 1, 0), torch.device("cpu"), resume=False)


def test_classes_are_united_under_their_new_names(several: Training, tmp_path: Path) -> None:
    run = prepared(several(tmp_path / "run"))
    names = [category.name for category in run.recipe.categories]
    assert names == ["brick", "egg", "hen"]
    assert len(run.training_set) == 14
    labels = [
        sorted(names[label] for label in run.training_set[SampleRequest(image, 1)].targets.labels.tolist())
        for image in (1, 11, 12, 13)
    ]
    assert labels == [["brick", "egg"], ["brick", "egg"], ["brick", "hen"], []]


def test_rare_classes_and_repeated_datasets_are_drawn_more_often(several: Training, tmp_path: Path) -> None:
    sampler = prepared(several(tmp_path / "run")).sampler
    assert sampler.factors is not None
    assert sampler.factors == pytest.approx((*[1.0] * 10, 2.5, 2.5, 2.5 * (0.5 * 14) ** 0.5, 2.5))
    seen = Counter(request.image for step in range(40 * sampler.steps_per_epoch) for request in sampler.step(step))
    assert max(seen, key=lambda image: seen[image]) == 12
    plain = prepared(several(tmp_path / "plain", {"data.repeat_threshold": None, "data.train.1.repeats": 1}))
    assert plain.sampler.factors is None


def test_a_list_of_one_is_that_dataset(
    several: Training, training: Training, tables: list[dict[str, Any]], tmp_path: Path
) -> None:
    settings = {"data.repeat_threshold": None, "train.iterations": 2}
    mw.train(**several(tmp_path / "list", {**settings, "data.train": tables[:1]}))
    mw.train(**training(tmp_path / "one", settings))
    assert are_equal(tensors_of(tmp_path / "list"), tensors_of(tmp_path / "one"))


def test_a_killed_run_on_several_datasets_goes_on_as_if_never_killed(
    processes: ForkServerContext, several: Training, tmp_path: Path
) -> None:
    settings = {"train.iterations": 6}
    process = processes.Process(
        target=train_until_killed, args=("between update and count", 4, several(tmp_path / "killed", settings))
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    mw.train(**several(tmp_path / "killed", {**settings, "data.workers": 1}), resume=True)
    mw.train(**several(tmp_path / "whole", settings))
    assert are_equal(tensors_of(tmp_path / "killed"), tensors_of(tmp_path / "whole"))
    assert log_of(tmp_path / "killed") == log_of(tmp_path / "whole")


def test_two_processes_draw_what_one_draws(processes: ForkServerContext, several: Training, tmp_path: Path) -> None:
    settings = {
        "train.batch_size": 4,
        "train.iterations": 3,
        "train.optimiser": "sgd",
        "train.learning_rate": 0.002,
        "train.warmup_iterations": 0,
        "train.ema_decay": None,
        "backbone.norm": "group",
        "mask_head.norm": "group",
    }
    port = free_port()
    ranks = [
        processes.Process(target=train_as_rank, args=(rank, port, several(tmp_path / "two", settings)))
        for rank in range(2)
    ]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()
    assert [rank.exitcode for rank in ranks] == [0, 0]
    mw.train(**several(tmp_path / "one", settings))
    for line, expected in zip(log_of(tmp_path / "two"), log_of(tmp_path / "one"), strict=True):
        assert {**line, "part": 0} == pytest.approx({**expected, "part": 0}, rel=1e-4, abs=1e-6)


def test_a_checkpoint_knows_its_list_and_any_entry_can_be_changed(several: Training, tmp_path: Path) -> None:
    result = mw.train(**several(tmp_path / "run", {"train.iterations": 1}))
    predictor = mw.load(result.last, device="cpu", overrides={"data.train.1.images": "elsewhere"})
    assert [table.images for table in predictor.recipe.data.tables("train")][1] == "elsewhere"
    assert list(predictor.categories) == ["brick", "egg", "hen"]
    with pytest.raises(ConfigError, match=r"data\.train is a list of 2"):
        mw.load(result.last, device="cpu", overrides={"data.train.images": "elsewhere"})


def test_validation_may_be_a_list_too(several: Training, tables: list[dict[str, Any]], tmp_path: Path) -> None:
    result = mw.train(**several(tmp_path / "run", {"train.iterations": 1, "data.val": tables}))
    assert result.metrics is not None
    assert result.metrics["images"] == 14
    assert set(result.metrics["per_category"]) == {"brick", "egg", "hen"}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"data.train.1.images": None}, r"needs data\.train\.1\.images=FOLDER and data\.train\.1\.annotations=FILE"),
        ({"data.train.1.rename": {"stone": "Brick"}}, r"'Brick' of .* is spelt 'brick'"),
        ({"categories": ["brick", "egg"]}, r"the recipe has not: hen; .* by data\.train\.only and data\.train\.rename"),
        ({"data.train.1.only": ["stone"]}, r"has no class 'stone'; its classes are brick, egg, hen"),
    ],
)
def test_what_does_not_fit_is_said_before_the_first_step(
    overrides: dict[str, Any], message: str, several: Training, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        mw.train(**several(tmp_path / "run", overrides))
    assert not (tmp_path / "run").exists()


def test_classes_that_are_not_chosen_are_no_classes_of_the_model(several: Training, tmp_path: Path) -> None:
    run = prepared(several(tmp_path / "run", {"data.train.1.only": ["brick", "egg"], "categories": ["brick", "egg"]}))
    assert [len(record.annotations) for record in run.training_set.records[10:]] == [3, 2, 1, 0]


def test_what_is_left_out_is_listed_on_the_terminal_and_in_the_log(
    several: Training, tables: list[dict[str, Any]], tmp_path: Path
) -> None:
    document = json.loads(Path(tables[1]["annotations"]).read_text())
    document["images"][1]["file_name"] = "gone.png"
    (tmp_path / "bad.json").write_text(json.dumps(document))
    changes = {"data.train.1.annotations": str(tmp_path / "bad.json"), "data.train.1.skip_bad": True}
    arguments, shown = several(tmp_path / "run", {**changes, "train.iterations": 1}), StringIO()
    with redirect_stdout(shown):
        mw.train(**arguments, report=LinePrinter())
    (start,) = log_of(tmp_path / "run", "start")
    assert start["step"] == 0
    assert len(start["left_out"]) == 2
    assert start["left_out"][0].endswith("bad.json: 1 defect (missing-image 1)")
    assert "missing-image: " in start["left_out"][1]
    assert "image 2 ('gone.png')" in start["left_out"][1]
    shown_lines = shown.getvalue().splitlines()
    assert [line for line in shown_lines if line in start["left_out"]] == start["left_out"]

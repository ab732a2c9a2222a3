"""Trainings of tiny YOLACTs: they learn, go on after a kill, and no odd image stops them."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tiny_runs import Arguments, are_equal, log_of, tensors_of, train_until_killed

import maskwright as mw
from maskwright.config import load_recipe
from maskwright.data.samplers import SampleRequest
from maskwright.errors import TrainingError
from maskwright.training.distributed import World
from maskwright.training.setup import Run, prepare_run

Training = Callable[..., Arguments]
NAMES = {"box", "class", "mask", "semantic"}
SETTINGS = {
    "data.workers": 0,
    "train.iterations": 4,
    "train.batch_size": 2,
    "train.optimiser": "adamw",
    "train.learning_rate": 1e-3,
    "train.warmup_iterations": 1,
    "train.ema_decay": 0.9,
    "train.evaluate_every": None,
    "train.checkpoint_every": 2,
    "train.log_every": 1,
}
PLUS = {"rescoring.is_on": True, "rescoring.min_area": 4}


@pytest.fixture(scope="module")
def recipe(tiny_yolact: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recipe file of the tiny network; the categories come from the annotations."""
    tables: dict[str, Any] = {"base": "yolact"}
    for key, value in {**tiny_yolact, **SETTINGS}.items():
        table, _, name = key.partition(".")
        if name:
            tables.setdefault(table, {})[name] = value
    path = tmp_path_factory.mktemp("recipe") / "tiny_yolact.yaml"
    path.write_text(yaml.safe_dump(tables))
    return path


@pytest.fixture(scope="module")
def yolact(training: Training, recipe: Path) -> Training:
    """As `training`, of the one-stage family."""

    def arguments(output: Path, overrides: dict[str, Any] | None = None, *, validates: bool = False) -> Arguments:
        return {**training(output, overrides, validates=validates), "recipe": str(recipe)}

    return arguments


@pytest.fixture(scope="module")
def whole(yolact: Training, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody killed."""
    output = tmp_path_factory.mktemp("whole") / "run"
    mw.train(**yolact(output))
    return output


@pytest.mark.parametrize("rate", [1e12, 1e38])
@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
@pytest.mark.parametrize("plus", [{}, PLUS])
def test_a_far_too_high_learning_rate_is_reported_as_such(
    optimiser: str, rate: float, plus: dict[str, Any], yolact: Training, tmp_path: Path
) -> None:
    settings = {"train.optimiser": optimiser, "train.learning_rate": rate, "train.warmup_iterations": 0, **plus}
    settings |= {"train.iterations": 8, "train.weight_decay": 0.0}
    with pytest.raises(TrainingError, match=r"^step \d: .*(non-finite|is nan|is inf).*A lower train\.learning_rate"):
        mw.train(**yolact(tmp_path / "run", settings))


def test_every_loss_of_every_step_is_in_the_log(whole: Path) -> None:
    lines = log_of(whole)
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    for line in lines:
        assert line.keys() >= NAMES
        assert line["loss"] == pytest.approx(sum(line[name] for name in NAMES), rel=1e-5)


def test_a_killed_run_goes_on_as_if_never_killed(
    yolact: Training, whole: Path, processes: ForkServerContext, tmp_path: Path
) -> None:
    arguments = yolact(tmp_path / "run")
    process = processes.Process(target=train_until_killed, args=("between update and count", 4, arguments))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    begun: list[int] = []
    mw.train(**arguments, resume=True, report=lambda step, numbers, part: begun.append(step))
    assert begun[:2] == [2, 3]  # what it goes on from, and its first step
    assert are_equal(tensors_of(tmp_path / "run"), tensors_of(whole))
    assert log_of(tmp_path / "run") == log_of(whole)


def test_workers_do_not_change_a_run(yolact: Training, whole: Path, tmp_path: Path) -> None:
    mw.train(**yolact(tmp_path / "run", {"data.workers": 2}))
    assert are_equal(tensors_of(tmp_path / "run"), tensors_of(whole))


def test_a_checkpoint_is_a_model_that_predicts_as_the_run_did(
    yolact: Training, whole: Path, dataset: Path, tmp_path: Path
) -> None:
    path = whole / "checkpoints" / "last.safetensors"
    predictor = mw.load(path, device="cpu")
    assert predictor.recipe.family == "yolact"
    assert tuple(predictor.categories) == ("brick", "egg")
    found = predictor(dataset / "images" / "1.png", score_threshold=0.0)
    assert len(found) > 0
    again = mw.load(path, device="cpu", overrides={"detect.max_detections": 2})
    assert len(again(dataset / "images" / "1.png", score_threshold=0.0)) == 2


def test_re_scored_runs_are_measured_by_their_mask_scores(yolact: Training, dataset: Path, tmp_path: Path) -> None:
    settings = {**PLUS, "train.iterations": 2, "detect.score_threshold": 0.0, "detect.max_detections": 10}
    result = mw.train(**yolact(tmp_path / "run", settings, validates=True))
    assert NAMES | {"mask_iou"} <= log_of(tmp_path / "run")[0].keys()
    best = mw.load(tmp_path / "run" / "checkpoints" / "best.safetensors", device="cpu")
    again = mw.evaluate(best, dataset / "images", dataset / "annotations.json")
    assert again["mask"]["AP"] == pytest.approx(result.metrics["mask"]["AP"], abs=1e-6)
    assert best(dataset / "images" / "1.png").mask_scores is not None


# odd images


def odd_annotations(dataset: Path, path: Path) -> str:
    """Each image gets objects of another oddity; the last stays without any."""
    document = json.loads((dataset / "annotations.json").read_text())
    sizes = {image["id"]: (image["height"], image["width"]) for image in document["images"]}
    by_image = {
        1: [odd(10, 10, 0.1, 0.1)],
        2: [odd(0, 0, 64, 80)] * 3,
        3: [odd(0, 0, 80, 64, is_crowd=True)],
        4: [odd(4 * (place % 15), 4 * (place // 15), 3, 3) for place in range(250)],
        5: [odd(79.95, 63.95, 0.05, 0.05), odd(0, 0, 80, 0.2)],
        6: [odd(10, 10, 30, 30), odd(20, 20, 25, 30, is_crowd=True)],
    }
    document["annotations"] = [
        {
            "id": 1000 * number + place,
            "image_id": number,
            "category_id": 3,
            "segmentation": run_lengths(one["bbox"], sizes[number]),
            **one,
        }
        for number, some in by_image.items()
        for place, one in enumerate(some)
    ]
    path.write_text(json.dumps(document))
    return str(path)


def odd(x: float, y: float, width: float, height: float, *, is_crowd: bool = False) -> dict[str, Any]:
    return {"bbox": [x, y, width, height], "area": width * height, "iscrowd": int(is_crowd)}


def run_lengths(box: list[float], size: tuple[int, int]) -> dict[str, Any]:
    """At least one pixel."""
    height, width = size
    left, top = min(int(box[0]), width - 1), min(int(box[1]), height - 1)
    right, bottom = max(left + 1, min(int(box[0] + box[2]), width)), max(top + 1, min(int(box[1] + box[3]), height))
    counts, length = [left * height + top], bottom - top
    for _ in range(right - left - 1):
        counts += [length, height - length]
    counts += [length, height * width - sum(counts) - length]
    return {"size": [height, width], "counts": counts}


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("model", ["v1", "plus"])
def test_no_odd_image_stops_a_training(
    yolact: Training, dataset: Path, tmp_path: Path, batch_size: int, precision: str, model: str
) -> None:
    settings = {
        **(PLUS if model == "plus" else {}),
        "data.train.annotations": odd_annotations(dataset, tmp_path / "odd.json"),
        "data.augment.min_side_px": 0,
        "losses.masks_per_image": 20,
        # P6 of 64 pixels is one cell, where torch 2.x on CPUs gives P7's strided convolution a wrong bf16 gradient
        "resize.size": 96,
        "train.precision": precision,
        "train.batch_size": batch_size,
        "train.iterations": -(-10 // batch_size),
        "train.freezes_norms_below": 6,
        "backbone.norm": "batch",
        "fpn.norm": "none",
    }
    result = mw.train(**yolact(tmp_path / "run", settings))
    assert result.steps == -(-10 // batch_size)
    assert all(value.isfinite().all() for value in tensors_of(tmp_path / "run").values() if value.is_floating_point())


def test_images_of_several_scales_share_a_batch(yolact: Training, tmp_path: Path) -> None:
    mw.train(**yolact(tmp_path / "run", {**PLUS, "data.augment.scale_jitter": [0.4, 1.5], "train.iterations": 3}))
    assert len(log_of(tmp_path / "run")) == 3


# one batch and its parts


def prepared(arguments: Arguments) -> Run:
    recipe = load_recipe(arguments["recipe"], arguments["overrides"])
    return prepare_run(recipe, Path(arguments["output"]), World(0, 1, 0), torch.device("cpu"), resume=False)


def test_parts_with_the_same_counts_are_the_same_as_one_batch(yolact: Training, tmp_path: Path) -> None:
    one, other = SampleRequest(1, 5), SampleRequest(2, 6)
    outcomes = []
    for parts in (1, 2):
        run = prepared(yolact(tmp_path / str(parts), {"train.batch_size": 4, "train.accumulate": parts}))
        losses = run.stepper.step(1, [run.training_set[request] for request in (one, other, other, one)])
        outcomes.append((losses, {name: one.grad for name, one in run.state.model.named_parameters()}))
    (whole, gradients), (parts, gradients_of_parts) = outcomes
    assert parts == pytest.approx(whole, rel=1e-5)
    for name, gradient in gradients.items():
        assert torch.allclose(gradients_of_parts[name], gradient, atol=1e-5, rtol=1e-3), name


@pytest.mark.slow
def test_ten_images_can_be_learnt_by_heart(yolact: Training, tmp_path: Path) -> None:
    settings = {
        "data.augment.expand": 0.0,
        "data.augment.iou_crop": False,
        "data.augment.colour": 0.0,
        "train.iterations": 400,
        "train.batch_size": 4,
        "train.learning_rate": 3e-3,
        "train.warmup_iterations": 20,
        "train.schedule": "cosine",
        "train.clip_norm": 5.0,
        "train.log_every": 50,
        "train.checkpoint_every": 100,
    }
    metrics = mw.train(**yolact(tmp_path / "run", settings, validates=True)).metrics
    assert metrics["mask"]["AP"] > 0.4
    assert metrics["box"]["AP"] > 0.4

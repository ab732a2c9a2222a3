"""From files of other than 8-bit RGB to a model and back to masks: trained, resumed, evaluated and used."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from tiny_runs import CATEGORIES, Arguments, are_equal, log_of, tensors_of

import maskwright as mw
from maskwright.checkpoints.native import read_native
from maskwright.cli import main
from maskwright.errors import DataError

Training = Callable[..., Arguments]


def _write_grey(folder: Path, name: str, pixels: np.ndarray) -> str:
    Image.fromarray(pixels[0].astype(np.uint16) * 200).save(folder / f"{name}.png")
    return f"{name}.png"


def _write_npy(folder: Path, name: str, pixels: np.ndarray) -> str:
    np.save(folder / f"{name}.npy", np.stack([pixels[place % 3] + place for place in range(5)]).astype(np.uint8))
    return f"{name}.npy"


def _write_tiff(folder: Path, name: str, pixels: np.ndarray) -> str:
    tifffile.imwrite(folder / f"{name}.tif", pixels[:2].astype(np.uint16) * 200, photometric="minisblack")
    return f"{name}.tif"


KINDS: dict[str, tuple[Callable[[Path, str, np.ndarray], str], dict[str, Any]]] = {
    "16-bit grey": (_write_grey, {"pixels.channels": 1, "pixels.bits": 16}),
    "5-channel npy": (_write_npy, {"pixels.channels": 5}),
    "2-channel tiff": (_write_tiff, {"pixels.channels": 2, "pixels.bits": 16}),
}


def write_dataset(folder: Path, write: Callable[[Path, str, np.ndarray], str]) -> None:
    """Four images with a bright square each."""
    random, images, annotations = np.random.default_rng(2), [], []
    (folder / "images").mkdir(parents=True)
    for number in range(1, 5):
        pixels = random.integers(0, 80, (3, 64, 80))
        x, y = (int(value) for value in random.integers(5, 30, 2))
        pixels[:, y : y + 25, x : x + 30] += 120
        size = {"height": 64, "width": 80}
        images.append({"id": number, "file_name": write(folder / "images", str(number), pixels), **size})
        corners = [x, y, x + 30, y, x + 30, y + 25, x, y + 25]
        one = {"bbox": [x, y, 30, 25], "segmentation": [corners], "area": 750.0, "iscrowd": 0}
        annotations.append({"id": number, "image_id": number, "category_id": 3, **one})
    document = {"images": images, "annotations": annotations, "categories": CATEGORIES}
    (folder / "annotations.json").write_text(json.dumps(document))


def arguments_for(
    kind: str, tmp_path: Path, tiny: Path, output: str = "run", changes: dict[str, Any] | None = None
) -> Arguments:
    """A training of three steps on such images, each step with a checkpoint."""
    write, overrides = KINDS[kind]
    folder = tmp_path / "data"
    if not folder.exists():
        write_dataset(folder, write)
    files = {"images": str(folder / "images"), "annotations": str(folder / "annotations.json")}
    data = {f"data.{part}.{key}": value for part in ("train", "val") for key, value in files.items()}
    steps = {"train.iterations": 3, "train.checkpoint_every": 1}
    return {
        "recipe": str(tiny),
        "overrides": {**data, **overrides, **steps, **(changes or {})},
        "output": str(tmp_path / output),
        "device": "cpu",
    }


def run(*words: object) -> None:
    """A command that must succeed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["maskwright", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            main()
    assert not left.value.code


@pytest.mark.parametrize("kind", list(KINDS))
def test_images_of_any_kind_train_evaluate_predict_and_draw(kind: str, tmp_path: Path, tiny: Path) -> None:
    result = mw.train(**arguments_for(kind, tmp_path, tiny))
    assert result.steps == 3 and result.metrics is not None
    (start,) = log_of(tmp_path / "run", "start")
    channels = KINDS[kind][1]["pixels.channels"]
    recipe = read_native(result.last).recipe
    assert recipe["pixels"]["mean"] == start["measured"]["mean"] and len(start["measured"]["std"]) == channels
    predictor = mw.load(str(result.last), device="cpu")
    paths = sorted((tmp_path / "data" / "images").iterdir())
    alone, together = predictor(paths[0]), predictor([str(path) for path in paths[:2]])
    assert torch.equal(alone.boxes, predictor(predictor.preprocess.read(paths[0])).boxes) and len(together) == 2
    files = (tmp_path / "data" / "images", tmp_path / "data" / "annotations.json")
    assert mw.evaluate(predictor, *files).to_dict()["images"] == 4
    run("predict", files[0], "--model", result.last, "--output", tmp_path / "found")
    overlays = sorted((tmp_path / "found" / "overlays").iterdir())
    assert [Image.open(path).size for path in overlays] == [(80, 64)] * 4
    run("data", "check", *files)


def test_a_resumed_run_ends_with_the_same_bits_and_the_statistics_it_began_with(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = arguments_for("5-channel npy", tmp_path, tiny, "whole")
    cut = arguments_for("5-channel npy", tmp_path, tiny, "cut")
    mw.train(**whole)
    from maskwright.training.setup import Run

    original = Run.write_checkpoint

    def stop_after_two(run: Run) -> None:
        original(run)
        if run.state.progress.step == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Run, "write_checkpoint", stop_after_two)
    with pytest.raises(KeyboardInterrupt):
        mw.train(**cut)
    monkeypatch.undo()
    monkeypatch.setattr("maskwright.training.statistics.measure", lambda *_: pytest.fail("measured again"))
    mw.train(**cut, resume=True)
    assert are_equal(tensors_of(tmp_path / "cut"), tensors_of(tmp_path / "whole"))


def test_a_training_on_channels_starts_from_one_on_colours(training: Training, tmp_path: Path, tiny: Path) -> None:
    first = mw.train(**training(tmp_path / "colours", {"train.iterations": 1}))
    arguments = arguments_for("5-channel npy", tmp_path, tiny, changes={"train.initial_weights": str(first.last)})
    mw.train(**arguments)
    (start,) = log_of(tmp_path / "run", "start")
    assert start["stem"] == "inflated from 3 to 5 channels" and start["taken"] == "model"


def test_images_of_other_channels_are_refused_before_the_first_step(tmp_path: Path, tiny: Path) -> None:
    arguments = arguments_for("5-channel npy", tmp_path, tiny, changes={"pixels.channels": 4})
    with pytest.raises(DataError, match=r"1\.npy has 5 channels, the model takes 4; .*pixels\.channels=5"):
        mw.train(**arguments)


def test_a_model_says_which_channels_it_takes(tmp_path: Path, tiny: Path) -> None:
    predictor = mw.load(str(mw.train(**arguments_for("5-channel npy", tmp_path, tiny)).last), device="cpu")
    with pytest.raises(DataError, match="image array has 3 channels, the model takes 5"):
        predictor(np.zeros((64, 80, 3), np.uint8))

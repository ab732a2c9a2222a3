"""Synthetic images, and a network so small that a training takes seconds."""

from __future__ import annotations

import json
import multiprocessing
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hotcoco.mask
import numpy as np
import pytest
import safetensors.torch
import yaml
from PIL import Image
from torch import Tensor

import maskwright as mw

# processes started here find the helper modules of this folder
sys.path.insert(0, str(Path(__file__).parent))

LANDSCAPE, PORTRAIT = (64, 80), (80, 64)
CATEGORIES = [{"id": 3, "name": "brick"}, {"id": 7, "name": "egg"}]
COLOURS = {3: (230, 60, 40), 7: (60, 90, 240)}

TINY = {
    "name": "tiny",
    "family": "mask_rcnn",
    "resize": {"short_side": 64, "long_side": 128},
    "backbone": {"depth": 18, "width": 8, "norm": "batch", "frozen_stages": 0},
    "fpn": {"channels": 16},
    "anchors": {"sizes_px": [[12], [20], [32], [48], [64]]},
    "rpn": {
        "anchors_per_image": 64,
        "train_proposals_before_nms": 60,
        "train_proposals_after_nms": 60,
        "test_proposals_before_nms": 60,
        "test_proposals_after_nms": 60,
    },
    "roi": {"rois_per_image": 24, "canonical_px": 32},
    "box_head": {"pool_px": 5, "num_fcs": 1, "fc_channels": 16},
    "mask_head": {"pool_px": 7, "num_convs": 1, "channels": 8, "norm": "batch"},
    "data": {
        "workers": 0,
        "augment": {"scale_jitter": [0.8, 1.25], "vertical_flip": 0.5, "transpose": 0.5, "colour": 0.5},
    },
    "train": {
        "iterations": 7,
        "batch_size": 2,
        "optimiser": "adamw",
        "learning_rate": 1.0e-3,
        "warmup_iterations": 2,
        "ema_decay": 0.9,
        "evaluate_every": None,
        "checkpoint_every": 2,
        "log_every": 1,
    },
}


def _ellipse(size: tuple[int, int], box: tuple[int, int, int, int]) -> np.ndarray:
    x1, y1, x2, y2 = box
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    across, down = (columns - (x1 + x2) / 2) / ((x2 - x1) / 2), (rows - (y1 + y2) / 2) / ((y2 - y1) / 2)
    return across**2 + down**2 <= 1


def _paint(pixels: np.ndarray, number: int, random: np.random.Generator) -> list[dict[str, Any]]:
    """Draw a brick (told as a polygon) on the left and an egg (told as run lengths) on the right."""
    height, width = size = pixels.shape[:2]
    x1, y1 = (int(value) for value in random.integers(2, 8, size=2))
    x2, y2 = x1 + int(random.integers(14, width // 2 - 8)), y1 + int(random.integers(16, height - 12))
    pixels[y1:y2, x1:x2] = COLOURS[3]
    brick = {"category_id": 3, "bbox": [x1, y1, x2 - x1, y2 - y1], "segmentation": [[x1, y1, x2, y1, x2, y2, x1, y2]]}
    left, top = width // 2 + int(random.integers(1, 6)), int(random.integers(4, 20))
    right, bottom = left + int(random.integers(16, width // 2 - 6)), top + int(random.integers(18, height - 26))
    egg = _ellipse(size, (left, top, right, bottom))
    pixels[egg] = COLOURS[7]
    rle = hotcoco.mask.encode(np.asfortranarray(egg.astype(np.uint8)))
    text = {"size": list(size), "counts": rle["counts"] if isinstance(rle["counts"], str) else rle["counts"].decode()}
    rows, columns = np.flatnonzero(egg.any(axis=1)), np.flatnonzero(egg.any(axis=0))
    corner = [int(columns[0]), int(rows[0])]
    egg_box = [*corner, int(columns[-1]) + 1 - corner[0], int(rows[-1]) + 1 - corner[1]]
    objects = [brick, {"category_id": 7, "bbox": egg_box, "segmentation": text}]
    return [
        {**an_object, "id": 10 * number + place, "image_id": number, "iscrowd": 0, "area": float(np.prod(an_object["bbox"][2:]))}
        for place, an_object in enumerate(objects)
    ]


def _crowd(number: int, size: tuple[int, int]) -> dict[str, Any]:
    """The lowest rows of an image as a crowd, in run lengths that are not compressed."""
    height, width = size
    counts = [height - 4, *[4, height - 4] * (width - 1), 4]
    return {
        "id": 10 * number + 9,
        "image_id": number,
        "category_id": 3,
        "bbox": [0, height - 4, width, 4],
        "segmentation": {"size": list(size), "counts": counts},
        "iscrowd": 1,
        "area": 4.0 * width,
    }


def write_dataset(folder: Path, num_images: int = 10) -> None:
    """`images/` and `annotations.json`: half landscape, half portrait; the first has a crowd, the last no object."""
    random = np.random.default_rng(5)
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for number in range(1, num_images + 1):
        size = LANDSCAPE if number % 2 else PORTRAIT
        pixels = random.integers(0, 80, size=(*size, 3), dtype=np.uint8)
        if number < num_images:
            annotations += _paint(pixels, number, random)
        if number == 1:
            annotations.append(_crowd(number, size))
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "height": size[0], "width": size[1]})
    document = {"images": images, "annotations": annotations, "categories": CATEGORIES}
    (folder / "annotations.json").write_text(json.dumps(document))


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with `images/` and `annotations.json` of ten images."""
    folder = tmp_path_factory.mktemp("dataset")
    write_dataset(folder)
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recipe file of the tiny network."""
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path


Settings = dict[str, Any]


@pytest.fixture(scope="session")
def training(dataset: Path, tiny: Path) -> Callable[..., Settings]:
    """Arguments of `mw.train` for the tiny network on the synthetic images; dotted overrides are given as a dict."""

    def arguments(output: Path, overrides: dict[str, Any] | None = None, *, validates: bool = False) -> Settings:
        files = {"images": str(dataset / "images"), "annotations": str(dataset / "annotations.json")}
        parts = ["train", "val"] if validates else ["train"]
        data = {f"data.{part}.{key}": value for part in parts for key, value in files.items()}
        return {"recipe": str(tiny), "overrides": {**data, **(overrides or {})}, "output": str(output), "device": "cpu"}

    return arguments


@pytest.fixture(scope="session")
def processes() -> Iterator[Any]:
    """Real processes that start in a moment, since they are forked from one that has imported all but run nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["maskwright.train.run", "torch.utils.tensorboard"])
    return context


def log_of(output: Path, part: str = "train") -> list[dict[str, Any]]:
    """The lines of a run's log, without the time that each took."""
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines if line["part"] == part]


def tensors_of(output: Path, name: str = "last") -> dict[str, Tensor]:
    """Every tensor of a run's checkpoint, optimiser and averages included."""
    return safetensors.torch.load_file(output / "checkpoints" / f"{name}.safetensors")

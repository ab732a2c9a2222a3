"""Synthetic images, a network so small that a training takes seconds, and trainings in processes of their own."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import hotcoco.mask
import numpy as np
import safetensors.torch
import torch
from PIL import Image
from torch import Tensor

import maskwright as mw
from maskwright.checkpoints.native import read_native
from maskwright.config import load_recipe
from maskwright.errors import MaskwrightError
from maskwright.models.backbones.norms import BatchNorm
from maskwright.training.checkpointing import TrainingState
from maskwright.training.distributed import World, joined_world
from maskwright.training.logbook import Logbook
from maskwright.training.setup import prepare_run

Arguments = dict[str, Any]

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
    """Draw a brick (reported as a polygon) on the left and an egg (reported as run lengths) on the right."""
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
        {
            **an_object,
            "id": 10 * number + place,
            "image_id": number,
            "iscrowd": 0,
            "area": float(np.prod(an_object["bbox"][2:])),
        }
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


def log_of(output: Path, part: str = "train") -> list[dict[str, Any]]:
    """The lines of a run's log, without the time that each took."""
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines if line["part"] == part]


def tensors_of(output: Path, name: str = "last") -> dict[str, Tensor]:
    """Every tensor of a run's checkpoint, optimiser and averages included."""
    return safetensors.torch.load_file(output / "checkpoints" / f"{name}.safetensors")


def steps_of(output: Path, name: str = "last") -> int:
    """The steps that a run's checkpoint has behind it."""
    return int(read_native(output / "checkpoints" / f"{name}.safetensors").progress["step"])


def are_equal(some: dict[str, Tensor], others: dict[str, Tensor]) -> bool:
    """Whether all tensors are the same, bit for bit."""
    return some.keys() == others.keys() and all(torch.equal(some[name], others[name]) for name in some)


# what a process runs


def train(arguments: Arguments) -> None:
    """A training that nothing disturbs but a signal."""
    # a process of a fork server would hand that on to its loader's workers, which then outlive a kill
    multiprocessing.set_start_method("fork", force=True)
    mw.train(**arguments)


def train_until_killed(moment: str, step: int, arguments: Arguments) -> None:
    """A training that ends without a chance to clean up, at a moment of step `step` (counted from 1)."""
    MOMENTS[moment](step)
    mw.train(**arguments)


def train_as_rank(rank: int, port: int, arguments: Arguments) -> None:
    """A training as one of two processes, joined as torchrun joins them."""
    _become(rank, port)
    mw.train(**arguments)


def evaluate_as_rank(rank: int, port: int, size: int, arguments: Arguments) -> None:
    """An evaluation as one of several processes; its metrics and losses, or its error, go to a file."""
    _become(rank, port, size)
    folder = Path(arguments["output"])
    try:
        with joined_world(torch.device("cpu")) as world:
            found = evaluation_of(arguments, world)
    except MaskwrightError as error:
        kind = type(error).__name__
        found = {"error": str(error), "kind": kind, "is_reported_elsewhere": error.is_reported_elsewhere}
    folder.with_name(f"{folder.name}.rank{rank}.json").write_text(json.dumps(found))


def evaluation_of(arguments: Arguments, world: World) -> dict[str, Any]:
    """Metrics (None but in the main process) and losses of a run before its first step."""
    recipe = load_recipe(arguments["recipe"], arguments["overrides"])
    run = prepare_run(recipe, Path(arguments["output"]), world, torch.device("cpu"), resume=False)
    assert run.validation is not None
    predictor = run.predictor()
    metrics = run.validation.metrics(predictor)
    numbers = None if metrics is None else {**metrics.to_dict(), "seconds": None}
    return {"metrics": numbers, "losses": run.validation.losses(predictor)}


def normalise_as_rank(rank: int, port: int, folder: Path) -> None:
    """Normalise this process's part of `features.pt`; what comes out goes to a file."""
    _become(rank, port)
    part = torch.load(folder / "features.pt")[rank].requires_grad_()
    norm = BatchNorm(part.shape[1], eps=1e-5)
    with joined_world(torch.device("cpu")):
        normal = norm(part)
        normal.pow(3).sum().backward()
    statistics = {"mean": norm.running_mean, "variance": norm.running_var}
    torch.save({"normal": normal.detach(), "gradient": part.grad, **statistics}, folder / f"rank{rank}.pt")


def free_port() -> int:
    """A port that nobody listens to just now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _become(rank: int, port: int, size: int = 2) -> None:
    names = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in names.items()})


def _die(*_: object, **__: object) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("a killed process goes on")


def _between_update_and_count(step: int) -> None:
    advance = TrainingState.advance
    TrainingState.advance = lambda self: _die() if self.progress.step + 1 == step else advance(self)


def _halfway_through_a_checkpoint(step: int) -> None:
    def write(self: TrainingState, path: Path, recipe: mw.Recipe) -> None:
        if self.progress.step == step:
            Path.open = _cut_off_at_4096(Path.open)
        original(self, path, recipe)

    original = TrainingState.write
    TrainingState.write = write


def _before_a_checkpoint_is_in_place(step: int) -> None:
    def write(self: TrainingState, path: Path, recipe: mw.Recipe) -> None:
        if self.progress.step == step:
            Path.replace = _die
        original(self, path, recipe)

    original = TrainingState.write
    TrainingState.write = write


def _right_after_a_checkpoint(step: int) -> None:
    def write(self: TrainingState, path: Path, recipe: mw.Recipe) -> None:
        original(self, path, recipe)
        if self.progress.step == step:
            _die()

    original = TrainingState.write
    TrainingState.write = write


def _within_a_line_of_the_log(step: int) -> None:
    def write(self: Logbook, at: int, numbers: dict[str, Any], part: str) -> None:
        if at == step:
            self._file.write(json.dumps({"step": at, "part": part, **numbers})[:25])
            self._file.flush()
            _die()
        original(self, at, numbers, part)

    original = Logbook.write
    Logbook.write = write


def _cut_off_at_4096(open_file: Callable[..., Any]) -> Callable[..., Any]:
    def opened(path: Path, *arguments: Any, **options: Any) -> Any:
        file = open_file(path, *arguments, **options)
        if path.name.endswith(".unfinished"):
            file.write(b"\0" * 4096)
            file.flush()
            _die()
        return file

    return opened


MOMENTS = {
    "between update and count": _between_update_and_count,
    "halfway through a checkpoint": _halfway_through_a_checkpoint,
    "before a checkpoint is in place": _before_a_checkpoint_is_in_place,
    "right after a checkpoint": _right_after_a_checkpoint,
    "within a line of the log": _within_a_line_of_the_log,
}

if __name__ == "__main__":  # what torchrun runs
    train(json.loads(sys.argv[1]))

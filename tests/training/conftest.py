"""The synthetic dataset and the arguments of trainings on it."""

from __future__ import annotations

import json
import multiprocessing
import sys
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))  # for the tests here, and for the processes that they start

from tiny_runs import CATEGORIES, TINY, Arguments, write_dataset

STUFF = [{"id": 92, "name": "sky"}, {"id": 95, "name": "grass"}]


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with `images/` and `annotations.json` of ten images."""
    folder = tmp_path_factory.mktemp("dataset")
    write_dataset(folder)
    return folder


@pytest.fixture(scope="session")
def panoptic(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Panoptic annotations of the synthetic images: sky above, a brick in the middle, grass below."""
    folder = tmp_path_factory.mktemp("panoptic")
    (folder / "pictures").mkdir()
    annotations = []
    for image in json.loads((dataset / "annotations.json").read_text())["images"]:
        pixels = np.zeros((image["height"], image["width"], 3), dtype=np.uint8)
        pixels[:20, :, 0], pixels[20:30, :, 0], pixels[30:, :, 0] = 1, 2, 3
        Image.fromarray(pixels).save(folder / "pictures" / image["file_name"])
        segments = [{"id": id_, "category_id": of} for id_, of in ((1, 92), (2, 3), (3, 95))]
        annotations.append({"image_id": image["id"], "file_name": image["file_name"], "segments_info": segments})
    kinds = ((CATEGORIES, 1), (STUFF, 0))
    categories = [{**entry, "isthing": isthing} for entries, isthing in kinds for entry in entries]
    document = {"images": [], "annotations": annotations, "categories": categories}
    (folder / "panoptic.json").write_text(json.dumps(document))
    return {"annotations": str(folder / "panoptic.json"), "images": str(folder / "pictures")}


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recipe file of the tiny network."""
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path


@pytest.fixture(scope="session")
def training(dataset: Path, tiny: Path) -> Callable[..., Arguments]:
    """Arguments of `mw.train` for the tiny network on the synthetic images; dotted overrides are given as a dict."""

    def arguments(output: Path, overrides: dict[str, Any] | None = None, *, validates: bool = False) -> Arguments:
        files = {"images": str(dataset / "images"), "annotations": str(dataset / "annotations.json")}
        parts = ["train", "val"] if validates else ["train"]
        data = {f"data.{part}.{key}": value for part in parts for key, value in files.items()}
        return {"recipe": str(tiny), "overrides": {**data, **(overrides or {})}, "output": str(output), "device": "cpu"}

    return arguments


@pytest.fixture(scope="session")
def processes() -> ForkServerContext:
    """Real processes that start in a moment, since they are forked from one that has imported all but run nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["maskwright.training.run", "torch.utils.tensorboard"])
    return context

"""A tiny recipe, a tiny dataset, and the two ways to run a command."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.running import Outcome, run_here, run_process

TINY = """
summary: so small that a test can train it
categories: [square]
resize: {short_side: 64, long_side: 128}
backbone: {depth: 18, width: 8, frozen_stages: 0, norm: batch}
fpn: {channels: 16}
rpn: {test_proposals_before_nms: 50, test_proposals_after_nms: 50}
roi: {rois_per_image: 16}
box_head: {fc_channels: 16}
mask_head: {num_convs: 1, channels: 8}
detect: {max_detections: 20}
data: {workers: 0}
train: {iterations: 2, batch_size: 2, learning_rate: 1.0e-3, warmup_iterations: 1, log_every: 1, checkpoint_every: 1}
"""


@dataclass(frozen=True)
class TinyData:
    """A recipe and a dataset on disk."""

    recipe: Path
    images: Path
    annotations: Path

    @property
    def overrides(self) -> list[str]:
        return [
            f"data.{part}.{key}={value}"
            for part in ("train", "val")
            for key, value in (("images", self.images), ("annotations", self.annotations))
        ]


@pytest.fixture(scope="session")
def process() -> Callable[..., Outcome]:
    return run_process


@pytest.fixture(scope="session")
def here() -> Callable[..., Outcome]:
    return run_here


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyData:
    """Three images of 64 pixels with a bright square each."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "images").mkdir()
    (folder / "tiny.yaml").write_text(TINY)
    images, annotations = [], []
    for number in (1, 2, 3):
        pixels = np.full((64, 64, 3), 20, dtype=np.uint8)
        left = 10 * number
        pixels[12:36, left : left + 24] = 220
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "height": 64, "width": 64})
        outline = [left, 12, left + 24, 12, left + 24, 36, left, 36]
        annotations.append(
            {
                "id": number,
                "image_id": number,
                "category_id": 1,
                "bbox": [left, 12, 24, 24],
                "area": 576,
                "iscrowd": 0,
                "segmentation": [outline],
            }
        )
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "square"}]}
    (folder / "annotations.json").write_text(json.dumps(content))
    return TinyData(folder / "tiny.yaml", folder / "images", folder / "annotations.json")


@pytest.fixture(scope="session")
def trained(tiny: TinyData, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """The folder of a finished run of two steps, and what the command said."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    return folder, run_here("train", tiny.recipe, *tiny.overrides, "--output", folder)

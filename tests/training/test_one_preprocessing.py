"""What the network sees in training, without augmentation, is bit for bit what it sees in prediction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from maskwright.config import load_recipe, recipe_names
from maskwright.config.data import AugmentConfig
from maskwright.data.loader import TrainingSet
from maskwright.data.record import ImageRecord
from maskwright.data.samplers import SampleRequest
from maskwright.images.preprocess import Preprocess
from maskwright.structures import Categories

SIZE = (90, 120)
CATEGORIES = Categories(("thing",), (1,))
SIDES = {"resize.short_side": 64, "resize.long_side": 128, "resize.size": 72}


@pytest.fixture(scope="module")
def photograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise, so that every difference in filtering shows."""
    path = tmp_path_factory.mktemp("images") / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)).save(path)
    return path


def record(path: Path, num_keypoints: int) -> ImageRecord:
    annotations = [
        {
            "id": label,
            "category_id": 1,
            "bbox": [x, y, 41.5, 33.25],
            "segmentation": [[x, y, x + 41.5, y, x + 41.5, y + 33.25, x, y + 30]],
            "iscrowd": 0,
            "keypoints": [x + 3, y + 4, 2] * num_keypoints,
        }
        for label, (x, y) in enumerate([(3, 5), (60.5, 40), (20, 55)], start=1)
    ]
    return ImageRecord(1, path, SIZE, tuple(annotations))


@pytest.mark.parametrize("name", recipe_names())
def test_training_and_prediction_see_the_same(name: str, photograph: Path) -> None:
    family = load_recipe(name).family
    keys = {key: side for key, side in SIDES.items() if (key == "resize.size") == (family == "yolact")}
    recipe = load_recipe(name, keys)
    preprocess = Preprocess.of(recipe)
    keypoints = recipe.keypoints
    one = record(photograph, len(keypoints.names) if keypoints is not None else 0)
    still = AugmentConfig(horizontal_flip=0.0)
    sample = TrainingSet([one], CATEGORIES, still, preprocess, keypoints=keypoints)[SampleRequest(0, 7)]

    seen = preprocess.batch([preprocess.read(photograph)])
    trained = preprocess.padded([sample.image])
    assert torch.equal(trained.pixels, seen.pixels)
    assert trained.sizes == seen.sizes

    expected = preprocess.targets(one.targets(CATEGORIES), preprocess.resize.scaled_size(SIZE))
    assert sample.targets.size == expected.size
    assert torch.equal(sample.targets.boxes, expected.boxes)
    assert torch.equal(sample.targets.masks.pixels, expected.masks.pixels)
    assert torch.equal(sample.targets.masks.corners, expected.masks.corners)
    if keypoints is not None:
        assert torch.equal(sample.targets.keypoints, expected.keypoints)

"""Keypoints from an annotation file into a varied training sample."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from maskwright.config.data import AugmentConfig
from maskwright.config.images import PixelsConfig, ShortSideResize
from maskwright.config.roi_heads import KeypointHeadConfig
from maskwright.data.augment import augment, build_augmentation
from maskwright.data.loader import TrainingSet
from maskwright.data.readers import read_dataset
from maskwright.data.readers.coco import read_coco
from maskwright.data.record import Dataset
from maskwright.data.samplers import SampleRequest
from maskwright.errors import DataError
from maskwright.images.preprocess import Preprocess
from maskwright.structures import Targets

# the network sees the values of the image
AS_READ = PixelsConfig(divisor=1, mean=(0, 0, 0), std=(1, 1, 1))

SIZE = (40, 60)
NAMES = ("nose", "left_hand", "right_hand")
# columns and rows of pixels that are painted in colours of their own
PIXELS = ((20, 9), (11, 25), (33, 17))
COLOURS = (50, 120, 220)
MIRRORS = {"horizontal_flip": 0.5, "vertical_flip": 0.5, "transpose": 0.5}


def annotation(**changes: Any) -> dict[str, Any]:
    outline = [[5, 3, 45, 3, 45, 33, 5, 33]]
    keypoints = [number for x, y in PIXELS for number in (x, y, 2)]
    whole = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 3, 40, 30], "segmentation": outline}
    return {**whole, "keypoints": keypoints, "num_keypoints": 3, "iscrowd": 0, **changes}


def written(folder: Path, annotations: list[dict[str, Any]], names: list[str] | None = None) -> Dataset:
    """A dataset of one grey image with three painted pixels."""
    pixels = np.zeros((*SIZE, 3), dtype=np.uint8)
    for (x, y), colour in zip(PIXELS, COLOURS, strict=True):
        pixels[y, x] = colour
    Image.fromarray(pixels).save(folder / "1.png")
    category = {"id": 1, "name": "person", "keypoints": list(NAMES) if names is None else names, "skeleton": [[1, 2]]}
    images = [{"id": 1, "file_name": "1.png", "height": SIZE[0], "width": SIZE[1]}]
    document = {"images": images, "annotations": annotations, "categories": [category]}
    (folder / "annotations.json").write_text(json.dumps(document), encoding="utf-8")
    return read_coco(folder, folder / "annotations.json")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return written(tmp_path_factory.mktemp("data"), [annotation()])


def samples(dataset: Dataset, keypoints: KeypointHeadConfig | None, **settings: Any) -> TrainingSet:
    config = AugmentConfig(**{"horizontal_flip": 0.0, **settings})
    resize = ShortSideResize(short_side=SIZE[0], long_side=SIZE[1])  # as it is
    preprocess = Preprocess(
        AS_READ,
        resize,
        keypoints is not None and keypoints.adds_half_pixel,
    )
    return TrainingSet(dataset.records, dataset.categories, config, preprocess, keypoints=keypoints)


def test_a_file_tells_its_keypoints_names(dataset: Dataset, tmp_path: Path) -> None:
    assert dataset.keypoint_names == NAMES
    assert written(tmp_path, [annotation()], names=[]).keypoint_names == ()
    assert dataset.records[0].count_keypoints() == 3


@pytest.mark.parametrize(
    ("keypoints", "message"),
    [
        ([1, 2, 2], "keypoints has 3 numbers; x, y and visibility of 3 keypoints are 9"),
        ([1, 2, 3] * 3, "visibility 3; it is 0 .not labelled., 1 .hidden. or 2"),
        ([1, float("nan"), 2] * 3, "not a list of finite numbers"),
        ("nose", "not a list of finite numbers"),
    ],
)
def test_broken_keypoints_are_reported_with_their_place(tmp_path: Path, keypoints: Any, message: str) -> None:
    dataset = written(tmp_path, [annotation(id=7, keypoints=keypoints)])
    with pytest.raises(DataError, match=f"annotation 7.*{message}"):
        dataset.refuse_defects()


def test_an_object_without_keypoints_is_in_order(tmp_path: Path) -> None:
    without = annotation(id=2)
    del without["keypoints"]
    empty = annotation(id=3, keypoints=[0] * 9, num_keypoints=0)
    dataset = written(tmp_path, [annotation(), without, empty])
    assert read_dataset(tmp_path, tmp_path / "annotations.json", "coco").defects == dataset.defects == ()
    targets = dataset.records[0].targets(dataset.categories)
    assert targets.keypoints is not None
    assert (targets.keypoints.abs().sum(dim=(1, 2)) > 0).tolist() == [True, False, False]


@given(st.integers(0, 2**40))
def test_keypoints_stay_on_what_they_mark_and_hands_change_sides_in_mirrors(dataset: Dataset, key: int) -> None:
    head = KeypointHeadConfig(is_on=True, names=NAMES, adds_half_pixel=True)
    sample = samples(dataset, head, **MIRRORS, crop_px=(39, 39))[SampleRequest(0, key)]
    assert sample.targets.keypoints is not None
    (points,) = sample.targets.keypoints
    seen = [int(sample.image[0, int(y), int(x)]) if flag else None for x, y, flag in points.tolist()]
    assert all(colour is None or colour > 0 for colour in seen)
    assert seen[0] in (None, COLOURS[0])
    assert (seen[1], seen[2]) in {(a, b) for a in (COLOURS[1], None) for b in (COLOURS[2], None)} | {
        (a, b) for a in (COLOURS[2], None) for b in (COLOURS[1], None)
    }


def test_an_odd_number_of_mirrors_exchanges_the_sides(dataset: Dataset) -> None:
    head = KeypointHeadConfig(is_on=True, names=NAMES, adds_half_pixel=True)
    for mirrors, is_mirrored in (
        ({"horizontal_flip": 1.0}, True),
        ({"horizontal_flip": 1.0, "vertical_flip": 1.0}, False),
    ):
        sample = samples(dataset, head, **mirrors)[SampleRequest(0, 1)]
        assert sample.targets.keypoints is not None
        seen = [int(sample.image[0, int(y), int(x)]) for x, y, _ in sample.targets.keypoints[0].tolist()]
        assert seen == [COLOURS[0], *(COLOURS[:0:-1] if is_mirrored else COLOURS[1:])]


def test_keypoints_follow_the_canvas_the_crop_and_the_scale(dataset: Dataset) -> None:
    targets = dataset.records[0].targets(dataset.categories)
    config = AugmentConfig(expand=1.0, scale_jitter=(0.5, 2.0), horizontal_flip=0.0)
    chain = build_augmentation(
        config,
        Preprocess(AS_READ, ShortSideResize(short_side=80, long_side=160)),
    )
    for key in range(5):
        _, moved = augment(torch.zeros(3, *SIZE, dtype=torch.uint8), targets, chain, config, key, NAMES)
        assert torch.allclose(shares_of_box(moved), shares_of_box(targets), atol=1e-3)


def shares_of_box(targets: Targets) -> torch.Tensor:
    """Where in its box each keypoint of the first object is, from 0 to 1 along each axis."""
    assert targets.keypoints is not None
    box = targets.boxes[0]
    return (targets.keypoints[0, :, :2] - box[:2]) / (box[2:] - box[:2])


def test_a_model_without_keypoints_leaves_them_behind(dataset: Dataset) -> None:
    assert samples(dataset, None)[SampleRequest(0, 1)].targets.keypoints is None


def test_as_many_keypoints_as_the_model_has_are_asked_for(dataset: Dataset) -> None:
    with pytest.raises(DataError, match=r"1\.png: its objects have 3 keypoints, the model 17.*keypoint_head\.names"):
        samples(dataset, KeypointHeadConfig(is_on=True))[SampleRequest(0, 1)]

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image

from maskwright.config.data import AugmentConfig
from maskwright.config.images import PixelsConfig
from maskwright.data.loader import TrainingSample, TrainingSet, load_samples
from maskwright.data.record import ImageRecord
from maskwright.data.samplers import SampleRequest
from maskwright.errors import DataError
from maskwright.images.preprocess import Preprocess
from maskwright.structures import Categories

# the network sees the values of the image
AS_READ = PixelsConfig(divisor=1, mean=(0, 0, 0), std=(1, 1, 1))

SQUARE = [[4, 5, 14, 5, 14, 20, 4, 20]]
CATEGORIES = Categories(("cell", "dust"), (3, 7))
VARIED = AugmentConfig(scale_jitter=(0.5, 2.0), crop_px=(16, 16), vertical_flip=0.5, transpose=0.5, colour=1.0)
STEPS = [[SampleRequest(0, 11), SampleRequest(2, 12)], [SampleRequest(1, 13), SampleRequest(0, 14)], []]


class Scaled:
    """Only the random factor changes the size."""

    mask_interpolation: Literal["nearest"] = "nearest"
    filter: str = "bilinear"
    keeps_thin: bool = True
    boxes_from_masks: bool = False

    def scaled_size(self, size: tuple[int, int], jitter: float = 1.0) -> tuple[int, int]:
        return round(size[0] * jitter), round(size[1] * jitter)


@pytest.fixture
def samples(tmp_path: Path) -> TrainingSet:
    """Three images of 24 × 32; the last has no object."""
    generator = np.random.default_rng(0)
    records = []
    for number in range(3):
        path = tmp_path / f"{number}.png"
        Image.fromarray(generator.integers(0, 255, size=(24, 32, 3), dtype=np.uint8)).save(path)
        annotation = {"category_id": 7, "bbox": [4, 5, 10, 15], "segmentation": SQUARE, "iscrowd": 0}
        records.append(ImageRecord(number, path, (24, 32), (annotation,) if number < 2 else ()))
    return TrainingSet(records, CATEGORIES, VARIED, Preprocess(AS_READ, Scaled()))


def are_same(some: TrainingSample, other: TrainingSample) -> bool:
    return (
        (some.key, some.path, some.targets.size) == (other.key, other.path, other.targets.size)
        and torch.equal(some.image, other.image)
        and torch.equal(some.targets.boxes, other.targets.boxes)
        and torch.equal(some.targets.labels, other.targets.labels)
        and torch.equal(some.targets.masks.pixels, other.targets.masks.pixels)
    )


def test_samples_come_in_the_order_asked_for(samples: TrainingSet) -> None:
    loaded = list(load_samples(samples, STEPS, workers=0))
    assert [[sample.key for sample in step] for step in loaded] == [[11, 12], [13, 14], []]
    assert [[sample.path.stem for sample in step] for step in loaded] == [["0", "2"], ["1", "0"], []]


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_do_not_change_the_samples(samples: TrainingSet, workers: int) -> None:
    alone = list(load_samples(samples, STEPS, workers=0))
    helped = list(load_samples(samples, STEPS, workers=workers))
    assert len(alone) == len(helped) == len(STEPS)
    assert all(are_same(*pair) for steps in zip(alone, helped, strict=True) for pair in zip(*steps, strict=True))


def test_a_sample_is_rgb_from_0_to_255_with_labels_by_category_id(samples: TrainingSet) -> None:
    sample = samples[SampleRequest(0, 5)]
    assert sample.image.min() >= 0 and 200 < sample.image.max() <= 255
    assert tuple(sample.image.shape) == (3, *sample.targets.size)
    assert set(sample.targets.labels.tolist()) <= {1}


def test_an_image_without_objects_is_a_sample(samples: TrainingSet) -> None:
    assert len(samples[SampleRequest(2, 5)].targets) == 0


def test_endless_requests_are_taken_one_by_one(samples: TrainingSet) -> None:
    def endless():
        while True:
            yield [SampleRequest(0, 1)]

    assert len(next(load_samples(samples, endless(), workers=0))) == 1


def test_a_training_set_can_travel_to_processes_that_are_not_forked(samples: TrainingSet) -> None:
    travelled = pickle.loads(pickle.dumps(samples))
    request = SampleRequest(0, 8)
    assert are_same(travelled[request], samples[request])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_image_is_reported_in_one_line_when_its_turn_comes(samples: TrainingSet, workers: int) -> None:
    path = samples.records[2].path
    path.write_bytes(path.read_bytes()[:300])
    loaded = load_samples(samples, [[SampleRequest(0, 1)], [SampleRequest(2, 2)]], workers)
    assert len(next(loaded)) == 1
    with pytest.raises(DataError) as caught:
        next(loaded)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_image_of_another_size_than_its_annotations_is_refused(samples: TrainingSet) -> None:
    path = samples.records[0].path
    Image.open(path).rotate(90, expand=True).save(path)
    with pytest.raises(DataError, match=r"32 × 24 pixels.* annotations are for 24 × 32"):
        samples[SampleRequest(0, 1)]


def test_another_image_stands_in_for_a_broken_one_by_the_request_alone(samples: TrainingSet) -> None:
    path = samples.records[1].path
    path.write_bytes(path.read_bytes()[:300])
    records = [replace(record, is_skippable=True) for record in samples.records]
    skipping = TrainingSet(records, CATEGORIES, VARIED, samples.preprocess)
    requests = [[SampleRequest(1, key)] for key in range(20)]
    stand_ins = [step[0] for step in load_samples(skipping, requests, workers=0)]
    assert {sample.path for sample in stand_ins} == {samples.records[0].path, samples.records[2].path}
    assert all(str(path) in sample.stands_in_for for sample in stand_ins)
    assert [sample.key for sample in stand_ins] == list(range(20))
    again = [step[0] for step in load_samples(skipping, list(reversed(requests)), workers=1)]
    assert all(are_same(*pair) for pair in zip(stand_ins, reversed(again), strict=True))


def test_where_all_images_are_broken_none_stands_in(samples: TrainingSet) -> None:
    for record in samples.records:
        record.path.write_bytes(record.path.read_bytes()[:300])
    records = [replace(record, is_skippable=True) for record in samples.records]
    skipping = TrainingSet(records, CATEGORIES, VARIED, samples.preprocess)
    with pytest.raises(DataError, match="others that were tried instead are broken too"):
        next(load_samples(skipping, [[SampleRequest(0, 1)]], workers=0))

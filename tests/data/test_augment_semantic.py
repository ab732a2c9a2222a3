"""A map of classes moves as its image does: here the image shows the classes as greys."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from maskwright.config.data import AugmentConfig
from maskwright.config.images import PixelsConfig, ShortSideResize
from maskwright.data.augment import augment, build_augmentation
from maskwright.images.preprocess import Preprocess
from maskwright.structures import CropMasks, Targets
from maskwright.structures.label_map import LabelMap
from maskwright.structures.masks.crop import Crop

# the network sees the values of the image
AS_READ = PixelsConfig(divisor=1, mean=(0, 0, 0), std=(1, 1, 1))

KEYS = st.integers(0, 2**62)
SIZE = (40, 60)
# the size stays, so that pixels can be compared one by one
STAY = ShortSideResize(short_side=40, long_side=60)


def shown(size: tuple[int, int] = SIZE) -> tuple[torch.Tensor, Targets]:
    """An image whose greys are the classes of its pixels, with one object."""
    labels = torch.randint(50, size, generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
    pixels = torch.ones((20, 30), dtype=torch.bool).numpy()
    masks = CropMasks.from_crops([Crop(pixels, 10, 15)], size)
    targets = Targets(size, masks.boxes(), torch.tensor([0]), masks, torch.tensor([False]))
    return labels.expand(3, -1, -1).contiguous(), targets.with_semantic(labels)


def varied(key: int, resize: ShortSideResize = STAY, **settings: object) -> tuple[torch.Tensor, Targets]:
    config = AugmentConfig(**{"horizontal_flip": 0.5, "vertical_flip": 0.5, **settings})
    return augment(
        *shown(),
        build_augmentation(config, Preprocess(AS_READ, resize)),
        config,
        key,
    )


@pytest.mark.parametrize("settings", [{}, {"transpose": 0.5}, {"crop_px": (25, 31)}])
@given(KEYS)
def test_flips_turns_and_windows_move_image_and_classes_alike(settings: dict[str, object], key: int) -> None:
    image, targets = varied(key, **settings)
    assert targets.semantic is not None
    assert targets.size == tuple(targets.semantic.shape)
    assert torch.equal(targets.semantic, image[0])


@given(KEYS)
def test_the_classes_of_a_larger_canvas_are_unknown(key: int) -> None:
    grows = {"expand": 1.0, "expand_ratio": (2.0, 2.0), "expand_fill": (99.0, 99.0, 99.0)}
    image, targets = varied(key, ShortSideResize(short_side=80, long_side=120), **grows)
    assert targets.semantic is not None
    assert torch.equal(targets.semantic == 255, image[0] == 99)
    assert torch.equal(targets.semantic[targets.semantic != 255], image[0][image[0] != 99])


@given(KEYS)
def test_a_crop_around_objects_and_other_colours_keep_the_size_common(key: int) -> None:
    image, targets = varied(key, iou_crop=True, colour=1.0, invert=0.5)
    assert targets.semantic is not None
    assert tuple(targets.semantic.shape) == tuple(image.shape[1:]) == targets.size


def test_a_resize_is_that_of_the_map_itself() -> None:
    config = AugmentConfig(horizontal_flip=0.0)
    image, start = shown()
    _, targets = augment(
        image,
        start,
        build_augmentation(config, Preprocess(AS_READ, ShortSideResize(short_side=27))),
        config,
        5,
    )
    assert targets.semantic is not None and start.semantic is not None
    assert torch.equal(targets.semantic, LabelMap(start.semantic).resized((27, 40)).labels)
    assert targets.size == (27, 40)


@given(KEYS)
def test_a_map_changes_no_other_draw(key: int) -> None:
    config = AugmentConfig(expand=0.5, iou_crop=True, colour=0.5, transpose=0.5)
    chain = build_augmentation(config, Preprocess(AS_READ, STAY))
    image, targets = shown()
    with_map, _ = augment(image, targets, chain, config, key)
    without, _ = augment(image, targets.with_semantic(None), chain, config, key)
    assert torch.equal(with_map, without)

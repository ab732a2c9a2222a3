"""Images of any number of channels, whole or with fractions, are varied like those of three."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from maskwright.config.data import AugmentConfig
from maskwright.config.images import PixelsConfig, ShortSideResize
from maskwright.data.augment import augment, build_augmentation
from maskwright.images.preprocess import Preprocess
from maskwright.structures import Categories, Targets

SIZE = (40, 60)
GEOMETRY = {"expand": 0.0, "iou_crop": True, "scale_jitter": (0.5, 1.5), "crop_px": (24, 30), "transpose": 0.5}
GEOMETRY |= {"horizontal_flip": 0.5, "vertical_flip": 0.5}
RESIZE = ShortSideResize(short_side=40, long_side=60)


def image(channels: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).integers(0, 256, (channels, *SIZE), dtype=np.uint8))


def varied(pixels: torch.Tensor, key: int, *, bits: int = 8, **fields: Any) -> torch.Tensor:
    annotation = {"category_id": 1, "bbox": [10, 5, 30, 25], "segmentation": [[10, 5, 40, 5, 40, 30, 10, 30]]}
    targets = Targets.from_coco([annotation], SIZE, Categories(("cell",), (1,)))
    config = AugmentConfig.model_validate(fields)
    channels = len(pixels)
    statistics = {"mean": (0.4,) * channels, "std": (0.2,) * channels}
    preprocess = Preprocess(PixelsConfig(channels=channels, bits=bits, **statistics), RESIZE)
    ready, _ = augment(pixels, targets, build_augmentation(config, preprocess), config, key)
    return preprocess.unready(ready)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_every_channel_moves_as_the_same_channel_of_a_colour_image_does(channels: int) -> None:
    for key in range(12):
        together = varied(image(channels), key, **GEOMETRY)
        for place in range(channels):
            alone = varied(image(channels)[[place] * 3], key, **GEOMETRY)
            assert torch.allclose(alone[0], together[place], atol=1e-3)  # sums in another order


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("fields", [GEOMETRY, {"colour": 1.0, **GEOMETRY}, {"invert": 1.0}, {"expand": 1.0}])
def test_fractions_change_as_whole_values_do(channels: int, fields: dict[str, Any]) -> None:
    for key in range(8):
        whole = varied(image(channels), key, **fields)
        deep = varied(image(channels).float(), key, bits=16, **fields)
        assert deep.dtype == torch.float32
        assert deep.min() >= 0 and deep.max() <= 255.001
        # torchvision cuts fractions off after every step on whole values; a hue may jump where two colours are near
        assert ((whole.float() - deep).abs() <= 6).float().mean() > 0.97


@pytest.mark.parametrize("bits", [8, 16])
def test_what_is_left_of_a_larger_canvas_is_the_mean_of_each_channel(bits: int) -> None:
    pixels = torch.zeros(5, *SIZE) if bits == 16 else torch.zeros((5, *SIZE), dtype=torch.uint8)
    canvas = varied(pixels, 1, bits=bits, expand=1.0, expand_ratio=(3.0, 3.0), horizontal_flip=0.0)
    assert (canvas.float() - 0.4 * 255).abs().flatten(1).min(dim=1).values.max() < 1e-3


def test_brightness_and_contrast_change_all_channels_alike() -> None:
    constant = torch.tensor([50, 100, 150, 200, 100], dtype=torch.uint8)[:, None, None].expand(-1, *SIZE).contiguous()
    outcomes = {tuple(varied(constant, key, colour=1.0)[:, 0, 0].tolist()) for key in range(20)}
    assert len(outcomes) > 8
    for first, second, third, fourth, last in outcomes:
        assert second == last and first < second < third < fourth

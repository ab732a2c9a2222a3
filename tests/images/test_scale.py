"""Channels become those that are wanted, and what people look at is grey or three of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from maskwright.config.images import PixelsConfig, ShortSideResize
from maskwright.images.draw import draw_instances
from maskwright.images.preprocess import Preprocess
from maskwright.images.read import read_image
from maskwright.images.scale import as_picture, to_channels
from maskwright.structures import Categories, Instances

GREY = PixelsConfig(channels=1, mean=(0.5,), std=(0.25,))


def random_image(channels: int, seed: int = 0) -> torch.Tensor:
    random = np.random.default_rng(seed)
    return torch.from_numpy(random.integers(0, 256, (channels, 20, 30), dtype=np.uint8))


def test_grey_of_rgb_is_the_luma_that_pillow_gives() -> None:
    image = Image.fromarray(random_image(3).permute(1, 2, 0).numpy())
    grey = read_image(image, GREY)
    assert torch.equal(grey[0], torch.from_numpy(np.array(image.convert("L"))))
    floats = to_channels(random_image(3).float(), 1, "image")
    assert (floats - grey).abs().max() <= 0.501


def test_a_grey_file_saved_as_rgb_is_the_same_grey() -> None:
    grey = random_image(1)
    assert torch.equal(to_channels(grey.expand(3, -1, -1), 1, "image"), grey)


def test_what_has_the_wanted_channels_comes_back_as_it_is() -> None:
    for channels in (1, 2, 3, 5):
        image = random_image(channels)
        assert to_channels(image, channels, "image").data_ptr() == image.data_ptr()


def test_reading_what_was_read_changes_nothing() -> None:
    deep = PixelsConfig(channels=5, bits=16)
    pixels = read_image(np.random.default_rng(0).integers(0, 65536, (5, 20, 30), dtype=np.uint16), deep)
    assert torch.equal(read_image(pixels, deep), pixels)
    shallow = random_image(5)
    assert torch.equal(read_image(shallow, deep), shallow.float())


def test_pictures_show_grey_two_channels_and_the_first_three() -> None:
    grey, two, five = as_picture(random_image(1)), as_picture(random_image(2)), as_picture(random_image(5))
    assert (grey == grey[..., :1]).all() and np.array_equal(grey[..., 0], random_image(1)[0].numpy())
    assert (two[..., 2] == 0).all() and np.array_equal(two[..., :2], random_image(2).permute(1, 2, 0).numpy())
    assert np.array_equal(five, random_image(5)[:3].permute(1, 2, 0).numpy())


def test_pictures_of_deep_images_span_all_brightnesses() -> None:
    picture = as_picture(torch.tensor([[[3.5, 4.0, 4.5]]]))
    assert picture[0, :, 0].tolist() == [0, 128, 255]
    assert (as_picture(torch.full((1, 2, 2), 7.0)) == 0).all()


def test_drawing_on_many_channels_changes_them_no_more_than_drawing_on_colours() -> None:
    nothing = Instances(
        size=(20, 30),
        boxes=torch.zeros(0, 4),
        labels=torch.zeros(0, dtype=torch.int64),
        scores=torch.zeros(0),
        masks=None,
        keypoints=None,
        categories=Categories(("cell",), (1,)),
    )
    image = random_image(5)
    assert np.array_equal(draw_instances(image, nothing), as_picture(image))
    assert np.array_equal(draw_instances(image.permute(1, 2, 0).numpy(), nothing), as_picture(image))


@pytest.mark.parametrize("filter_name", ["bilinear", "pillow"])
@pytest.mark.parametrize("channels", [1, 2, 4, 5])
def test_every_channel_is_resized_and_normalised_as_if_it_were_alone(channels: int, filter_name: str) -> None:
    mean, std = tuple(0.1 * (n + 1) for n in range(channels)), tuple(0.2 + 0.01 * n for n in range(channels))
    resize = ShortSideResize(short_side=13, long_side=40, filter=filter_name)
    for image in (random_image(channels), random_image(channels).float() + 0.3):
        together = Preprocess(PixelsConfig(channels=channels, mean=mean, std=std), resize).batch([image]).pixels[0]
        for place in range(channels):
            alone = PixelsConfig(channels=1, mean=mean[place : place + 1], std=std[place : place + 1])
            assert torch.equal(
                Preprocess(alone, resize).batch([image[place : place + 1]]).pixels[0, 0], together[place]
            )


def test_the_filter_of_pillow_gives_the_same_for_colours_as_for_channels_one_by_one() -> None:
    resize = ShortSideResize(short_side=13, long_side=40, filter="pillow")
    image, raw = random_image(3), {"mean": (0.0,), "std": (1.0,), "divisor": 1.0}
    colours = Preprocess(PixelsConfig(divisor=1.0, mean=(0.0,) * 3, std=(1.0,) * 3), resize).batch([image]).pixels[0]
    for place in range(3):
        grey = Preprocess(PixelsConfig(channels=1, **raw), resize).batch([image[place : place + 1]]).pixels[0, 0]
        assert torch.equal(grey, colours[place])


def test_blue_first_turns_three_channels_alone() -> None:
    assert PixelsConfig(channel_order="bgr").is_bgr
    assert not PixelsConfig(channel_order="bgr", channels=4).is_bgr

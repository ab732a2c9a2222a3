"""Tiled prediction: every object once, with its whole mask, wherever the windows cut."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

import maskwright as mw
from maskwright.config import load_recipe
from maskwright.errors import ConfigError
from maskwright.models.segmenter import AS_RECIPE, Limits
from maskwright.predict.tiled import Tiles
from maskwright.structures import Categories, CropMasks, Instances
from maskwright.structures.masks.crop import Crop


@dataclass
class SeesValues:
    """A perfect detector: every value above 0 in an image is an object; remembers the sizes of what it saw.

    Values from 128 on are of another class. Scores fall with the value, and where only a part is seen a little more.
    """

    has_masks: bool = True
    seen: list[tuple[int, int]] = field(default_factory=list)

    def detect(
        self,
        images: Sequence[Tensor],
        limits: Limits,  # noqa: ARG002 - its scores mean nothing
    ) -> list[Instances]:
        return [self._detect(image[0].numpy()) for image in images]

    def _detect(self, image: np.ndarray) -> Instances:
        self.seen.append(image.shape)
        values = [int(value) for value in np.unique(image) if value]
        boxes, crops = [], []
        for value in values:
            rows, columns = np.nonzero(image == value)
            top, left, bottom, right = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
            boxes.append([left, top, right, bottom])
            crops.append(Crop(image[top:bottom, left:right] == value, int(top), int(left)))
        return Instances(
            size=image.shape,
            boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            labels=torch.tensor([int(value >= 128) for value in values]),
            scores=torch.tensor([0.9 - value / 1000 for value in values]),
            masks=CropMasks.from_crops(crops, image.shape) if self.has_masks else None,
            categories=Categories.of(["low", "high"]),
        )


def tiles(size_px: int, overlap_px: int, inner: SeesValues | None = None) -> Tiles:
    return Tiles(inner or SeesValues(), load_recipe("mask_rcnn"), size_px, overlap_px)


def as_image(picture: np.ndarray) -> Tensor:
    return torch.from_numpy(np.repeat(picture[None].astype(np.uint8), 3, axis=0))


@st.composite
def pictures(draw) -> np.ndarray:
    """Discs and bars of different values on a grid, so that they do not touch; some are longer than any window."""
    height, width = draw(st.integers(30, 90)), draw(st.integers(30, 90))
    picture = np.zeros((height, width), dtype=np.int64)
    y, x = np.mgrid[:height, :width]
    for number in range(1, draw(st.integers(1, 9))):
        value = number + 128 * draw(st.booleans())
        top, left = draw(st.integers(0, height - 4)), draw(st.integers(0, width - 4))
        if draw(st.booleans()):
            shape = (y - top) ** 2 + (x - left) ** 2 <= draw(st.integers(2, 9)) ** 2
        else:
            shape = (
                (y >= top) & (y < top + draw(st.integers(4, 80))) & (x >= left) & (x < left + draw(st.integers(4, 80)))
            )
        near = np.pad(picture > 0, 1)
        touched = near[:-2, 1:-1] | near[2:, 1:-1] | near[1:-1, :-2] | near[1:-1, 2:] | near[1:-1, 1:-1]
        if not (touched & shape).any():
            picture[shape] = value
    return picture


@settings(max_examples=80, deadline=None)
@given(pictures(), st.integers(24, 40), st.integers(10, 16))
def test_every_object_is_found_once_with_its_whole_mask(picture, size_px, overlap_px):
    (found,) = tiles(size_px, overlap_px).detect([as_image(picture)], AS_RECIPE)
    values = np.unique(picture[picture > 0])
    assert len(found) == len(values)
    for value, score, bitmap in zip(values, found.scores.tolist(), found.masks.bitmaps(), strict=True):
        assert score == pytest.approx(0.9 - value / 1000)
        assert np.array_equal(bitmap, picture == value)
    boxes = found.masks.boxes()
    assert torch.equal(found.boxes, boxes)


def test_neighbours_of_a_class_that_touch_stay_two():
    picture = np.zeros((40, 90), dtype=np.int64)
    picture[10:20, 10:40], picture[10:20, 40:80] = 1, 2
    (found,) = tiles(32, 12).detect([as_image(picture)], AS_RECIPE)
    assert found.masks.areas().tolist() == [300, 400]


@dataclass
class StopsShort(SeesValues):
    """An imperfect detector: what reaches a border of its picture it ends a few pixels early; scores are any."""

    most_px: int = 3

    def _detect(self, image: np.ndarray) -> Instances:
        found = super()._detect(image)
        rng = np.random.default_rng(zlib.crc32(image.tobytes()))
        height, width = image.shape
        crops = []
        for crop in found.masks.crops():
            pixels = crop_on(crop, (height, width))
            reaches = [pixels[0].any(), pixels[-1].any(), pixels[:, 0].any(), pixels[:, -1].any()]
            top, bottom, left, right = np.where(reaches, rng.integers(0, self.most_px + 1, 4), 0)
            kept = np.zeros_like(pixels)
            kept[top : height - bottom, left : width - right] = pixels[top : height - bottom, left : width - right]
            crops.append(Crop(kept, 0, 0))
        masks = CropMasks.from_crops(crops, image.shape)
        is_seen = masks.areas() >= 6
        found = replace(
            found, masks=masks, boxes=masks.boxes(), scores=torch.from_numpy(rng.random(len(crops))).float()
        )
        return found[is_seen]


def crop_on(crop: Crop, size: tuple[int, int]) -> np.ndarray:
    pixels = np.zeros(size, dtype=bool)
    pixels[crop.top : crop.top + crop.pixels.shape[0], crop.left : crop.left + crop.pixels.shape[1]] = crop.pixels
    return pixels


@st.composite
def crowded_pictures(draw) -> np.ndarray:
    """Discs, bars and slanted lines of one class that may touch, none of them at the image's own border."""
    height, width = draw(st.integers(60, 110)), draw(st.integers(60, 110))
    picture = np.zeros((height, width), dtype=np.int64)
    y, x = np.mgrid[:height, :width]
    for value in range(1, draw(st.integers(2, 14))):
        top, left = draw(st.integers(0, height - 4)), draw(st.integers(0, width - 4))
        shape = draw(st.sampled_from(["disc", "disc", "bar", "line"]))
        length = draw(st.integers(8, 80))
        is_in = {
            "disc": (y - top) ** 2 + (x - left) ** 2 <= draw(st.integers(3, 7)) ** 2,
            "bar": (y >= top) & (y < top + 8) & (x >= left) & (x < left + length),
            "line": (abs(y - top - x + left) < 4) & (x >= left) & (x < left + length),
        }[shape]
        is_in[[0, -1]], is_in[:, [0, -1]] = False, False
        if is_in.sum() >= 24 and not (is_in & (picture > 0)).any():
            picture[is_in] = value
    return picture


@settings(max_examples=60, deadline=None)
@given(crowded_pictures(), st.integers(0, 3))
def test_an_imperfect_detector_leaves_neither_pieces_nor_duplicates_and_merges_nothing(picture, most_px):
    (found,) = tiles(44, 20, StopsShort(most_px=most_px)).detect([as_image(picture)], AS_RECIPE)
    truths = np.stack([picture == value for value in np.unique(picture[picture > 0])] or [picture < 0])
    bitmaps = found.masks.bitmaps().reshape(-1, *picture.shape)
    common = np.einsum("nhw,ghw->ng", bitmaps.astype(np.int64), truths.astype(np.int64))
    areas, gt_areas = bitmaps.sum(axis=(1, 2)), truths.sum(axis=(1, 2))
    assert ((common > gt_areas / 2).sum(axis=1) == 1).all(), "a piece, or two objects in one"
    assert ((common > gt_areas / 2).sum(axis=0) == (gt_areas > 0)).all(), "an object missed, or found twice"
    assert (common.max(axis=1, initial=0) > 0.6 * areas).all()


def test_thin_parallel_lines_that_cross_windows_aslant_stay_apart():
    picture = np.zeros((120, 120), dtype=np.int64)
    y, x = np.mgrid[:120, :120]
    for value, shift in enumerate((0, 6, 12), start=1):
        picture[(abs(y - x - shift) < 2) & (x < 100)] = value
    (found,) = tiles(40, 16).detect([as_image(picture)], AS_RECIPE)
    assert sorted(found.masks.areas().tolist()) == sorted((picture == value).sum() for value in (1, 2, 3))


def test_what_one_window_saw_apart_is_not_joined_because_another_took_it_for_one():
    class Blurs(SeesValues):
        """Takes all for one object where it does not see both from end to end."""

        def _detect(self, image: np.ndarray) -> Instances:
            both_whole = (image[:, [0, -1]] == 0).all() and {1, 2} <= set(np.unique(image))
            return super()._detect(image if both_whole else (image > 0).astype(image.dtype))

    picture = np.zeros((30, 76), dtype=np.int64)
    picture[10:20, 26:36], picture[10:20, 36:46] = 1, 2
    (found,) = tiles(36, 16, Blurs()).detect([as_image(picture)], AS_RECIPE)
    assert found.masks.areas().tolist() == [100, 100]


def test_boxes_alone_are_joined_too():
    picture = np.zeros((40, 90), dtype=np.int64)
    picture[10:20, 5:85], picture[30:36, 30:36] = 1, 2
    (found,) = tiles(32, 12, SeesValues(has_masks=False)).detect([as_image(picture)], AS_RECIPE)
    assert found.masks is None
    assert found.boxes.tolist() == [[5, 10, 85, 20], [30, 30, 36, 36]]


def test_windows_cover_the_image_and_none_is_larger_than_asked_for():
    inner = SeesValues()
    tiles(32, 8, inner).detect([torch.zeros((3, 70, 100), dtype=torch.uint8)], AS_RECIPE)
    assert set(inner.seen) == {(32, 32)}
    windows = tiles(32, 8).windows((70, 20))
    assert {(window.height, window.width) for window in windows} == {(32, 20)}
    assert max(window.bottom for window in windows) == 70


def test_an_image_that_fits_into_a_window_is_left_whole():
    inner = SeesValues()
    (found,) = tiles(32, 8, inner).detect([torch.zeros((3, 32, 20), dtype=torch.uint8)], AS_RECIPE)
    assert (inner.seen, len(found)) == ([(32, 20)], 0)


def test_nothing_found_in_any_window_is_nothing():
    (found,) = tiles(32, 8).detect([torch.zeros((3, 90, 90), dtype=torch.uint8)], AS_RECIPE)
    assert (len(found), found.size, len(found.masks)) == (0, (90, 90), 0)


def test_the_best_of_all_windows_are_kept_where_a_limit_is_given():
    picture = np.zeros((30, 120), dtype=np.int64)
    for number in range(10):
        picture[10:16, 2 + 12 * number : 8 + 12 * number] = number + 1
    (found,) = tiles(32, 12).detect([as_image(picture)], Limits(count=3))
    assert found.scores.tolist() == pytest.approx([0.899, 0.898, 0.897])


@pytest.mark.parametrize(("size_px", "overlap_px"), [(32, 32), (32, 40), (32, -1)])
def test_an_overlap_that_leaves_no_step_is_refused(size_px, overlap_px):
    with pytest.raises(ConfigError, match=f"tiles of {size_px} px cannot overlap by {overlap_px} px"):
        tiles(size_px, overlap_px)


def test_a_window_is_by_default_what_the_network_sees_unresized(tiny_network):
    recipe = load_recipe("mask_rcnn", tiny_network)
    default = Tiles(SeesValues(), recipe, None, None)
    assert (default.size_px, default.overlap_px) == (64, 16)
    given_ = Tiles(SeesValues(), load_recipe("mask_rcnn", {"tiles.size_px": 500, "tiles.overlap_px": 7}), None, None)
    assert (given_.size_px, given_.overlap_px) == (500, 7)


def test_a_recipe_whose_tiles_do_not_get_on_is_refused():
    with pytest.raises(ConfigError, match=r"overlap_px 64 must be smaller than tiles\.size_px 64"):
        load_recipe("mask_rcnn", {"tiles.size_px": 64, "tiles.overlap_px": 64})


@pytest.fixture(scope="module")
def predictor(tiny_network) -> mw.Predictor:
    torch.manual_seed(0)
    return mw.load("mask_rcnn", weights="random", device="cpu", overrides=tiny_network)


def test_a_predictor_on_tiles_takes_whatever_a_predictor_takes(predictor, tmp_path: Path):
    pixels = np.random.default_rng(0).integers(0, 256, size=(100, 150, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    tiled = predictor.tiled(64, 16)
    found = tiled(tmp_path / "a.png")
    assert found.size == (100, 150)
    (other,) = tiled([pixels])
    assert torch.equal(found.boxes, other.boxes)
    assert found.masks.rle() == other.masks.rle()
    assert tiled(pixels, max_detections=2).scores.tolist() == found.scores[:2].tolist()
    assert (tiled(pixels, score_threshold=0.5).scores > 0.5).all()
    small = pixels[:60, :60]
    assert tiled(small).masks.rle() == predictor(small).masks.rle()


def test_keypoints_move_with_their_windows():
    class Points(SeesValues):
        def _detect(self, image: np.ndarray) -> Instances:
            found = super()._detect(image)
            corners = torch.cat([found.boxes[:, :2], found.scores[:, None]], dim=1)
            return replace(found, keypoints=corners[:, None])

    picture = np.zeros((30, 120), dtype=np.int64)
    picture[4:9, 3:9], picture[10:16, 80:90] = 1, 2
    (found,) = tiles(32, 12, Points()).detect([as_image(picture)], AS_RECIPE)
    assert found.keypoints[:, 0, :2].tolist() == [[3, 4], [80, 10]]

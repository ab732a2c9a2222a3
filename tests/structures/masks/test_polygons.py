"""Polygons travel beside the pixels of true masks, and are drawn on the grids of RoIs as detectron2 draws them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pycocotools.mask
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import roi_align

from maskwright.structures import Categories, CropMasks, Targets
from maskwright.structures.masks.polygons import draw_in_box, read_polygons
from maskwright.structures.masks.rle import any_to_rle

SIZE = (50, 70)
seeds = st.integers(0, 10_000)


def random_parts(seed: int) -> list[list[float]]:
    """Flat polygons of one object, some of whose vertices lie outside the image."""
    rng = np.random.default_rng(seed)
    return [
        (rng.normal(0, 12, (rng.integers(3, 12), 2)) + rng.uniform(-5, 60, 2)).round(2).ravel().tolist()
        for _ in range(rng.integers(1, 4))
    ]


def masks_of(*segmentations: Any, size: tuple[int, int] = SIZE) -> CropMasks:
    outlines = tuple(read_polygons(segmentation) for segmentation in segmentations)
    return CropMasks.from_rle([any_to_rle(one, size) for one in segmentations], size, outlines)


def random_rois(seed: int, count: int = 8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand((count, 2, 2), generator=generator).sort(dim=1).values * torch.tensor([69.0, 49.0])
    corners[:, 1] += 0.5
    return corners.reshape(count, 4)


def drawn_by_coco(parts: list[list[float]], box: npt.NDArray[np.float32], px: int) -> npt.NDArray[np.bool_]:
    """detectron2's rule: shifted to the box's corner, scaled by each axis, rasterised by the COCO API."""
    scale = [px / max(box[2] - box[0], 0.1), px / max(box[3] - box[1], 0.1)]
    moved = [((np.array(part).reshape(-1, 2) - box[:2]) * scale).ravel().tolist() for part in parts]
    rle = pycocotools.mask.merge(pycocotools.mask.frPyObjects(moved, px, px))
    return pycocotools.mask.decode(rle).astype(bool)


@given(seeds)
def test_polygons_are_drawn_as_the_coco_api_draws_them(seed: int) -> None:
    parts, rois = random_parts(seed), random_rois(seed)
    masks, objects = masks_of(parts), torch.zeros(len(rois), dtype=torch.int64)
    expected = np.stack([drawn_by_coco(parts, box, 28) for box in rois.numpy()])
    assert np.array_equal(masks.drawn(rois, objects, 28).bool().numpy(), expected)


def test_box_without_area_is_taken_for_a_small_one() -> None:
    square = read_polygons([[0, 0, 10, 0, 10, 10, 0, 10]])
    assert square is not None
    assert draw_in_box(square, np.float32([5, 5, 5, 5]), 14).all()


@given(seeds)
def test_objects_without_polygons_are_aligned_pixels_of_at_least_one_half(seed: int) -> None:
    parts, rois = random_parts(seed), random_rois(seed)
    masks = masks_of(any_to_rle(parts, SIZE), parts)
    objects = torch.arange(len(rois)) % 2
    bitmaps = torch.from_numpy(masks.bitmaps()).float()[:, None]
    rows = torch.cat([objects[:, None].float(), rois], dim=1)
    soft = roi_align(bitmaps, rows, 28, 1.0, -1, aligned=True)[:, 0]
    drawn, is_clear = masks.drawn(rois, objects, 28), (soft - 0.5).abs() > 1e-4
    for index, values in enumerate(drawn):
        if objects[index] == 0:
            assert torch.equal(values.bool()[is_clear[index]], (soft[index] >= 0.5)[is_clear[index]])
        else:
            assert np.array_equal(values.bool().numpy(), drawn_by_coco(parts, rois[index].numpy(), 28))


def test_without_any_polygons_all_are_pixels() -> None:
    rle = any_to_rle(random_parts(1), SIZE)
    rois, objects = random_rois(1), torch.zeros(8, dtype=torch.int64)
    plain = CropMasks.from_rle([rle], SIZE)
    assert torch.equal(plain.drawn(rois, objects, 14), masks_of(rle).drawn(rois, objects, 14))
    assert plain.drawn(rois[:0], objects[:0], 14).shape == (0, 14, 14)


# what augmentation does to the pixels happens to the polygons


@given(seeds, st.integers(-20, 30), st.integers(-20, 40))
def test_a_window_shows_the_same_polygons(seed: int, top: int, left: int) -> None:
    masks, rois, objects = masks_of(random_parts(seed)), random_rois(seed), torch.zeros(8, dtype=torch.int64)
    window = masks.cut(top, left, 40, 60)
    shifted = rois.double() - torch.tensor([left, top, left, top])
    assert torch.equal(window.drawn(shifted, objects, 14), masks.drawn(rois.double(), objects, 14))


@given(seeds)
def test_resizing_scales_the_polygons(seed: int) -> None:
    masks, rois, objects = masks_of(random_parts(seed)), random_rois(seed), torch.zeros(8, dtype=torch.int64)
    twice = masks.resized((SIZE[0] * 2, SIZE[1] * 4))
    scaled = rois * torch.tensor([4, 2, 4, 2])
    assert torch.equal(twice.drawn(scaled, objects, 14), masks.drawn(rois, objects, 14))


@pytest.mark.parametrize("turn", ["flipped_horizontally", "flipped_vertically", "transposed"])
def test_flips_and_turns_move_polygons_with_the_pixels(turn: str) -> None:
    corner_piece = [10, 5, 40, 5, 40, 20, 25, 20, 25, 45, 10, 45]
    masks = masks_of([corner_piece])
    turned = getattr(masks, turn)()
    (polygons,) = turned.outlines
    redrawn = masks_of([part.ravel().tolist() for part in polygons], size=turned.size)
    assert np.array_equal(redrawn.bitmaps(), turned.bitmaps())
    assert not np.array_equal(polygons[0].ravel(), corner_piece)
    ((back,),) = getattr(turned, turn)().outlines
    assert back.ravel().tolist() == corner_piece


def test_choosing_masks_chooses_their_polygons() -> None:
    masks = masks_of(random_parts(0), any_to_rle(random_parts(1), SIZE), random_parts(2))
    assert masks.outlines is not None
    for chosen in (masks[torch.tensor([2, 1])], masks[torch.tensor([2, 1])].to("cpu")):
        assert chosen.outlines == (masks.outlines[2], None)


# where they come from


def test_annotated_polygons_are_kept_and_run_lengths_have_none() -> None:
    square = [[2.0, 3.0, 12.0, 3.0, 12.0, 9.0, 2.0, 9.0]]
    annotations = [
        {"bbox": [2, 3, 10, 6], "category_id": 1, "segmentation": square},
        {"bbox": [2, 3, 10, 0], "category_id": 1, "segmentation": square},  # without area, left out
        {"bbox": [2, 3, 10, 6], "category_id": 1, "segmentation": any_to_rle(square, SIZE), "iscrowd": 1},
    ]
    outlines = Targets.from_coco(annotations, SIZE, Categories.of(["cat"])).masks.outlines
    assert outlines is not None
    polygons, crowd = outlines
    assert crowd is None
    assert polygons is not None and polygons[0].tolist() == [[2, 3], [12, 3], [12, 9], [2, 9]]


def test_parts_that_enclose_nothing_are_left_out() -> None:
    triangle = [0.0, 0.0, 4.0, 0.0, 0.0, 4.0]
    kept = read_polygons([[1.0, 1.0, 2.0, 2.0], triangle, [*triangle, 1.0]])
    assert kept is not None and len(kept) == 1
    assert read_polygons([[1.0, 1.0, 2.0, 2.0]]) is None
    assert read_polygons([]) is None

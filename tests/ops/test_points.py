"""Points inside boxes: where they lie, what is there, and which are the least certain."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from maskwright.ops.points import (
    cell_centres,
    grid_points,
    most_uncertain,
    points_in_boxes,
    sample_grids,
    sample_map,
    sample_masks,
)
from maskwright.structures import CropMasks
from maskwright.structures.masks.crop import Crop


def value_at(image: Tensor, x: float, y: float) -> float:
    """Bilinear value of (h, w) pixels whose centres lie at .5, zero around them, neighbour by neighbour."""
    total = 0.0
    for row in (math.floor(y - 0.5), math.floor(y - 0.5) + 1):
        for column in (math.floor(x - 0.5), math.floor(x - 0.5) + 1):
            if 0 <= row < image.shape[0] and 0 <= column < image.shape[1]:
                weight = (1 - abs(row + 0.5 - y)) * (1 - abs(column + 0.5 - x))
                total += weight * float(image[row, column])
    return total


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_cells_are_counted_row_by_row_and_meant_at_their_centres() -> None:
    assert cell_centres(torch.tensor([[5, 0]]), 3).tolist() == [
        [[pytest.approx(5 / 6), 0.5], [pytest.approx(1 / 6)] * 2]
    ]
    assert torch.equal(grid_points(3), cell_centres(torch.arange(9), 3))


def test_points_of_a_box_lie_in_it() -> None:
    boxes = torch.tensor([[10.0, 20.0, 30.0, 60.0], [-4.0, 0.0, 4.0, 2.0]])
    points = points_in_boxes(torch.tensor([[[0.0, 0.0], [1.0, 1.0], [0.5, 0.25]]]), boxes)
    assert points.tolist() == [[[10, 20], [30, 60], [20, 30]], [[-4, 0], [4, 2], [0, 0.5]]]


def test_a_grid_gives_back_its_values_at_the_centres_of_its_cells() -> None:
    grids = drawn(2, 3, 4, 4)
    assert torch.allclose(sample_grids(grids, grid_points(4).expand(2, -1, -1)), grids.flatten(2).transpose(1, 2))


def test_features_are_bilinear_at_points_of_each_image_and_zero_beyond_the_map() -> None:
    features, points = drawn(2, 3, 5, 7), [drawn(2, 4, 2, seed=1) * 40 - 6, drawn(1, 4, 2, seed=2) * 40 - 6]
    sampled = sample_map(features, 4, points)
    assert sampled.shape == (3, 4, 3)
    of_image = torch.tensor([0, 0, 1])
    for roi, image_points in enumerate(torch.cat(points)):
        for point, (x, y) in enumerate((image_points / 4).tolist()):
            wanted = [value_at(channel, x, y) for channel in features[of_image[roi]]]
            assert sampled[roi, point].tolist() == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("counts", [(0, 2), (2, 0), (0, 0)])
def test_images_without_points_are_normal(counts) -> None:
    sampled = sample_map(drawn(2, 3, 5, 7), 4, [torch.full((count, 4, 2), 9.0) for count in counts])
    assert sampled.shape == (sum(counts), 4, 3)


def test_masks_at_points_are_those_of_bitmaps_of_the_image_and_zero_beyond_it() -> None:
    pixels = np.random.default_rng(0).random((6, 5)) > 0.4
    masks = CropMasks.from_crops([Crop(pixels, 0, 0), Crop(pixels[:3, :4], 5, 8)], (8, 12))
    bitmaps = torch.from_numpy(masks.bitmaps()).float()
    objects, points = torch.tensor([1, 0, 1]), drawn(3, 40, 2, seed=3) * torch.tensor([16.0, 12.0]) - 2
    sampled = sample_masks(masks.packed, objects, points)
    for roi, index in enumerate(objects.tolist()):
        wanted = [value_at(bitmaps[index], x, y) for x, y in points[roi].tolist()]
        assert sampled[roi].tolist() == pytest.approx(wanted, abs=1e-5)


def test_no_more_points_are_uncertain_than_there_are() -> None:
    assert most_uncertain(torch.tensor([[1.0, -0.5]]), 5).tolist() == [[1, 0]]

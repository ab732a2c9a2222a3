"""Keypoints as cells of a heat map and back again: equal to torchvision's."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.models.detection.roi_heads import heatmaps_to_keypoints, keypoints_to_heatmap

from maskwright.ops.keypoints import keypoint_cells, locate_peaks, scale_keypoints

SEEDS = st.integers(0, 2**31)


def random_boxes(count: int, largest_px: float, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, generator=generator) * 100
    return torch.cat([corners, corners + 0.2 + torch.rand(count, 2, generator=generator) * largest_px], dim=1)


def smooth_maps(count: int, num_keypoints: int, side: int, seed: int) -> Tensor:
    """Heat maps as a head gives them: few hills, enlarged."""
    coarse = torch.randn(count, num_keypoints, side // 4, side // 4, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(3 * coarse, scale_factor=4, mode="bilinear")


@given(SEEDS)
def test_cells_are_torchvisions(seed: int) -> None:
    boxes = random_boxes(9, 60.0, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    keypoints = torch.rand(9, 5, 3, generator=generator) * torch.tensor([160.0, 160.0, 2.99])
    keypoints[..., 2].floor_()
    keypoints[:, 0, :2] = boxes[:, 2:]  # on the corner
    keypoints[:, 1, 0] = boxes[:, 2]
    expected, is_expected = keypoints_to_heatmap(keypoints, boxes, 56)
    cells, is_inside = keypoint_cells(keypoints, boxes, 56)
    assert torch.equal(cells, expected)
    assert torch.equal(is_inside, is_expected.bool())


def test_a_keypoint_on_the_far_edges_is_in_the_last_cell() -> None:
    cells, is_inside = keypoint_cells(torch.tensor([[[30.0, 20.0, 2.0]]]), torch.tensor([[10.0, 10.0, 30.0, 20.0]]), 4)
    assert (cells.item(), is_inside.item()) == (15, True)


@pytest.mark.parametrize("visibility", [0.0, 1.0, 2.0])
def test_hidden_keypoints_count_and_those_not_labelled_do_not(visibility: float) -> None:
    keypoint = torch.tensor([[[15.0, 15.0, visibility]]])
    assert keypoint_cells(keypoint, torch.tensor([[10.0, 10.0, 30.0, 20.0]]), 4)[1].item() == (visibility > 0)


@pytest.mark.parametrize("largest_px", [0.5, 30.0, 300.0])
def test_peaks_are_torchvisions(largest_px: float) -> None:
    boxes, maps = random_boxes(12, largest_px, 3), smooth_maps(12, 7, 56, 4)
    expected, expected_heights = heatmaps_to_keypoints(maps, boxes)
    indices, heights = locate_peaks(maps, boxes)
    assert (heights - expected_heights).abs().max() < 1e-5
    # nearly equal neighbours may change their order
    assert ((indices - expected[..., :2]).abs().amax(dim=-1) > 1e-4).sum() <= 1


@given(SEEDS)
def test_a_point_found_is_in_the_cell_it_was_drawn_in(seed: int) -> None:
    boxes = random_boxes(3, 200.0, seed) + torch.tensor([0.0, 0.0, 60.0, 60.0])  # cells of more than a pixel
    shares = torch.rand(3, 2, 2, generator=torch.Generator().manual_seed(seed))
    points = boxes[:, None, :2] + shares * (boxes[:, None, 2:] - boxes[:, None, :2])
    keypoints = torch.cat([points, torch.full((3, 2, 1), 2.0)], dim=-1)
    cells, _ = keypoint_cells(keypoints, boxes, 56)
    maps = torch.nn.functional.one_hot(cells, 56 * 56).float().reshape(3, 2, 56, 56)
    indices, _ = locate_peaks(maps, boxes)
    sides = (boxes[:, None, 2:] - boxes[:, None, :2]) / 56
    assert ((indices - points).abs() <= sides + 1).all()


def test_no_boxes_have_no_peaks() -> None:
    indices, heights = locate_peaks(torch.zeros(0, 17, 56, 56), torch.zeros(0, 4))
    assert (indices.shape, heights.shape) == ((0, 17, 2), (0, 17))


def test_reduced_precision_around_changes_no_peak() -> None:
    boxes, maps = random_boxes(4, 90.0, 5), smooth_maps(4, 3, 56, 6)
    expected, _ = locate_peaks(maps, boxes)
    with torch.autocast("cpu", torch.bfloat16):
        indices, _ = locate_peaks(maps, boxes)
    assert torch.equal(indices, expected)


def test_scaling_there_and_back_changes_nothing() -> None:
    keypoints = torch.rand(4, 5, 3)
    there = scale_keypoints(keypoints, (30, 40), (60, 30))
    assert torch.equal(there[..., 2], keypoints[..., 2])
    assert torch.allclose(scale_keypoints(there, (60, 30), (30, 40)), keypoints)

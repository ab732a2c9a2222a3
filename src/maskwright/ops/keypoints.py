"""Keypoints and their heat maps on a RoI (Mask R-CNN, section 5)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def scale_keypoints(keypoints: Tensor, from_size: tuple[int, int], to_size: tuple[int, int]) -> Tensor:
    """Carry keypoints from an image of one (height, width) to the same image at another.

    Args:
        keypoints: (..., 3) x y in pixels, and a third value that stays as it is.
        from_size: of the image in which they lie.
        to_size: of the image wanted.

    >>> scale_keypoints(torch.tensor([[1.0, 2.0, 0.9]]), (10, 10), (20, 30))[0, :2].tolist()
    [3.0, 4.0]
    """
    ratios = [to_size[1] / from_size[1], to_size[0] / from_size[0], 1.0]
    return keypoints * keypoints.new_tensor(ratios)


def keypoint_cells(keypoints: Tensor, rois: Tensor, cells: int) -> tuple[Tensor, Tensor]:
    """The cell of a RoI's heat map in which each keypoint lies; on the right or lower edge it is the last cell.

    Args:
        keypoints: (F, K, 3) x y visibility, in pixels.
        rois: (F, 4) x1 y1 x2 y2 in the same pixels.
        cells: M along each side of the heat map.

    Returns:
        (F, K) int64 index of the cell in M × M, row by row, zero where there is none; and (F, K) bool whether there is
        one: the keypoint is labelled and lies in the RoI.
    """
    start, end, points = rois[:, None, :2], rois[:, None, 2:], keypoints[..., :2]
    columns_rows = ((points - start) * (cells / (end - start))).floor().to(torch.int64)
    columns_rows = torch.where(points == end, cells - 1, columns_rows)
    is_inside = ((columns_rows >= 0) & (columns_rows < cells)).all(dim=-1) & (keypoints[..., 2] > 0)
    return (columns_rows[..., 1] * cells + columns_rows[..., 0]) * is_inside, is_inside


def locate_peaks(maps: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Where each heat map is highest, once it is enlarged bicubically to its box in whole pixels, rounded up.

    Bicubic interpolation is linear in rows and in columns, so two matrix products enlarge all maps of a box at once:
    several times faster than doing so pixel by pixel.

    Args:
        maps: (N, K, M, M) float32.
        boxes: (N, 4) x1 y1 x2 y2 in pixels; sides below one pixel count as one.

    Returns:
        (N, K, 2) x y in pixels, the centre of the highest cell, and (N, K) the height there.
    """
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1)
    peaks, heights = maps.new_zeros((*maps.shape[:2], 2)), maps.new_zeros(maps.shape[:2])
    with torch.autocast(maps.device.type, enabled=False):  # half precision would find many equal heights
        for index, (width, height) in enumerate(sides.ceil().to(torch.int64).tolist()):
            rows, columns = _enlarging(maps, height), _enlarging(maps, width)
            enlarged = rows @ (maps[index] @ columns.T)
            heights[index], best = enlarged.flatten(1).max(dim=1)
            peaks[index] = torch.stack([best % width, best // width], dim=1) + 0.5
    return peaks * (sides / sides.ceil())[:, None] + boxes[:, None, :2], heights


def _enlarging(maps: Tensor, length: int) -> Tensor:
    """(length, M) the matrix that resizes a line of M values bicubically."""
    unit = torch.eye(maps.shape[-1], dtype=maps.dtype, device=maps.device)
    return F.interpolate(unit[None, None], size=(length, len(unit)), mode="bicubic", align_corners=False)[0, 0]

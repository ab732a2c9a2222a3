"""Ground-truth masks: each object's pixels at its own box, all packed behind each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maskwright.ops.masks import cells_of, sample_crops, sample_points
from maskwright.structures.masks import Masks
from maskwright.structures.rle import Bitmap, Crop, rle_to_crop

Interpolation = Literal["nearest", "bilinear"]


@dataclass(frozen=True, eq=False)
class CropMasks(Masks):
    """Exact masks in memory proportional to the objects' boxes, whatever the image's size.

    Attributes:
        size: (height, width) of the image in pixels.
        pixels: (T,) uint8 0 or 1, row by row, object by object.
        corners: (G, 2) int64 top, left of each crop.
        crop_sizes: (G, 2) int64 height, width of each crop.
    """

    size: tuple[int, int]
    pixels: Tensor
    corners: Tensor
    crop_sizes: Tensor

    @staticmethod
    def from_crops(crops: Sequence[Crop], size: tuple[int, int]) -> CropMasks:
        """Pack crops that lie inside an image of (height, width)."""
        flat = [np.ascontiguousarray(crop.pixels).view(np.uint8).ravel() for crop in crops]
        return CropMasks(
            size,
            torch.from_numpy(np.concatenate(flat) if flat else np.zeros(0, dtype=np.uint8)),
            torch.tensor([[crop.top, crop.left] for crop in crops], dtype=torch.int64).reshape(-1, 2),
            torch.tensor([crop.pixels.shape for crop in crops], dtype=torch.int64).reshape(-1, 2),
        )

    @staticmethod
    def from_rle(rles: Sequence[Mapping[str, Any]], size: tuple[int, int]) -> CropMasks:
        """Unpack COCO run lengths, each to the tight crop around its foreground."""
        return CropMasks.from_crops([rle_to_crop(rle) for rle in rles], size)

    @property
    def starts(self) -> Tensor:
        """(G,) int64 where each crop begins in `pixels`."""
        lengths = self.crop_sizes.prod(dim=1)
        return lengths.cumsum(0) - lengths

    def __len__(self) -> int:
        return len(self.corners)

    def chosen(self, index: Tensor | slice) -> CropMasks:
        places = torch.arange(len(self))[index.cpu() if isinstance(index, Tensor) else index].tolist()
        crops = self.crops()
        return CropMasks.from_crops([crops[place] for place in places], self.size).to(self.pixels.device)

    def crop(self, index: int) -> Crop:
        height, width = self.crop_sizes[index].tolist()
        top, left = self.corners[index].tolist()
        start = int(self.crop_sizes[:index].prod(dim=1).sum())
        return Crop(self._pixels_of(start, height, width), top, left)

    def crops(self) -> list[Crop]:
        """All crops; one pass over the packed pixels."""
        starts, corners, sizes = self.starts.tolist(), self.corners.tolist(), self.crop_sizes.tolist()
        return [
            Crop(self._pixels_of(start, height, width), top, left)
            for start, (top, left), (height, width) in zip(starts, corners, sizes, strict=True)
        ]

    def _pixels_of(self, start: int, height: int, width: int) -> Bitmap:
        flat = self.pixels[start : start + height * width].cpu().numpy()
        return flat.view(np.bool_).reshape(height, width)

    def boxes(self) -> Tensor:
        """(G, 4) float32 x1 y1 x2 y2 around the foreground of each mask; zeros where a mask is empty."""
        boxes = torch.zeros((len(self), 4))
        for index, (pixels, top, left) in enumerate(self.crops()):
            rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
            if len(rows):
                edges = [left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1]
                boxes[index] = torch.tensor([float(edge) for edge in edges])
        return boxes

    def resized(self, size: tuple[int, int], interpolation: Interpolation = "nearest") -> CropMasks:
        """The masks of the image resized to (height, width); equal to resizing whole bitmaps.

        Args:
            size: new (height, width) of the image.
            interpolation: `nearest`, each new pixel takes one old one by torch's rule; `bilinear`, foreground is what
                OpenCV's 8-bit bilinear resize of a 0/1 bitmap makes 1: about one half and more.
        """
        resize = _resized_bilinearly if interpolation == "bilinear" else _resized_to_nearest
        return CropMasks.from_crops(resize(self.crops(), self.size, size), size)

    def cut(self, top: int, left: int, height: int, width: int) -> CropMasks:
        """The masks as seen through a window of the image; those outside become empty but stay, in place."""
        parts = []
        for pixels, crop_top, crop_left in self.crops():
            y, x = crop_top - top, crop_left - left
            part = pixels[max(0, -y) : max(0, height - y), max(0, -x) : max(0, width - x)]
            parts.append(Crop(part, min(max(0, y), height), min(max(0, x), width)))
        return CropMasks.from_crops(parts, (height, width))

    def flipped_horizontally(self) -> CropMasks:
        """The masks of the mirrored image, left and right exchanged."""
        width = self.size[1]
        flipped = [Crop(p[:, ::-1], top, width - left - p.shape[1]) for p, top, left in self.crops()]
        return CropMasks.from_crops(flipped, self.size)

    def flipped_vertically(self) -> CropMasks:
        """The masks of the mirrored image, top and bottom exchanged."""
        height = self.size[0]
        flipped = [Crop(p[::-1], height - top - p.shape[0], left) for p, top, left in self.crops()]
        return CropMasks.from_crops(flipped, self.size)

    def transposed(self) -> CropMasks:
        """The masks of the image with rows and columns exchanged."""
        turned = [Crop(pixels.T, left, top) for pixels, top, left in self.crops()]
        return CropMasks.from_crops(turned, (self.size[1], self.size[0]))

    def sampled(self, rois: Tensor, objects: Tensor, output_px: int, samples: int) -> Tensor:
        """(P, M, M) float32 share of foreground in each cell of each RoI's grid; see `ops.masks.sample_crops`."""
        return sample_crops(
            self.pixels, self.starts, self.corners, self.crop_sizes, self.size, rois, objects, output_px, samples
        )

    def shrunk(self, grid: tuple[int, int]) -> Tensor:
        """(G, h, w) bool the masks on a coarse grid over the image: where bilinear values exceed one half (YOLACT)."""
        scale = torch.tensor([self.size[0] / grid[0], self.size[1] / grid[1]], device=self.corners.device)
        first = ((self.corners - 0.5) / scale - 0.5).floor().to(torch.int64).clamp(min=0)
        end = ((self.corners + self.crop_sizes + 0.5) / scale - 0.5).ceil().to(torch.int64) + 1
        end = torch.minimum(end, torch.tensor(grid, device=end.device))
        objects, rows, columns = cells_of(torch.cat([first.flip(1), end.flip(1)], dim=1))
        points = (torch.stack([rows, columns], dim=1) + 0.5) * scale - 0.5
        values = sample_points(self.pixels, self.starts, self.corners, self.crop_sizes, self.size, objects, points)
        shrunk = torch.zeros((len(self), *grid), dtype=torch.bool, device=self.corners.device)
        shrunk[objects, rows, columns] = values > 0.5
        return shrunk

    def restored(self, size: tuple[int, int], boxes: Tensor) -> CropMasks:  # noqa: ARG002 - pixels need none
        return self.resized(size)

    def to(self, device: torch.device | str) -> CropMasks:
        return replace(
            self,
            pixels=self.pixels.to(device),
            corners=self.corners.to(device),
            crop_sizes=self.crop_sizes.to(device),
        )


def nearest_sources(old: int, new: int) -> npt.NDArray[np.int64]:
    """(new,) int64 the old pixel that each new pixel shows, by torch's `nearest` rule in float32."""
    places = np.floor(np.arange(new, dtype=np.float32) * np.float32(old / new)).astype(np.int64)
    return np.asarray(np.minimum(places, old - 1))


class LinearSources(NamedTuple):
    """(new,) each: the two old lines that each new line mixes, and their weights in 2048ths."""

    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]
    first_weight: npt.NDArray[np.int32]
    second_weight: npt.NDArray[np.int32]


def linear_sources(old: int, new: int) -> LinearSources:
    """Sources of bilinear interpolation along one axis by OpenCV's rule: half-pixel centres, weights of 11 bits.

    Beyond the outermost centres both sources are the border line, which then has both weights.
    """
    positions = ((np.arange(new) + 0.5) * (1 / (new / old)) - 0.5).astype(np.float32)
    lower = np.floor(positions)
    share = positions - lower
    first, second = lower.astype(np.int64).clip(0), (lower.astype(np.int64) + 1).clip(max=old - 1)
    return LinearSources(first, second, *(np.rint(part * 2048).astype(np.int32) for part in (1 - share, share)))


def _resized_to_nearest(crops: Sequence[Crop], old: tuple[int, int], new: tuple[int, int]) -> list[Crop]:
    rows, columns = nearest_sources(old[0], new[0]), nearest_sources(old[1], new[1])
    resized = []
    for pixels, top, left in crops:
        first_row, end_row = np.searchsorted(rows, [top, top + pixels.shape[0]])
        first_column, end_column = np.searchsorted(columns, [left, left + pixels.shape[1]])
        kept_rows, kept_columns = rows[first_row:end_row] - top, columns[first_column:end_column] - left
        resized.append(Crop(pixels[np.ix_(kept_rows, kept_columns)], int(first_row), int(first_column)))
    return resized


def _resized_bilinearly(crops: Sequence[Crop], old: tuple[int, int], new: tuple[int, int]) -> list[Crop]:
    rows, columns = linear_sources(old[0], new[0]), linear_sources(old[1], new[1])
    resized = []
    for pixels, top, left in crops:
        bordered = np.pad(pixels, 1)  # lines beside the crop mix it with background
        crop_rows, first_row = _touching(rows, top, pixels.shape[0])
        crop_columns, first_column = _touching(columns, left, pixels.shape[1])
        resized.append(Crop(_mixed(bordered, crop_rows, crop_columns), first_row, first_column))
    return resized


def _touching(sources: LinearSources, start: int, length: int) -> tuple[LinearSources, int]:
    """The new lines with a source among `length` old ones from `start`, counted in the bordered crop; the first one."""
    first = int(np.searchsorted(sources.second, start))
    new = slice(first, int(np.searchsorted(sources.first, start + length)))
    kept = LinearSources(
        sources.first[new] - start + 1,
        sources.second[new] - start + 1,
        sources.first_weight[new],
        sources.second_weight[new],
    )
    return kept, first


def _mixed(pixels: Bitmap, rows: LinearSources, columns: LinearSources) -> Bitmap:
    """OpenCV's arithmetic for 8 bits: each of the two rows gives whole quarters, rounded down; two make a pixel."""
    mixed = pixels[:, columns.first] * columns.first_weight + pixels[:, columns.second] * columns.second_weight
    shares = mixed >> 4  # of 128
    quarters = (shares[rows.first] * rows.first_weight[:, None] >> 16) + (
        shares[rows.second] * rows.second_weight[:, None] >> 16
    )
    return np.asarray(quarters >= 2)

"""Ground-truth masks: each object's pixels at its own box, all packed behind each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maskwright.ops.masks import sample_crops
from maskwright.structures.masks import Masks
from maskwright.structures.rle import Bitmap, Crop, rle_to_crop


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
        return CropMasks.from_crops([crops[place] for place in places], self.size)

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

    def resized(self, size: tuple[int, int]) -> CropMasks:
        """The masks of the image resized to (height, width), each new pixel taking the nearest old one."""
        rows, columns = nearest_sources(self.size[0], size[0]), nearest_sources(self.size[1], size[1])
        resized = []
        for pixels, top, left in self.crops():
            first_row, end_row = np.searchsorted(rows, [top, top + pixels.shape[0]])
            first_column, end_column = np.searchsorted(columns, [left, left + pixels.shape[1]])
            kept_rows, kept_columns = rows[first_row:end_row] - top, columns[first_column:end_column] - left
            resized.append(Crop(pixels[np.ix_(kept_rows, kept_columns)], int(first_row), int(first_column)))
        return CropMasks.from_crops(resized, size)

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

    def to(self, device: torch.device | str) -> CropMasks:
        """The same masks with their tensors on `device`."""
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

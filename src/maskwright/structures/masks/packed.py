"""Ground-truth masks: each object's pixels at its own box, all packed behind each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from maskwright.ops.mask_sampling import PackedMasks, crop_and_resize, sample_crops, sample_points
from maskwright.ops.masks import cells_of
from maskwright.structures.masks.crop import Bitmap, Crop
from maskwright.structures.masks.interface import Masks
from maskwright.structures.masks.polygons import Outlines, choose_outlines, draw_in_box, move_outlines
from maskwright.structures.masks.resizing import Interpolation, mini_crop, resize_crops
from maskwright.structures.masks.rle import rle_to_crop
from maskwright.structures.masks.thin import keep_thin


@dataclass(frozen=True, eq=False)
class CropMasks(Masks):
    """Exact masks in memory proportional to the objects' boxes, whatever the image's size.

    Attributes:
        size: (height, width) of the image in pixels.
        pixels: (T,) uint8 0 or 1, row by row, object by object.
        corners: (G, 2) int64 top, left of each crop.
        crop_sizes: (G, 2) int64 height, width of each crop.
        outlines: polygons of the objects that were annotated so, in pixels of the image, or None where they are
            not kept. They may go on beyond the image's border, which the pixels do not.
    """

    size: tuple[int, int]
    pixels: Tensor
    corners: Tensor
    crop_sizes: Tensor
    outlines: Outlines | None = None

    @staticmethod
    def from_crops(crops: Sequence[Crop], size: tuple[int, int], outlines: Outlines | None = None) -> CropMasks:
        """Pack crops that lie inside an image of (height, width), with the polygons they were drawn from, if any."""
        flat = [np.ascontiguousarray(crop.pixels).view(np.uint8).ravel() for crop in crops]
        return CropMasks(
            size,
            torch.from_numpy(np.concatenate(flat) if flat else np.zeros(0, dtype=np.uint8)),
            torch.tensor([[crop.top, crop.left] for crop in crops], dtype=torch.int64).reshape(-1, 2),
            torch.tensor([crop.pixels.shape for crop in crops], dtype=torch.int64).reshape(-1, 2),
            outlines,
        )

    @staticmethod
    def from_rle(
        rles: Sequence[Mapping[str, Any]], size: tuple[int, int], outlines: Outlines | None = None
    ) -> CropMasks:
        """Unpack COCO run lengths, each to the tight crop around its foreground."""
        return CropMasks.from_crops([rle_to_crop(rle) for rle in rles], size, outlines)

    @property
    def starts(self) -> Tensor:
        """(G,) int64 where each crop begins in `pixels`."""
        lengths = self.crop_sizes.prod(dim=1)
        return lengths.cumsum(0) - lengths

    @property
    def packed(self) -> PackedMasks:
        """The same pixels, as sampling them takes them."""
        return PackedMasks(self.pixels, self.starts, self.corners, self.crop_sizes, self.size)

    def __len__(self) -> int:
        return len(self.corners)

    def chosen(self, index: Tensor | slice) -> CropMasks:
        indices = torch.arange(len(self))[index.cpu() if isinstance(index, Tensor) else index].tolist()
        crops = self.crops()
        outlines = choose_outlines(self.outlines, indices)
        return CropMasks.from_crops([crops[chosen] for chosen in indices], self.size, outlines).to(self.pixels.device)

    def crop(self, index: int) -> Crop:
        height, width = self.crop_sizes[index].tolist()
        top, left = self.corners[index].tolist()
        start = int(self.crop_sizes[:index].prod(dim=1).sum())
        return Crop(_bitmap(self.pixels[start : start + height * width].cpu(), (height, width)), top, left)

    def crops(self) -> list[Crop]:
        """All crops; one pass over the packed pixels, which leave a card in one piece."""
        pixels, crop_sizes = self.pixels.cpu(), self.crop_sizes.cpu()
        parts = pixels.split(crop_sizes.prod(dim=1).tolist())
        columns = zip(parts, self.corners.tolist(), crop_sizes.tolist(), strict=True)
        return [Crop(_bitmap(part, (height, width)), top, left) for part, (top, left), (height, width) in columns]

    def boxes(self) -> Tensor:
        """(G, 4) float32 x1 y1 x2 y2 around the foreground of each mask; zeros where a mask is empty."""
        boxes = torch.zeros((len(self), 4))
        for index, crop in enumerate(crop.tight() for crop in self.crops()):
            boxes[index] = torch.tensor([crop.left, crop.top, crop.right, crop.bottom])
        return boxes

    def resized(
        self, size: tuple[int, int], interpolation: Interpolation = "nearest", keeps_thin: bool = False
    ) -> CropMasks:
        """The masks of the image resized to (height, width).

        Args:
            size: (height, width) of the new image.
            interpolation: see `mask_resizing.resize_crops`.
            keeps_thin: objects that become thinner than a pixel keep what they cover; see `thin_masks.keep_thin`.
        """
        ratio = np.array([size[1] / self.size[1], size[0] / self.size[0]])
        old = self.crops()
        crops = resize_crops(old, self.size, size, interpolation)
        if keeps_thin:
            crops = [keep_thin(*pair, self.size, size) for pair in zip(old, crops, strict=True)]
        return CropMasks.from_crops(crops, size, move_outlines(self.outlines, lambda part: part * ratio))

    def cut(self, top: int, left: int, height: int, width: int) -> CropMasks:
        """The masks as seen through a window of the image; those outside become empty and keep their index."""
        parts = [crop.cut(top, left, height, width).moved(-top, -left) for crop in self.crops()]
        corner = np.array([left, top])
        return CropMasks.from_crops(parts, (height, width), move_outlines(self.outlines, lambda part: part - corner))

    def moved(self, top: int, left: int, size: tuple[int, int]) -> CropMasks:
        """The masks of an image that became part of one of (height, width), its corner at (top, left)."""
        corner = np.array([left, top])
        return replace(
            self,
            size=size,
            corners=self.corners + torch.tensor([top, left], device=self.corners.device),
            outlines=move_outlines(self.outlines, lambda part: part + corner),
        )

    def flipped_horizontally(self) -> CropMasks:
        """The masks of the mirrored image, left and right exchanged."""
        width = self.size[1]
        flipped = [crop.mirrored(width) for crop in self.crops()]
        outlines = move_outlines(self.outlines, lambda part: np.array([width, 0]) + part * [-1, 1])
        return CropMasks.from_crops(flipped, self.size, outlines)

    def flipped_vertically(self) -> CropMasks:
        """The masks of the mirrored image, top and bottom exchanged."""
        height = self.size[0]
        flipped = [crop.upside_down(height) for crop in self.crops()]
        outlines = move_outlines(self.outlines, lambda part: np.array([0, height]) + part * [1, -1])
        return CropMasks.from_crops(flipped, self.size, outlines)

    def transposed(self) -> CropMasks:
        """The masks of the image with rows and columns exchanged."""
        turned = [crop.transposed() for crop in self.crops()]
        outlines = move_outlines(self.outlines, lambda part: part[:, ::-1])
        return CropMasks.from_crops(turned, (self.size[1], self.size[0]), outlines)

    def sampled(self, rois: Tensor, objects: Tensor, output_px: int, samples: int, is_aligned: bool = False) -> Tensor:
        """(P, M, M) float32 share of foreground in each cell of each RoI; see `mask_sampling.sample_crops`."""
        return sample_crops(self.packed, rois, objects, output_px, samples, is_aligned)

    def drawn(self, rois: Tensor, objects: Tensor, output_px: int) -> Tensor:
        """The objects' polygons drawn on each RoI's grid (detectron2).

        Objects without polygons are foreground where RoIAlign of their pixels, half-pixel-aligned, gives one half.

        Args:
            rois: (P, 4) x1 y1 x2 y2 in pixels.
            objects: (P,) int64 the mask of each RoI.
            output_px: M, side of the result.

        Returns:
            (P, M, M) float32, 0 or 1.
        """
        outlines = choose_outlines(self.outlines, objects.tolist()) or (None,) * len(rois)
        has_none = torch.tensor([polygons is None for polygons in outlines], dtype=torch.bool, device=rois.device)
        result = rois.new_zeros((len(rois), output_px, output_px), dtype=torch.float32)
        if has_none.any():
            result[has_none] = (self.sampled(rois[has_none], objects[has_none], output_px, 0, True) >= 0.5).float()
        boxes = rois.cpu().numpy()
        drawn = [
            draw_in_box(polygons, box, output_px) for polygons, box in zip(outlines, boxes, strict=True) if polygons
        ]
        if drawn:
            result[~has_none] = torch.from_numpy(np.stack(drawn)).to(result)
        return result

    def cropped(
        self, rois: Tensor, objects: Tensor, output_px: int, mini_px: int | None = None, stretches_range: bool = False
    ) -> Tensor:
        """Crop-and-resize of the masks, or of their mini masks, rounded (matterport).

        Args:
            rois, objects, output_px: as in `drawn`.
            mini_px: side of the squares to which the masks are shrunk first, each from the box of its foreground.
            stretches_range: as in `mask_resizing.mini_crop`.

        Returns:
            (P, M, M) float32, 0 or 1.
        """
        masks, low, sides = self.packed, rois.new_zeros(4), rois.new_tensor([*self.size[::-1], *self.size[::-1]])
        if mini_px is not None:
            used, objects = torch.unique(objects, return_inverse=True)
            crops, boxes = self[used].crops(), self[used].boxes().to(rois)[objects]
            minis = [mini_crop(crop, mini_px, stretches_range) for crop in crops]
            masks = CropMasks.from_crops(minis, (mini_px, mini_px)).to(rois.device).packed
            low, sides = boxes[:, :2].repeat(1, 2), (boxes[:, 2:] - boxes[:, :2]).clamp(min=1).repeat(1, 2)
        return crop_and_resize(masks, (rois - low) / sides, objects, output_px).round()

    def shrunk(self, grid: tuple[int, int], keeps_thin: bool = False) -> Tensor:
        """(G, h, w) bool the masks on a coarse grid over the image: where bilinear values exceed one half (YOLACT).

        With `keeps_thin`, an object that loses more than half of its area so keeps the cells that it covers most.
        """
        scale = torch.tensor([self.size[0] / grid[0], self.size[1] / grid[1]], device=self.corners.device)
        first = ((self.corners - 0.5) / scale - 0.5).floor().to(torch.int64).clamp(min=0)
        end = ((self.corners + self.crop_sizes + 0.5) / scale - 0.5).ceil().to(torch.int64) + 1
        end = torch.minimum(end, torch.tensor(grid, device=end.device))
        objects, rows, columns = cells_of(torch.cat([first.flip(1), end.flip(1)], dim=1))
        points = (torch.stack([rows, columns], dim=1) + 0.5) * scale - 0.5
        values = sample_points(self.packed, objects, points)
        shrunk = torch.zeros((len(self), *grid), dtype=torch.bool, device=self.corners.device)
        shrunk[objects, rows, columns] = values > 0.5
        if keeps_thin:
            areas = torch.zeros(len(self), device=scale.device)
            areas = areas.index_add(0, self._object_of_pixels(), self.pixels.float())
            lost = torch.nonzero(2 * shrunk.sum(dim=(1, 2)) * scale.prod() < areas).flatten()
            for index in lost.tolist():
                found = keep_thin(self.crop(index), Crop(shrunk[index].cpu().numpy(), 0, 0), self.size, grid)
                shrunk[index][found.window] = torch.from_numpy(found.pixels).to(shrunk.device)
        return shrunk

    def _object_of_pixels(self) -> Tensor:
        """(T,) int64 the object of each packed pixel."""
        counts = self.crop_sizes.prod(dim=1)
        return torch.repeat_interleave(torch.arange(len(self), device=counts.device), counts)

    def restored(self, size: tuple[int, int], boxes: Tensor) -> CropMasks:  # noqa: ARG002 - pixels need none
        return self.resized(size)

    def to(self, device: torch.device | str) -> CropMasks:
        return replace(
            self,
            pixels=self.pixels.to(device),
            corners=self.corners.to(device),
            crop_sizes=self.crop_sizes.to(device),
        )


def _bitmap(pixels: Tensor, size: tuple[int, int]) -> Bitmap:
    """Packed pixels of one mask, on the CPU, as a bitmap that shares their memory."""
    return pixels.numpy().view(np.bool_).reshape(size)

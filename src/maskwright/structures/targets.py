"""Ground truth of one image, as the losses need it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maskwright.errors import DataError
from maskwright.ops.boxes import boxes_from_xywh, clip_boxes, has_area, scale_boxes
from maskwright.ops.devices import knows_float64
from maskwright.ops.keypoints import scale_keypoints
from maskwright.structures.categories import Categories
from maskwright.structures.keypoints import keypoints_from_coco, moved_to_centres
from maskwright.structures.label_map import LabelMap
from maskwright.structures.masks.packed import CropMasks
from maskwright.structures.masks.polygons import read_polygons
from maskwright.structures.masks.resizing import Interpolation
from maskwright.structures.masks.rle import any_to_rle


@dataclass(frozen=True, eq=False)
class Targets:
    """G objects of an image; all fields have the same length. No objects is a normal case.

    Attributes:
        size: (height, width) of the image in pixels.
        boxes: (G, 4) float64 x1 y1 x2 y2 in pixels; the last digits decide between anchors of equal IoU.
        labels: (G,) int64 index into the categories.
        masks: G masks.
        is_crowd: (G,) bool; a crowd stands for many objects, so it is neither positive nor counted.
        keypoints: (G, K, 3) float32 x y in pixels and visibility (0 not labelled, 1 hidden, 2 visible), or None where
            the data has none; objects without any have zeros.
        semantic: (H, W) uint8 output of a semantic head that each pixel belongs to, 255 = ignored; None where
            the image has no such map. It is of the whole image, whichever objects are chosen.
    """

    size: tuple[int, int]
    boxes: Tensor
    labels: Tensor
    masks: CropMasks
    is_crowd: Tensor
    keypoints: Tensor | None = None
    semantic: Tensor | None = None

    @staticmethod
    def from_coco(
        annotations: Iterable[Mapping[str, Any]],
        size: tuple[int, int],
        categories: Categories | Sequence[str] | Sequence[Mapping[str, Any]],
        *,
        needs_masks: bool = True,
    ) -> Targets:
        """Read the annotation dicts of one image: polygons, compressed or uncompressed run lengths, crowds.

        Args:
            annotations: with `bbox` (x y w h), `category_id`, `segmentation` and, optionally, `iscrowd` and `keypoints`
                (x y visibility of each). An object whose box has no area inside the image is left out.
            size: (height, width) of the image.
            categories: a `Categories`, names (ids 1, 2, …) or a COCO `categories` list.
            needs_masks: `segmentation` must be there; otherwise an object without gets an empty mask, for models that
                learn none.

        Raises:
            DataError: a `category_id` that the categories do not have, or an annotation without one of the keys.
        """
        categories = Categories.of(categories)
        annotations = [_checked(annotation, needs_masks) for annotation in annotations]
        boxes_xywh = torch.tensor([annotation["bbox"] for annotation in annotations], dtype=torch.float64)
        boxes = clip_boxes(boxes_from_xywh(boxes_xywh.reshape(-1, 4)), size)
        is_kept = has_area(boxes)
        kept = [annotation for annotation, keep in zip(annotations, is_kept.tolist(), strict=True) if keep]
        return Targets(
            size=size,
            boxes=boxes[is_kept],
            labels=torch.tensor([categories.label_of(a["category_id"]) for a in kept], dtype=torch.int64),
            masks=CropMasks.from_rle(
                [_rle_of(a, size) for a in kept],
                size,
                outlines=tuple(read_polygons(a.get("segmentation") or []) for a in kept),
            ),
            is_crowd=torch.tensor([bool(a.get("iscrowd", 0)) for a in kept], dtype=torch.bool),
            keypoints=keypoints_from_coco(kept),
        )

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: Tensor) -> Targets:
        """The objects that an index tensor or a bool mask chooses."""
        return replace(
            self,
            boxes=self.boxes[index],
            labels=self.labels[index],
            masks=self.masks[index],
            is_crowd=self.is_crowd[index],
            keypoints=None if self.keypoints is None else self.keypoints[index],
        )

    def without_crowds(self) -> Targets:
        """The single objects only."""
        return self[~self.is_crowd] if self.is_crowd.any() else self

    def resized(
        self, size: tuple[int, int], interpolation: Interpolation = "nearest", keeps_thin: bool = False
    ) -> Targets:
        """The ground truth of the image resized to (height, width); see `CropMasks.resized`."""
        return replace(
            self,
            size=size,
            boxes=scale_boxes(self.boxes, self.size, size),
            masks=self.masks.resized(size, interpolation, keeps_thin),
            keypoints=None if self.keypoints is None else scale_keypoints(self.keypoints, self.size, size),
            semantic=None if self.semantic is None else LabelMap(self.semantic).resized(size).labels,
        )

    def moved(self, top: int, left: int, size: tuple[int, int]) -> Targets:
        """The ground truth of an image that became part of one of (height, width), its corner at (top, left).

        A semantic map stays behind: it is of the whole image.
        """
        shift = self.boxes.new_tensor([left, top, left, top])
        return replace(
            self,
            size=size,
            boxes=self.boxes + shift,
            masks=self.masks.moved(top, left, size),
            keypoints=None if self.keypoints is None else self.keypoints + self.keypoints.new_tensor([left, top, 0]),
            semantic=None,
        )

    def with_boxes_of_masks(self) -> Targets:
        """The same objects with boxes around the pixels of their masks, where these have any."""
        around = self.masks.boxes().to(self.boxes)
        return replace(self, boxes=torch.where(has_area(around)[:, None], around, self.boxes))

    def with_semantic(self, semantic: Tensor | npt.NDArray[np.uint8] | None) -> Targets:
        """The same objects with a map of semantic classes, (H, W) whole numbers from 0 to 255.

        Raises:
            DataError: the map has another size than the image, or holds something else.
        """
        if semantic is None:
            return replace(self, semantic=None)
        labels = torch.as_tensor(semantic)
        is_whole = not labels.is_floating_point() and int(labels.min()) >= 0 and int(labels.max()) <= 255
        if tuple(labels.shape) != tuple(self.size) or not is_whole:
            raise DataError(
                f"semantic map is {tuple(labels.shape)} of {labels.dtype}, but the image {tuple(self.size)} (height, "
                "width); give whole numbers from 0 to 255, one for every pixel"
            )
        return replace(self, semantic=labels.to(torch.uint8))

    def with_keypoints_at_centres(self) -> Targets:
        """The same objects, their keypoints taken for pixels and moved to the centres of these (detectron2)."""
        return replace(self, keypoints=None if self.keypoints is None else moved_to_centres(self.keypoints))

    def in_single_precision(self) -> Targets:
        """The same objects with float32 boxes."""
        return replace(self, boxes=self.boxes.float())

    def to(self, device: torch.device | str) -> Targets:
        """The same objects with their tensors on `device`; one without float64 gets boxes of float32."""
        boxes = self.boxes if knows_float64(device) else self.boxes.float()
        return replace(
            self,
            boxes=boxes.to(device),
            labels=self.labels.to(device),
            masks=self.masks.to(device),
            is_crowd=self.is_crowd.to(device),
            keypoints=None if self.keypoints is None else self.keypoints.to(device),
            semantic=None if self.semantic is None else self.semantic.to(device),
        )


def _checked(annotation: Mapping[str, Any], needs_masks: bool) -> Mapping[str, Any]:
    if missing := [key for key in ("bbox", "category_id") if key not in annotation]:
        raise DataError(f"{_named(annotation)} has no {missing[0]!r}; every object needs one")
    if needs_masks and "segmentation" not in annotation:
        raise DataError(f"{_named(annotation)} has no 'segmentation'; a model with masks needs one, others not")
    return annotation


def _named(annotation: Mapping[str, Any]) -> str:
    return f"annotation {annotation['id']}" if "id" in annotation else "an annotation"


def _rle_of(annotation: Mapping[str, Any], size: tuple[int, int]) -> Mapping[str, Any]:
    segmentation = annotation.get("segmentation") or {"size": list(size), "counts": [size[0] * size[1]]}
    return any_to_rle(segmentation, size)

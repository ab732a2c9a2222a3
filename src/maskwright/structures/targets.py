"""Ground truth of one image, as the losses need it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from maskwright.errors import DataError
from maskwright.ops.boxes import boxes_from_xywh, clip_boxes, scale_boxes
from maskwright.structures.categories import Categories
from maskwright.structures.crop_masks import CropMasks, Interpolation
from maskwright.structures.rle import any_to_rle


@dataclass(frozen=True, eq=False)
class Targets:
    """G objects of an image; all fields have the same length. No objects is a normal case.

    Attributes:
        size: (height, width) of the image in pixels.
        boxes: (G, 4) float64 x1 y1 x2 y2 in pixels; anchors of equal IoU are told apart by their last digits.
        labels: (G,) int64 index into the categories.
        masks: G masks.
        is_crowd: (G,) bool; a crowd stands for many objects, so it is neither positive nor counted.
    """

    size: tuple[int, int]
    boxes: Tensor
    labels: Tensor
    masks: CropMasks
    is_crowd: Tensor

    @staticmethod
    def from_coco(
        annotations: Iterable[Mapping[str, Any]],
        size: tuple[int, int],
        categories: Categories | Sequence[str] | Sequence[Mapping[str, Any]],
    ) -> Targets:
        """Read the annotation dicts of one image: polygons, compressed or uncompressed run lengths, crowds.

        Args:
            annotations: with `bbox` (x y w h), `category_id`, `segmentation` and, optionally, `iscrowd`. An object
                whose box has no area inside the image is left out.
            size: (height, width) of the image.
            categories: a `Categories`, names (ids 1, 2, …) or a COCO `categories` list.

        Raises:
            DataError: a `category_id` that the categories do not have, or an annotation without one of the keys.
        """
        categories = Categories.of(categories)
        annotations = [_checked(annotation) for annotation in annotations]
        boxes_xywh = torch.tensor([annotation["bbox"] for annotation in annotations], dtype=torch.float64)
        boxes = clip_boxes(boxes_from_xywh(boxes_xywh.reshape(-1, 4)), size)
        has_area = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
        kept = [annotation for annotation, is_kept in zip(annotations, has_area.tolist(), strict=True) if is_kept]
        return Targets(
            size=size,
            boxes=boxes[has_area],
            labels=torch.tensor([categories.label_of(a["category_id"]) for a in kept], dtype=torch.int64),
            masks=CropMasks.from_rle([any_to_rle(a["segmentation"], size) for a in kept], size),
            is_crowd=torch.tensor([bool(a.get("iscrowd", 0)) for a in kept], dtype=torch.bool),
        )

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: Tensor) -> Targets:
        """The objects that an index tensor or a bool mask chooses."""
        return Targets(self.size, self.boxes[index], self.labels[index], self.masks[index], self.is_crowd[index])

    def without_crowds(self) -> Targets:
        """The single objects only."""
        return self[~self.is_crowd] if self.is_crowd.any() else self

    def resized(self, size: tuple[int, int], interpolation: Interpolation = "nearest") -> Targets:
        """The ground truth of the image resized to (height, width); `interpolation` is that of its masks."""
        boxes = scale_boxes(self.boxes, self.size, size)
        return Targets(size, boxes, self.labels, self.masks.resized(size, interpolation), self.is_crowd)

    def in_single_precision(self) -> Targets:
        """The same objects with float32 boxes."""
        return replace(self, boxes=self.boxes.float())

    def to(self, device: torch.device | str) -> Targets:
        """The same objects with their tensors on `device`; one of Apple's, which knows no float64, gets float32."""
        boxes = self.boxes.float() if torch.device(device).type == "mps" else self.boxes
        return Targets(
            self.size,
            boxes.to(device),
            self.labels.to(device),
            self.masks.to(device),
            self.is_crowd.to(device),
        )


def _checked(annotation: Mapping[str, Any]) -> Mapping[str, Any]:
    if missing := [key for key in ("bbox", "category_id", "segmentation") if key not in annotation]:
        raise DataError(f"annotation {annotation.get('id', '')} has no {missing[0]!r}; every object needs one")
    return annotation

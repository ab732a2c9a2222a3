"""What a model found in one image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from maskwright.errors import ConfigError, MissingDependency
from maskwright.ops.boxes import boxes_to_xywh, clip_boxes, scale_boxes
from maskwright.ops.keypoints import scale_keypoints
from maskwright.structures.categories import Categories
from maskwright.structures.masks.interface import Index, Masks, as_index
from maskwright.structures.masks.pasted import PastedMasks
from maskwright.structures.panoptic_map import PanopticMap, merge_panoptic
from maskwright.structures.semantic_map import SemanticMap

if TYPE_CHECKING:
    import supervision


# fields of `Instances` that are of the image; all others are columns with a value for each object, or None
_OF_IMAGE = ("size", "categories", "semantic", "keypoints_at_centres")


@dataclass(frozen=True, eq=False)
class Instances:
    """N objects of an image, scores descending; all columns, which are the fields that are not of the image, are of N.

    Attributes:
        size: (height, width) of the image in pixels.
        boxes: (N, 4) float32 x1 y1 x2 y2 in pixels.
        labels: (N,) int64 index into `categories`.
        scores: (N,) float32 from 0 to 1.
        masks: N masks, or None where the model has no mask branch.
        keypoints: (N, K, 3) x y in pixels and score, or None. A score is what the model's kind reports: a height of the
            heat map, or a share of it; neither ends at 1.
        categories: names and ids of the classes.
        mask_scores: (N,) float32 scores of the masks where the model gives them apart from `scores` (YOLACT++), or
            None. They are not sorted, and may exceed 1.
        semantic: a class for every pixel of the image, or None where the model has no semantic head. It stays whole
            when some of the objects are chosen.
        keypoints_at_centres: a keypoint that annotation files would call pixel 3 has x 3.5 here, as detectron2 counts;
            else it has 3, as torchvision does.
    """

    size: tuple[int, int]
    boxes: Tensor
    labels: Tensor
    scores: Tensor
    masks: Masks | None
    categories: Categories
    keypoints: Tensor | None = None
    mask_scores: Tensor | None = None
    semantic: SemanticMap | None = None
    keypoints_at_centres: bool = False

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: Index) -> Instances:
        """Some of the objects, as `Instances` again; an int gives one object."""
        chosen = as_index(index, len(self))
        return replace(self, **self._columns(lambda column: column[chosen]))

    def __iter__(self) -> Iterator[Instances]:
        return (self[index] for index in range(len(self)))

    def _columns(self, change: Callable[[Any], Any]) -> dict[str, Any]:
        """Each column that there is, changed."""
        names = (field.name for field in fields(self) if field.name not in _OF_IMAGE)
        return {name: change(getattr(self, name)) for name in names if getattr(self, name) is not None}

    @staticmethod
    def joined(parts: Sequence[Instances]) -> Instances:
        """The objects of all parts behind each other; masks, which have no common form, are left to the caller.

        Args:
            parts: at least one, all of the same model. What is of the image is that of the first.
        """
        first = replace(parts[0], masks=None)
        columns: dict[str, Any] = {
            name: torch.cat([getattr(part, name) for part in parts]) for name in first._columns(len)
        }
        return replace(first, **columns)

    def restored_to(self, size: tuple[int, int], boxes: Tensor | None = None) -> Instances:
        """The same objects in the image at another (height, width), where they have `boxes`.

        Without these, boxes are scaled by each axis's own ratio, and clipped.
        """
        boxes = clip_boxes(scale_boxes(self.boxes, self.size, size), size) if boxes is None else boxes
        return replace(
            self,
            size=size,
            boxes=boxes,
            masks=None if self.masks is None else self.masks.restored(size, boxes),
            keypoints=None if self.keypoints is None else scale_keypoints(self.keypoints, self.size, size),
            semantic=None if self.semantic is None else self.semantic.restored(size),
        )

    def above(self, score_threshold: float, limit: int | None = None) -> Instances:
        """The best `limit` objects that score above the threshold."""
        return self[self.scores > score_threshold][:limit]

    def pasted(self) -> Instances:
        """The same objects with their masks put onto the image once, before pixels are needed several times."""
        return self if self.masks is None else replace(self, masks=PastedMasks.of(self.masks))

    def to(self, device: torch.device | str) -> Instances:
        """The same objects with their tensors on `device`."""
        semantic = None if self.semantic is None else self.semantic.to(device)
        return replace(self, semantic=semantic, **self._columns(lambda column: column.to(device)))

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """Entries of a COCO results list: image_id, category_id, bbox (x y w h), score, segmentation (run lengths).

        Those with keypoints have `keypoints`: x, y and score of each, one after the other, in pixels as annotated.
        Where masks have scores of their own, `mask_score` stands beside `score`.
        """
        columns: dict[str, list[Any]] = {
            "category_id": [self.categories.ids[label] for label in self.labels.tolist()],
            "bbox": boxes_to_xywh(self.boxes).tolist(),
            "score": self.scores.tolist(),
        }
        if self.mask_scores is not None:
            columns["mask_score"] = self.mask_scores.tolist()
        if self.masks is not None:
            columns["segmentation"] = self.masks.rle()
        if self.keypoints is not None:
            half_px = 0.5 if self.keypoints_at_centres else 0.0
            pixels = self.keypoints - self.keypoints.new_tensor([half_px, half_px, 0.0])
            columns["keypoints"] = pixels.flatten(1).tolist()
        rows = zip(*columns.values(), strict=True)
        return [{"image_id": image_id, **dict(zip(columns, row, strict=True))} for row in rows]

    def to_supervision(self) -> supervision.Detections:
        """As `supervision.Detections`, with full-size bitmaps; names and keypoints are in `data`.

        Raises:
            MissingDependency: supervision is not installed.
        """
        try:
            from supervision import Detections
        except ModuleNotFoundError as error:
            raise MissingDependency("supervision", "supervision", "Instances.to_supervision") from error
        names = np.array([self.categories[label] for label in self.labels.tolist()], dtype=str)
        keypoints = {} if self.keypoints is None else {"keypoints": self.keypoints.cpu().numpy()}
        return Detections(
            xyxy=self.boxes.cpu().numpy(),
            mask=None if self.masks is None else self.masks.bitmaps(),
            confidence=self.scores.cpu().numpy(),
            class_id=self.labels.cpu().numpy(),
            data={"class_name": names, **keypoints},
        )

    def panoptic(self, labels: Tensor | None = None) -> PanopticMap:
        """Objects and stuff in one map, where every pixel belongs to at most one segment.

        A segment's `instance_id` is the index of its object here.

        Args:
            labels: `semantic.labels()`, where they are known already.

        Raises:
            ConfigError: the model has no semantic head, or no masks.
        """
        if self.semantic is None or self.masks is None:
            missing = "semantic classes (semantic_head.is_on)" if self.semantic is None else "masks (mask_head.is_on)"
            raise ConfigError(f"a panoptic map needs a model that predicts {missing}; choose a panoptic recipe")
        labels = self.semantic.labels() if labels is None else labels
        classes = self.semantic.panoptic_classes(self.categories)
        return merge_panoptic(self.masks, self.labels, self.scores, labels, classes, self.semantic.rule)

    def draw(self, image: Any) -> np.ndarray:
        """The (H, W, 3) uint8 RGB image with masks, boxes, names and scores drawn over it."""
        from maskwright.images.draw import draw_instances  # drawing stands above; only this method reaches up

        return draw_instances(image, self)

"""Test-time augmentation: an image is seen in several sizes, also mirrored, and the results are joined.

As in detectron2: the detections of all views are carried back to the image and suppress each other once. Models whose
masks can be had for any box (Mask R-CNN) then predict the mask of each box that is left in every view, and average the
probabilities; a mask of other models (YOLACT) is that of the view whose detection was left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import torch
from torch import Tensor

from maskwright.config.run import Recipe
from maskwright.errors import ConfigError
from maskwright.models.segmenter import AS_RECIPE, Limits, Selected, TwoStage
from maskwright.ops.boxes import clip_boxes
from maskwright.ops.nms import suppress
from maskwright.predict.views import View, ViewGroup, in_image, in_view, views_of
from maskwright.predict.whole import WholeImages
from maskwright.structures import CropMasks, ImageBatch, Instances, Masks, RoiMasks
from maskwright.structures.masks.crop import Crop

Size = tuple[int, int]

# detections of all views together need a score above this (detectron2)
_LEAST_SCORE = 1e-8

# feature maps of the first pass over the views that are kept for the second; those beyond it are computed again. Enough
# for detectron2's 18 views of a photograph of 640 × 480 and a pyramid of 256 channels
_KEPT_BYTES = 2**31


def refuse_unjoinable(recipe: Recipe) -> None:
    """Go on only if what a model finds in several views of an image can be joined.

    Raises:
        ConfigError: it finds keypoints, or no objects at all: there is no rule for joining them.
    """
    if "keypoints" in recipe.metric_kinds or not recipe.finds_objects:
        what = "keypoints" if recipe.finds_objects else "no objects"
        raise ConfigError(
            f"recipe {recipe.name} finds {what}, for which views of an image cannot be joined; predict without "
            "test-time augmentation"
        )


class AugmentedViews:
    """A detector that sees each image in several views.

    Args:
        whole: the network and its preprocessing.
        recipe: whose `augmented` table says which views, and `detect` how detections suppress each other.

    Raises:
        ConfigError: the model finds keypoints, or no objects at all: there is no rule for joining them.
    """

    def __init__(self, whole: WholeImages, recipe: Recipe) -> None:
        refuse_unjoinable(recipe)
        self.whole, self.config = whole, recipe.augmented
        self.has_masks = "mask" in recipe.metric_kinds
        self.has_semantic = recipe.semantics is not None
        self.nms_iou, self.max_detections = recipe.detect.nms_iou, recipe.detect.max_detections

    def detect(self, images: Sequence[Tensor], limits: Limits) -> list[Instances]:
        """See `predict.whole.Detector`; images go one by one, their views a few at a time.

        The limits hold for each view and for what is left of all. A semantic map is that of
        the whole image in the recipe's own size.
        """
        found = []
        model = self.whole.model
        with self.whole.running():
            for image in images:
                pixels = image.to(self.whole.device)
                if isinstance(model, TwoStage):
                    merged = self._of_two_stages(model, pixels, limits)
                else:
                    merged = self._of_one_stage(pixels, limits)
                found.append(self.whole.preprocess.restore(merged, merged.size).to("cpu"))
        return self._with_semantic(images, found)

    def views(self, size: Size) -> list[View]:
        """The views of an image of (height, width), in detectron2's order."""
        return views_of(size, self.whole.preprocess.resize, self.config)

    def groups(self, image: Tensor) -> list[ViewGroup]:
        """The views of an image (C, H, W), in the groups that go through the network together."""
        views = iter(self.views(_size(image)))
        groups = []
        while group := tuple(islice(views, self.config.views_at_once)):
            groups.append(ViewGroup(image, group))
        return groups

    def union(self, image: Tensor, limits: Limits = AS_RECIPE) -> Selected:
        """What all views of an image (C, H, W) show, view after view, before detections suppress each other.

        Args:
            image: as `Preprocess.read` gives it.
            limits: of each view.

        Returns:
            Boxes in pixels of the image, which may reach over its border.
        """
        pixels, model = image.to(self.whole.device), self.whole.model
        with self.whole.running():
            if isinstance(model, TwoStage):
                return self._found(model, pixels, _Kept(0), limits)
            return _joined(self._detected(pixels, limits), self.views(_size(image)), image)

    def _of_two_stages(self, model: TwoStage, image: Tensor, limits: Limits) -> Instances:
        size, kept = _size(image), _Kept(_KEPT_BYTES if self.has_masks else 0)
        union = self._found(model, image, kept, limits)
        best = self._best(union, size, limits)
        merged = Selected(clip_boxes(union.boxes, size)[best], union.labels[best], union.scores[best])
        masks = self._masks(model, image, kept, merged) if self.has_masks else None
        return Instances(size, *merged, masks, self.whole.model.categories)

    def _found(self, model: TwoStage, image: Tensor, kept: _Kept, limits: Limits) -> Selected:
        """`union` of a two-stage network, whose feature maps are kept."""
        found: list[Selected] = []
        for group in self.groups(image):
            batch = group.batch(self.whole.preprocess)
            levels = model.encode(batch)
            kept.add(batch, levels)
            seen = model.find(levels, batch, limits)
            found += [some._replace(boxes=some.boxes - shift) for some, shift in zip(seen, batch.shifts, strict=True)]
        return _joined(found, self.views(_size(image)), image)

    def _masks(self, model: TwoStage, image: Tensor, kept: _Kept, merged: Selected) -> Masks | None:
        """The mean of what all views say about each box; it is not clipped to them."""
        size, masks = _size(image), list[Masks | None]()
        for index, group in enumerate(self.groups(image)):
            batch, levels = kept[index] or _encoded(model, group.batch(self.whole.preprocess))
            asked = [
                merged._replace(boxes=in_view(merged.boxes, view, size) + shift)
                for shift, view in zip(batch.shifts, group.views, strict=True)
            ]
            masks += model.segment(levels, batch, asked)
        return _averaged(masks, self.views(size), merged.boxes, size)

    def _of_one_stage(self, image: Tensor, limits: Limits) -> Instances:
        size, views = _size(image), self.views(_size(image))
        found = self._detected(image, limits)
        union = _joined(found, views, image)
        best = self._best(union, size, limits)
        return replace(
            Instances.joined(found)[best],
            size=size,
            boxes=clip_boxes(union.boxes, size)[best],
            masks=_picked(found, views, best, size),
        )

    def _detected(self, image: Tensor, limits: Limits) -> list[Instances]:
        """What a one-stage network sees in each view, in pixels of the view."""
        batches = (group.batch(self.whole.preprocess) for group in self.groups(image))
        return [some for batch in batches for some in self.whole.model.detect(batch, limits)]

    def _best(self, union: Selected, size: Size, limits: Limits) -> Tensor:
        """(M,) int64 which detections of all views are left, best first."""
        boxes, is_scored = clip_boxes(union.boxes, size), union.scores > _LEAST_SCORE
        indices = torch.nonzero(is_scored).flatten()
        count = self.max_detections if limits.count is None else limits.count
        return indices[suppress(boxes[indices], union.scores[indices], union.labels[indices], self.nms_iou, count)]

    def _with_semantic(self, images: Sequence[Tensor], found: list[Instances]) -> list[Instances]:
        if not self.has_semantic:
            return found
        whole = self.whole.detect(images, AS_RECIPE)
        return [replace(some, semantic=other.semantic) for some, other in zip(found, whole, strict=True)]


class _Kept:
    """Batches with their feature maps, as many of the first as fit into a number of bytes."""

    def __init__(self, most_bytes: int) -> None:
        self._room, self._items = most_bytes, list[tuple[ImageBatch, list[Tensor]]]()

    def add(self, batch: ImageBatch, levels: list[Tensor]) -> None:
        """Keep them, unless something before did not fit."""
        self._room -= sum(part.numel() * part.element_size() for part in (batch.pixels, *levels))
        if self._room >= 0:
            self._items.append((batch, levels))

    def __getitem__(self, index: int) -> tuple[ImageBatch, list[Tensor]] | None:
        return self._items[index] if index < len(self._items) else None


def _joined(found: Sequence[Selected | Instances], views: Sequence[View], image: Tensor) -> Selected:
    """Detections in pixels of the views behind each other, in pixels of the image."""
    return Selected(
        torch.cat([in_image(some.boxes, view, _size(image)) for some, view in zip(found, views, strict=True)]),
        torch.cat([some.labels for some in found]),
        torch.cat([some.scores for some in found]),
    )


def _encoded(model: TwoStage, batch: ImageBatch) -> tuple[ImageBatch, list[Tensor]]:
    return batch, model.encode(batch)


def _averaged(masks: Sequence[Masks | None], views: Sequence[View], boxes: Tensor, size: Size) -> Masks | None:
    """The mean of what all views say about each box; None of a model without masks."""
    seen = [some for some in masks if isinstance(some, RoiMasks)]
    if not seen:
        return None
    turned = [
        some.probabilities.float().flip(-1) if view.is_mirrored else some.probabilities.float()
        for some, view in zip(seen, views, strict=True)
    ]
    return replace(seen[0], size=size, boxes=boxes, probabilities=torch.stack(turned).mean(dim=0))


def _picked(found: Sequence[Instances], views: Sequence[View], indices: Tensor, size: Size) -> Masks | None:
    """The masks of some of all detections, counted through; each is that of the view it was found in."""
    crops: dict[int, Crop] = {}
    first = 0
    for some, view in zip(found, views, strict=True):
        if some.masks is None:
            return None
        chosen = indices[(indices >= first) & (indices < first + len(some))]
        masks = some.masks[chosen - first].restored(size, some.boxes[chosen - first])
        turned = (crop.mirrored(size[1]) if view.is_mirrored else crop for crop in masks.crops())
        crops.update(zip(chosen.tolist(), turned, strict=True))
        first += len(some)
    return CropMasks.from_crops([crops[index] for index in indices.tolist()], size)


def _size(image: Tensor) -> Size:
    return image.shape[-2], image.shape[-1]

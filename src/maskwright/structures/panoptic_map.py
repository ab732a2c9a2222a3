"""One segment for every pixel of an image: objects first, stuff where they left room (Panoptic FPN, section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt
from torch import Tensor
from typing_extensions import NotRequired

from maskwright.structures.categories import Categories
from maskwright.structures.label_map import IGNORED
from maskwright.structures.masks.crop import Bitmap, Crop
from maskwright.structures.masks.interface import Masks
from maskwright.structures.semantic_map import PanopticClasses, PanopticRule

SegmentIds = npt.NDArray[np.int32]


class Segment(TypedDict):
    """One segment of a panoptic map; things have a score too, and their index among the instances.

    `category_id` is that of annotation files, `label` the index into the things or the stuff; `area` counts pixels.
    """

    id: int
    isthing: bool
    category_id: int
    label: int
    area: int
    score: NotRequired[float]
    instance_id: NotRequired[int]


@dataclass(frozen=True, eq=False)
class PanopticMap:
    """Which segment each pixel of an image belongs to.

    Attributes:
        ids: (H, W) int32 id of a segment, 0 where there is none.
        segments: of ids 1, 2, …: things, best first, then stuff in the order of its classes.
        classes: of the segments.
    """

    ids: SegmentIds
    segments: list[Segment]
    classes: PanopticClasses

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the image in pixels."""
        return self.ids.shape[0], self.ids.shape[1]

    def to_coco(self, image_id: int, file_name: str) -> tuple[dict[str, Any], npt.NDArray[np.uint8]]:
        """COCO's panoptic form.

        Args:
            image_id: of the image.
            file_name: under which the picture will be saved, as PNG.

        Returns:
            The annotation (image_id, file_name, segments_info), and the (H, W, 3) uint8 picture whose colours are the
            ids: red + 256 × green + 65536 × blue.
        """
        segments_info = [
            {
                "id": segment["id"],
                "category_id": segment["category_id"],
                "area": segment["area"],
                "bbox": _box_xywh(self.ids == segment["id"]),
                "iscrowd": 0,
            }
            for segment in self.segments
        ]
        picture = np.stack([self.ids >> shift & 255 for shift in (0, 8, 16)], axis=-1).astype(np.uint8)
        return {"image_id": image_id, "file_name": file_name, "segments_info": segments_info}, picture


def merge_panoptic(
    masks: Masks, labels: Tensor, scores: Tensor, semantic: Tensor, classes: PanopticClasses, rule: PanopticRule
) -> PanopticMap:
    """Let objects and stuff share the pixels of an image, as detectron2 does.

    Args:
        masks: of N objects.
        labels: (N,) index into `classes.things`.
        scores: (N,); a better object takes pixels from a worse one.
        semantic: (H, W) output of the semantic head that is the largest at each pixel.
        classes: what the labels mean.
        rule: who gets what.
    """
    ids = np.zeros(masks.size, dtype=np.int32)
    things = _place_things_(ids, masks, labels.tolist(), scores.tolist(), classes.things, rule)
    stuff = _place_stuff_(ids, semantic.cpu().numpy(), classes, rule, len(things))
    return PanopticMap(ids, [*things, *stuff], classes)


def _place_things_(
    ids: SegmentIds, masks: Masks, labels: list[int], scores: list[float], things: Categories, rule: PanopticRule
) -> list[Segment]:
    """Write objects into `ids`, best first, each where no better one is."""
    segments: list[Segment] = []
    for index in sorted(range(len(scores)), key=lambda index: -scores[index]):
        if scores[index] < rule.score_threshold:
            break
        crop = masks.crop(index)
        free = crop._replace(pixels=crop.pixels & (ids[crop.window] == 0))
        num_pixels, num_free = crop.area, free.area
        if num_free == 0 or (num_pixels - num_free) / num_pixels > rule.overlap_share:
            continue
        segments.append(
            {
                "id": len(segments) + 1,
                "isthing": True,
                "category_id": things.ids[labels[index]],
                "label": labels[index],
                "area": num_free,
                "score": scores[index],
                "instance_id": index,
            }
        )
        free.paste_into(ids, len(segments))
    return segments


def _place_stuff_(
    ids: SegmentIds, semantic: npt.NDArray[np.uint8], classes: PanopticClasses, rule: PanopticRule, num_things: int
) -> list[Segment]:
    """Write each class of stuff into `ids` where there is no object."""
    segments: list[Segment] = []
    semantic = np.where(ids == 0, semantic, np.uint8(IGNORED))
    for output in np.unique(semantic).tolist():
        label = output - classes.has_things
        is_own = semantic == output
        area = int(is_own.sum())
        if not 0 <= label < len(classes.stuff) or area < rule.min_stuff_px:
            continue
        segments.append(
            {
                "id": num_things + len(segments) + 1,
                "isthing": False,
                "category_id": classes.stuff.ids[label],
                "label": label,
                "area": area,
            }
        )
        ids[is_own] = segments[-1]["id"]
    return segments


def _box_xywh(bitmap: Bitmap) -> list[int]:
    """x y w h of the foreground, of which there is some."""
    pixels, top, left = Crop(bitmap).tight()
    return [left, top, *reversed(pixels.shape)]

"""Small pictures with objects drawn on them, as text that a page can hold."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from maskwright.data.record import ImageRecord
from maskwright.errors import DataError
from maskwright.images.draw import Colour, Picture, draw_instances
from maskwright.images.read import read_image
from maskwright.ops.boxes import boxes_from_xywh
from maskwright.structures import Categories, CropMasks, Instances, Targets
from maskwright.structures.masks.crop import Bitmap
from maskwright.structures.masks.rle import any_to_rle

_WEBP_QUALITY = 72
_OPACITY = 0.35
_FRAME_PX = 3


@dataclass(frozen=True)
class Thumbnail:
    """A picture inside a page.

    Attributes:
        uri: `data:image/webp;base64,…`.
        height, width: in pixels.
    """

    uri: str
    height: int
    width: int


def small_size(size: tuple[int, int], longest_px: int) -> tuple[int, int]:
    """The (height, width) of an image made so small that no side is longer than `longest_px`; never larger.

    >>> small_size((4000, 3000), 640), small_size((10, 20), 640)
    ((640, 480), (10, 20))
    """
    scale = min(1.0, longest_px / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def read_small(record: ImageRecord, longest_px: int) -> Picture:
    """The image of a record, (h, w, 3) RGB of `small_size`.

    Raises:
        DataError: the file cannot be read, or has another size than the record says.
    """
    pixels = read_image(record.path).permute(1, 2, 0).numpy()
    if pixels.shape[:2] != record.size:
        found, expected = (f"{width} × {height}" for height, width in (pixels.shape[:2], record.size))
        raise DataError(f"image {record.path} is {found} pixels (width × height), the annotations say {expected}")
    height, width = small_size(record.size, longest_px)
    return np.array(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2.0))


def instances_of_results(
    results: Sequence[Mapping[str, Any]], size: tuple[int, int], categories: Categories
) -> Instances:
    """Entries of a COCO results list, all of one image of (height, width) and the best first."""
    has_masks = all(entry.get("segmentation") for entry in results)
    masks = (
        CropMasks.from_rle([any_to_rle(entry["segmentation"], size) for entry in results], size) if has_masks else None
    )
    has_points = bool(results) and all(entry.get("keypoints") for entry in results)
    points = torch.tensor([entry["keypoints"] for entry in results]).unflatten(1, (-1, 3)) if has_points else None
    if masks is not None and not all("bbox" in entry for entry in results):
        boxes = masks.boxes()
    else:
        boxes = boxes_from_xywh(torch.tensor([_box_of(entry) for entry in results]).reshape(-1, 4)).float()
    return Instances(
        size=size,
        boxes=boxes,
        labels=torch.tensor([categories.label_of(entry["category_id"]) for entry in results], dtype=torch.int64),
        scores=torch.tensor([entry["score"] for entry in results], dtype=torch.float32),
        masks=masks,
        categories=categories,
        keypoints=points,
    )


def instances_of_annotations(
    annotations: Sequence[Mapping[str, Any]], size: tuple[int, int], categories: Categories
) -> tuple[Instances, list[int]]:
    """Annotated objects of one image as if they had been found, with score 1.

    Returns:
        the N objects whose boxes lie in the image, and for each its index among the annotations.
    """
    parts = [Targets.from_coco([entry], size, categories, needs_masks=False) for entry in annotations]
    indices = [index for index, part in enumerate(parts) if len(part)]
    targets = Targets.from_coco([annotations[index] for index in indices], size, categories, needs_masks=False)
    points = targets.keypoints
    instances = Instances(
        size=size,
        boxes=targets.boxes.float(),
        labels=targets.labels,
        scores=torch.ones(len(targets)),
        masks=targets.masks if any(entry.get("segmentation") for entry in annotations) else None,
        categories=categories,
        keypoints=None if points is None else torch.where(points[..., 2:] > 0, points, torch.nan),
    )
    return instances, indices


def draw_objects(
    picture: Picture, instances: Instances, texts: Sequence[str], colours: Sequence[Colour] | None = None
) -> Picture:
    """Objects of an image drawn on a smaller picture of it: tinted, outlined, and named where there is room.

    Args:
        picture: (h, w, 3) RGB; it is not changed.
        instances: N objects in pixels of the image.
        texts: what to write at each; nothing where the text is empty.
        colours: of each; None for those that predictions have.
    """
    height, width = picture.shape[:2]
    shrunk = instances.restored_to((height, width))
    if colours is None:
        return draw_instances(picture, shrunk, opacity=_OPACITY, texts=texts)
    drawn = draw_instances(
        picture, shrunk, opacity=_OPACITY, texts=texts, colours=colours, has_boxes=shrunk.masks is None
    )
    if shrunk.masks is not None:
        for crop, colour in zip(shrunk.masks.crops(), colours, strict=True):
            drawn[crop.window][_border(crop.pixels)] = colour
    return drawn


def draw_frame(picture: Picture, box: Sequence[float], size: tuple[int, int], colour: Colour) -> Picture:
    """A heavy frame around the box x1 y1 x2 y2, in pixels of an image of (height, width), on its smaller picture."""
    canvas = Image.fromarray(picture)
    pen, scale = ImageDraw.Draw(canvas), picture.shape[0] / size[0]
    left, top, right, bottom = (value * scale for value in box)
    # as far outside the object as the frame is wide, white around it, so that it shows on any ground
    for margin, ink, width in (
        (2 * _FRAME_PX, (255, 255, 255), 2 * _FRAME_PX - 1),
        (2 * _FRAME_PX - 1, colour, _FRAME_PX),
    ):
        corners = [left - margin, top - margin, right + margin, bottom + margin]
        pen.rectangle(corners, outline=ink, width=width)
    return np.array(canvas)


def as_thumbnail(picture: Picture) -> Thumbnail:
    """The (h, w, 3) RGB picture as WebP in base64."""
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, "WEBP", quality=_WEBP_QUALITY, method=4)
    encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Thumbnail(f"data:image/webp;base64,{encoded}", picture.shape[0], picture.shape[1])


def _box_of(entry: Mapping[str, Any]) -> list[float]:
    """The box x y w h of a detection; of one that has only keypoints, around these."""
    if "bbox" in entry:
        return list(entry["bbox"])
    xs, ys = entry["keypoints"][0::3], entry["keypoints"][1::3]
    return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]


def _border(pixels: Bitmap) -> Bitmap:
    """Those pixels of a mask that touch something else above, below, left or right."""
    padded = np.pad(pixels, 1)
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    border: Bitmap = pixels & ~inside
    return border

"""Detections drawn over their image: masks by NumPy; keypoints, boxes, names and scores by Pillow.

Every object of a model with one class gets a colour of its own, so that touching objects can be seen apart; with
several classes the colour is the class's, the same in every picture. Masks are blended crop by crop, so a thousand
objects cost little more memory than the picture.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw, ImageFont

from maskwright.errors import DataError
from maskwright.images.read import ImageSource, read_stored
from maskwright.images.scale import as_picture
from maskwright.ops.boxes import box_areas
from maskwright.structures import Instances, PanopticMap
from maskwright.structures.masks.crop import Crop

Picture = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]
Ground = tuple[int, int, int, int]

# where labels would cover more of the picture than this, they hide what they name
_LARGEST_LABEL_SHARE = 0.2
# pixels blended at once, in float32: four times the memory of this part of the picture
_PIXELS_AT_ONCE = 500_000
# the limbs of COCO's person, as pairs of its 17 keypoints
_PERSON_POINTS = 17
_PERSON_LIMBS = (
    *((15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8), (7, 9), (8, 10)),
    *((1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6)),
)
_GOLDEN_RATIO = 0.618033988749895


def draw_instances(
    image: ImageSource,
    instances: Instances,
    *,
    opacity: float = 0.5,
    has_boxes: bool | None = None,
    has_labels: bool | None = None,
    colours: Sequence[Colour] | None = None,
    texts: Sequence[str] | None = None,
    panoptic: PanopticMap | None = None,
) -> Picture:
    """Draw what was found in an image over it.

    Args:
        image: the image in which they were found; it is not changed. Of many channels the first three are shown, and
            of values deeper than 8 bits the range that the image has.
        instances: N objects; those without masks are drawn as boxes. Where the model has a semantic head, the stuff
            between them is tinted, half as strongly.
        opacity: of the masks, from 0 (invisible) to 1 (hiding the image).
        has_boxes: draw the boxes; None leaves them out of crowded pictures with masks.
        has_labels: write "name 0.87" at each box that is higher than the letters; None leaves them out of crowded
            pictures, where they would cover more than a fifth.
        colours: (red, green, blue) of each object; None for those of `object_colours`.
        texts: what to write at each object instead of name and score; nothing where the text is empty.
        panoptic: the instances' panoptic map, where it was made before; else it is made here, which takes a while.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        DataError: the image cannot be read, or has another size than the instances.
    """
    picture = as_picture(read_stored(image))
    if picture.shape[:2] != instances.size:
        found, expected = ("{} × {}".format(*size) for size in (picture.shape[:2], instances.size))
        raise DataError(f"the image to draw on has {found} pixels, the instances {expected}; draw on the same image")
    colours = object_colours(instances) if colours is None else colours
    texts = _label_texts(instances) if texts is None else texts
    if instances.semantic is not None and instances.masks is not None:
        _draw_stuff(picture, panoptic or instances.panoptic(), len(instances.categories), opacity / 2)
    if instances.masks is not None:
        _draw_masks(picture, instances, colours, opacity)
    if instances.keypoints is not None:
        _draw_keypoints(picture, instances, colours)
    is_crowded = _label_share(texts, instances.size) > _LARGEST_LABEL_SHARE
    if has_boxes or (has_boxes is None and (instances.masks is None or not is_crowded)):
        _draw_boxes(picture, instances, colours)
    if has_labels or (has_labels is None and not is_crowded):
        _draw_labels(picture, instances, colours, texts)
    return picture


def object_colours(instances: Instances) -> list[Colour]:
    """(red, green, blue) of each object: one per object where there is a single class, else one per class."""
    has_one_class = len(instances.categories) == 1
    return [colour_of(index if has_one_class else label) for index, label in enumerate(instances.labels.tolist())]


def colour_of(index: int) -> Colour:
    """A bright (red, green, blue) for any index; neighbours in the sequence are far apart in hue.

    >>> colour_of(0), colour_of(1)
    ((255, 77, 77), (77, 129, 255))
    """
    red, green, blue = colorsys.hsv_to_rgb(index * _GOLDEN_RATIO % 1, 0.7, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def _draw_stuff(picture: Picture, panoptic: PanopticMap, num_things: int, opacity: float) -> None:
    """Blend the stuff of the panoptic map into the picture, in colours that follow on those of the objects."""
    for segment in panoptic.segments:
        if not segment["isthing"]:
            colour = colour_of(num_things + segment["label"])
            _blend(picture, Crop(panoptic.ids == segment["id"]), colour, opacity)


def _draw_masks(picture: Picture, instances: Instances, colours: Sequence[Colour], opacity: float) -> None:
    """Blend masks into the picture, those with large boxes first, so that what lies on them stays visible."""
    assert instances.masks is not None
    order = torch.argsort(box_areas(instances.boxes), descending=True, stable=True)
    for index, crop in zip(order.tolist(), instances.masks[order].crops(), strict=True):
        _blend(picture, crop, colours[index], opacity)


def _blend(picture: Picture, crop: Crop, colour: Colour, opacity: float) -> None:
    """Blend one mask into the part of the picture that its crop covers, some rows at a time."""
    height, width = crop.pixels.shape
    scene, paint = picture[crop.window], np.array(colour, np.float32) * np.float32(opacity)
    rows_at_once = max(1, _PIXELS_AT_ONCE // max(1, width))
    for first in range(0, height, rows_at_once):
        band, mask = (whole[first : first + rows_at_once] for whole in (scene, crop.pixels))
        band[mask] = (band[mask] * np.float32(1 - opacity) + paint + 0.5).astype(np.uint8)


def _draw_keypoints(picture: Picture, instances: Instances, colours: Sequence[Colour]) -> None:
    """A dot at each keypoint and, between those of a person as COCO has them, the limbs.

    What is NaN, as of a keypoint without a label, is left out.
    """
    assert instances.keypoints is not None
    canvas = Image.fromarray(picture)
    pen, thickness = ImageDraw.Draw(canvas), max(1, round(min(instances.size) / 300))
    limbs = _PERSON_LIMBS if instances.keypoints.shape[1] == _PERSON_POINTS else ()
    for points, colour in zip(instances.keypoints[..., :2].tolist(), colours, strict=True):
        for start, end in limbs:
            limb = [*points[start], *points[end]]
            if all(map(math.isfinite, limb)):
                pen.line(limb, colour, thickness)
        for point in points:
            if all(map(math.isfinite, point)):
                pen.circle(point, thickness + 1, colour)
    picture[:] = np.asarray(canvas)


def _draw_boxes(picture: Picture, instances: Instances, colours: Sequence[Colour]) -> None:
    """A frame on the outermost pixels of each box."""
    canvas = Image.fromarray(picture)
    pen, thickness = ImageDraw.Draw(canvas), max(1, round(min(instances.size) / 500))
    for box, colour in zip(_whole_boxes(instances), colours, strict=True):
        pen.rectangle(box, outline=colour, width=thickness)
    picture[:] = np.asarray(canvas)


def _draw_labels(picture: Picture, instances: Instances, colours: Sequence[Colour], texts: Sequence[str]) -> None:
    """Black letters on a ground of the object's colour, above the box where there is room."""
    canvas = Image.fromarray(picture)
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(_letter_px(instances.size))
    padding = _letter_px(instances.size) // 4
    taken: list[Ground] = []
    boxes = _whole_boxes(instances)
    for index in _large_enough(instances):
        if not texts[index]:
            continue
        left, top, right, bottom = pen.textbbox((0, 0), texts[index], font)
        size = (math.ceil(right - left) + 2 * padding, math.ceil(bottom - top) + 2 * padding)
        ground = _free_ground(boxes[index], size, instances.size, taken)
        taken.append(ground)
        pen.rectangle(ground, fill=colours[index])
        pen.text((ground[0] + padding - left, ground[1] + padding - top), texts[index], (0, 0, 0), font)
    picture[:] = np.asarray(canvas)


def _free_ground(box: Ground, label: tuple[int, int], size: tuple[int, int], taken: Sequence[Ground]) -> Ground:
    """Where a label hides no other: above its box, inside, or below; above if each of them would.

    Args:
        box: x1 y1 x2 y2 of the object in whole pixels.
        label: (width, height) of the label.
        size: (height, width) of the picture, which the label does not leave.
        taken: the grounds of the labels that are drawn already.
    """
    left = max(0, min(box[0], size[1] - label[0]))
    grounds = []
    for top in (box[1] - label[1], box[1], box[3] - label[1], box[3]):
        inside = max(0, min(top, size[0] - label[1]))
        grounds.append((left, inside, left + label[0] - 1, inside + label[1] - 1))
    return next((one for one in grounds if not any(_overlap(one, other) for other in taken)), grounds[0])


def _overlap(one: Ground, other: Ground) -> bool:
    return all(one[axis] <= other[axis + 2] and other[axis] <= one[axis + 2] for axis in (0, 1))


def _whole_boxes(instances: Instances) -> list[Ground]:
    """(x1, y1, x2, y2) of the outermost pixels of each box; of one without area, that of its corner."""
    height, width = instances.size
    limits = instances.boxes.new_tensor([width, height, width, height])
    boxes = instances.boxes.nan_to_num().clamp(min=-1.0).minimum(limits)
    x1, y1 = boxes[:, :2].floor().long().T.tolist()
    x2, y2 = (boxes[:, 2:].ceil().long() - 1).T.tolist()
    return list(zip(x1, y1, map(max, x1, x2), map(max, y1, y2), strict=True))


def _label_texts(instances: Instances) -> list[str]:
    pairs = zip(instances.labels.tolist(), instances.scores.tolist(), strict=True)
    return [f"{instances.categories[label]} {score:.2f}" for label, score in pairs]


def _label_share(texts: Sequence[str], size: tuple[int, int]) -> float:
    """About how much of the picture labels at all objects would cover, from 0 up; a letter is half as wide as high."""
    num_letters = sum(len(text) for text in texts)
    return num_letters * 0.5 * _letter_px(size) * 1.5 * _letter_px(size) / math.prod(size)


def _large_enough(instances: Instances) -> list[int]:
    """The indices of the objects whose boxes are higher and wider than a letter is high."""
    shorter_sides = (instances.boxes[:, 2:] - instances.boxes[:, :2]).amin(dim=1)
    return [index for index, side in enumerate(shorter_sides.tolist()) if side > _letter_px(instances.size)]


def _letter_px(size: tuple[int, int]) -> int:
    return max(10, round(min(size) / 40))

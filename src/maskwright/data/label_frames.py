"""Labels of photographs that are stored on their side: the frame in which they are drawn, and how they become upright.

Some tools show such a photograph upright, others as its pixels are stored. Image sizes in the annotations show which;
where they do not, labels are taken for upright, unless the owner of the dataset says otherwise (`exif`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from maskwright.config.data import FrameName
from maskwright.data.checks import BORDER_TOLERANCE_PX, Problem
from maskwright.data.record import ImageRecord, Remark
from maskwright.errors import DataError
from maskwright.images.decode import read_header
from maskwright.images.orientation import UPRIGHT, Header, Size, upright, upright_points
from maskwright.structures.masks.rle import any_to_rle, crop_to_rle, rle_to_crop

FRAME_NAMES: tuple[FrameName, FrameName] = ("upright", "stored")
# headers are small reads, so that a task of a pool has several
_HEADERS_AT_ONCE = 64


@dataclass(frozen=True)
class LabelFrame:
    """The frame in which the labels of one image are drawn.

    Attributes:
        header: of the image file.
        name: upright or stored; None where it is unknown, and upright is taken.
    """

    header: Header
    name: FrameName | None = "upright"

    @property
    def size(self) -> Size:
        """(height, width) that the labels refer to."""
        return self.header.stored_size if self.name == "stored" else self.header.size

    @property
    def orientation(self) -> int:
        """How the labels must be turned to be upright, as an orientation tag says it."""
        return self.header.orientation if self.name == "stored" else UPRIGHT

    def remarks(self, where: str, image_id: int) -> list[Remark]:
        """One where the image is stored on its side, none otherwise."""
        if self.header.orientation == UPRIGHT:
            return []
        kind = "labels-stored" if self.name == "stored" else "labels-upright"
        unknown = "it is unknown whether its labels are drawn so; upright is taken (exif: stored if they are not)"
        known = f"its labels are drawn on the {self.name} image"
        message = f"is turned by its orientation tag {self.header.orientation}; {known if self.name else unknown}"
        return [Remark(kind, where, message, image_id)]


def frame_of(header: Header, said: Size | None, exif: FrameName | None) -> LabelFrame | Problem:
    """The frame of an image's labels.

    Args:
        header: of the image file.
        said: (height, width) in the annotations; None where they have none.
        exif: what the owner of the dataset says.

    Returns:
        the frame, or what is wrong: the annotations are of an image of another size.
    """
    fitting = [name for name in FRAME_NAMES if said in (None, LabelFrame(header, name).size)]
    if not fitting:
        return size_mismatch(header, said or header.size)
    if header.orientation == UPRIGHT:
        return LabelFrame(header)
    if exif is not None:
        return LabelFrame(header, exif)
    return LabelFrame(header, fitting[0] if len(fitting) == 1 else None)


def size_mismatch(header: Header, said: Size) -> Problem:
    """What to say of annotations for an image of another size."""
    message = f"the file is {header.size[1]} wide and {header.size[0]} high"
    if header.orientation != UPRIGHT:
        message += f" (upright; its orientation tag is {header.orientation})"
    return Problem("size-mismatch", f"{message}, the annotations say {said[1]} and {said[0]}; label this very image")


def settled(frames: Sequence[LabelFrame], hints: Sequence[FrameName | None] = ()) -> list[LabelFrame]:
    """The frames of a dataset's images, with labels drawn by one tool: the frame of one image decides for the others.

    Args:
        frames: as the sizes of each image show.
        hints: the only frame in which the labels of each image lie inside it; None where both or neither do. These
            outweigh sizes: some tools write the stored size beside labels drawn on the upright image.
    """
    hinted = {hint for hint in hints if hint is not None}
    if len(hinted) == 1:
        found = hinted.pop()
        return [frame if frame.header.orientation == UPRIGHT else replace(frame, name=found) for frame in frames]
    if hinted:
        return [frame if hint is None else replace(frame, name=hint) for frame, hint in zip(frames, hints, strict=True)]
    named = {frame.name for frame in frames if frame.header.orientation != UPRIGHT and frame.name is not None}
    if len(named) != 1:
        return list(frames)
    common = named.pop()
    return [frame if frame.name is not None else replace(frame, name=common) for frame in frames]


def fitting_frame(header: Header, annotations: Iterable[Mapping[str, Any]]) -> FrameName | None:
    """The only frame in which COCO annotations lie inside their image; None where they do in both or in neither."""
    if header.stored_size == header.size:
        return None
    fitting = [
        name for name in FRAME_NAMES if all(_fits(entry, LabelFrame(header, name).size) for entry in annotations)
    ]
    return fitting[0] if len(fitting) == 1 else None


def read_headers(paths: Sequence[Path]) -> list[Header | DataError]:
    """The header of each image file, or why it has none; several are read at once.

    Raises:
        MissingDependency: one needs a library that is not installed.
    """
    parts = [paths[first : first + _HEADERS_AT_ONCE] for first in range(0, len(paths), _HEADERS_AT_ONCE)]
    with ThreadPoolExecutor() as pool:
        return [found for part in pool.map(_read_some, parts) for found in part]


def upright_record(record: ImageRecord, frame: LabelFrame) -> ImageRecord:
    """A record whose labels are drawn in a frame, with upright ones."""
    if frame.orientation == UPRIGHT:
        return record
    segments = record.segments
    return replace(
        record,
        size=frame.header.size,
        turned=frame.orientation,
        annotations=tuple(_upright_annotation(entry, frame) for entry in record.annotations),
        segments=None if segments is None else replace(segments, orientation=frame.orientation),
    )


def _read_some(paths: Sequence[Path]) -> list[Header | DataError]:
    found: list[Header | DataError] = []
    for path in paths:
        try:
            found.append(read_header(path))
        except DataError as error:
            found.append(error)
    return found


def _fits(annotation: Mapping[str, Any], size: Size) -> bool:
    """Whether a box, polygons or run lengths lie inside an image of (height, width); what is unusable does."""
    box, mask = annotation.get("bbox"), annotation.get("segmentation")
    if isinstance(mask, Mapping):
        return mask.get("size") in (None, list(size), tuple(size))
    corners = [[box[0], box[1], box[0] + box[2], box[1] + box[3]]] if _are_numbers(box) and len(box) == 4 else []
    parts = [*corners, *(part for part in mask if _are_numbers(part))] if isinstance(mask, list) else corners
    return all(
        max(part[0::2], default=0) <= size[1] + BORDER_TOLERANCE_PX
        and max(part[1::2], default=0) <= size[0] + BORDER_TOLERANCE_PX
        for part in parts
    )


def _are_numbers(values: Any) -> TypeGuard[list[float]]:
    return isinstance(values, list) and all(isinstance(value, int | float) for value in values)


def _upright_annotation(annotation: Mapping[str, Any], frame: LabelFrame) -> dict[str, Any]:
    """A COCO annotation, found sound, whose box, mask and keypoints are upright."""
    x, y, width, height = annotation["bbox"]
    (left, top), (right, bottom) = _upright_corners([[x, y], [x + width, y + height]], frame)
    turned = {**annotation, "bbox": [left, top, right - left, bottom - top]}
    if mask := annotation.get("segmentation"):
        turned["segmentation"] = _upright_mask(mask, frame)
    if keypoints := annotation.get("keypoints"):
        points = np.asarray(keypoints, dtype=np.float64).reshape(-1, 3)
        is_labelled = points[:, 2] > 0  # others are zeros
        points[is_labelled, :2] = upright_points(points[is_labelled, :2], frame.orientation, frame.header.size)
        turned["keypoints"] = points.ravel().tolist()
    return turned


def _upright_corners(corners: Sequence[Sequence[float]], frame: LabelFrame) -> list[list[float]]:
    points = upright_points(np.asarray(corners, dtype=np.float64), frame.orientation, frame.header.size)
    in_order: list[list[float]] = np.sort(points, axis=0).tolist()
    return in_order


def _upright_mask(mask: Any, frame: LabelFrame) -> Any:
    if not isinstance(mask, Mapping):
        parts = (np.asarray(part, dtype=np.float64).reshape(-1, 2) for part in mask)
        return [upright_points(part, frame.orientation, frame.header.size).ravel().tolist() for part in parts]
    crop = rle_to_crop(any_to_rle(mask, frame.size))
    (left, top), _ = _upright_corners([[crop.left, crop.top], [crop.right, crop.bottom]], frame)
    moved = crop._replace(pixels=upright(crop.pixels, frame.orientation), top=int(top), left=int(left))
    return crop_to_rle(moved, frame.header.size)

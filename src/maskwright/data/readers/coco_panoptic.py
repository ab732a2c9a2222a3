"""COCO panoptic annotations as a dataset of their own: things become objects, whose masks come from the pictures.

Every picture is opened once while reading, and compared with what is listed for it. A segment that one of them lacks is
a defect and is left out; `area` and `bbox` of the list are not believed, they are taken from the pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import hotcoco.mask

from maskwright.data.checks import Problem, box_around, show
from maskwright.data.id_pictures import objects_of
from maskwright.data.readers.coco_document import (
    CocoImage,
    is_id,
    load_document,
    own_file_name,
    read_images,
    settle_frames,
)
from maskwright.data.readers.coco_tidying import tidy
from maskwright.data.readers.image_files import find_files
from maskwright.data.readers.options import DEFAULT_OPTIONS, ReadOptions
from maskwright.data.readers.panoptic import ListedSegments, PanopticAnnotations, panoptic_of
from maskwright.data.record import Dataset, Defect, ImageRecord
from maskwright.data.segment_picture import SegmentLabel, SegmentPicture
from maskwright.errors import DataError
from maskwright.images.decode import read_header
from maskwright.structures.masks.rle import Rle


def read_coco_panoptic(
    images: Path,
    annotations: Path,
    options: ReadOptions = DEFAULT_OPTIONS,
) -> Dataset:
    """Read a COCO panoptic file and its pictures, but not the images.

    Args:
        images: folder that every `file_name` in `images` is relative to.
        annotations: JSON file; the folder with its PNG files has the same name without `.json`, and lies beside it or
            beside `images`.
        options: `needs_masks` makes no difference, every object has one.

    Raises:
        DataError: the file is not JSON, lacks one of its three lists, or its categories are not usable; or there is no
            folder of pictures.
    """
    document, remarks = tidy(load_document(annotations), str(annotations))
    panoptic = panoptic_of(document, annotations, _find_pictures(images, annotations))
    if not panoptic.classes.things:
        raise DataError(f"{annotations}: no category has 'isthing' 1, so there are no objects to learn")
    defects: list[Defect] = []
    files = find_files(document["images"], images, own_file_name, str(annotations))
    found = read_images(files.entries, images, defects, options.exif)
    remarks += [*files.remarks, *settle_frames(found, (), options.exif)]
    defects += _entry_defects(document["annotations"], found)
    usable = [(id_, image) for id_, image in found.items() if image.is_usable and image.size]
    with ThreadPoolExecutor() as pool:  # decoders work outside Python's lock
        seen = list(pool.map(lambda image: _examined(panoptic, *image), usable))
    records: list[ImageRecord] = []
    ids = count(1)  # those of segments are unique in their image only
    for (image_id, image), (segments, objects, flaws) in zip(usable, seen, strict=True):
        defects += flaws
        image.annotations += ({"id": next(ids), "image_id": image_id, **thing} for thing in objects)
        record = None if segments is None else image.record(image_id, segments=segments)
        records += [] if record is None else [record]
    return Dataset(
        tuple(records),
        panoptic.classes.things,
        str(annotations),
        tuple(defects),
        segment_classes=panoptic.classes,
        remarks=tuple(remarks),
    )


class _Seen(NamedTuple):
    """What a picture shows of the segments listed for it; no segments: it cannot be used.

    `objects` are the things as COCO annotations without ids.
    """

    segments: SegmentPicture | None
    objects: Sequence[dict[str, Any]]
    defects: Sequence[Defect]


def _find_pictures(images: Path, annotations: Path) -> Path:
    folders = (annotations.with_suffix(""), images.parent / annotations.stem)
    for folder in folders:
        if folder.is_dir():
            return folder
    raise DataError(
        f"{annotations}: there is no folder of its segment pictures; unpack the PNG files to {folders[0]} "
        f"(or {folders[1]})"
    )


def _entry_defects(entries: list[Any], images: Mapping[int, CocoImage]) -> Iterator[Defect]:
    """What is wrong with the entries of `annotations` before their segments are read."""
    taken: set[int] = set()
    for index, entry in enumerate(entries):
        where = f"annotations[{index}]"
        image_id = entry.get("image_id") if isinstance(entry, dict) else None
        if not is_id(image_id):
            yield Defect("bad-annotation", where, f"{show(entry)} has no integer 'image_id'", None)
        elif image_id not in images:
            yield Defect("unknown-image", where, f"image_id {image_id} is not in 'images'", None)
        elif image_id in taken:
            yield Defect("duplicate-id", where, f"image {image_id} has an annotation before; join the two", image_id)
        else:
            taken.add(image_id)


def _examined(panoptic: PanopticAnnotations, image_id: int, image: CocoImage) -> _Seen:
    assert image.size is not None
    path = panoptic.path_of(image_id)
    if isinstance(path, Problem):
        return _spoilt(path, image_id, image)
    masks = _read_masks(path, image.size)
    if isinstance(masks, Problem):
        return _spoilt(masks, image_id, image)
    listed = panoptic.segments_of(image_id)
    flaws = [Defect(kind, f"picture {path.name!r}", message, image_id) for kind, message in listed.problems]
    flaws += [
        Defect(kind, f"segment {id_} of picture {path.name!r}", message, image_id)
        for id_, (kind, message) in _mismatches(listed, masks)
    ]
    shown = {id_: label for id_, label in listed.labels.items() if id_ in masks}
    things = frozenset(panoptic.classes.things.ids)
    objects = [
        _annotation(label, masks[id_], image.size) for id_, label in shown.items() if label.category_id in things
    ]
    return _Seen(SegmentPicture(path, shown), objects, flaws)


def _spoilt(problem: Problem, image_id: int, image: CocoImage) -> _Seen:
    return _Seen(None, (), [Defect(problem.kind, image.where, problem.message, image_id)])


def _read_masks(picture: Path, size: tuple[int, int]) -> dict[int, Rle] | Problem:
    """The mask of every id in a picture of an image of (height, width)."""
    try:
        found = read_header(picture).size
        if found != size:
            return Problem(
                "size-mismatch",
                f"its segment picture {picture.name!r} is {found[1]} wide and {found[0]} high, the annotations say "
                f"{size[1]} and {size[0]}",
            )
        return objects_of(SegmentPicture(picture, {}).ids(size))
    except DataError as error:
        return Problem("bad-panoptic", str(error))


def _mismatches(listed: ListedSegments, masks: Mapping[int, Rle]) -> Iterator[tuple[int, Problem]]:
    """Ids that only the list or only the picture has."""
    for id_ in listed.labels:
        if id_ not in masks:
            yield id_, Problem("missing-segment", "is listed, but the picture does not show it")
    for id_, mask in masks.items():
        if id_ not in listed.ids:
            area = hotcoco.mask.area(mask)
            yield (
                id_,
                Problem("unlisted-segment", f"is not in 'segments_info', but the picture shows {area:g} px of it"),
            )


def _annotation(label: SegmentLabel, mask: Rle, size: tuple[int, int]) -> dict[str, Any]:
    return {
        "category_id": label.category_id,
        "bbox": box_around(mask, size),
        "area": float(hotcoco.mask.area(mask)),
        "segmentation": mask,
        "iscrowd": int(label.is_crowd),
    }

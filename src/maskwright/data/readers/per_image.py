"""What all formats share whose annotations are files of their own for every image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from maskwright.data.checks import Problem, box_around, outside_problem, shape_problem, split_strays
from maskwright.data.label_frames import FRAME_NAMES, LabelFrame, settled, upright_record
from maskwright.data.readers.options import ReadOptions
from maskwright.data.record import Dataset, Defect, ImageRecord, Remark
from maskwright.data.segment_picture import SegmentClasses, SegmentPicture
from maskwright.errors import DataError
from maskwright.images.decode import read_header
from maskwright.images.formats import is_image, is_photograph
from maskwright.images.orientation import UPRIGHT, Size
from maskwright.structures import Categories


@dataclass(frozen=True)
class FoundObject:
    """An object as its file describes it, not yet checked.

    Attributes:
        where: file, and line or field, for messages.
        category: name of its class.
        segmentation: polygons or run lengths, as in COCO's annotations; None where the file has only a box.
        box_xywh: x y w h in pixels; None: around the mask.
        details: further keys of its COCO annotation: `iscrowd`, `difficult`, `area`.
    """

    where: str
    category: str
    segmentation: Any
    box_xywh: Sequence[float] | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Flaw:
    """Something in an image's files that cannot be used; the image itself can, unless `spoils_image`.

    With `keeps_objects` it is a part of an object; only that part is left out.
    """

    where: str
    problem: Problem
    spoils_image: bool = False
    keeps_objects: bool = False


# what the files of an image say: its objects, what cannot be used, and what is read in another way than it is written
# (a remark, whose image_id is filled in later)
Thing = FoundObject | Flaw | Remark
# image file, its (height, width) → its things, in the order of the file
ReadObjects = Callable[[Path, tuple[int, int]], Iterable[Thing]]


def find_images(folder: Path) -> list[Path]:
    """The photographs in a folder and the folders in it, by name.

    Hidden files and folders are passed over, and what Cellpose writes beside photographs.
    """
    return [path for path in find_pictures(folder) if is_photograph(path)]


def find_pictures(folder: Path) -> list[Path]:
    """All image files in a folder and the folders in it, by name; hidden files and folders are passed over."""
    return sorted(
        path
        for path in folder.rglob("*")
        if is_image(path)
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )


def refuse_file(annotations: Path, wanted: str) -> None:
    """Go on only with a folder.

    Raises:
        DataError: it is a file.
    """
    if not annotations.is_dir():
        raise DataError(f"annotations {annotations} is a file; give {wanted}")


def by_name(files: Iterable[Path], folder: Path) -> dict[str, list[Path]]:
    """Files in a folder by the name that they share with their annotations: `street/01` of `folder/street/01.jpg`."""
    groups: dict[str, list[Path]] = {}
    for path in files:
        groups.setdefault(path.relative_to(folder).with_suffix("").as_posix(), []).append(path)
    return groups


def images_of(
    names: Mapping[str, str], groups: Mapping[str, Sequence[Path]], folder: Path
) -> tuple[dict[Path, str], list[Defect]]:
    """The one image of each name.

    Args:
        names: of images, relative to the folder and without ending → where it is named, for messages.
        groups: the images of the folder; see `by_name`.
        folder: for messages.

    Returns:
        image → name, in the order of the names; and a defect for each name with no image or with several.
    """
    images: dict[Path, str] = {}
    defects: list[Defect] = []
    for name, where in names.items():
        found = groups.get(name, ())
        if len(found) == 1:
            images[found[0]] = name
        elif found:
            message = f"{', '.join(path.name for path in found)} differ only in their ending; keep one of them"
            defects.append(Defect("ambiguous-image", where, message, None))
        else:
            defects.append(Defect("missing-image", where, f"there is no image called {name!r} in {folder}", None))
    return images, defects


def read_per_image(
    images: Sequence[Path],
    read_objects: ReadObjects,
    source: str,
    *,
    categories: Categories | None,
    options: ReadOptions,
    usual: Categories | None = None,
    defects: Iterable[Defect] = (),
    remarks: Iterable[Remark] = (),
    pictures: Callable[[Path], SegmentPicture | None] = lambda path: None,
    segment_classes: SegmentClasses | None = None,
) -> Dataset:
    """A dataset from images whose objects are read one image after the other; images are numbered from 1.

    Args:
        images: the files, in the order of their numbers.
        read_objects: what is in an image. May be called in several threads; a `DataError` that it raises spoils the
            image.
        source: of the annotations, for messages.
        categories: the classes; None: those that occur, by name.
        options: with `needs_masks`, an object without a mask is a defect.
        usual: without `categories`, the classes as long as no others occur.
        defects: found before.
        remarks: made before.
        pictures: where the segments of an image lie, where it has any.
        segment_classes: what these segments are.
    """
    with ThreadPoolExecutor() as pool:  # decoders work outside Python's lock
        seen = list(pool.map(partial(_examined, read_objects, options), images))
    found = _in_frames(seen)
    if categories is None:
        names = {thing.category for _, things in found for thing in things if isinstance(thing, FoundObject)}
        categories = (
            usual if usual is not None and names.issubset(usual) else Categories.of(sorted(names) or ["object"])
        )
    ids = dict(zip(categories.names, categories.ids, strict=True))
    records, all_defects, all_remarks = [], list(defects), list(remarks)
    next_id = 1
    for image_id, (path, (frame, things)) in enumerate(zip(images, found, strict=True), start=1):
        annotations: list[Mapping[str, Any]] = []
        is_usable, size = frame is not None, None if frame is None else frame.size
        for thing in things:
            if isinstance(thing, Remark):
                all_remarks.append(replace(thing, image_id=image_id))
                continue
            flaw = thing if isinstance(thing, Flaw) else _flaw(thing, size, ids, options.needs_masks)
            if flaw is not None:
                kind, message = flaw.problem
                all_defects.append(Defect(kind, flaw.where, message, image_id, keeps_objects=flaw.keeps_objects))
                is_usable = is_usable and not flaw.spoils_image
            elif size is not None and isinstance(thing, FoundObject):
                if (beyond := outside_problem(thing.segmentation, size)) is not None:
                    all_remarks.append(Remark(beyond.kind, thing.where, beyond.message, image_id))
                annotations.append(_annotation(thing, size, ids, image_id, next_id))
                next_id += 1
        if frame is not None and is_usable:
            record = ImageRecord(image_id, path, frame.size, tuple(annotations), segments=pictures(path))
            records.append(upright_record(record, frame))
            all_remarks += frame.remarks(f"image {path.name!r}", image_id)
    return Dataset(
        tuple(records),
        categories,
        source,
        tuple(all_defects),
        segment_classes=segment_classes,
        remarks=tuple(all_remarks),
    )


class _Seen(NamedTuple):
    """What was found in an image.

    Attributes:
        frame: of its labels, as far as the image shows it; None where the file cannot be opened.
        things: (height, width) of each frame that its labels may have → what they say then.
    """

    frame: LabelFrame | None
    things: Mapping[Size, Sequence[Thing]]


def _examined(read_objects: ReadObjects, options: ReadOptions, path: Path) -> _Seen:
    """Read the labels of an image; of one that is stored on its side, in both frames: one may have fewer flaws."""
    if not path.is_file():
        return _unopened(path, "missing-image", f"there is no such file in {path.parent}")
    try:
        header = read_header(path)
    except DataError as error:
        return _unopened(path, "unreadable-image", str(error))
    if header.orientation == UPRIGHT:
        return _Seen(LabelFrame(header), {header.size: _read_image(read_objects, path, header.size)})
    frames = [LabelFrame(header, name) for name in FRAME_NAMES if options.exif in (None, name)]
    things = {frame.size: _read_image(read_objects, path, frame.size) for frame in frames}
    flaws = {size: _count_flaws(found, size, options.needs_masks) for size, found in things.items()}
    likely = [frame for frame in frames if flaws[frame.size] == min(flaws.values())]
    return _Seen(likely[0] if len(likely) == 1 else LabelFrame(header, None), things)


def _in_frames(seen: Sequence[_Seen]) -> list[tuple[LabelFrame | None, Sequence[Thing]]]:
    """What was found in each image in the frame of its labels, as all images together show it."""
    frames = iter(settled([found.frame for found in seen if found.frame is not None]))
    chosen = [None if found.frame is None else next(frames) for found in seen]
    return [
        (frame, next(iter(found.things.values())) if frame is None else found.things[frame.size])
        for frame, found in zip(chosen, seen, strict=True)
    ]


def _unopened(path: Path, kind: str, message: str) -> _Seen:
    return _Seen(None, {(0, 0): [_spoiling(path, kind, message)]})


def _read_image(read_objects: ReadObjects, path: Path, size: Size) -> Sequence[Thing]:
    try:
        return [part for thing in read_objects(path, size) for part in _without_strays(thing)]
    except DataError as error:
        return [_spoiling(path, "bad-annotation", str(error))]


def _without_strays(thing: Thing) -> Iterator[Thing]:
    """The thing, or an object without the stray parts of its mask and a flaw for these."""
    if isinstance(thing, FoundObject):
        parts = split_strays(thing.segmentation)
        if parts.stray is not None:
            yield Flaw(thing.where, parts.stray, keeps_objects=True)
            thing = replace(thing, segmentation=parts.rest)
    yield thing


def _count_flaws(things: Sequence[Thing], size: Size, needs_masks: bool) -> int:
    """How many things do not fit an image of (height, width)."""
    objects = (thing for thing in things if isinstance(thing, FoundObject))
    problems = (shape_problem(found.box_xywh, found.segmentation, size, needs_masks) for found in objects)
    misfits = sum(problem is not None for problem in problems)
    return misfits + sum(isinstance(thing, Flaw) for thing in things)


def _spoiling(path: Path, kind: str, message: str) -> Flaw:
    return Flaw(f"image {path.name!r}", Problem(kind, message), spoils_image=True)


def _flaw(found: FoundObject, size: tuple[int, int] | None, ids: Mapping[str, int], needs_masks: bool) -> Flaw | None:
    """What makes an object unusable, if anything."""
    if size is None:
        return None
    problem = shape_problem(found.box_xywh, found.segmentation, size, needs_masks)
    if found.category not in ids:
        known = ", ".join(list(ids)[:10])
        problem = Problem("unknown-category", f"there is no class {found.category!r} among {known}")
    return None if problem is None else Flaw(found.where, problem)


def _annotation(
    found: FoundObject, size: tuple[int, int], ids: Mapping[str, int], image_id: int, annotation_id: int
) -> dict[str, Any]:
    box = found.box_xywh if found.box_xywh is not None else box_around(found.segmentation, size)
    mask = {"segmentation": found.segmentation} if found.segmentation else {}
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": ids[found.category],
        "bbox": list(box),
        **mask,
        "iscrowd": 0,
        **found.details,
    }

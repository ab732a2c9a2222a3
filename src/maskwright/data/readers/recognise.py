"""Which format annotations seem to have, for the message of an error: a look at names and keys, not a check."""

from __future__ import annotations

import mmap
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from maskwright.data.readers import (
    cvat,
    darwin,
    datumaro,
    imagej,
    kaggle,
    label_studio,
    labelbox,
    pycococreator,
    qupath,
    sa1b,
    supervisely,
    via,
)
from maskwright.data.readers.cvat_masks import export_of
from maskwright.data.readers.id_maps import SUFFIXES
from maskwright.images.formats import is_image

# files of a folder that are looked at
_MOST_FILES = 2000
# and of those, what is read
_MOST_TEXTS = 100
# a format, and keys that a text file of it has all of; the special ones come before COCO's own
_SIGNS: Sequence[tuple[str, Sequence[str]]] = (
    ("coco_panoptic", ("segments_info", "annotations")),
    ("lvis", ("neg_category_ids", "annotations")),
    ("labelme", ("shapes", "imagePath")),
    ("cityscapes_polygons", ("imgHeight", "objects")),
    *(("via", keys) for keys in via.SIGNS),
    *(("labelbox", keys) for keys in labelbox.SIGNS),
    *(("supervisely", keys) for keys in supervisely.SIGNS),
    *(("darwin", keys) for keys in darwin.SIGNS),
    *(("sa1b", keys) for keys in sa1b.SIGNS),
    *(("qupath", keys) for keys in qupath.SIGNS),
    *(("datumaro", keys) for keys in datumaro.SIGNS),
    ("coco", ("images", "annotations", "categories")),
    *(("label_studio", keys) for keys in label_studio.SIGNS),
)
# a format, and columns that a table of it has all of
_COLUMN_SIGNS: Sequence[tuple[str, Sequence[str]]] = (
    *(("via", keys) for keys in via.SIGNS),
    *(("kaggle", keys) for keys in kaggle.SIGNS),
)
_FILES_OF_ONE_IMAGE = ("labelme", "cityscapes_polygons", "voc", "sbd", "supervisely", "sa1b", "darwin", "qupath")
_SIGNED_ENDINGS = (".json", ".geojson", ".ndjson", ".jsonl", ".csv")
# the root of an XML file → its format
_XML_ROOTS: Mapping[bytes, str] = {b"annotation": "voc", cvat.ROOT.encode(): "cvat"}
_XML_ROOT = re.compile(rb"<([A-Za-z]\w*)[\s/>]")
# the official folders have the files of both
_CITYSCAPES = {"cityscapes", "cityscapes_polygons"}
# class number, and the box or outline
_YOLO_LINE = re.compile(rb"\s*\d+(\.0)?(\s+-?\d*\.?\d+([eE]-?\d+)?){4,}\s")
_START_BYTES = 4096
_ARCHIVES = {b"PK\x03\x04": "a ZIP archive", b"\x1f\x8b": "packed by gzip"}


def other_format(images: Path, annotations: Path, format: str) -> str:  # noqa: A002
    """The end of a message about annotations that could not be read as `format`: which format they look like.

    Returns:
        empty where they look like nothing that is known, or like `format` itself.
    """
    try:
        found = _of_anything(images, annotations)
        if found is None and annotations.is_file():
            start = _start_of(annotations)
            packed = [kind for sign, kind in _ARCHIVES.items() if start.startswith(sign)]
            return f"; it is {packed[0]}: unpack it and give the annotations that are in it" if packed else ""
    except OSError:
        return ""
    if found is None or {found[0], format} in ({format}, _CITYSCAPES):
        return ""
    name, path = found
    if path == annotations:
        return f"; it looks like {name}: choose that format (--format {name}; in a recipe data.train.format={name})"
    chosen = f"--format {name}; in a recipe data.train.format={name}"
    return f"; {path} looks like {name}: give that, and its format ({chosen})"


def _of_anything(images: Path, annotations: Path) -> tuple[str, Path] | None:
    """Name of a format, and what should be given as its annotations."""
    export = export_of(annotations)
    if export is not None:
        return "cvat_masks", export
    return _of_file(annotations) if annotations.is_file() else _of_folder(images, annotations)


def _of_file(path: Path) -> tuple[str, Path] | None:
    """Name of a format, and what should be given as its annotations."""
    ending = path.suffix.lower()
    if ending == ".txt":
        return _of_list(path)
    name = _OF_ENDINGS[ending](path) if ending in _OF_ENDINGS else None
    return None if name is None else (name, path.parent if name in _FILES_OF_ONE_IMAGE else path)


def _of_list(path: Path) -> tuple[str, Path] | None:
    """Labels of an image in YOLO's form, or the names of Pascal VOC's images."""
    if _YOLO_LINE.match(_start_of(path)):
        return "yolo", path.parent
    return next((("voc", path) for parent in path.absolute().parents[:3] if (parent / "Annotations").is_dir()), None)


def _of_yaml(path: Path) -> str | None:
    return "yolo" if b"names" in path.read_bytes() else None


def _of_regions(path: Path) -> str | None:
    return "imagej" if imagej.has_regions(path) else None


def _of_xml(path: Path) -> str | None:
    root = _XML_ROOT.search(_start_of(path))
    return None if root is None else _XML_ROOTS.get(root[1])


def _of_signs(path: Path) -> str | None:
    with path.open("rb") as file:
        if not file.seek(0, 2):
            return None
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            for name, keys in _COLUMN_SIGNS if path.suffix.lower() == ".csv" else _SIGNS:
                if all(text.find(_as_written(key, path)) >= 0 for key in keys):
                    return name
    return None


def _as_written(key: str, path: Path) -> bytes:
    """JSON has quotes around a key, the head of a table has not."""
    return key.encode() if path.suffix.lower() == ".csv" else f'"{key}"'.encode()


def _of_folder(images: Path, folder: Path) -> tuple[str, Path] | None:
    files = list(islice(_files_in(folder), _MOST_FILES))
    endings: dict[str, Path] = {}
    for path in files:
        endings.setdefault(path.suffix.lower(), path)
    if any(path.name.endswith("_instanceIds.png") for path in files):
        return "cityscapes", folder
    if ".mat" in endings:
        return "sbd", folder
    if any(imagej.has_regions(endings[ending]) for ending in imagej.ENDINGS if ending in endings):
        return "imagej", folder
    for path in islice((path for path in files if path.suffix.lower() in (".xml", *_SIGNED_ENDINGS)), _MOST_TEXTS):
        name = _of_xml(path) if path.suffix.lower() == ".xml" else _of_signs(path)
        if name is not None:
            return name, folder if name in _FILES_OF_ONE_IMAGE else path
    texts = islice((path for path in files if path.suffix.lower() == ".txt"), _MOST_TEXTS)  # some may be empty
    if any(_YOLO_LINE.match(_start_of(path) + b"\n") for path in texts):
        return "yolo", folder
    return _of_pictures(images, folder, [path for path in files if is_image(path)])


def _of_pictures(images: Path, folder: Path, pictures: Sequence[Path]) -> tuple[str, Path] | None:
    """Pictures of objects: one for each object, in a folder called like its image; or one called like the image."""
    stems = {path.stem for path in islice(_files_in(images), _MOST_FILES)}
    if images.resolve() == folder.resolve():
        if any(path.parent.name == "masks" for path in pictures):
            return "masks", folder
        named = {f"{stem}{suffix}" for stem in stems for suffix in SUFFIXES}
        return ("id_maps", folder) if any(path.stem in named for path in pictures) else None
    if any(stems.intersection(path.relative_to(folder).parts[:-1]) for path in pictures):
        return "masks", folder
    if any(pycococreator.belongs_to_one(path, stems) for path in pictures):
        return "pycococreator", folder
    named = stems.union(f"{stem}{suffix}" for stem in stems for suffix in SUFFIXES)
    return ("id_maps", folder) if any(path.stem in named for path in pictures) else None


def _files_in(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("[!.]*") if path.suffix and path.is_file())


def _start_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_START_BYTES).removeprefix(b"\xef\xbb\xbf")


# ending of a file → the name of its format
_OF_ENDINGS: Mapping[str, Callable[[Path], str | None]] = {
    ".yaml": _of_yaml,
    ".yml": _of_yaml,
    ".xml": _of_xml,
    ".mat": lambda _: "sbd",
    **dict.fromkeys(_SIGNED_ENDINGS, _of_signs),
    **dict.fromkeys(imagej.ENDINGS, _of_regions),
}

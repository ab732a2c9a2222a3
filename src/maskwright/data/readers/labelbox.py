"""Labelbox: one file with a data row a line (NDJSON of export v2), or a JSON list of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from maskwright.data.checks import Problem, show
from maskwright.data.readers.annotators import newest
from maskwright.data.readers.coco_document import load_json
from maskwright.data.readers.listed import ListedImage, load_lines, one_file, read_listed, size_flaw
from maskwright.data.readers.options import DEFAULT_OPTIONS, ReadOptions
from maskwright.data.readers.per_image import Flaw, FoundObject, Thing
from maskwright.data.readers.shapes import Region, bad_points, box_as_mask, numbers_of, points_of, polygon, rectangle
from maskwright.data.record import Dataset, Defect, Remark
from maskwright.errors import DataError

# keys that a file of Labelbox has
SIGNS = (("data_row", "projects"), ("data_row", "media_attributes"), ("data_row",), ("Labeled Data", "Label"))
# keys of an object with a picture that lies on Labelbox's server, in newer and older exports
_PICTURE_KEYS = ("mask", "composite_mask", "instanceURI")
_NO_AREA = ("point", "line", "text", "location")


def read_labelbox(images: Path, annotations: Path, options: ReadOptions = DEFAULT_OPTIONS) -> Dataset:
    """Read an export of Labelbox.

    Polygons and bounding boxes are objects. Masks lie on Labelbox's server and not in the file, which is a defect, as
    are points and lines. Of several labels of an image the newest is read. One without any is not labelled yet, which
    is a defect.

    Args:
        images: folder of the image files, called as `external_id`, `global_key` or the address says.
        annotations: the NDJSON or JSON file, or the folder that has it.
        options: what the owner of the dataset decides.

    Raises:
        DataError: the file cannot be read or is not Labelbox's.
    """
    path = one_file(annotations, (".ndjson", ".jsonl", ".json"))
    rows, defects = _rows(path)
    listed = []
    for where, row in rows:
        if not _is_row(row):
            message = f"{show(row)} is no data row with its 'data_row' and 'projects'"
            defects.append(Defect("bad-image", where, message, None))
        else:
            listed.append(ListedImage(where, _names(row), row))
    if not listed:
        first = f"; {defects[0]}" if defects else ""
        raise DataError(f"{path}: has no data row of Labelbox; export the project as NDJSON{first}")
    return read_listed(listed, images, _things, path, options, defects=defects)


def _rows(path: Path) -> tuple[list[tuple[str, Any]], list[Defect]]:
    """The data rows with their positions in the file."""
    with path.open("rb") as file:
        is_list = file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"["
    if is_list:
        return [(f"data row [{index}]", row) for index, row in enumerate(load_json(path))], []
    lines, defects = load_lines(path)
    return [(f"{path.name} line {number}", row) for number, row in lines], defects


def _is_row(row: Any) -> bool:
    if not isinstance(row, dict):
        return False
    return isinstance(row.get("data_row"), dict) or isinstance(row.get("Label"), dict)


def _names(row: Mapping[str, Any]) -> list[str]:
    found = row.get("data_row")
    keys = ("external_id", "global_key", "row_data") if isinstance(found, dict) else ("External ID", "Labeled Data")
    source = found if isinstance(found, dict) else row
    return [value for key in keys if isinstance(value := source.get(key), str) and value]


def _labels(row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """All labels of an image, in all projects; each has `annotations`."""
    if isinstance(row.get("Label"), dict):  # exports before 2023 have one
        return [] if row.get("Skipped") or not row["Label"] else [{"annotations": row["Label"]}]
    projects = row.get("projects")
    found = [project.get("labels") for project in _dicts(list(projects.values()) if isinstance(projects, dict) else [])]
    labels = [label for one in found for label in _dicts(one)]
    return [label for label in labels if isinstance(label.get("annotations"), dict)]


def _dicts(values: Any) -> list[Mapping[str, Any]]:
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []


def _things(entry: ListedImage, size: tuple[int, int]) -> Iterator[Thing]:
    media = entry.content.get("media_attributes")
    said = (media.get("height"), media.get("width")) if isinstance(media, dict) else (None, None)
    if flaw := size_flaw(entry.where, said, size, "media_attributes.height and width"):
        yield flaw
        return
    labels = _labels(entry.content)
    if not labels:
        message = "has no label in any project: not labelled yet? label it, or leave it out"
        yield Flaw(entry.where, Problem("missing-annotation", message), spoils_image=True)
        return
    label, remarks = newest(labels, _date, entry.where)
    yield from remarks
    if label["annotations"].get("classifications"):
        yield Remark("unused-answer", entry.where, "classifications of the whole image are not used", None)
    if label["annotations"].get("frames"):
        message = "its label is of a video, frame by frame, which is not read; export the frames as images"
        yield Flaw(entry.where, Problem("video", message), spoils_image=True)
        return
    objects = label["annotations"].get("objects", [])
    if not isinstance(objects, list):
        yield Flaw(entry.where, Problem("bad-shape", f"its 'objects' {show(objects)} is no list"), spoils_image=True)
        return
    for index, found in enumerate(objects):
        yield from _object(found, f"{entry.where} objects[{index}]")


def _date(label: Mapping[str, Any]) -> Any:
    details = label.get("label_details")
    return (details.get("updated_at") or details.get("created_at")) if isinstance(details, dict) else None


def _object(found: Any, where: str) -> Iterator[Thing]:
    names = [found.get(key) for key in ("name", "title", "value")] if isinstance(found, dict) else []
    name = next((name for name in names if isinstance(name, str) and name.strip()), None)
    if name is None:
        yield Flaw(
            where, Problem("missing-class", f"{show(found)} has no 'name'; every object needs that of its class")
        )
        return
    region = _region(found)
    if isinstance(region, Problem):
        yield Flaw(where, region)
        return
    if not found.get("polygon"):
        yield box_as_mask(where, "bounding box")
    yield FoundObject(where, name.strip(), region)


def _region(found: Mapping[str, Any]) -> Region | Problem:
    if outline := found.get("polygon"):
        pairs = (
            [[p.get("x"), p.get("y")] if isinstance(p, dict) else p for p in outline]
            if isinstance(outline, list)
            else None
        )
        points = points_of(pairs)
        return bad_points(outline, "polygon") if points is None else polygon(points)
    if box := found.get("bounding_box") or found.get("bbox"):
        numbers = numbers_of(box, ("left", "top", "width", "height"))
        if isinstance(numbers, Problem):
            return numbers
        left, top, width, height = numbers
        return rectangle(left, top, left + width, top + height)
    if any(found.get(key) for key in _PICTURE_KEYS):
        message = (
            "its mask is a picture on Labelbox's server, not in this file, and is not fetched; download the masks "
        )
        return Problem("mask-elsewhere", f"{message}with Labelbox's SDK and use --format masks, or draw polygons")
    kind = next((key for key in _NO_AREA if key in found), None) or str(found.get("annotation_kind", "shape"))
    return Problem("shape-without-area", f"a {show(kind)} covers no pixels; draw a polygon, or remove it")

"""Label Studio: one JSON file with a list of tasks, exported as "JSON" or as "JSON-MIN"."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from maskwright.data.checks import Problem, show
from maskwright.data.readers.annotators import newest
from maskwright.data.readers.coco_document import load_json
from maskwright.data.readers.label_studio_shapes import region_of
from maskwright.data.readers.listed import ListedImage, one_file, read_listed, size_flaw
from maskwright.data.readers.options import DEFAULT_OPTIONS, ReadOptions
from maskwright.data.readers.per_image import Flaw, FoundObject, Thing
from maskwright.data.readers.shapes import box_as_mask
from maskwright.data.record import Dataset, Defect, Remark
from maskwright.errors import DataError

# keys that a file of Label Studio has
SIGNS = (
    ("original_width", "original_height", "result"),
    ("original_width", "original_height", "annotation_id"),
    ("annotations", "result", "data"),
    ("completions", "result", "data"),
)
# what a text with the name of a file looks like
_FILE_NAME = re.compile(r"\.[A-Za-z]\w{1,4}($|[?#&])|fileuri=")
# keys of every entry of JSON-MIN
_SHORT_KEYS = ("annotation_id", "annotator", "lead_time")
# keys that the long export has beside the value of a region, and the short one in it
_SHARED_KEYS = ("original_height", "original_width", "image_rotation", "item_index")
# likeliest keys of the image in the data of a task
_LIKELY_KEYS = ("image", "img", "image_url", "url")


def read_label_studio(images: Path, annotations: Path, options: ReadOptions = DEFAULT_OPTIONS) -> Dataset:
    """Read an export of Label Studio.

    Polygons, rectangles, ellipses and brushes with a label are objects. Key points and lines are defects; choices,
    texts and other answers are reported. Of several annotations of a task the ground truth is read, or the newest. A
    task without any is not labelled yet, which is a defect.

    Args:
        images: folder of the image files; names of uploads lose their prefix.
        annotations: the JSON file, or the folder that has it.
        options: what the owner of the dataset decides.

    Raises:
        DataError: the file cannot be read or is not Label Studio's.
    """
    path = one_file(annotations, (".json",))
    document = load_json(path)
    tasks = [document] if isinstance(document, dict) else document
    if not isinstance(tasks, list) or not any(_is_full(task) or _is_short(task) for task in tasks):
        raise DataError(f"{path}: has no list of tasks with annotations; export JSON or JSON-MIN from Label Studio")
    listed: list[ListedImage] = []
    defects: list[Defect] = []
    short: dict[str, list[Any]] = {}
    for index, task in enumerate(tasks):
        if _is_full(task):
            listed.append(ListedImage(f"task {show(task.get('id', index))}", _names(task), task))
        elif _is_short(task):
            short.setdefault(repr(task.get("id", f"[{index}]")), []).append(task)
        else:
            defects.append(Defect("bad-image", f"tasks[{index}]", f"{show(task)} is no task with annotations", None))
    listed += [ListedImage(f"task {name}", _names({"data": same[0]}), same) for name, same in short.items()]
    return read_listed(listed, images, _things, path, options, defects=defects)


def _is_full(task: Any) -> bool:
    return isinstance(task, dict) and isinstance(task.get("data"), dict) and _annotations(task) is not None


def _is_short(task: Any) -> bool:
    """An entry of JSON-MIN: what a task shows, and the answers, all under names of their own."""
    return isinstance(task, dict) and "data" not in task and any(key in task for key in _SHORT_KEYS)


def _annotations(task: Mapping[str, Any]) -> list[Any] | None:
    """The annotations of a task, which old files call completions."""
    found = task.get("annotations", task.get("completions"))
    return found if isinstance(found, list) else None


def _names(task: Mapping[str, Any]) -> list[str]:
    """What the file of a task's image may be called."""
    data = task["data"]
    values = [data.get(key) for key in _LIKELY_KEYS] + [*data.values(), task.get("file_upload")]
    flat = [one for value in values for one in (value if isinstance(value, list) and len(value) == 1 else [value])]
    names = [value for value in flat if isinstance(value, str) and _FILE_NAME.search(value)]
    return list(dict.fromkeys(names))


def _things(entry: ListedImage, size: tuple[int, int]) -> Iterator[Thing]:
    if isinstance(entry.content, list):
        task, remarks = newest(entry.content, lambda one: one.get("updated_at"), entry.where)
        yield from remarks
        yield from _objects(_short_items(task), entry.where, size)
        return
    annotations = [one for one in _annotations(entry.content) or () if isinstance(one, dict)]
    usable = [one for one in annotations if not one.get("was_cancelled") and isinstance(one.get("result"), list)]
    if not usable:
        yield Flaw(entry.where, _missing(entry.content, bool(annotations)), spoils_image=True)
        return
    truths = [one for one in usable if one.get("ground_truth")]
    chosen, remarks = newest(truths or usable, lambda one: one.get("updated_at") or one.get("created_at"), entry.where)
    yield from remarks
    yield from _objects(chosen["result"], entry.where, size)


def _missing(task: Mapping[str, Any], was_skipped: bool) -> Problem:
    """What to say of a task without an annotation that was submitted."""
    others = [key for key in ("drafts", "predictions") if task.get(key)]
    found = "was skipped by its annotator" if was_skipped else "has no annotation"
    found += f", only {' and '.join(others)}, which are not read" if others else ""
    message = f"{found}: not labelled yet? submit it in Label Studio, without regions too, or leave it out"
    return Problem("missing-annotation", message)


def _short_items(task: Mapping[str, Any]) -> list[Any]:
    """The answers of an entry of JSON-MIN in the form of the long export."""
    lists = [value for value in task.values() if isinstance(value, list)]
    values = [value for one in lists for value in one if isinstance(value, dict)]
    return [{**{key: value.get(key) for key in _SHARED_KEYS}, "value": value} for value in values]


def _objects(items: Sequence[Any], where: str, size: tuple[int, int]) -> Iterator[Thing]:
    """The regions of an annotation; items with one id are about one region."""
    regions: dict[str, list[Mapping[str, Any]]] = {}
    for index, item in enumerate(items):
        where_item = f"{where} result[{index}]"
        if not isinstance(item, dict) or not isinstance(item.get("value", {}), dict):
            yield Flaw(where_item, Problem("bad-shape", f"{show(item)} has no object 'value'; export it again"))
            continue
        said = item.get("original_height"), item.get("original_width")
        if flaw := size_flaw(where_item, said, size, "original_height and original_width"):
            yield flaw
            return
        name = item.get("id")
        regions.setdefault(f"id {name}" if isinstance(name, str | int) else where_item, []).append(
            {"value": {}, **item, "where": where_item}
        )
    for parts in regions.values():
        yield from _region(parts, size)


def _region(parts: Sequence[Mapping[str, Any]], size: tuple[int, int]) -> Iterator[Thing]:
    where = parts[0]["where"]
    found = next((part for part in parts if _labels(part["value"])), None)
    drawn = found or next((part for part in parts if "original_width" in part), None)
    if drawn is None or (found is None and not _has_shape(drawn["value"])):
        kinds = ", ".join(sorted({str(part.get("type") or "answer") for part in parts}))
        yield Remark("unused-answer", where, f"an answer ({kinds}) that is no region of an image is not used", None)
        return
    problem = _problem(parts, drawn)
    if problem is not None:
        yield Flaw(where, problem)
        return
    region = region_of(drawn["value"], size)
    if isinstance(region, Problem):
        yield Flaw(where, region)
        return
    if "height" in drawn["value"] and not {"rle", "imageDataURL"} & drawn["value"].keys():
        yield box_as_mask(where, "rectangle")
    yield FoundObject(where, _labels(drawn["value"])[0], region)


def _problem(parts: Sequence[Mapping[str, Any]], drawn: Mapping[str, Any]) -> Problem | None:
    labels = _labels(drawn["value"])
    if not labels:
        return Problem("missing-class", "a region has no label; give it one in Label Studio")
    if len(labels) > 1:
        return Problem(
            "several-classes", f"a region has the labels {show(labels)}; an object has one class, choose one"
        )
    if any(part.get("image_rotation") for part in parts):
        message = f"it was drawn while the image was turned by {show(drawn.get('image_rotation'))}° in Label Studio"
        return Problem("turned-image", f"{message}; turn the image back there, or the file itself, and export again")
    if any(part.get("item_index") for part in parts):
        return Problem("several-images", "its task shows several images; make a task of each image")
    return None


def _labels(value: Mapping[str, Any]) -> list[str]:
    """The labels of a region: of its own kind, `polygonlabels` for one, or common `labels`."""
    return [
        label
        for key, labels in value.items()
        if key.endswith("labels") and isinstance(labels, list)
        for label in labels
        if isinstance(label, str) and label
    ]


def _has_shape(value: Mapping[str, Any]) -> bool:
    return any(key in value for key in ("points", "rle", "imageDataURL", "x", "vertices"))

"""Ids, flags and sizes of a COCO document as the numbers that they stand for, however a tool wrote them.

`7`, `"7"` and `7.0` are one id; ids that are no numbers at all, `"img-7"`, are numbered. Every change is a `Remark`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from maskwright.data.checks import show
from maskwright.data.readers.coco_document import is_id
from maskwright.data.readers.coco_ids import Ids, as_number, id_text, whole_number, with_id
from maskwright.data.record import Remark

Entry = dict[str, Any]

# of COCO panoptic: an annotation is a whole image, and each of its segments has a class
_SEGMENTS = "segments_info"
_FLAGS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}
# the class of all objects in a file that has no class for any of them
ONLY_CLASS: Mapping[str, Any] = {"id": 1, "name": "object"}


class TidyDocument(NamedTuple):
    """A COCO document whose ids, flags and sizes are numbers, and what was changed for that."""

    document: dict[str, list[Any]]
    remarks: list[Remark]


def tidy(document: Mapping[str, list[Any]], source: str) -> TidyDocument:
    """The document with ids, `iscrowd`, `width` and `height` as numbers; what cannot be one stays as it is.

    Args:
        document: with images, annotations and categories; it is not changed.
        source: its file, for the remarks.
    """
    notes = _Notes(source)
    images, image_ids = _tidy_images(document["images"], notes)
    categories = document["categories"]
    if len(categories) > 1 and _has_no_class(document["annotations"]):
        notes.add(
            "no-classes",
            f"no annotation has a category_id, so all objects are of one class, {ONLY_CLASS['name']!r}; VIA exports "
            "classes only where they are a dropdown or radio attribute",
        )
        categories = [dict(ONLY_CLASS)]
        notes.keep_quiet("no-category-id")
    category_ids = Ids.of(categories, "name")
    notes.add_ids("category", category_ids)
    annotations = [_tidy_annotation(entry, image_ids, category_ids, notes) for entry in document["annotations"]]
    return TidyDocument(
        {
            **document,
            "images": images,
            "annotations": _with_own_ids(annotations, notes),
            "categories": [with_id(entry, category_ids) for entry in categories],
        },
        notes.remarks(),
    )


class _Notes:
    """What was changed, one remark for each kind, with the number of the entries concerned."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}
        self._quiet: set[str] = set()

    def add(self, kind: str, message: str) -> None:
        """One more entry of a kind; the message of the first stands for all."""
        if kind not in self._quiet:
            self._counts[kind] += 1
            self._first.setdefault(kind, message)

    def keep_quiet(self, kind: str) -> None:
        """Add nothing of a kind, since another remark says it."""
        self._quiet.add(kind)

    def add_ids(self, what: str, ids: Ids) -> None:
        """What is to be said of the ids that entries have."""
        if ids.num_names:
            message = f"{ids.num_names} {what} ids are no numbers; they are numbered in the order of the file"
            self.add(f"{what}-ids-numbered", message)
        elif ids.num_texts:
            message = f"{ids.num_texts} {what} ids are not written as whole numbers, but mean whole numbers"
            self.add(f"{what}-ids-as-text", message)

    def remarks(self) -> list[Remark]:
        """One for each kind."""
        more_of = {kind: f", and {count - 1} more like it" if count > 1 else "" for kind, count in self._counts.items()}
        return [Remark(kind, self._source, f"{self._first[kind]}{more}", None) for kind, more in more_of.items()]


def _tidy_images(entries: list[Any], notes: _Notes) -> tuple[list[Any], Ids]:
    """The images, each once where the very same entry is listed twice, and their ids."""
    ids = Ids.of(entries, "file_name")
    notes.add_ids("image", ids)
    images: list[Any] = []
    first: dict[str, Any] = {}
    for entry in entries:
        text = id_text(entry.get("id")) if isinstance(entry, dict) else None
        if text is not None and first.setdefault(text, entry) is not entry and first[text] == entry:
            notes.add(
                "repeated-image", f"image {show(entry['id'])} is listed twice with the same content; it is read once"
            )
            continue
        images.append(with_id(_with_size(entry, notes), ids))
    return images, ids


def _with_size(entry: Any, notes: _Notes) -> Any:
    """The image with its sides as whole numbers, and without them where both are 0, as VIA writes unknown ones."""
    if not isinstance(entry, dict):
        return entry
    given = {key: entry[key] for key in ("height", "width") if key in entry}
    sides = {key: _side(value) for key, value in given.items()}
    if sides == given and all(map(is_id, given.values())) and any(given.values()):
        return entry
    if given and not any(sides.values()) and None not in sides.values():
        notes.add("unknown-size", f"image {show(entry.get('id'))} has no height and width; those of the file are used")
        return {key: value for key, value in entry.items() if key not in sides}
    if len(sides) < 2 or None in sides.values():
        return entry
    notes.add("size-as-text", f"height or width of image {show(entry.get('id'))} is not written as a whole number")
    return {**entry, **sides}


def _side(value: Any) -> int | None:
    """A side in pixels, 0 where it is left open; None where the value is no whole number."""
    if value is None or value == "":
        return 0
    text = id_text(as_number(value))
    return None if text is None else whole_number(text)


def _has_no_class(annotations: Iterable[Any]) -> bool:
    """Whether there are annotations of objects, and not one of them has a class."""
    entries = [entry for entry in annotations if isinstance(entry, dict) and _SEGMENTS not in entry]
    return bool(entries) and all(entry.get("category_id") is None for entry in entries)


def _tidy_annotation(entry: Any, images: Ids, categories: Ids, notes: _Notes) -> Any:
    """The annotation with whole numbers for its image, its class and its flag, as far as these are known."""
    if not isinstance(entry, dict):
        return entry
    changed: Entry = {}
    _refer(entry, "image_id", images, changed, notes)
    segments = entry.get(_SEGMENTS)
    if isinstance(segments, list):
        changed[_SEGMENTS] = [_tidy_segment(segment, categories, notes) for segment in segments]
    elif _refer(entry, "category_id", categories, changed, notes) is None and (only := categories.only) is not None:
        changed["category_id"] = only
        notes.add("no-category-id", "an annotation has no category_id; it is of the only class that there is")
    flag = entry.get("iscrowd")
    if flag is not None and not (is_id(flag) and flag in (0, 1)) and (plain := _flag(flag)) is not None:
        changed["iscrowd"] = plain
        notes.add("odd-iscrowd", f"iscrowd {show(flag)} is read as {plain}")
    return {**entry, **changed} if changed else entry


def _tidy_segment(segment: Any, categories: Ids, notes: _Notes) -> Any:
    changed: Entry = {}
    if isinstance(segment, dict):
        _refer(segment, "category_id", categories, changed, notes)
    return {**segment, **changed} if changed else segment


def _refer(entry: Entry, key: str, ids: Ids, changed: Entry, notes: _Notes) -> Any:
    """Put the number that an entry refers to into `changed`, where it is written in another way; returns the value."""
    value = entry.get(key)
    if ids.are_plain and is_id(value):
        return value
    number = ids.number_of(value)
    if number is None and is_id(value):
        changed[key] = str(value)  # the file has no such id, though one of text may have got this number
    elif number is not None and (number != value or not is_id(value)):
        changed[key] = number
        if ids.are_plain:
            notes.add(f"{key.replace('_', '-')}-as-text", f"{key} {show(value)} is read as {number}")
    return value


def _flag(value: Any) -> int | None:
    return _FLAGS.get(str(value).strip().lower()) if isinstance(value, bool | float | str) else None


def _with_own_ids(entries: list[Any], notes: _Notes) -> list[Any]:
    """The annotations, each once, and each that has an id with one of its own."""
    given = [entry["id"] for entry in entries if isinstance(entry, dict) and "id" in entry]
    if all(map(is_id, given)) and len(set(given)) == len(given):
        return entries
    ids = Ids.of(entries)
    notes.add_ids("annotation", ids)
    free = max(ids.numbers.values(), default=0) + 1
    first: dict[str, Any] = {}
    own: list[Any] = []
    for entry in entries:
        text = id_text(entry.get("id")) if isinstance(entry, dict) else None
        if text is None or first.setdefault(text, entry) is entry:
            own.append(with_id(entry, ids))
        elif first[text] == entry:
            notes.add(
                "repeated-annotation",
                f"annotation {show(entry['id'])} is listed twice with the same content; it is read once",
            )
        else:
            notes.add(
                "repeated-annotation-id", f"annotation id {show(entry['id'])} occurs before; this one is read as {free}"
            )
            own.append({**entry, "id": free})
            free += 1
    return own

"""LVIS annotations, v1 and v0.5: COCO's format for so many classes that no image is searched for all of them.

Each image lists the classes it was searched for in vain (`neg_category_ids`) and those of which more objects are there
than drawn (`not_exhaustive_category_ids`); about all others nothing is known. Each class has a `frequency`. See Gupta,
Dollár and Girshick, LVIS (2019), section 3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from maskwright.data.checks import Problem, show
from maskwright.data.readers.coco import dataset_of
from maskwright.data.readers.coco_document import is_id, load_document, own_file_name
from maskwright.data.readers.coco_tidying import tidy
from maskwright.data.readers.options import DEFAULT_OPTIONS, ReadOptions
from maskwright.data.record import Dataset, Defect, FederatedLabels, ImageRecord
from maskwright.errors import DataError
from maskwright.structures import Categories

# rare (in up to 10 training images), common (up to 100), frequent
FREQUENCIES = ("r", "c", "f")
NEGATIVE, NOT_EXHAUSTIVE = "neg_category_ids", "not_exhaustive_category_ids"

# v0.5 has the names of COCO's older releases, `COCO_val2014_000000001268.jpg`
_OLD_PREFIX = "COCO_"


def read_lvis(images: Path, annotations: Path, options: ReadOptions = DEFAULT_OPTIONS) -> Dataset:
    """Read an LVIS file and check all that can be known without opening the images.

    Args:
        images: folder with COCO's images, or with its folders `train2017` and `val2017`: a file is looked for by its
            `file_name`, then by the last two parts and the last part of its `coco_url`.
        annotations: JSON file.
        options: with `needs_masks`, an object without `segmentation` is a defect.

    Raises:
        DataError: the file is not JSON, lacks one of its lists, or its categories are not usable; or it is plain COCO.
    """
    given = load_document(annotations)
    _refuse_plain_coco(given["images"], annotations)
    tidied = tidy(given, str(annotations))
    document = tidied.document
    dataset = dataset_of(tidied, images, annotations, options, file_names)
    defects = [*dataset.defects]
    frequencies = _read_frequencies(document["categories"], dataset.categories, defects)
    # where two images have one id, the first has it
    entries = {entry["id"]: entry for entry in reversed(document["images"]) if _has_id(entry)}
    known = frozenset(dataset.categories.ids)
    records = tuple(_with_federated(record, entries[record.id], known, defects) for record in dataset.records)
    return replace(dataset, records=records, defects=tuple(defects), frequencies=frequencies, is_lvis=True)


def file_names(entry: Mapping[str, Any]) -> Sequence[str]:
    """Where the file of an image may be, the likeliest first.

    >>> file_names({"coco_url": "http://images.cocodataset.org/train2017/000000391895.jpg"})
    ['train2017/000000391895.jpg', '000000391895.jpg']
    >>> file_names({"file_name": "COCO_val2014_000000001268.jpg"})
    ['COCO_val2014_000000001268.jpg', '000000001268.jpg']
    """
    names = [*own_file_name(entry)]
    if names and names[0].startswith(_OLD_PREFIX):
        names.append(names[0].rpartition("_")[2])
    url = entry.get("coco_url")
    if isinstance(url, str) and url and not url.endswith("/"):
        parts = url.split("/")[-2:]
        names += ["/".join(parts), parts[-1]]
    return list(dict.fromkeys(names))


def _refuse_plain_coco(entries: list[Any], path: Path) -> None:
    """Every image of LVIS has both lists, be they empty; a file that has none at all is no LVIS."""
    if entries and not any(isinstance(entry, dict) and NEGATIVE in entry for entry in entries):
        raise DataError(f"{path}: no image has {NEGATIVE!r}, so this is not LVIS; read it with format coco")


def _has_id(entry: Any) -> bool:
    return isinstance(entry, dict) and is_id(entry.get("id"))


def _read_frequencies(entries: list[Any], categories: Categories, defects: list[Defect]) -> dict[int, str]:
    """Category id → r, c or f; a class without becomes a complaint in `defects`."""
    frequencies: dict[int, str] = {}
    for category_id, entry in zip(categories.ids, entries, strict=True):
        found = entry.get("frequency")
        if found in FREQUENCIES:
            frequencies[category_id] = found
        else:
            message = f"frequency {show(found)} is not one of {', '.join(FREQUENCIES)} (rare, common, frequent)"
            where = f"category {category_id} ({show(entry['name'])})"
            defects.append(Defect("bad-frequency", where, message, None))
    return frequencies


def _with_federated(
    record: ImageRecord, entry: Mapping[str, Any], known: frozenset[int], defects: list[Defect]
) -> ImageRecord:
    """The record with what was looked for in it; contradictions go to `defects`, and drawn objects are believed."""
    where = f"image {record.id} ({record.path.name!r})"
    problems: list[Problem] = []
    not_exhaustive = _read_ids(entry, NOT_EXHAUSTIVE, known, problems)
    drawn = {annotation["category_id"] for annotation in record.annotations}
    negative = _read_ids(entry, NEGATIVE, known, problems)
    problems += _contradictions(negative, drawn, not_exhaustive)
    defects += [Defect(kind, where, message, record.id, keeps_objects=True) for kind, message in problems]
    negative = tuple(id_ for id_ in negative if id_ not in drawn and id_ not in not_exhaustive)
    return replace(record, federated=FederatedLabels(negative, not_exhaustive))


def _read_ids(entry: Mapping[str, Any], key: str, known: frozenset[int], problems: list[Problem]) -> tuple[int, ...]:
    """The ids of classes in a list of an image, each once; what is none goes to `problems`."""
    ids = entry.get(key)
    if not isinstance(ids, list):
        problems.append(Problem("bad-class-list", f"{key} {show(ids)} is not a list of category ids; [] is one"))
        return ()
    known_ids = [id_ for id_ in ids if is_id(id_) and id_ in known]
    problems += [
        Problem("unknown-category", f"{key} has {show(id_)}, which is not in 'categories'")
        for id_ in ids
        if not is_id(id_) or id_ not in known
    ]
    return tuple(dict.fromkeys(known_ids))


def _contradictions(negative: Sequence[int], drawn: set[int], not_exhaustive: Sequence[int]) -> Iterator[Problem]:
    for id_ in negative:
        if id_ in drawn:
            yield Problem("contradicting-labels", f"{NEGATIVE} has {id_}, but the image has annotations of this class")
        elif id_ in not_exhaustive:
            yield Problem("contradicting-labels", f"class {id_} is in {NEGATIVE} and in {NOT_EXHAUSTIVE}")

"""Maps of ids that only say where objects are: white on black, or the same one number in every image.

As ids, all that is white would be one object an image. Whether its parts are objects is for their owner to say
(`binary_maps`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from maskwright.config.data import BinaryMaps
from maskwright.data.checks import box_around
from maskwright.data.id_pictures import connected_parts
from maskwright.data.record import Dataset, Defect, ImageRecord, Remark
from maskwright.structures.masks.rle import Rle

# of 8 bits, of 16, and of colours
WHITES = (255, 65535, 0xFFFFFF)
_WAY_OUT = (
    "say what is an object with binary_maps (--binary-maps): split, each part that touches no other, or whole, all of "
    "an image together"
)


def with_binary_maps(dataset: Dataset, values: Mapping[Path, int], chosen: BinaryMaps | None) -> Dataset:
    """The dataset with the objects that its binary maps show.

    Args:
        dataset: one object for each value of each map.
        values: image → the one value that its map has above 0, where it has only one.
        chosen: what the owner says; None: images whose map shows several parts are defects.
    """
    have_one = _have_one_value(dataset, values)
    single = [record for record in dataset.records if record.annotations and record.path in values]
    binary = [record for record in single if have_one or values[record.path] in WHITES]
    parts = {record.id: connected_parts(record.annotations[0]["segmentation"]) for record in binary}
    several = {id_: found for id_, found in parts.items() if len(found) > 1}
    if not several or chosen == "whole":
        return dataset
    if chosen == "split":
        return _split(dataset, several)
    if not _are_surely_binary(dataset, values, several):
        remarks = [
            Remark(
                "one-value",
                _where(record),
                f"the {len(several[record.id])} parts are one object; {_WAY_OUT}",
                record.id,
            )
            for record in dataset.records
            if record.id in several
        ]
        return replace(dataset, remarks=(*dataset.remarks, *remarks))
    refused = [record for record in dataset.records if record.id in several]
    defects = [
        Defect(
            "binary-map",
            _where(record),
            f"its map has {len(several[record.id])} parts of one value, {values[record.path]}; {_WAY_OUT}",
            record.id,
        )
        for record in refused
    ]
    kept = tuple(record for record in dataset.records if record.id not in several)
    return replace(dataset, records=kept, defects=(*dataset.defects, *defects))


def _have_one_value(dataset: Dataset, values: Mapping[Path, int]) -> bool:
    """Whether all maps with objects have the same one value."""
    shown = {values.get(record.path) for record in dataset.records if record.annotations}
    return len(shown) == 1 and None not in shown


def _are_surely_binary(dataset: Dataset, values: Mapping[Path, int], several: Mapping[int, object]) -> bool:
    """Whether maps are white, or most of them have parts: an id that is hidden in its middle has parts now and then."""
    shown = [record for record in dataset.records if record.annotations]
    are_white = any(values[record.path] in WHITES for record in shown if record.id in several)
    return are_white or (len(shown) > 1 and 2 * len(several) > len(shown))


def _split(dataset: Dataset, several: Mapping[int, list[Rle]]) -> Dataset:
    ids = count(1)
    records = tuple(
        replace(record, annotations=tuple({**one, "id": next(ids)} for one in _split_annotations(record, several)))
        for record in dataset.records
    )
    remarks = [
        Remark(
            "split-map", _where(record), f"its one value has {len(several[record.id])} parts, each an object", record.id
        )
        for record in dataset.records
        if record.id in several
    ]
    return replace(dataset, records=records, remarks=(*dataset.remarks, *remarks))


def _split_annotations(record: ImageRecord, several: Mapping[int, list[Rle]]) -> Iterator[Mapping[str, Any]]:
    if record.id not in several:
        yield from record.annotations
        return
    for mask in several[record.id]:
        yield {**record.annotations[0], "segmentation": mask, "bbox": box_around(mask, record.size)}


def _where(record: ImageRecord) -> str:
    return f"image {record.path.name!r}"

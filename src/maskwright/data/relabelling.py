"""A dataset under other class names: renamed, joined into one, or left out; and its crowds as single objects."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from maskwright.config.overrides import nearest_names
from maskwright.data.record import Dataset, FederatedLabels, ImageRecord, Remark
from maskwright.data.segment_picture import SegmentClasses, SegmentLabel
from maskwright.errors import ConfigError
from maskwright.structures import Categories

_NEAR_NAMES = "near-class-names"
FREQUENCIES = "fcr"  # LVIS: frequent, common, rare


def relabel(dataset: Dataset, rename: Mapping[str, str], only: Sequence[str] | None) -> Dataset:
    """The dataset with its classes renamed, all at once, and then all but some of them left out.

    Classes that get one name become one class, with the id of the first of them. Images stay, also those that lose all
    their objects. Segments are renamed alike; those of things that are left out are known no more, stuff stays.

    Args:
        dataset: read from a format that has class names.
        rename: class in the data → its new name.
        only: new names of the classes of objects that are kept; None: all.

    Raises:
        ConfigError: the data has no such class; the message names near ones.
    """
    if not rename and only is None:
        return dataset
    segments = dataset.segment_classes
    stuff = segments.stuff.names if segments is not None else ()
    _refuse_unknown(rename, (*dataset.categories.names, *stuff), dataset.source, "rename")
    names = [rename.get(name, name) for name in dataset.categories.names]
    if only is not None:
        _refuse_unknown(only, names, dataset.source, "only")
    kept = frozenset(names if only is None else only)
    merging = _Merging.of(dataset.categories, rename, kept)
    things = _Merging.of(segments.things, rename, kept) if segments is not None else _Merging({}, ())
    others = _Merging.of(segments.stuff, rename, None) if segments is not None else _Merging({}, ())
    segment_ids = {**things.new_ids, **others.new_ids}
    relabelled = replace(
        dataset,
        records=tuple(_relabelled(record, merging, segment_ids) for record in dataset.records),
        categories=merging.categories(),
        segment_classes=None if segments is None else SegmentClasses(things.categories(), others.categories()),
        frequencies=_joined_frequencies(dataset.frequencies, merging),
    )
    return with_name_remarks(relabelled)


def with_name_remarks(dataset: Dataset) -> Dataset:
    """The dataset with a remark on each class whose name another one has in other case or spacing."""
    others = tuple(remark for remark in dataset.remarks if remark.kind != _NEAR_NAMES)
    near: list[Remark] = []
    first: dict[str, str] = {}
    for name in dict.fromkeys(dataset.categories.names):
        known = first.setdefault(plain_class_name(name), name)
        if known != name:
            message = f"classes {known!r} and {name!r} differ only in case or spacing; if they are one class, set "
            near.append(Remark(_NEAR_NAMES, dataset.source, f"{message}rename={{{name!r}: {known!r}}}", None))
    return replace(dataset, remarks=(*others, *near)) if near or len(others) < len(dataset.remarks) else dataset


def plain_class_name(name: str) -> str:
    """A name without case, spaces, hyphens and underscores, which people spell in many ways.

    >>> plain_class_name("Traffic_light ") == plain_class_name("traffic-Light")
    True
    """
    return re.sub(r"[\s_-]+", "", name.casefold())


def without_crowds(dataset: Dataset) -> Dataset:
    """The dataset with each annotation that is marked as a crowd as one object."""
    records = (
        replace(record, annotations=tuple({**annotation, "iscrowd": 0} for annotation in record.annotations))
        for record in dataset.records
    )
    return replace(dataset, records=tuple(records))


@dataclass(frozen=True)
class _Merging:
    """Which classes become which: old id → new id of those that stay, and the classes that there are then."""

    new_ids: Mapping[int, int]
    classes: tuple[tuple[str, int], ...]

    @staticmethod
    def of(categories: Categories, rename: Mapping[str, str], kept: frozenset[str] | None) -> _Merging:
        """From the old classes, the new names of some, and the new names that stay (None: all)."""
        first: dict[str, int] = {}
        new_ids: dict[int, int] = {}
        for old_name, id_ in zip(categories.names, categories.ids, strict=True):
            name = rename.get(old_name, old_name)
            if kept is None or name in kept:
                new_ids[id_] = first.setdefault(name, id_)
        return _Merging(new_ids, tuple(first.items()))

    def categories(self) -> Categories:
        """The new classes."""
        return Categories(tuple(name for name, _ in self.classes), tuple(id_ for _, id_ in self.classes))

    def sources(self) -> dict[int, list[int]]:
        """New id → ids of the classes that became this one."""
        sources: dict[int, list[int]] = {}
        for old, new in self.new_ids.items():
            sources.setdefault(new, []).append(old)
        return sources


def _relabelled(record: ImageRecord, merging: _Merging, segment_ids: Mapping[int, int]) -> ImageRecord:
    annotations: list[Mapping[str, Any]] = [
        {**annotation, "category_id": merging.new_ids[annotation["category_id"]]}
        for annotation in record.annotations
        if annotation["category_id"] in merging.new_ids
    ]
    segments = record.segments
    if segments is not None:
        known = {
            id_: SegmentLabel(segment_ids[label.category_id], label.is_crowd)
            for id_, label in segments.segments.items()
            if label.category_id in segment_ids
        }
        segments = replace(segments, segments=known)
    return replace(record, annotations=tuple(annotations), segments=segments, federated=_joined_labels(record, merging))


def _joined_labels(record: ImageRecord, merging: _Merging) -> FederatedLabels | None:
    """What is known of the new classes in an image: of a joined one, only what is known of all its parts."""
    if record.federated is None:
        return None
    negative, open_ended = set(record.federated.negative_ids), set(record.federated.not_exhaustive_ids)
    present = {annotation["category_id"] for annotation in record.annotations}
    absent, not_exhaustive = [], []
    for new, parts in merging.sources().items():
        if negative.issuperset(parts):
            absent.append(new)
        elif present.intersection(parts) and any(
            part in open_ended or part not in present | negative for part in parts
        ):
            not_exhaustive.append(new)
    return FederatedLabels(tuple(absent), tuple(not_exhaustive))


def _joined_frequencies(frequencies: Mapping[int, str], merging: _Merging) -> dict[int, str]:
    """Of a joined class, that of its most frequent part."""
    if not frequencies:
        return {}
    return {
        new: min((frequencies[part] for part in parts), key=FREQUENCIES.index)
        for new, parts in merging.sources().items()
    }


def _refuse_unknown(asked: Iterable[str], known: Sequence[str], source: str, key: str) -> None:
    unknown = [name for name in asked if name not in known]
    if not unknown:
        return
    near = nearest_names(unknown[0], known)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"its classes are {_listed(known)}"
    raise ConfigError(f"{key}: {source} has no class {unknown[0]!r}; {hint}")


def _listed(names: Sequence[str], most: int = 20) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")

"""Several datasets as one: classes united by name, ids of their own, what was left out named with its source."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from maskwright.data.record import Dataset, Defect, FederatedLabels, ImageRecord, Notice, Remark
from maskwright.data.relabelling import FREQUENCIES, plain_class_name
from maskwright.data.segment_picture import SegmentClasses, SegmentLabel, SegmentPicture
from maskwright.errors import ConfigError
from maskwright.structures import Categories

AnyNotice = TypeVar("AnyNotice", bound=Notice)


def join_datasets(datasets: Sequence[Dataset]) -> Dataset:
    """All images of some datasets, one dataset after the other; a single dataset stays as it is.

    Classes of one name are one class. They come in the order in which the names first appear, and keep their ids as far
    as these are free. Images and objects are numbered anew, from 1. An image of a dataset that lacks some of the
    classes is known to have none of those of its own dataset that are not annotated, and nothing is known of the
    others (`ImageRecord.federated`).

    Args:
        datasets: one or more, each with all classes that its images were annotated for.

    Raises:
        ConfigError: class names of two datasets differ only in case, spaces or hyphens, or their keypoints have other
            names.
    """
    if len(datasets) == 1:
        return datasets[0]
    _refuse_near_names(datasets)
    classes = _UnitedClasses()
    joiners = [_Joiner.of(dataset, classes) for dataset in datasets]
    categories, records, defects = classes.categories(), list[ImageRecord](), list[Defect]()
    remarks: list[Remark] = []
    next_annotation = 1
    for dataset, joiner in zip(datasets, joiners, strict=True):
        image_ids = {record.id: len(records) + number for number, record in enumerate(dataset.records, start=1)}
        for record in dataset.records:
            records.append(joiner.joined(record, image_ids[record.id], next_annotation, categories))
            next_annotation += len(record.annotations)
        defects += [_with_source(defect, dataset.source, image_ids) for defect in dataset.defects]
        remarks += [_with_source(remark, dataset.source, image_ids) for remark in dataset.remarks]
    return Dataset(
        tuple(records),
        categories,
        listed([dataset.source for dataset in datasets]),
        tuple(defects),
        _keypoint_names(datasets),
        classes.segment_classes() if any(dataset.segment_classes is not None for dataset in datasets) else None,
        _frequencies(datasets, joiners, categories),
        is_lvis=all(dataset.is_lvis for dataset in datasets),
        remarks=tuple(remarks),
    )


def listed(sources: Sequence[str], most: int = 3) -> str:
    """Files in one line, cut short where there are many.

    >>> listed(["a.json", "b.json", "c.json", "d.json", "e.json"])
    'a.json, b.json, c.json and 2 more'
    """
    return ", ".join(sources[:most]) + (f" and {len(sources) - most} more" if len(sources) > most else "")


@dataclass
class _UnitedClasses:
    """Names and ids given out so far; `things` also has classes that only occur as segments."""

    names: list[str] = field(default_factory=list)
    things: dict[str, int] = field(default_factory=dict)
    stuff: dict[str, int] = field(default_factory=dict)
    segment_things: dict[str, int] = field(default_factory=dict)

    def taken_in(self, classes: Categories, known: dict[str, int]) -> dict[int, int]:
        """Id in a dataset → id in the union, of classes that are now among those `known`."""
        found: dict[int, int] = {}
        for name, id_ in zip(classes.names, classes.ids, strict=True):
            if name not in known:
                taken = {*self.things.values(), *self.stuff.values()}
                known[name] = id_ if id_ not in taken else max(taken) + 1
            found[id_] = known[name]
        return found

    def categories(self) -> Categories:
        """The classes of objects."""
        return Categories(tuple(self.names), tuple(self.things[name] for name in self.names))

    def segment_classes(self) -> SegmentClasses:
        """The classes of segments."""
        return SegmentClasses(_categories(self.segment_things), _categories(self.stuff))


@dataclass(frozen=True)
class _Joiner:
    """A dataset's ids in the union: of its classes of objects, and of those of its segments."""

    category_ids: Mapping[int, int]
    segment_ids: Mapping[int, int]

    @staticmethod
    def of(dataset: Dataset, classes: _UnitedClasses) -> _Joiner:
        """Take a dataset's classes into the union."""
        category_ids = classes.taken_in(dataset.categories, classes.things)
        classes.names += [name for name in dict.fromkeys(dataset.categories.names) if name not in classes.names]
        if dataset.segment_classes is None:
            return _Joiner(category_ids, {})
        things, stuff = dataset.segment_classes.things, dataset.segment_classes.stuff
        thing_ids = classes.taken_in(things, classes.things)
        classes.segment_things |= {name: classes.things[name] for name in things.names}
        return _Joiner(category_ids, {**thing_ids, **classes.taken_in(stuff, classes.stuff)})

    def joined(self, record: ImageRecord, image_id: int, first_annotation: int, union: Categories) -> ImageRecord:
        """The record with ids of the union."""
        annotations: list[Mapping[str, Any]] = [
            {
                **annotation,
                "id": first_annotation + index,
                "image_id": image_id,
                "category_id": self.category_ids[annotation["category_id"]],
            }
            for index, annotation in enumerate(record.annotations)
        ]
        return replace(
            record,
            id=image_id,
            annotations=tuple(annotations),
            segments=None if record.segments is None else self._segments(record.segments),
            federated=self._federated(record, union),
        )

    def _segments(self, picture: SegmentPicture) -> SegmentPicture:
        labels = picture.segments.items()
        return replace(
            picture,
            segments={id_: SegmentLabel(self.segment_ids[label.category_id], label.is_crowd) for id_, label in labels},
        )

    def _federated(self, record: ImageRecord, union: Categories) -> FederatedLabels | None:
        """What was looked for in an image: all classes of the union, or those of its dataset."""
        own = record.federated
        if own is not None:
            negative, not_exhaustive = (
                tuple(self.category_ids[id_] for id_ in ids) for ids in (own.negative_ids, own.not_exhaustive_ids)
            )
            return FederatedLabels(negative, not_exhaustive)
        if set(self.category_ids.values()) == set(union.ids):
            return None
        present = {self.category_ids[annotation["category_id"]] for annotation in record.annotations}
        return FederatedLabels(tuple(sorted(set(self.category_ids.values()) - present)), ())


def _categories(ids: Mapping[str, int]) -> Categories:
    return Categories(tuple(ids), tuple(ids.values()))


def _with_source(finding: AnyNotice, source: str, image_ids: Mapping[int, int]) -> AnyNotice:
    image_id = image_ids.get(finding.image_id) if finding.image_id is not None else None
    return replace(finding, where=f"{source}: {finding.where}", image_id=image_id)


def _refuse_near_names(datasets: Iterable[Dataset]) -> None:
    """Two spellings of one class would halve it without a word."""
    spellings: dict[str, dict[str, str]] = {}  # name without case and spacing → its spellings, each with its source
    for dataset in datasets:
        own: dict[str, dict[str, str]] = {}
        for name in dataset.categories.names:
            own.setdefault(plain_class_name(name), {})[name] = dataset.source
        for plain, names in own.items():
            known = spellings.setdefault(plain, {})
            for name in names.keys() - known.keys() if known else ():
                other, source = next(iter(known.items()))
                raise ConfigError(
                    f"class {name!r} of {dataset.source} is spelt {other!r} in {source}; if they are one, set "
                    f"rename={{{name!r}: {other!r}}} for the dataset of the former, if not, rename one of them"
                )
            known |= names


def _keypoint_names(datasets: Sequence[Dataset]) -> tuple[str, ...]:
    named = [dataset for dataset in datasets if dataset.keypoint_names]
    for dataset in named:
        if dataset.keypoint_names != named[0].keypoint_names:
            raise ConfigError(
                f"the keypoints of {dataset.source} are {', '.join(dataset.keypoint_names)}, those of "
                f"{named[0].source} {', '.join(named[0].keypoint_names)}; datasets that are joined need the same ones "
                "in the same order"
            )
    return named[0].keypoint_names if named else ()


def _frequencies(datasets: Sequence[Dataset], joiners: Sequence[_Joiner], union: Categories) -> dict[int, str]:
    """Of each class, the highest that a dataset says; none where the datasets leave one out."""
    found: dict[int, str] = {}
    for dataset, joiner in zip(datasets, joiners, strict=True):
        for id_, frequency in dataset.frequencies.items():
            new = joiner.category_ids[id_]
            found[new] = min(frequency, found.get(new, frequency), key=FREQUENCIES.index)
    return found if found.keys() == set(union.ids) else {}

"""A contact sheet of a dataset: some of its images, what it consists of, and what is wrong with it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maskwright.data.record import Dataset, Defect, ImageRecord, count_kinds
from maskwright.errors import ConfigError, DataError
from maskwright.ops.randomness import random_key
from maskwright.report.page import count, write_page
from maskwright.report.pictures import Thumbnail, as_thumbnail, draw_objects, instances_of_annotations, read_small
from maskwright.report.plots import Histogram, counting_histogram, logarithmic_histogram
from maskwright.structures import Categories

# of all kinds together, each kind getting its part
_MOST_DEFECTS = 300
_MOST_SIZES = 12
# more images, smaller ones, so that the page stays light: up to how many, and their longest side
_LONGEST_PX = ((24, 640), (60, 448), (float("inf"), 320))


@dataclass(frozen=True)
class Card:
    """An image of the sheet: its picture, or why it has none."""

    name: str
    note: str
    picture: Thumbnail | None


@dataclass(frozen=True)
class Share:
    """A row of a bar chart: a name, how many, and how long its bar is, in percent of the longest."""

    name: str
    count: int
    length: float


@dataclass(frozen=True)
class DefectGroup:
    """Defects of one kind: how many there are, and some or all of them."""

    kind: str
    count: int
    shown: tuple[Defect, ...]


def write_sheet(
    path: Path, dataset: Dataset, *, title: str, num_images: int = 24, seed: int = 0, has_defects: bool = True
) -> None:
    """Write a dataset as one HTML file that loads nothing.

    Args:
        path: the file to write; its folder is made.
        dataset: its defects are shown, whatever they are.
        title: of the page.
        num_images: how many to draw, at random as a function only of the seed; they are opened one after the other.
        seed: another seed, other images.
        has_defects: list what could not be used of the dataset.

    Raises:
        ConfigError: `num_images` below zero.
        DataError: the dataset has no usable image.
        OutputError: the file cannot be written.
    """
    if num_images < 0:
        raise ConfigError(f"{num_images} images cannot be drawn; give 0 or more")
    dataset.refuse_emptiness()
    chosen = choose_records(dataset.records, num_images, seed)
    longest_px = next(side for most, side in _LONGEST_PX if len(chosen) <= most)
    write_page(
        path,
        "dataset.html",
        title=title,
        facts=_facts(dataset),
        categories=_shares(_objects_per_category(dataset)),
        histograms=_histograms(dataset),
        sizes=_sizes(dataset),
        cards=[_card(record, dataset.categories, int(longest_px)) for record in chosen],
        seed=seed,
        num_defects=len(dataset.defects) if has_defects else 0,
        defects=_defect_groups(dataset.defects) if has_defects else [],
    )


def choose_records(records: Sequence[ImageRecord], num_images: int, seed: int) -> list[ImageRecord]:
    """Some records at random, in their order, as a function of their number and the seed."""
    draw = random.Random(random_key(seed, "sheet"))  # noqa: S311 - nothing secret
    indices = draw.sample(range(len(records)), min(num_images, len(records)))
    return [records[index] for index in sorted(indices)]


def _facts(dataset: Dataset) -> list[tuple[str, str]]:
    annotations = [annotation for record in dataset.records for annotation in record.annotations]
    num_empty = sum(not record.annotations for record in dataset.records)
    num_masks = sum(bool(annotation.get("segmentation")) for annotation in annotations)
    num_crowds = sum(bool(annotation.get("iscrowd")) for annotation in annotations)
    num_points = sum(bool(annotation.get("keypoints")) for annotation in annotations)
    facts = [
        ("annotations", dataset.source),
        ("images", f"{count(len(dataset.records))}, {count(num_empty)} of them without objects"),
        ("objects", f"{count(len(annotations))}, {count(num_masks)} of them with masks"),
        ("categories", count(len(dataset.categories))),
    ]
    facts += [("crowds", count(num_crowds))] * bool(num_crowds)
    facts += [("with keypoints", count(num_points))] * bool(num_points)
    return facts


def _objects_per_category(dataset: Dataset) -> list[tuple[str, int]]:
    """Names with their numbers, the commonest first; names may repeat."""
    per_id = Counter(annotation["category_id"] for record in dataset.records for annotation in record.annotations)
    pairs = [(name, per_id[id_]) for id_, name in zip(dataset.categories.ids, dataset.categories.names, strict=True)]
    return sorted(pairs, key=lambda pair: -pair[1])


def _histograms(dataset: Dataset) -> list[Histogram]:
    boxes = [annotation["bbox"] for record in dataset.records for annotation in record.annotations]
    sides = np.array([box[2:] for box in boxes], dtype=np.float64).reshape(-1, 2)
    sides = sides[(sides > 0).all(axis=1)]
    return [
        logarithmic_histogram(np.sqrt(sides.prod(axis=1)), "Object size", "square root of the box's area, in pixels"),
        logarithmic_histogram(sides[:, 0] / sides[:, 1], "Aspect ratio", "width of the box divided by its height"),
        counting_histogram([len(record.annotations) for record in dataset.records], "Objects per image", "objects"),
    ]


def _sizes(dataset: Dataset) -> list[Share]:
    common = Counter(record.size for record in dataset.records).most_common()
    pairs = [(f"{width} × {height}", number) for (height, width), number in common[:_MOST_SIZES]]
    if rest := common[_MOST_SIZES:]:
        pairs.append((f"{count(len(rest))} other sizes", sum(number for _, number in rest)))
    return _shares(pairs)


def _shares(pairs: Sequence[tuple[str, int]]) -> list[Share]:
    most = max((number for _, number in pairs), default=0) or 1
    return [Share(name, number, round(100 * number / most, 1)) for name, number in pairs]


def _card(record: ImageRecord, categories: Categories, longest_px: int) -> Card:
    try:
        picture = read_small(record, longest_px)
        instances, _ = instances_of_annotations(record.annotations, record.size, categories)
        names = [categories[label] if len(categories) > 1 else "" for label in instances.labels.tolist()]
        thumbnail = as_thumbnail(draw_objects(picture, instances, names))
    except DataError as error:
        return Card(record.path.name, f"not shown: {error}", None)
    number = len(record.annotations)
    note = f"{count(number)} object{'' if number == 1 else 's'}, {record.size[1]} × {record.size[0]}"
    return Card(record.path.name, note, thumbnail)


def _defect_groups(defects: Sequence[Defect]) -> list[DefectGroup]:
    kinds = count_kinds(defects)
    most = max(1, _MOST_DEFECTS // max(1, len(kinds)))
    return [
        DefectGroup(kind, number, tuple(defect for defect in defects if defect.kind == kind)[:most])
        for kind, number in kinds.items()
    ]

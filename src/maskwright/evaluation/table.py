"""Metrics in words: the sections that pages and terminals show them in, and their table for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING, Any

from maskwright.evaluation.metrics import Metrics

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

KINDS = ("box", "mask", "keypoints")
# the groups of metrics.json that the main measures fill; others are of tables that were asked for
MEASURED = (*KINDS, "semantic", "panoptic", "cityscapes_semantic")
COLUMNS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR")
# numbers that describe the evaluation, and not of what was evaluated
BOOKKEEPING = ("images", "seconds", "max_detections", "truncated_images", "federated")
# the group of the metrics with test-time augmentation, where they stand beside those without
AUGMENTED = "augmented"
# what the groups beside COCO's are called
HEADINGS = {
    AUGMENTED: "With test-time augmentation",
    "boundary": "Boundary AP",
    "cityscapes": "Cityscapes, objects",
    "cityscapes_semantic": "Cityscapes, pixels",
    "panoptic": "Panoptic quality",
    "semantic": "Semantic segmentation",
    "voc": "Pascal VOC",
    "yolact": "YOLACT's table",
}

# groups of this name have an entry for each category, supercategory …
_PER = "per_"
# classes of which panoptic measures have numbers of their own, such as PQ_things
_SUBSETS = ("things", "stuff")
# a terminal lists no more
_MOST_CATEGORIES = 100
# more numbers than these are wider than a terminal or a phone, and stand one below the other
MOST_COLUMNS = 8

Rows = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class TableSection:
    """A group of numbers as it is shown.

    Attributes:
        heading: in words.
        rows: what is measured, `box` or `things`, but `all` where it is the whole → its numbers by name.
        parts: `category` or the like → each one's name → its rows.
    """

    heading: str
    rows: Rows
    parts: Mapping[str, Mapping[str, Rows]]


def sections(metrics: Metrics) -> list[TableSection]:
    """Every group of numbers that the metrics have beside COCO's, whatever it is.

    >>> (section,) = sections(Metrics({"box": {"AP": 0.4}, "panoptic": {"PQ": 0.5, "PQ_stuff": 0.6, "images": 2}}))
    >>> section.heading, section.rows
    ('Panoptic quality', {'all': {'PQ': 0.5}, 'stuff': {'PQ': 0.6}})
    """
    groups = ((name, group) for name, group in metrics.items() if name not in KINDS and not name.startswith(_PER))
    return [
        section for name, group in groups if isinstance(group, Mapping) for section in _sections(_spoken(name), group)
    ]


def _sections(heading: str, group: Mapping[str, Any]) -> Iterator[TableSection]:
    """The group itself, and then those within it that are of categories, too."""
    inner = {name: value for name, value in group.items() if isinstance(value, Mapping)}
    parts = {name: value for name, value in inner.items() if name.startswith(_PER)}
    own = {name for name, value in inner.items() if any(key.startswith(_PER) for key in value)} - parts.keys()
    yield TableSection(
        heading,
        rows_of({name: value for name, value in group.items() if name not in own and name not in parts}),
        {
            _spoken(name.removeprefix(_PER)): {key: rows_of(entry) for key, entry in entries.items()}
            for name, entries in parts.items()
        },
    )
    for name, value in inner.items():
        if name in own:
            yield from _sections(f"{heading} · {_spoken(name)}", value)


def rows_of(group: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """The numbers of a group, of each group within it and so on: name of the row → numbers, without bookkeeping."""
    rows: dict[str, dict[str, float]] = {}
    for name, value in group.items():
        if isinstance(value, Mapping):
            for inner, numbers in rows_of(value).items():
                rows[name if inner == "all" else f"{name} · {inner}"] = numbers
        elif name not in BOOKKEEPING:
            number, _, subset = name.rpartition("_")
            of_subset = subset in _SUBSETS and number in group
            rows.setdefault(subset if of_subset else "all", {})[number if of_subset else name] = value
    return rows


def columns_of(rows: Rows) -> list[str]:
    """Names of all numbers, COCO's first."""
    present = dict.fromkeys(name for numbers in rows.values() for name in numbers)
    return [name for name in COLUMNS if name in present] + [name for name in present if name not in COLUMNS]


def turned(rows: Rows) -> Rows:
    """The columns as rows: name of each number → it in each of the rows."""
    return {
        column: {kind: numbers[column] for kind, numbers in rows.items() if column in numbers}
        for column in columns_of(rows)
    }


def _spoken(name: str) -> str:
    return HEADINGS.get(name, name.replace("_", " "))


def metrics_table(metrics: Metrics) -> Table | Group:
    """The table of boxes, masks and keypoints, and below it one for each other group that the metrics have.

    Where there are several categories, the main table, or without it those of pixels, have the numbers of each.
    """
    from rich.console import Group  # imported late: only a terminal needs it

    has_objects, others = any(kind in metrics for kind in KINDS), sections(metrics)
    tables = [_coco_table(metrics)] if has_objects or not others else []
    for section in others:
        tables.append(_rows_table(section.heading, section.rows))
        if not has_objects:
            tables += [_table("", rows, part) for part, rows in section.parts.items() if _are_few(rows)]
    tables[0 if has_objects else -1].caption = _caption(metrics)
    return Group(*tables) if len(tables) > 1 else tables[0]


def _coco_table(metrics: Metrics) -> Table:
    """One row for boxes and one for masks; then, where there are several categories, the same rows of each.

    Beside COCO's columns stand what else the metrics have, such as LVIS's AP of rare classes.
    """
    rows = {kind: metrics[kind] for kind in KINDS if kind in metrics}
    categories = metrics.get("per_category", {})
    if not _are_few(categories):
        return _rows_table("", rows)
    of_each = {name: {kind: group[kind] for kind in KINDS if kind in group} for name, group in categories.items()}
    return _table("", {"all": rows, **of_each}, "category")


def _rows_table(title: str, rows: Rows) -> Table:
    is_wide = len(columns_of(rows)) > MOST_COLUMNS
    return _table(title, {"": turned(rows)}, row_heading="") if is_wide else _table(title, {"": rows})


def _are_few(categories: Mapping[str, Any]) -> bool:
    """Whether to list them; a single one has the numbers of all."""
    return 1 < len(categories) <= _MOST_CATEGORIES


def _table(title: str, groups: Mapping[str, Rows], group_heading: str = "", row_heading: str = "of") -> Table:
    """The rows of each group one below the other; with a heading for the groups, these are named.

    Rows are named where one is not of all.
    """
    from rich.markup import escape
    from rich.table import Table

    # a title is broken into lines as wide as its table
    table = Table(title=escape(title) or None, min_width=len(title), title_justify="left", caption_justify="left")
    columns = columns_of({f"{group}/{kind}": row for group, rows in groups.items() for kind, row in rows.items()})
    has_kinds = any(kind != "all" for rows in groups.values() for kind in rows)
    for heading in ([group_heading] if group_heading else []) + [row_heading] * has_kinds:
        table.add_column(heading)
    for column in columns or COLUMNS:
        table.add_column(escape(column.replace("_", " ")), justify="right")
    for group, rows in groups.items():
        for kind, numbers in rows.items():
            names = [escape(group)] * bool(group_heading) + [escape(kind)] * has_kinds
            table.add_row(*names, *_cells(numbers, columns))
        if has_kinds:
            table.add_section()
    return table


def _cells(group: Mapping[str, float], columns: Iterable[str]) -> list[str]:
    numbers = [group.get(column, float("nan")) for column in columns]
    return ["–" if isnan(number) else f"{number:.3f}" for number in numbers]


def _caption(metrics: Metrics) -> str:
    parts = []
    if "images" in metrics:
        parts.append(_counted(metrics["images"], "image"))
    if "max_detections" in metrics:
        of_class = "" if metrics.get("federated") else " of a class"
        parts.append(f"at most {metrics['max_detections']} detections{of_class} in each")
    if "seconds" in metrics:
        parts.append(f"{metrics['seconds']:.1f} s")
    caption = ", ".join(parts)
    if (count := len(metrics.get("per_category", ()))) > _MOST_CATEGORIES:
        caption += f"\n{count} categories are too many to list here; metrics.json has them, and report.html"
    if truncated := metrics.get("truncated_images"):
        has = "has" if truncated == 1 else "have"
        caption += f"\n{_counted(truncated, 'image')} {has} more detections than that; a higher limit would count them"
    return caption


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" + "s" * (number != 1)

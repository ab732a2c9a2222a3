"""Tables of a report: COCO's numbers, each category's, and whatever other groups of numbers metrics have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

from maskwright.evaluation.metrics import Metrics
from maskwright.evaluation.table import COLUMNS, KINDS
from maskwright.report.page import count, share

# what stands elsewhere in the report
_NO_GROUPS = {*KINDS, "per_category", "images", "max_detections", "truncated_images", "seconds"}
# a table with more rows is folded
_MOST_ROWS = 12
# a row of more numbers is written as a column
_MOST_COLUMNS = 8


@dataclass(frozen=True)
class Cell:
    """A number as it is shown and as it is sorted; names have no number."""

    text: str
    value: float | None = None


@dataclass(frozen=True)
class Table:
    """Rows of cells under headings.

    Attributes:
        title: above it.
        columns: headings; the first is that of the names.
        rows: a name and the numbers of each.
        is_folded: shown only when asked for.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    is_folded: bool = False


def cell(value: Any) -> Cell:
    """Any value of the metrics."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Cell(str(value))
    return Cell(count(value), value) if isinstance(value, int) else Cell(share(value), None if isnan(value) else value)


def headline_table(metrics: Metrics) -> Table:
    """AP and AR of boxes, masks and keypoints, and more columns where a group has more (LVIS's APr, APc, APf)."""
    kinds = [kind for kind in KINDS if kind in metrics]
    present = list(dict.fromkeys(name for kind in kinds for name in metrics[kind]))
    columns = [name for name in COLUMNS if name in present] + [name for name in present if name not in COLUMNS]
    return _table("", columns, {kind: metrics[kind] for kind in kinds})


def other_tables(metrics: Metrics) -> list[Table]:
    """Every group of numbers that the metrics have beside COCO's, whatever it is."""
    groups = {name: group for name, group in metrics.items() if name not in _NO_GROUPS and isinstance(group, Mapping)}
    return [table for name, group in groups.items() for table in _tables(_spoken(name), group)]


def other_facts(metrics: Metrics) -> list[tuple[str, str]]:
    """Numbers that stand in no group."""
    return [
        (_spoken(name), cell(value).text)
        for name, value in metrics.items()
        if name not in _NO_GROUPS and not isinstance(value, Mapping)
    ]


def _tables(title: str, group: Mapping[str, Any]) -> Iterator[Table]:
    numbers = {name: value for name, value in group.items() if not isinstance(value, Mapping)}
    parts = {name: value for name, value in group.items() if isinstance(value, Mapping)}
    flat = {name: part for name, part in parts.items() if not any(isinstance(v, Mapping) for v in part.values())}
    if numbers and len(numbers) <= _MOST_COLUMNS:
        yield _table(title, list(numbers), {"all": numbers})
    elif numbers:
        yield _table(title, ["value"], {name: {"value": value} for name, value in numbers.items()})
    if flat:
        columns = list(dict.fromkeys(name for part in flat.values() for name in part))
        yield _table(f"{title}, in parts" if numbers else title, columns, flat)
    for name, part in parts.items():
        if name not in flat:
            yield from _tables(f"{title} · {_spoken(name)}", part)


def _table(title: str, columns: Sequence[str], groups: Mapping[str, Mapping[str, Any]]) -> Table:
    rows = tuple(
        (Cell(name), *(cell(group.get(column, float("nan"))) for column in columns)) for name, group in groups.items()
    )
    return Table(title, ("", *columns), rows, is_folded=len(rows) > _MOST_ROWS)


def _spoken(name: str) -> str:
    return name.replace("_", " ")


def category_table(
    names: Iterable[str], columns: Mapping[str, Sequence[float | int]], title: str = "Categories"
) -> Table:
    """One row for each category, one column for each sequence of numbers."""
    rows = tuple((Cell(name), *map(cell, numbers)) for name, *numbers in zip(names, *columns.values(), strict=True))
    return Table(title, ("category", *columns), rows)

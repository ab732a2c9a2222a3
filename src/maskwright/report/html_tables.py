"""Tables of a report: COCO's numbers, each category's, and whatever other groups of numbers metrics have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

from maskwright.evaluation.metrics import Metrics
from maskwright.evaluation.table import (
    BOOKKEEPING,
    KINDS,
    MOST_COLUMNS,
    Rows,
    TableSection,
    columns_of,
    sections,
    turned,
)
from maskwright.report.page import count, share

# a table with more rows is folded
_MOST_ROWS = 20


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
        is_sortable: by a click on a heading.
        groups: headings over the columns after the first, each with the number of its columns; or none.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    is_folded: bool = False
    is_sortable: bool = False
    groups: tuple[tuple[str, int], ...] = ()


def cell(value: Any) -> Cell:
    """Any value of the metrics."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Cell(str(value))
    return Cell(count(value), value) if isinstance(value, int) else Cell(share(value), None if isnan(value) else value)


def headline_table(metrics: Metrics) -> Table:
    """AP and AR of boxes, masks and keypoints, and more columns where a group has more (LVIS's APr, APc, APf)."""
    kinds = {kind: metrics[kind] for kind in KINDS if kind in metrics}
    return _table("", columns_of(kinds), kinds)


def other_tables(metrics: Metrics) -> list[Table]:
    """Every group of numbers that the metrics have beside COCO's, whatever it is, and the numbers of its categories."""
    return [table for section in sections(metrics) for table in _tables(section)]


def other_facts(metrics: Metrics) -> list[tuple[str, str]]:
    """Numbers that stand in no group."""
    return [
        (_spoken(name), cell(value).text)
        for name, value in metrics.items()
        if name not in BOOKKEEPING and not isinstance(value, Mapping)
    ]


def _tables(section: TableSection) -> Iterator[Table]:
    columns = columns_of(section.rows)
    if len(columns) > MOST_COLUMNS:
        yield _table(section.heading, list(section.rows), turned(section.rows))
    elif columns:
        yield _table(section.heading, columns, section.rows)
    for part, entries in section.parts.items():
        if len(entries) > 1:
            yield _part_table(f"{section.heading}, by {part}", part, entries)


def _table(title: str, columns: Sequence[str], rows: Rows) -> Table:
    cells = tuple((Cell(name), *_cells(numbers, columns)) for name, numbers in rows.items())
    return Table(title, ("", *map(_spoken, columns)), cells, is_folded=len(cells) > _MOST_ROWS)


def _part_table(title: str, part: str, entries: Mapping[str, Rows]) -> Table:
    """A row for each entry; the columns of its kinds side by side, each kind with a heading over its own."""
    kinds = dict.fromkeys(kind for rows in entries.values() for kind in rows)
    columns = {kind: columns_of({name: rows.get(kind, {}) for name, rows in entries.items()}) for kind in kinds}
    cells = tuple(
        (Cell(name), *(one for kind, names in columns.items() for one in _cells(rows.get(kind, {}), names)))
        for name, rows in entries.items()
    )
    return Table(
        title,
        (part, *(_spoken(name) for names in columns.values() for name in names)),
        cells,
        is_folded=len(cells) > _MOST_ROWS,
        is_sortable=True,
        groups=tuple((kind, len(names)) for kind, names in columns.items()) if len(kinds) > 1 else (),
    )


def _cells(numbers: Mapping[str, Any], columns: Iterable[str]) -> list[Cell]:
    return [cell(numbers.get(column, float("nan"))) for column in columns]


def _spoken(name: str) -> str:
    return name.replace("_", " ")


def category_table(
    names: Iterable[str], columns: Mapping[str, Sequence[float | int]], title: str = "Categories"
) -> Table:
    """One row for each category, one column for each sequence of numbers."""
    rows = tuple((Cell(name), *map(cell, numbers)) for name, *numbers in zip(names, *columns.values(), strict=True))
    return Table(title, ("category", *columns), rows, is_sortable=True)

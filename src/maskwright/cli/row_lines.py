"""Which rows of a checkpoint's predictors a training starts from, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any


def row_lines(kind: str, rows: Mapping[str, Any] | None) -> Iterator[str]:
    """One line for each fate that a row can have.

    Args:
        kind: `class`, `stuff` or `keypoint`.
        rows: the attributes of a `RowMatch`; None where the model has no rows of that kind.

    >>> list(row_lines("class", {"kept": ["cat"], "moved": {"dog": (7, 1)}, "fresh": [], "unused": [], "near": {}}))
    ['  class rows kept: cat', '  class rows moved: dog (7 → 1)']
    """
    if rows is None:
        return
    kept, moved, fresh, unused = (rows[fate] for fate in ("kept", "moved", "fresh", "unused"))
    if kept and not (moved or fresh or unused):
        yield f"  {kind} rows kept: all {len(kept)}"
        return
    if kept:
        yield f"  {kind} rows kept: {_listed(kept)}"
    if moved:
        yield f"  {kind} rows moved: " + ", ".join(f"{name} ({old} → {new})" for name, (old, new) in moved.items())
    if fresh:
        yield f"  {kind} rows that start at random: {_listed(fresh)}"
    if unused:
        yield f"  {kind} rows of the checkpoint without use: {_listed(unused)}"
    for name, other in rows["near"].items():
        yield (
            f"  {name!r} starts at random although the checkpoint has {other!r}: if they are one, give it that name "
            f"in the recipe{_by_renaming(name, other) if kind == 'class' else ''}"
        )


def _by_renaming(name: str, other: str) -> str:
    return f", in data.train too: data.train.rename={{{name!r}: {other!r}}}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(name if count == 1 else f"{name} × {count}" for name, count in Counter(names).items())

"""One image that several people labelled: whose labels are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from maskwright.data.checks import show
from maskwright.data.record import Remark


def newest(
    candidates: Sequence[Mapping[str, Any]], date: Callable[[Mapping[str, Any]], Any], where: str
) -> tuple[Mapping[str, Any], list[Remark]]:
    """The one with the latest date, as text that sorts (ISO 8601), the last of equal ones; and a remark on the others.

    Args:
        candidates: at least one.
        date: when one was changed; anything but text counts as the earliest.
        where: for the remark.
    """
    if len(candidates) == 1:
        return candidates[0], []
    dates = [value if isinstance(value := date(one), str) else "" for one in candidates]
    index = max(range(len(dates)), key=lambda i: (dates[i], i))
    when = f" of {show(dates[index])}" if dates[index] else ", the last,"
    message = f"was labelled {len(candidates)} times; the labels{when} are read, the others are not"
    return candidates[index], [Remark("several-annotations", where, message, None)]

"""Shapes that are parts of one object."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from maskwright.data.checks import Problem
from maskwright.data.readers.per_image import Flaw, FoundObject, Thing
from maskwright.data.readers.shapes import Region, union
from maskwright.data.record import Remark

# kinds of problems of shapes that cover nothing
_WITHOUT_AREA = ("bad-polygon", "shape-without-area")


@dataclass(frozen=True)
class Part:
    """A shape of an object.

    Attributes:
        where: for messages.
        category: name of its class.
        region: what it covers, or what is wrong with it.
        group: shapes of one class and group are one object; None: the shape is an object of its own.
        details: further keys of the object's annotation.
    """

    where: str
    category: str
    region: Region | Problem
    group: Hashable = None
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_sound(self) -> bool:
        """Whether it covers something, as far as the shape shows."""
        return not isinstance(self.region, Problem)


def objects_of(parts: Iterable[Part], size: tuple[int, int]) -> Iterator[Thing]:
    """The objects of an image of (height, width), in the order of their first shapes, and what is wrong with shapes.

    Only the shape without an area is left out where its object has others.
    """
    groups: dict[Hashable, list[tuple[Part, Region]]] = {}
    flaws: list[tuple[Hashable, Flaw]] = []
    for index, part in enumerate(parts):
        key: Hashable = (index,) if part.group is None else (part.category, part.group)
        if isinstance(part.region, Problem):
            flaws.append((key, Flaw(part.where, part.region)))
        else:
            groups.setdefault(key, []).append((part, part.region))
    for own, flaw in flaws:
        is_stray = flaw.problem.kind in _WITHOUT_AREA and own in groups
        yield Flaw(flaw.where, flaw.problem, keeps_objects=is_stray)
    for group in groups.values():
        first, _ = group[0]
        if len(group) > 1:
            message = f"{len(group)} shapes of group {str(first.group)!r} are parts of one {first.category!r}"
            yield Remark("joined-shapes", first.where, message, None)
        details = {name: value for part, _ in group for name, value in part.details.items()}
        yield FoundObject(first.where, first.category, union([region for _, region in group], size), None, details)

"""Shapes that are parts of one object."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass

from maskwright.data.readers.per_image import FoundObject, Thing
from maskwright.data.readers.shapes import Region, union
from maskwright.data.record import Remark


@dataclass(frozen=True)
class Part:
    """A shape of an object.

    Attributes:
        where: for messages.
        category: name of its class.
        region: what it covers.
        group: shapes of one class and group are one object; None: the shape is an object of its own.
    """

    where: str
    category: str
    region: Region
    group: Hashable = None


def objects_of(parts: Iterable[Part], size: tuple[int, int]) -> Iterator[Thing]:
    """The objects of an image of (height, width), in the order of their first shapes, and remarks on joined ones."""
    groups: dict[Hashable, list[Part]] = {}
    for index, part in enumerate(parts):
        key = (index,) if part.group is None else (part.category, part.group)
        groups.setdefault(key, []).append(part)
    for group in groups.values():
        if len(group) > 1:
            message = f"{len(group)} shapes of group {str(group[0].group)!r} are parts of one {group[0].category!r}"
            yield Remark("joined-shapes", group[0].where, message, None)
        yield FoundObject(group[0].where, group[0].category, union([part.region for part in group], size))

"""The classes of a model or a dataset: names, and the ids that annotation files use."""

from __future__ import annotations

import reprlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

from maskwright.errors import DataError


@dataclass(frozen=True)
class Categories(Sequence[str]):
    """A sequence of class names, where a label is an index; each class also has the id it has in annotation files.

    Attributes:
        names: in the order of labels.
        ids: `category_id` of each class; may have gaps.
    """

    names: tuple[str, ...]
    ids: tuple[int, ...]

    @staticmethod
    def of(source: Categories | Iterable[str | Mapping[str, Any]]) -> Categories:
        """From names (ids are then 1, 2, …) or from the `categories` list of a COCO file.

        Raises:
            DataError: an id occurs twice, or an entry has no id or name.
        """
        if isinstance(source, Categories):
            return source
        pairs = [_pair(entry, number) for number, entry in enumerate(source, start=1)]
        ids = tuple(id_ for id_, _ in pairs)
        if repeated := sorted(id_ for id_, count in Counter(ids).items() if count > 1):
            raise DataError(f"categories: id {repeated[0]} occurs twice; every category needs an id of its own")
        return Categories(tuple(name for _, name in pairs), ids)

    def label_of(self, category_id: int) -> int:
        """The label of a `category_id`.

        Raises:
            DataError: there is no such category.
        """
        try:
            return self.ids.index(category_id)
        except ValueError:
            known = ", ".join(f"{id_} {name}" for id_, name in zip(self.ids[:20], self.names[:20], strict=True))
            raise DataError(f"unknown category_id {category_id}; the categories are: {known}") from None

    def apart_from(self, others: Categories) -> Categories:
        """The same classes; where ids are also those of others, all are numbered on from the highest of these.

        >>> Categories(("sky", "sea"), (1, 2)).apart_from(Categories(("cat", "dog"), (1, 3))).ids
        (4, 5)
        """
        if set(self.ids).isdisjoint(others.ids):
            return self
        return Categories(self.names, tuple(range(max(others.ids) + 1, max(others.ids) + 1 + len(self))))

    def to_coco(self, **details: Any) -> list[dict[str, Any]]:
        """The `categories` list of a COCO file; `details` are further keys of every entry."""
        return [{"id": id_, "name": name, **details} for id_, name in zip(self.ids, self.names, strict=True)]

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...
    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        return self.names[index]

    def __len__(self) -> int:
        return len(self.names)


def _pair(entry: str | Mapping[str, Any], number: int) -> tuple[int, str]:
    if isinstance(entry, str):
        return number, entry
    try:
        number = int(entry["id"])
        if number != float(entry["id"]) or not 0 <= number < 2**63:
            raise ValueError
        return number, str(entry["name"])
    except (KeyError, OverflowError, TypeError, ValueError):
        shown = reprlib.repr(entry)
        raise DataError(f"categories: entry {shown} needs a whole number from 0 as 'id', and a 'name'") from None

"""The numbers of one evaluation: they read like the nested dict of `metrics.json`, and never change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from math import isfinite, nan
from typing import Any

from maskwright.errors import ConfigError


@dataclass(frozen=True, eq=False, repr=False)
class Metrics(Mapping[str, Any]):
    """Groups of numbers, such as `metrics["mask"]["AP"]`; shares are fractions of one.

    A number for which the data has no ground truth (AP of small objects where none is small) is NaN here, so that
    comparisons with it are simply false, and None in JSON.

    >>> metrics = Metrics({"mask": {"AP": 0.5, "APs": None}, "images": 2})
    >>> metrics["mask"]["AP"], metrics.lookup("mask.AP"), metrics.to_dict()
    (0.5, 0.5, {'mask': {'AP': 0.5, 'APs': None}, 'images': 2})
    """

    entries: Mapping[str, Any]

    def __post_init__(self) -> None:
        own = {name: _from_plain(value) for name, value in self.entries.items()}
        object.__setattr__(self, "entries", own)

    def __getitem__(self, name: str) -> Any:
        return self.entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __eq__(self, other: object) -> bool:
        """Equal numbers in equal groups; here NaN equals NaN, so that the same evaluation twice is the same."""
        return isinstance(other, Mapping) and self.to_dict() == Metrics(other).to_dict()

    __hash__ = None  # type: ignore[assignment]  # as every Mapping: its values need not be hashable

    def __repr__(self) -> str:
        return f"Metrics({self.to_dict()})"

    def flat(self) -> dict[str, float]:
        """Every number under its dotted name, as logs want it: `{"mask.AP": 0.5, …}`."""
        numbers: dict[str, float] = {}
        for name, value in self.entries.items():
            parts = value.flat() if isinstance(value, Metrics) else {"": value}
            numbers |= {f"{name}.{rest}" if rest else name: number for rest, number in parts.items()}
        return numbers

    def lookup(self, dotted_name: str) -> float:
        """One number by its dotted name, such as `mask.AP` or `per_category.nucleus.box.AP50`.

        Raises:
            ConfigError: there is no such number; the message names the nearest ones.
        """
        numbers = self.flat()
        if dotted_name not in numbers:
            near = get_close_matches(dotted_name, numbers, n=3) or list(numbers)[:12]
            raise ConfigError(f"no metric is called {dotted_name!r}; there are {', '.join(near)}")
        return numbers[dotted_name]

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dicts for `metrics.json`, NaN as None."""
        return {name: _to_plain(value) for name, value in self.entries.items()}


def distinct_names(names: Mapping[int, str]) -> dict[int, str]:
    """What each id is called in `per_category`: its name, followed by the id where others are called so, too.

    >>> distinct_names({1: "cat", 2: "cat", 3: "dog"}), distinct_names({5: "cat (7)", 6: "cat", 7: "cat"})
    ({1: 'cat (1)', 2: 'cat (2)', 3: 'dog'}, {5: 'cat (7) (5)', 6: 'cat (6)', 7: 'cat (7) (7)'})
    """
    distinct = dict(names)
    while repeated := {name for name, count in Counter(distinct.values()).items() if count > 1}:
        distinct = {id_: f"{name} ({id_})" if name in repeated else name for id_, name in distinct.items()}
    return distinct


def _from_plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return Metrics(value)
    return nan if value is None else value


def _to_plain(value: Any) -> Any:
    if isinstance(value, Metrics):
        return value.to_dict()
    return None if isinstance(value, float) and not isfinite(value) else value

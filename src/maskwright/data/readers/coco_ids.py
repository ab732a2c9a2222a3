"""Ids of COCO files as whole numbers: `7`, `"7"` and `7.0` are one id, and ids that are no numbers are numbered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite
from typing import Any

from maskwright.data.readers.coco_document import is_id

# an id of more digits fits no 64-bit integer
_MOST_DIGITS = 18
# longer texts are no numbers
_MOST_LETTERS = 40


@dataclass
class Ids:
    """Which number each id of a list of entries stands for.

    Attributes:
        numbers: id as text → its number.
        by_name: `file_name` or `name` of an entry → its number, where no other has that name.
        are_plain: all ids are whole numbers already.
        num_texts: ids that are not written as whole numbers.
        num_names: those of them that are no numbers at all.
    """

    numbers: dict[str, int]
    by_name: dict[str, int]
    are_plain: bool
    num_texts: int
    num_names: int

    @staticmethod
    def of(entries: Iterable[Any], name_key: str = "") -> Ids:
        """From entries with an `id`, in their order; those without count for nothing."""
        named = [entry for entry in entries if isinstance(entry, dict) and id_text(entry.get("id")) is not None]
        texts = dict.fromkeys(str(id_text(entry["id"])) for entry in named)
        numbers = {text: number for text in texts if (number := whole_number(text)) is not None}
        if len(set(numbers.values())) < len(numbers):  # beside "7", "007" is a name
            numbers = {text: number for text, number in numbers.items() if str(number) == text}
        names = [text for text in texts if text not in numbers]
        numbers |= {text: free for free, text in enumerate(names, start=max(numbers.values(), default=0) + 1)}
        counts = Counter(entry[name_key] for entry in named if isinstance(entry.get(name_key), str))
        by_name = {
            entry[name_key]: numbers[str(id_text(entry["id"]))]
            for entry in named
            if isinstance(entry.get(name_key), str) and counts[entry[name_key]] == 1
        }
        num_texts = sum(not is_id(entry["id"]) for entry in named)
        return Ids(numbers, by_name, num_texts == 0, num_texts, len(names))

    @property
    def only(self) -> int | None:
        """The number of the only entry, where there is but one."""
        return next(iter(self.numbers.values())) if len(self.numbers) == 1 else None

    def number_of(self, value: Any) -> int | None:
        """The number of the entry that a value refers to, by its id or its name; None where there is none."""
        text = id_text(value)
        if text is None:
            return None
        if text in self.numbers:
            return self.numbers[text]
        whole = whole_number(text)
        return self.by_name.get(text) if whole is None else self.numbers.get(str(whole))


def with_id(entry: Any, ids: Ids) -> Any:
    """An entry with the number of its id, where it has one."""
    if ids.are_plain or not isinstance(entry, dict):
        return entry
    text = id_text(entry.get("id"))
    return entry if text is None else {**entry, "id": ids.numbers[text]}


def id_text(value: Any) -> str | None:
    """What identifies an id, the same for 7, 7.0 and "7"; None where the value is no id."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if is_id(value):
        return str(value) if abs(value) < 10**_MOST_DIGITS else None
    return (value.strip() or None) if isinstance(value, str) else None


def whole_number(text: str) -> int | None:
    """The whole number that a text is; None where it is something else."""
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdigit() and len(digits) <= _MOST_DIGITS else None


def as_number(value: Any) -> Any:
    """The number that a text stands for, whole where it is written so; anything else as it is.

    >>> as_number("12"), as_number(" 12.5"), as_number("nan"), as_number([1])
    (12, 12.5, 'nan', [1])
    """
    if not isinstance(value, str) or len(value) > _MOST_LETTERS:
        return value
    whole = whole_number(value.strip())
    if whole is not None:
        return whole
    try:
        number = float(value)
    except ValueError:
        return value
    return number if isfinite(number) else value

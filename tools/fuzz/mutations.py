"""Typed damage: what people's tools, disks and jokers do to files."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

ESCAPES = "\x1b[31mred\x1b[0m\n\x07"

# JSON texts that no value of Python gives, put in for these words
_RAW = {
    "@5000 digits@": "9" * 5000,
    "@deep list@": "[" * 20_000 + "]" * 20_000,
    "@deep table@": '{"a":' * 20_000 + "1" + "}" * 20_000,
    "@huge exponent@": "1e999999",
    "@lone surrogate@": '"\\ud800"',
    "@long text@": '"' + "x" * 5000 + '"',
}

VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 1.5, -0.0, "", " ", "1", "-1", "x", ESCAPES, "é\u200b", "../../x", "\x00", [], {},
    [[]], [None], [[[]]], {"a": 1}, float("nan"), float("inf"), float("-inf"), 10**30, -(10**30), 2**31, 2**31 - 1,
    2**32, 2**63 - 1, 2**63, 2**64, 10**9, -(10**9), 1e308, 5e-324, [1e308] * 8, [float("nan")] * 6, [0] * 6, [-1] * 8,
    list(range(200)), "1e5", "NaN", "0x10", *_RAW,
)  # fmt: skip


def mutated(document: Any, rng: Random) -> Any:
    """A copy of nested lists and tables with one to three places damaged."""
    changed = copy.deepcopy(document)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = list(_places(changed))
        if not places:
            return rng.choice(VALUES)
        holder, key = rng.choice(places)
        rng.choice(_CHANGES)(holder, key, changed, rng)
    return changed


def to_json(document: Any) -> str:
    """The text of a damaged document; numbers may be NaN, and some values no value at all."""
    text = json.dumps(document, ensure_ascii=False)
    for word, raw in _RAW.items():
        text = text.replace(f'"{word}"', raw)
    return text


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place that holds a value: its list or table, and the key there."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(entries):
        yield value, key
        yield from _places(inner)


def _replace(holder: Any, key: Any, _document: Any, rng: Random) -> None:
    holder[key] = copy.deepcopy(rng.choice(VALUES))


def _delete(holder: Any, key: Any, _document: Any, _rng: Random) -> None:
    del holder[key]


def _repeat(holder: Any, key: Any, _document: Any, rng: Random) -> None:
    if isinstance(holder, list):
        holder[key:key] = [copy.deepcopy(holder[key])] * rng.choice((1, 2, 50))
    else:
        holder[f"{key}2"] = copy.deepcopy(holder[key])


def _swap(holder: Any, key: Any, document: Any, rng: Random) -> None:
    other, other_key = rng.choice(list(_places(document)))
    holder[key] = copy.deepcopy(other[other_key])


def _retype(holder: Any, key: Any, _document: Any, rng: Random) -> None:
    value = holder[key]
    ways: list[Callable[[], Any]] = [lambda: str(value), lambda: [value], lambda: {"value": value}]
    if isinstance(value, dict):
        ways += [lambda: list(value.values()), lambda: list(value)]
    if isinstance(value, list):
        ways += [lambda: dict(enumerate(map(str, value))), lambda: value[:1], lambda: value[:-1], lambda: value * 3]
    if isinstance(value, int | float):
        ways += [lambda: -value, lambda: float(value), lambda: value * 10**9, lambda: value / 1000, lambda: value + 0.5]
    holder[key] = rng.choice(ways)()


def _rename(holder: Any, key: Any, _document: Any, rng: Random) -> None:
    if isinstance(holder, dict):
        holder[rng.choice((key.upper(), f" {key}", ESCAPES, "", key[:-1]))] = holder.pop(key)


_CHANGES = (_replace, _replace, _replace, _delete, _repeat, _swap, _retype, _retype, _rename)


def damaged(data: bytes, rng: Random) -> bytes:
    """The bytes of a file with a few of them changed, or cut off, or in another encoding."""
    return rng.choice(_DAMAGES)(data, rng)


def _cut(data: bytes, rng: Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _flip(data: bytes, rng: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 3, 20))):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _overwrite(data: bytes, rng: Random) -> bytes:
    start = rng.randrange(len(data) + 1)
    return data[:start] + rng.randbytes(rng.choice((1, 8, 200))) + data[start + rng.choice((0, 1, 8, 200)) :]


def _recode(data: bytes, rng: Random) -> bytes:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return b""
    return text.encode(rng.choice(("utf-16", "utf-8-sig", "utf-32", "utf-16-be", "latin-1")), errors="replace")


def _wrap(data: bytes, rng: Random) -> bytes:
    return rng.choice((b"[" * 100_000, b"\0" * 1000, b"[", b"{", data + data, data + b",", b"", b" " * 1000, b"null"))


_DAMAGES = (_cut, _flip, _flip, _overwrite, _recode, _wrap)

_TOKEN = re.compile(r"[\w.\-+]+")
_WORDS = (
    "-1", "0", "1e308", "nan", "inf", "1" + "0" * 30, "9" * 5000, "", "x", "é", ESCAPES.replace("\n", ""), "1.5",
    "2147483648", "99999999999999999999", "-0.5", "1,5", "&", "<", ">", '"', "\t", "\r", "\n", ";", "[", "]", "{",
    "0x1F", "\x00", "&#0;",
)  # fmt: skip


def retokened(text: str, rng: Random) -> str:
    """A text of numbers and words with some of them replaced, or whole lines repeated or lost."""
    for _ in range(rng.choice((1, 1, 2, 5))):
        tokens = list(_TOKEN.finditer(text))
        lines = text.split("\n")
        if tokens and rng.random() < 0.75:
            token = rng.choice(tokens)
            text = text[: token.start()] + rng.choice((*_WORDS, rng.choice(tokens)[0])) + text[token.end() :]
        else:
            place = rng.randrange(len(lines))
            lines[place : place + 1] = [lines[place]] * rng.choice((0, 2, 40))
            text = "\n".join(lines)
    return text


_EXPANDING_XML = (
    '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a0 "ha">'
    + "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
    + "]><annotation><object><name>&a11;</name></object></annotation>"
)
_OUTSIDE_XML = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation>&x;</annotation>'
_DEEP_XML = "<annotation>" * 50_000


def of_xml(text: str, rng: Random) -> str:
    """An XML text with damaged tokens, or one that expands without end."""
    if rng.random() < 0.05:
        return rng.choice((_EXPANDING_XML, _OUTSIDE_XML, _DEEP_XML))
    return retokened(text, rng)

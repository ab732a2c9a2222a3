"""Where in a file the weights are: under which keys, and behind which prefixes of their names.

Training scripts wrap a state dict into tables (`model`, `state_dict`, `ema`, with the optimiser's beside it), and their
modules wrap the model (`module.`, `_orig_mod.`, `model.`, `net.`). Here both are one: the names of all tensors of a
file are dotted paths, `model.state_dict.module.backbone.…`, and each of their beginnings may be what to take off.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from maskwright.budget import Budget
from maskwright.checkpoints.pickle_machine import ForeignObject
from maskwright.checkpoints.pickles import StoredArray
from maskwright.checkpoints.torch_files import UnusableTensor

Weight = Tensor | UnusableTensor

# put around a module by torch's own wrappers (data parallel, compiled, sharded), at any depth
_AROUND_MODULES = frozenset(
    ("module", "_orig_mod", "_forward_module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
)
_MOST_ENTRIES, _MOST_WEIGHTS = 500_000, 100_000
_MOST_DEPTH, _MOST_LETTERS = 12, 400
_MOST_WRAPPERS = 6
_HOLDERS = (Tensor, UnusableTensor, StoredArray, ForeignObject, dict, list, tuple)
_AVERAGED = re.compile(r"(?:^|[._])(?:ema|swa|avg|averaged?|shadow|teacher|momentum)(?:[._]|$)", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class WeightTable:
    """A part of a file's tensors, those whose names begin alike.

    Attributes:
        prefix: what all the names began with, up to a dot; empty where nothing was taken off.
        weights: the rest of the name → tensor.
        num_beside: tensors in the same table of the file that are not among them.
    """

    prefix: str
    weights: dict[str, Weight]
    num_beside: int

    @property
    def is_whole(self) -> bool:
        """Whether nothing was taken off but the keys of tables."""
        return self.num_beside == 0

    @property
    def is_averaged(self) -> bool:
        """Whether the prefix says that these are averages of the weights of training."""
        return _AVERAGED.search(self.prefix) is not None


def weight_tables(content: Any) -> list[WeightTable]:
    """All parts of a file's tensors that may be a model, the likeliest first.

    These are the ones with the least to take off; averaged weights come behind all others.

    Raises:
        OverBudget: the file has more entries than any checkpoint.
    """
    tables: dict[str, dict[str, Weight]] = {}
    tensors = Budget(_MOST_WEIGHTS, "tensors")
    for table, name, weight in _walk(content):
        tensors.spend()
        tables.setdefault(table, {}).setdefault(name, weight)
    parts = [part for table, weights in tables.items() for part in _parts(table, weights)]
    parts += _joined(tables, {part.prefix for part in parts})
    return sorted(parts, key=lambda part: (part.is_averaged, part.prefix.count(".")))


def _walk(content: Any) -> Iterator[tuple[str, str, Weight]]:
    """(path of its table, name in it, tensor) of every tensor, each table once, in the order of the file."""
    entries, seen = Budget(_MOST_ENTRIES, "entries"), set[int]()
    waiting: list[tuple[tuple[str, ...], Any]] = [((), content)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, StoredArray):
            value = value.tensor
        if isinstance(value, Tensor | UnusableTensor):
            *tables, name = path or ("",)
            yield _plain(".".join(tables)), _plain(name), value
        elif len(path) < _MOST_DEPTH and id(value) not in seen:
            seen.add(id(value))
            inner = []
            for key, entry in _entries(value):
                entries.spend()
                inner.append(((*path, key), entry))
            waiting += reversed(inner)


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    """Keys and values of a table or list, but for those that can hold no tensor."""
    if isinstance(value, ForeignObject):
        value = value.items
    pairs = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    for key, entry in pairs:
        if isinstance(entry, _HOLDERS) and isinstance(key, str | int) and len(str(key)) <= _MOST_LETTERS:
            yield str(key), entry


def _plain(name: str) -> str:
    """A name without what torch's wrappers put into it."""
    return ".".join(part for part in name.split(".") if part not in _AROUND_MODULES)


def _parts(table: str, weights: Mapping[str, Weight]) -> Iterator[WeightTable]:
    """Of one table of the file: all of it, and what is behind each beginning of its names."""
    by_prefix: dict[str, dict[str, Weight]] = {"": dict(weights)}
    for name, weight in weights.items():
        pieces = name.split(".", _MOST_WRAPPERS)
        for count in range(1, len(pieces)):
            prefix = ".".join(pieces[:count]) + "."
            by_prefix.setdefault(prefix, {})[name[len(prefix) :]] = weight
    start = f"{table}." if table else ""
    for prefix, part in by_prefix.items():
        yield WeightTable(start + prefix, part, len(weights) - len(part))


def _joined(tables: Mapping[str, Mapping[str, Weight]], known: set[str]) -> Iterator[WeightTable]:
    """What lies in several tables of the file: a state dict that is nested, module by module."""
    by_prefix: dict[str, dict[str, Weight]] = {}
    for table, weights in tables.items():
        pieces = table.split(".") if table else []
        for count in range(min(len(pieces), _MOST_WRAPPERS)):
            prefix = ".".join(pieces[:count]) + "." if count else ""
            rest = ".".join(pieces[count:])
            by_prefix.setdefault(prefix, {}).update({f"{rest}.{name}": weight for name, weight in weights.items()})
    for prefix, part in by_prefix.items():
        if prefix not in known:
            yield WeightTable(prefix, part, 0)

"""What plain pickles of numpy arrays (detectron2's `.pkl`) ask for, answered with tensors."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from maskwright.budget import Budget
from maskwright.checkpoints.pickle_machine import Answer, ForeignObject

_TYPES = {
    "f2": torch.float16,
    "f4": torch.float32,
    "f8": torch.float64,
    "i1": torch.int8,
    "i2": torch.int16,
    "i4": torch.int32,
    "i8": torch.int64,
    "u1": torch.uint8,
    "b1": torch.bool,
}
_MOST_AXES, _MOST_SIZE = 32, 1 << 48


class _Type:
    """Stands for numpy's dtype: a kind and a size, and the byte order in its state."""

    def __init__(self, code: Any, *_: Any) -> None:
        text = code if isinstance(code, str) else "unknown"
        self.code, self.is_big_endian = text.lstrip("<>=|"), text.startswith(">")

    def take_state(self, state: Any) -> None:
        self.is_big_endian = state[1] == ">"


class StoredArray:
    """Stands for a numpy array.

    Args:
        budget: of bytes, from which its values are taken.

    Attributes:
        tensor: its values; None of an array that holds no numbers, or whose values never came.
    """

    def __init__(self, budget: Budget, *_: Any) -> None:
        self._budget = budget
        self.tensor: Tensor | None = None

    def take_state(self, state: Any) -> None:
        """Its values, as numpy saves them."""
        _, shape, dtype, is_fortran, data = state
        self.tensor = _tensor(self._budget, data, dtype, shape, is_fortran=bool(is_fortran))


def sizes_of(values: Any) -> tuple[int, ...]:
    """Numbers of a shape, checked.

    Raises:
        ValueError: they are no sizes.
    """
    is_short = isinstance(values, list | tuple) and len(values) <= _MOST_AXES
    if not is_short or not all(type(value) is int and 0 <= value < _MOST_SIZE for value in values):
        raise ValueError("it has a shape that is no list of sizes")
    return tuple(values)


def _array_of_bytes(budget: Budget, data: Any, dtype: Any, shape: Any, order: Any) -> StoredArray:
    array = StoredArray(budget)
    array.tensor = _tensor(budget, data, dtype, shape, is_fortran=order == "F")
    return array


def _scalar(budget: Budget, dtype: Any, data: Any) -> Any:
    value = _tensor(budget, data, dtype, (), is_fortran=False)
    return ForeignObject("numpy.scalar") if value is None else value.item()


def _encoded(budget: Budget, text: Any, encoding: Any) -> bytes:
    """How protocol 2 of Python 3 writes bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise ValueError("it has an encoding other than latin1")
    budget.spend(len(text))
    return text.encode("latin1")


def _listed(values: Any = ()) -> list[Any]:
    if not isinstance(values, list | tuple):
        raise TypeError("it makes a list of something else")
    return list(values)


def _new_bytes(*arguments: Any) -> Any:
    """How protocol 2 writes no bytes; with a length it would be so many zeros."""
    return ForeignObject("builtins.bytes", arguments) if arguments else b""


def _table(*arguments: Any) -> Any:
    """An ordered dict: empty, or of pairs, as Python 2 writes it."""
    pairs = arguments[0] if arguments else []
    if not isinstance(pairs, list) or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        return ForeignObject("collections.OrderedDict", arguments)
    return {key: value for key, value in pairs if isinstance(key, str)}


_ARRAYS: dict[str, Callable[..., Any]] = {"_codecs.encode": _encoded}
for _core in ("numpy.core", "numpy._core"):
    _ARRAYS[f"{_core}.multiarray._reconstruct"] = StoredArray
    _ARRAYS[f"{_core}.multiarray.scalar"] = _scalar
    _ARRAYS[f"{_core}.numeric._frombuffer"] = _array_of_bytes
# what the arrays of a file may take, however small it is: equal bytes are written once and meant often
_ALWAYS_BYTES = 1 << 20
_CONTAINERS: dict[str, Answer] = {"collections.OrderedDict": _table, "numpy.dtype": _Type}
for _module in ("builtins", "__builtin__"):
    _CONTAINERS |= {f"{_module}.{name}": _listed for name in ("set", "frozenset", "list")}
    _CONTAINERS[f"{_module}.bytes"] = _new_bytes


def plain_answers(most_bytes: int) -> dict[str, Answer]:
    """Answers to the names that tables of numpy arrays need, for one file.

    Args:
        most_bytes: of all its arrays together.
    """
    budget = Budget(max(most_bytes, _ALWAYS_BYTES), "bytes of arrays")
    return {**_CONTAINERS, **{name: partial(answer, budget) for name, answer in _ARRAYS.items()}}


def _tensor(budget: Budget, data: Any, dtype: Any, shape: Any, *, is_fortran: bool) -> Tensor | None:
    """Numbers from their bytes, which of Python 2 arrive as text; None of what holds no numbers."""
    if not isinstance(dtype, _Type) or dtype.code not in _TYPES:
        return None
    if not isinstance(data, str | bytes):
        raise TypeError("it has an array whose values are no bytes")
    budget.spend(len(data))
    raw = bytearray(data.encode("latin1") if isinstance(data, str) else data)
    size, shape = int(dtype.code[1:]), sizes_of(shape)
    if len(raw) != size * math.prod(shape):
        raise ValueError(f"an array of shape {shape} has {len(raw)} bytes")
    if not raw:
        return torch.empty(shape, dtype=_TYPES[dtype.code])
    if dtype.is_big_endian:
        torch.frombuffer(raw, dtype=torch.uint8).view(-1, size).copy_(
            torch.frombuffer(bytearray(raw), dtype=torch.uint8).view(-1, size).flip(1)
        )
    values = torch.frombuffer(raw, dtype=_TYPES[dtype.code])
    return values.view(shape[::-1]).permute(*reversed(range(len(shape)))) if is_fortran else values.view(shape)

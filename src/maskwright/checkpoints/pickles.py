"""Pickles of numpy arrays (detectron2's `.pkl`), read by a reader that can build tables and tensors and nothing else.

The files name functions that ought to be called; here each of the few that plain arrays need is answered by one of
ours, which checks its arguments, and any other is refused. So nothing of the file, of numpy or of a library runs.
"""

from __future__ import annotations

import math
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from maskwright.errors import CheckpointError

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


def read_pickle(path: Path) -> Any:
    """The content of a pickle of tables, texts, numbers and numpy arrays, the arrays as tensors.

    Python 2's files are read too.

    Raises:
        CheckpointError: it names anything else, which is refused unrun, or it is damaged.
    """
    try:
        with path.open("rb") as file:
            return _unwrapped(_Reader(file, encoding="latin1").load())
    except _Refusal as refusal:
        raise CheckpointError(
            f"checkpoint {path} is refused: it asks for {refusal}, which could run code, and nothing of it was run; "
            "save the weights alone, as a table of names and numpy arrays"
        ) from refusal
    except Exception as error:  # a made-up pickle can raise whatever the unpickler's steps can
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"checkpoint {path} cannot be read ({reason}); it is damaged, or no pickle") from error


class _Refusal(pickle.UnpicklingError):
    """The file names something that is not among the few that arrays need."""


class _Type:
    """Stands for numpy's dtype: a kind and a size, and a byte order that its state tells."""

    def __init__(self, code: str, is_big_endian: bool = False) -> None:
        self.code, self.is_big_endian = code, is_big_endian

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.is_big_endian = state[1] == ">"


class _Array:
    """Stands for a numpy array while its state is not read yet."""

    def __init__(self) -> None:
        self.tensor: Tensor | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, is_fortran, data = state
        self.tensor = _tensor(data, dtype, shape, is_fortran=bool(is_fortran))


class _Reader(pickle.Unpickler):
    """Answers with its own methods, which a file cannot change: bound methods take no attributes."""

    def find_class(self, module: str, name: str) -> Any:
        place = f"{module}.{name}".replace("numpy._core.", "numpy.core.").replace("__builtin__.", "builtins.")
        if place in ("collections.OrderedDict", "builtins.set"):
            return OrderedDict if name == "OrderedDict" else set
        if place not in _ANSWERS:
            raise _Refusal(f"{module}.{name}")
        return getattr(self, _ANSWERS[place])

    def persistent_load(self, _: Any) -> Any:
        raise _Refusal("something outside of the file")

    def array(self, *_: Any) -> _Array:
        return _Array()

    def array_of_bytes(self, data: Any, dtype: Any, shape: Any, order: Any) -> _Array:
        array = _Array()
        array.tensor = _tensor(data, dtype, shape, is_fortran=order == "F")
        return array

    def scalar(self, dtype: Any, data: Any) -> Any:
        return _tensor(data, dtype, (), is_fortran=False).item()

    def dtype(self, code: Any, *_: Any) -> _Type:
        return _Type(str(code).lstrip("<>=|"), str(code).startswith(">"))

    def nothing(self) -> bytes:
        """How protocol 2 of Python 3 writes no bytes."""
        return b""

    def encoded(self, text: Any, encoding: Any) -> bytes:
        """How it writes others."""
        if not isinstance(text, str) or encoding != "latin1":
            raise _Refusal(f"an encoding called {encoding!r}")
        return text.encode("latin1")

    def ndarray(self, *_: Any) -> Any:
        """Named in files as what to make; made by nobody."""
        raise _Refusal("numpy.ndarray by itself")


_ANSWERS = {
    "numpy.core.multiarray._reconstruct": "array",
    "numpy.core.multiarray.scalar": "scalar",
    "numpy.core.numeric._frombuffer": "array_of_bytes",
    "numpy.ndarray": "ndarray",
    "numpy.dtype": "dtype",
    "builtins.bytes": "nothing",
    "_codecs.encode": "encoded",
}


def _tensor(data: Any, dtype: Any, shape: Any, *, is_fortran: bool) -> Tensor:
    """Numbers from their bytes; Python 2's bytes arrive as text."""
    if not isinstance(dtype, _Type) or dtype.code not in _TYPES:
        raise _Refusal(f"an array of {getattr(dtype, 'code', 'unknown')!r}, where numbers are expected")
    raw = bytearray(data.encode("latin1") if isinstance(data, str) else data)
    size, shape = int(dtype.code[1:]), tuple(map(int, shape))
    if min(shape, default=0) < 0 or len(raw) != size * math.prod(shape):
        raise ValueError(f"an array of shape {shape} has {len(raw)} bytes")
    if not raw:
        return torch.empty(shape, dtype=_TYPES[dtype.code])
    if dtype.is_big_endian:
        torch.frombuffer(raw, dtype=torch.uint8).view(-1, size).copy_(
            torch.frombuffer(bytearray(raw), dtype=torch.uint8).view(-1, size).flip(1)
        )
    values = torch.frombuffer(raw, dtype=_TYPES[dtype.code])
    return values.view(shape[::-1]).permute(*reversed(range(len(shape)))) if is_fortran else values.view(shape)


def _unwrapped(content: Any) -> Any:
    """The tensors in place of what stood for their arrays."""
    if isinstance(content, _Array):
        if content.tensor is None:
            raise ValueError("an array without its values")
        return content.tensor
    if isinstance(content, dict):
        return {key: _unwrapped(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_unwrapped(value) for value in content]
    return content

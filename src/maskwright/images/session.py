"""The masks in a session file of Cellpose (`_seg.npy`), which is a pickle: read without running anything of it.

A pickle is a program for a small stack machine. The one here knows the steps that tables, texts, numbers and arrays of
numbers are written in, makes an array of its bytes by itself, and replaces everything else by an empty object: it looks
up and calls no function that the file names.
"""

from __future__ import annotations

import math
import pickletools
import re
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from maskwright.errors import DataError
from maskwright.images.npy import npy_header

# a session has some hundreds, and some for each object
_MOST_STEPS = 5_000_000
_NUMBERS = re.compile(r"[<>|=]?([biuf][1248]|\?)")


def read_session(data: bytes, name: str) -> npt.NDArray[Any]:
    """The numbers of objects in the bytes of a session file.

    Args:
        data: of the file.
        name: what to call it in errors.

    Returns:
        (H, W) of whatever type; 0 is background.

    Raises:
        DataError: it is no session, or damaged.
    """
    try:
        content = _Machine().run(data[npy_header(BytesIO(data)).length :])
    except Exception as error:  # a made-up file can lead a step to anything
        raise DataError(
            f"{name} is damaged and cannot be read as a session of Cellpose; export the masks as PNG or TIFF"
        ) from error
    masks = content.get("masks") if isinstance(content, dict) else None
    if not isinstance(masks, _Array) or not isinstance(masks.values, np.ndarray):
        raise DataError(
            f"{name} holds Python objects, but no 'masks' as Cellpose's sessions have; save only the array of numbers"
        )
    return masks.values


class _Named(NamedTuple):
    """A function or class that the file names; never looked up."""

    name: str


class _Type:
    """A numpy type: its code, and its byte order, which comes later."""

    def __init__(self, code: Any) -> None:
        self.code, self.order = str(code), "="

    def to_dtype(self) -> np.dtype[Any] | None:
        """As numpy has it; None where it is no type of numbers."""
        if not _NUMBERS.fullmatch(self.code):
            return None
        dtype = np.dtype(self.code)
        return dtype.newbyteorder(">") if self.order == ">" else dtype


class _Array:
    """An array: its numbers, or the list of its objects; None before its state is known."""

    def __init__(self) -> None:
        self.values: npt.NDArray[Any] | list[Any] | None = None

    def fill(self, values: Any, type_: Any, shape: Any, *, is_fortran: bool) -> None:
        """Take what the file says of it.

        Raises:
            ValueError: the bytes do not fit the shape.
        """
        dtype = type_.to_dtype() if isinstance(type_, _Type) else None
        if dtype is None:
            self.values = values if isinstance(values, list) else None
            return
        if len(values) != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"an array of shape {shape} has {len(values)} bytes")
        self.values = np.frombuffer(values, dtype).reshape(shape, order="F" if is_fortran else "C")


class _Machine:
    """Stack and memory of one run."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._memory: dict[int, Any] = {}

    def run(self, program: bytes) -> Any:
        """What the program leaves on the stack, taken out of the array of one object that numpy puts around it."""
        for number, (step, argument, _) in enumerate(pickletools.genops(program)):
            if number > _MOST_STEPS:
                raise ValueError("it has too many steps")
            self._take(step.name, argument)
        found = self._stack.pop()
        is_wrapped = isinstance(found, _Array) and isinstance(found.values, list) and len(found.values) == 1
        return found.values[0] if is_wrapped else found

    def _take(self, step: str, argument: Any) -> None:
        if step in _CONSTANTS:
            self._stack.append(_CONSTANTS[step]())
        elif step in _LITERALS:
            self._stack.append(argument)
        elif step in ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"):
            self._memory[len(self._memory) if step == "MEMOIZE" else argument] = self._stack[-1]
        elif step in ("GET", "BINGET", "LONG_BINGET"):
            self._stack.append(self._memory[argument])
        elif step in ("GLOBAL", "STACK_GLOBAL"):
            self._stack.append(_Named(argument.replace(" ", ".") if argument else ".".join(map(str, self._pop(2)))))
        elif step in _TUPLES:
            count = _TUPLES[step]
            self._stack.append(tuple(self._pop_to_mark() if count is None else self._pop(count)))
        elif step in ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS"):
            self._fill(self._pop(_PAIRS[step]) if step in _PAIRS else self._pop_to_mark())
        elif step == "REDUCE":
            self._call(*self._pop(2))
        elif step in ("NEWOBJ", "FROZENSET"):
            self._pop(2) if step == "NEWOBJ" else self._pop_to_mark()
            self._stack.append(_Nothing())
        elif step == "BUILD":
            self._build(*self._pop(1))
        elif step not in ("PROTO", "FRAME", "STOP"):
            raise ValueError(f"it has a step {step}")

    def _pop(self, count: int) -> list[Any]:
        start = len(self._stack) - count
        if start < 0:
            raise ValueError("it ends too early")
        taken = self._stack[start:]
        del self._stack[start:]
        return taken

    def _pop_to_mark(self) -> list[Any]:
        taken: list[Any] = []
        while not isinstance(item := self._stack.pop(), _Mark):
            taken.append(item)
        return taken[::-1]

    def _fill(self, items: list[Any]) -> None:
        """Items into a list, or keys and values into a table; of keys, those that are texts."""
        target = self._stack[-1]
        if isinstance(target, list):
            target += items
        elif isinstance(target, dict):
            target |= {key: value for key, value in zip(items[::2], items[1::2], strict=True) if isinstance(key, str)}

    def _call(self, function: Any, arguments: tuple[Any, ...]) -> None:
        """The few calls that arrays are written as; any other gives nothing."""
        name = getattr(function, "name", "").replace("numpy._core.", "numpy.core.")
        result: Any = _Nothing()
        if name == "numpy.core.multiarray._reconstruct":
            result = _Array()
        elif name == "numpy.core.numeric._frombuffer":
            result, (values, type_, shape, order) = _Array(), arguments
            result.fill(values, type_, shape, is_fortran=order == "F")
        elif name == "numpy.dtype":
            result = _Type(arguments[0])
        elif name == "_codecs.encode":  # how bytes are written in old protocols
            result = arguments[0].encode("latin1")
        self._stack.append(result)

    def _build(self, state: Any) -> None:
        """The state of a type or an array."""
        target = self._stack[-1]
        if isinstance(target, _Type):
            target.order = str(state[1])
        elif isinstance(target, _Array):
            _, shape, type_, is_fortran, values = state
            target.fill(values, type_, shape, is_fortran=bool(is_fortran))


class _Mark:
    """Where a tuple, a list or a table begins on the stack."""


class _Nothing:
    """Stands for everything else."""


_CONSTANTS: Mapping[str, Callable[[], Any]] = {
    "MARK": _Mark,
    "NONE": _Nothing,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": _Nothing,
}
_LITERALS = frozenset(
    [
        "INT",
        "BININT",
        "BININT1",
        "BININT2",
        "LONG",
        "LONG1",
        "LONG4",
        "FLOAT",
        "BINFLOAT",
        "STRING",
        "BINSTRING",
        "SHORT_BINSTRING",
        "UNICODE",
        "BINUNICODE",
        "SHORT_BINUNICODE",
        "BINUNICODE8",
        "BINBYTES",
        "SHORT_BINBYTES",
        "BINBYTES8",
        "BYTEARRAY8",
    ]
)
# how many values become one; None: those above the mark
_TUPLES: Mapping[str, int | None] = {"TUPLE": None, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_PAIRS = {"APPEND": 1, "SETITEM": 2}

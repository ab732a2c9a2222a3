"""Reads a pickle as data: tables, lists, texts and numbers. What it asks to build is noted, never built.

A pickle is a program for a small stack machine, and Python's own machine imports and calls whatever the program names.
This one knows no import and no call. A few names that weights need have an answer here, a function of ours; everything
else becomes a `ForeignObject`, which holds only its name and the parts that were meant for it. Its work is bounded by
the number of steps, its memory by the file's length and the number of steps.
"""

from __future__ import annotations

import builtins
import mmap
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import BuiltinFunctionType
from typing import Any

Buffer = bytes | mmap.mmap

# modules of Python whose functions act on the machine: a file that calls one is an attack or a mistake
_ACTING_MODULES = frozenset(
    (
        *("os", "posix", "nt", "subprocess", "commands", "sys", "shutil", "socket", "runpy", "importlib", "imp", "pip"),
        *("pickle", "_pickle", "cPickle", "marshal", "ctypes", "pty", "code", "codeop", "bdb", "pdb", "timeit"),
        *("asyncio", "multiprocessing", "webbrowser", "pydoc", "urllib", "http", "ftplib", "smtplib", "platform"),
    )
)
_OLD_ACTING_BUILTINS = frozenset(("apply", "execfile", "file", "reload", "raw_input"))


class Refusal(ValueError):
    """The file calls a function that would act on the machine, or refers to something outside of itself."""


@dataclass(frozen=True)
class Named:
    """A class or function that the file names; nothing is imported for it."""

    name: str


@dataclass(eq=False)
class ForeignObject:
    """What the file asks to build with a class or function that has no answer here.

    Attributes:
        name: of the class or function.
        arguments: that it was meant to be called with.
        state: that it was meant to have afterwards; None where there is none.
        items: entries, of what is like a dict.
    """

    name: str
    arguments: Sequence[Any] = ()
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)


Answer = Callable[..., Any]


class Machine:
    """The state between two steps: a stack in sections, a memory, and where to read on."""

    def __init__(self, data: Buffer, start: int, answers: Mapping[str, Answer], persistent: Answer | None) -> None:
        self.data, self.index = data, start
        self.answers, self.persistent = answers, persistent
        self.stack: list[Any] = []
        self.sections: list[list[Any]] = []
        self.memory: dict[int, Any] = {}
        self.classes: set[str] = set()

    def take(self, count: int) -> bytes:
        """The next bytes of the file."""
        if not 0 <= count <= len(self.data) - self.index:
            raise EOFError("it ends too early")
        self.index += count
        return self.data[self.index - count : self.index]

    def number(self, layout: str) -> Any:
        """The next number, of the layout that `struct` names."""
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def line(self) -> bytes:
        """The rest of a line."""
        end = self.data.find(b"\n", self.index)
        if end < 0:
            raise EOFError("it ends too early")
        line = self.data[self.index : end]
        self.index = end + 1
        return line

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def pop(self) -> Any:
        """Take the topmost value."""
        return self.stack.pop()

    def mark(self) -> None:
        """Begin a section of the stack."""
        self.sections.append(self.stack)
        self.stack = []

    def section(self) -> list[Any]:
        """End the topmost section; its values."""
        values, self.stack = self.stack, self.sections.pop()
        return values

    def call(self, called: Any, arguments: Any) -> Any:
        """What stands for the value of a call."""
        if not isinstance(arguments, tuple | list):
            raise TypeError("it calls a function without a list of arguments")
        name = called.name if isinstance(called, Named | ForeignObject) else type(called).__name__
        if name in self.answers and isinstance(called, Named):
            return self.answers[name](*arguments)
        if _acts(name):
            raise Refusal(name)
        if name.endswith("._reconstructor") and arguments and isinstance(arguments[0], Named):
            name = arguments[0].name  # how the first protocols make an object of a class
        self.classes.add(name)
        return ForeignObject(name, tuple(arguments))


def _acts(name: str) -> bool:
    """Whether a function does something to the machine, as far as its name shows."""
    module, _, last = name.replace("__builtin__.", "builtins.").partition(".")
    if module == "builtins":
        is_function = isinstance(vars(builtins).get(last), BuiltinFunctionType)
        return last in _OLD_ACTING_BUILTINS or (is_function and last != "getattr")  # by which enums are saved
    return module in _ACTING_MODULES or name in ("torch.load", "torch.serialization.load", "torch.hub.load")

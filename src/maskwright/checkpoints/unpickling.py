"""Reads a pickle as data: the steps of `pickle_machine`, one for each that the format knows."""

from __future__ import annotations

import codecs
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from maskwright.budget import Budget
from maskwright.checkpoints.pickle_machine import Answer, Buffer, ForeignObject, Machine, Named, Refusal

# a Mask R-CNN R50-FPN with the state of Adam takes 32,000
_MOST_STEPS = 1_000_000
_MOST_KEY = 1 << 64  # a longer integer is hashed anew, slowly, each time that it is a key


@dataclass(frozen=True, eq=False)
class Unpickled:
    """One pickle of a file.

    Attributes:
        content: what it holds.
        classes: names of the objects in it that were not built.
        end: index of the first byte behind it.
    """

    content: Any
    classes: frozenset[str]
    end: int


def step_budget() -> Budget:
    """The steps of the machine for one file."""
    return Budget(_MOST_STEPS, "steps to read it")


def unpickle(
    data: Buffer, answers: Mapping[str, Answer], steps: Budget, start: int = 0, persistent: Answer | None = None
) -> Unpickled:
    """Read the pickle that begins at byte `start`.

    Sets and frozensets become lists, and entries of tables whose key is neither text nor number are left out.

    Args:
        data: the file or a part of it.
        answers: name → what to do instead of calling it; a result with a method `take_state` gets its state.
        steps: that the machine may take.
        start: index of the first byte.
        persistent: answers references to things outside of the pickle, such as the numbers of a tensor.

    Raises:
        Refusal: the file calls what would act on the machine.
        ValueError, LookupError, EOFError, TypeError, struct.error: it is damaged, or asks for too much.
    """
    machine = Machine(data, start, answers, persistent)
    for count in range(1, steps.left + 1):
        code = data[machine.index] if machine.index < len(data) else -1
        machine.index += 1
        if code == _STOP:
            steps.spend(count)
            return Unpickled(machine.pop(), frozenset(machine.classes), machine.index)
        step = _STEPS.get(code)
        if step is None:
            raise EOFError("it ends too early") if code < 0 else ValueError(f"it has no step {code:#x} of a pickle")
        step(machine)
    steps.spend(steps.left + 1)
    raise AssertionError("the steps are used up")


def _store(target: Any, pairs: Sequence[Any]) -> None:
    """Keys and values, by turns, into a table."""
    table = target.items if isinstance(target, ForeignObject) else target
    if not isinstance(table, dict) or len(pairs) % 2:
        raise TypeError("it gives entries to something that is no table")
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        if isinstance(key, str | bytes | float | None) or (isinstance(key, int) and abs(key) < _MOST_KEY):
            table[key] = value


def _append(target: Any, values: Sequence[Any]) -> None:
    """Values to the end of a list; what foreign lists hold is left out."""
    if isinstance(target, list):
        target.extend(values)
    elif not isinstance(target, ForeignObject):
        raise TypeError("it adds to something that is no list")


def _build(machine: Machine) -> None:
    state, target = machine.pop(), machine.stack[-1]
    if isinstance(target, ForeignObject):
        target.state = state
    elif hasattr(target, "take_state"):
        target.take_state(state)  # of ours; tables and tensors keep no attributes


def _reduce(machine: Machine) -> None:
    arguments, called = machine.pop(), machine.pop()
    machine.push(machine.call(called, arguments))


def _new_with_keywords(machine: Machine) -> None:
    keywords, arguments, called = machine.pop(), machine.pop(), machine.pop()
    if not isinstance(arguments, tuple | list) or not isinstance(keywords, dict):
        raise TypeError("it calls a function without a list of arguments")
    machine.push(machine.call(called, (*arguments, keywords) if keywords else arguments))


def _object(machine: Machine) -> None:
    called, *arguments = machine.section()
    machine.push(machine.call(called, arguments))


def _instance(machine: Machine) -> None:
    called = _global(machine)
    machine.push(machine.call(called, machine.section()))


def _global(machine: Machine) -> Named:
    return Named(f"{machine.line().decode()}.{machine.line().decode()}")


def _stacked_global(machine: Machine) -> None:
    name, module = machine.pop(), machine.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        raise TypeError("it names a function by something that is no text")
    machine.push(Named(f"{module}.{name}"))


def _persistent(machine: Machine, reference: Any) -> None:
    if machine.persistent is None:
        raise Refusal("something outside of the file")
    machine.push(machine.persistent(reference))


def _integer(line: bytes) -> int | bool:
    return bool(int(line)) if line in (b"00", b"01") else int(line)


def _quoted(line: bytes) -> str:
    """A text of Python 2, in quotes and with escapes."""
    line = line.strip()
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
        raise ValueError("it has a text without quotes")
    return codecs.escape_decode(line[1:-1])[0].decode("latin1")


def _pairs(values: Sequence[Any]) -> dict[Any, Any]:
    table: dict[Any, Any] = {}
    _store(table, values)
    return table


def _tuple_of(count: int) -> Callable[[Machine], None]:
    def step(machine: Machine) -> None:
        values = machine.stack[-count:]
        if len(values) < count:
            raise IndexError("its stack is too short")
        del machine.stack[-count:]
        machine.push(tuple(values))

    return step


def _remember(machine: Machine, index: int) -> None:
    machine.memory[index] = machine.stack[-1]


def _store_one(machine: Machine) -> None:
    value, key = machine.pop(), machine.pop()
    _store(machine.stack[-1], (key, value))


def _append_one(machine: Machine) -> None:
    value = machine.pop()
    _append(machine.stack[-1], (value,))


def _store_section(machine: Machine) -> None:
    values = machine.section()
    _store(machine.stack[-1], values)


def _append_section(machine: Machine) -> None:
    values = machine.section()
    _append(machine.stack[-1], values)


def _drop(machine: Machine) -> None:
    if machine.stack:
        machine.pop()
    else:
        machine.section()  # the mark itself


def _text(layout: str) -> Callable[[Machine], None]:
    return lambda machine: machine.push(machine.take(machine.number(layout)).decode("utf-8", "surrogatepass"))


def _old_text(layout: str) -> Callable[[Machine], None]:
    return lambda machine: machine.push(machine.take(machine.number(layout)).decode("latin1"))


def _raw(layout: str) -> Callable[[Machine], None]:
    return lambda machine: machine.push(machine.take(machine.number(layout)))


def _long(layout: str) -> Callable[[Machine], None]:
    return lambda machine: machine.push(int.from_bytes(machine.take(machine.number(layout)), "little", signed=True))


_STOP = pickle.STOP[0]
_NAMED_STEPS: dict[bytes, Callable[[Machine], object]] = {
    pickle.PROTO: lambda machine: machine.take(1),
    pickle.FRAME: lambda machine: machine.take(8),
    pickle.MARK: Machine.mark,
    pickle.POP: _drop,
    pickle.POP_MARK: Machine.section,
    pickle.DUP: lambda machine: machine.push(machine.stack[-1]),
    pickle.NONE: lambda machine: machine.push(None),
    pickle.NEWTRUE: lambda machine: machine.push(True),
    pickle.NEWFALSE: lambda machine: machine.push(False),
    pickle.INT: lambda machine: machine.push(_integer(machine.line())),
    pickle.LONG: lambda machine: machine.push(int(machine.line().rstrip(b"L"))),
    pickle.BININT: lambda machine: machine.push(machine.number("<i")),
    pickle.BININT1: lambda machine: machine.push(machine.number("<B")),
    pickle.BININT2: lambda machine: machine.push(machine.number("<H")),
    pickle.LONG1: _long("<B"),
    pickle.LONG4: _long("<i"),
    pickle.FLOAT: lambda machine: machine.push(float(machine.line())),
    pickle.BINFLOAT: lambda machine: machine.push(machine.number(">d")),
    pickle.STRING: lambda machine: machine.push(_quoted(machine.line())),
    pickle.BINSTRING: _old_text("<i"),
    pickle.SHORT_BINSTRING: _old_text("<B"),
    pickle.UNICODE: lambda machine: machine.push(machine.line().decode("raw-unicode-escape")),
    pickle.BINUNICODE: _text("<I"),
    pickle.SHORT_BINUNICODE: _text("<B"),
    pickle.BINUNICODE8: _text("<Q"),
    pickle.BINBYTES: _raw("<I"),
    pickle.SHORT_BINBYTES: _raw("<B"),
    pickle.BINBYTES8: _raw("<Q"),
    pickle.BYTEARRAY8: _raw("<Q"),
    pickle.EMPTY_LIST: lambda machine: machine.push([]),
    pickle.LIST: lambda machine: machine.push(machine.section()),
    pickle.APPEND: _append_one,
    pickle.APPENDS: _append_section,
    pickle.EMPTY_TUPLE: lambda machine: machine.push(()),
    pickle.TUPLE: lambda machine: machine.push(tuple(machine.section())),
    pickle.TUPLE1: _tuple_of(1),
    pickle.TUPLE2: _tuple_of(2),
    pickle.TUPLE3: _tuple_of(3),
    pickle.EMPTY_DICT: lambda machine: machine.push({}),
    pickle.DICT: lambda machine: machine.push(_pairs(machine.section())),
    pickle.SETITEM: _store_one,
    pickle.SETITEMS: _store_section,
    pickle.EMPTY_SET: lambda machine: machine.push([]),
    pickle.ADDITEMS: _append_section,
    pickle.FROZENSET: lambda machine: machine.push(machine.section()),
    pickle.GET: lambda machine: machine.push(machine.memory[int(machine.line())]),
    pickle.BINGET: lambda machine: machine.push(machine.memory[machine.number("<B")]),
    pickle.LONG_BINGET: lambda machine: machine.push(machine.memory[machine.number("<I")]),
    pickle.PUT: lambda machine: _remember(machine, int(machine.line())),
    pickle.BINPUT: lambda machine: _remember(machine, machine.number("<B")),
    pickle.LONG_BINPUT: lambda machine: _remember(machine, machine.number("<I")),
    pickle.MEMOIZE: lambda machine: _remember(machine, len(machine.memory)),
    pickle.GLOBAL: lambda machine: machine.push(_global(machine)),
    pickle.STACK_GLOBAL: _stacked_global,
    pickle.INST: _instance,
    pickle.OBJ: _object,
    pickle.NEWOBJ: _reduce,
    pickle.NEWOBJ_EX: _new_with_keywords,
    pickle.REDUCE: _reduce,
    pickle.BUILD: _build,
    pickle.PERSID: lambda machine: _persistent(machine, machine.line().decode()),
    pickle.BINPERSID: lambda machine: _persistent(machine, machine.pop()),
}
_STEPS = {code[0]: step for code, step in _NAMED_STEPS.items()}

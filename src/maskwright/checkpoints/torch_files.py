"""Files of `torch.save`, both formats, read as data: tables with tensors that lie in the mapped file."""

from __future__ import annotations

import math
import mmap
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor

from maskwright.budget import Budget
from maskwright.checkpoints.pickle_machine import Answer, Buffer, Named, Refusal
from maskwright.checkpoints.pickles import StoredArray, plain_answers, sizes_of
from maskwright.checkpoints.unpickling import Unpickled, step_budget, unpickle

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "UntypedStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_LEGACY_PARTS = 4  # behind the magic number: version, facts of the machine, content, keys of the storages
_MOST_PARTS = 200_000  # of a zip file
_LOCAL_HEADER = 30  # bytes in front of the name of each part of a zip file
# texts may hold bytes, of which those above 127 take two bytes in the file and one here
_MOST_OF_FILE = 2


@dataclass(frozen=True, eq=False)
class _Storage:
    """Numbers of a file, flat, to which tensors of the file refer."""

    values: Tensor


@dataclass(frozen=True)
class UnusableTensor:
    """A tensor that has not all of its values in the file: sparse, on the meta device, quantised, or stretched.

    Attributes:
        reason: what it is.
    """

    reason: str


def read_torch_zip(path: Path) -> Unpickled:
    """The content of a file of `torch.save` since version 1.6.

    Raises:
        Refusal, ValueError, LookupError, EOFError, TypeError, RuntimeError, OSError, zipfile.BadZipFile, struct.error:
            as `unpickle`, or it is no such file.
    """
    with path.open("rb") as file, zipfile.ZipFile(file) as archive:
        parts = {part.filename: part for part in archive.infolist()[:_MOST_PARTS]}
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    main = next((name for name in parts if PurePosixPath(name).name == "data.pkl"), None)
    if main is None:
        raise ValueError("it has no part called data.pkl")
    folder = main.removesuffix("data.pkl")
    if (order := parts.get(f"{folder}byteorder")) and _content(data, order) == b"big":
        raise ValueError("it was written on a big-endian machine")
    storages: dict[Any, _Storage | UnusableTensor] = {}

    def storage(kind: Any, key: Any) -> _Storage | UnusableTensor:
        dtype, part = _dtype_of(kind), parts.get(f"{folder}data/{key}")
        if dtype is None or part is None:
            return UnusableTensor("of a kind that is not known")
        if (key, dtype) not in storages:
            storages[key, dtype] = _Storage(_flat(data, _span(data, part), dtype))
        return storages[key, dtype]

    steps = step_budget()
    return unpickle(_content(data, parts[main]), _answers(len(data), steps), steps, persistent=_referring(storage))


def _span(data: Buffer, part: zipfile.ZipInfo) -> tuple[int, int]:
    """Where a part's bytes begin in the file, and how many they are."""
    if part.compress_type != zipfile.ZIP_STORED:
        raise ValueError("its parts are compressed, which torch never does")
    header = data[part.header_offset : part.header_offset + _LOCAL_HEADER]
    if len(header) < _LOCAL_HEADER or header[:4] != b"PK\x03\x04":
        raise EOFError("one of its parts is not where the file says")
    start = part.header_offset + _LOCAL_HEADER + sum(int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
    if start + part.file_size > len(data):
        raise EOFError("it ends too early")
    return start, part.file_size


def _content(data: Buffer, part: zipfile.ZipInfo) -> bytes:
    start, length = _span(data, part)
    return data[start : start + length]


def read_bare_pickle(path: Path) -> Unpickled:
    """The content of a file that begins with a pickle: a plain one, or a file of `torch.save` before version 1.6.

    Files of Python 2 are read too.

    Raises:
        Refusal, ValueError, LookupError, EOFError, TypeError, RuntimeError, OSError, struct.error: as `unpickle`.
    """
    with path.open("rb") as file:
        return _read_bare(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY), step_budget())


def _read_bare(data: Buffer, steps: Budget) -> Unpickled:
    answers = _answers(_MOST_OF_FILE * len(data), steps)
    first = unpickle(data, answers, steps)
    if first.content != _LEGACY_MAGIC:
        return first
    dtypes: dict[Any, torch.dtype] = {}
    spans: dict[Any, tuple[int, int]] = {}

    def note(kind: Any, key: Any) -> UnusableTensor:
        if (dtype := _dtype_of(kind)) is not None:
            dtypes[key] = dtype
        return UnusableTensor("not read yet")

    def storage(kind: Any, key: Any) -> _Storage | UnusableTensor:
        if _dtype_of(kind) != dtypes.get(key) or key not in spans:
            return UnusableTensor("of a kind that is not known")
        return _Storage(_flat(data, spans[key], dtypes[key]))

    end, starts = first.end, []
    for _ in range(_LEGACY_PARTS):  # the keys of the storages come last, and then their numbers
        starts.append(end)
        part = unpickle(data, answers, steps, end, _referring(note))
        end = part.end
    for key in part.content if isinstance(part.content, list) else ():
        length = int.from_bytes(data[end : end + 8], "little") * dtypes.get(key, torch.uint8).itemsize
        spans[key] = end + 8, length
        end += 8 + length
    if end > len(data):
        raise EOFError("it ends too early")
    return unpickle(data, answers, steps, starts[-2], _referring(storage))


def _referring(storage: Callable[[Any, Any], Any]) -> Answer:
    """What a reference to something outside of the pickle stands for: numbers, or the class of a module."""

    def answer(reference: Any) -> Any:
        kind, *parts = reference if isinstance(reference, tuple) and len(reference) > 1 else (None,)
        if kind == "module":
            return parts[0]
        if kind != "storage" or len(parts) < 2 or not isinstance(parts[1], str):
            raise Refusal("something outside of the file")
        is_view = len(parts) > 4 and parts[4] is not None
        return UnusableTensor("a view of others' numbers") if is_view else storage(parts[0], parts[1])

    return answer


def _dtype_of(kind: Any) -> torch.dtype | None:
    return _STORAGES.get(kind.name.rpartition(".")[2]) if isinstance(kind, Named) else None


def _flat(data: Buffer, span: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """The numbers between two bytes, in the file itself where they lie as its machine wants them."""
    start, length = span
    count = length // dtype.itemsize
    if count == 0:
        return torch.empty(0, dtype=dtype)
    if start % dtype.itemsize == 0 and isinstance(data, mmap.mmap):
        return torch.frombuffer(data, dtype=dtype, count=count, offset=start)
    return torch.frombuffer(bytearray(data[start : start + length]), dtype=dtype, count=count)


def _rebuilt(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor | UnusableTensor:
    """A tensor whose values lie in a storage."""
    if not isinstance(storage, _Storage):
        return storage if isinstance(storage, UnusableTensor) else UnusableTensor("without numbers")
    size, stride, (offset,) = sizes_of(size), sizes_of(stride), sizes_of([offset])
    needed = 0 if 0 in size else 1 + offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if needed > len(storage.values):
        raise EOFError("it holds fewer numbers than its tensors have")
    if math.prod(size) > len(storage.values):
        return UnusableTensor("a few numbers that are shown as many")
    return torch.as_strided(storage.values, size, stride, offset)


def _rebuilt_of_type(storage: Any, offset: Any, size: Any, stride: Any, *others: Any) -> Tensor | UnusableTensor:
    """As `_rebuilt`, where the type of the numbers is said apart."""
    kind = others[2] if len(others) > 2 else None
    dtype = getattr(torch, kind.name.rpartition(".")[2], None) if isinstance(kind, Named) else None
    if not isinstance(storage, _Storage) or not isinstance(dtype, torch.dtype):
        return UnusableTensor("of a kind that is not known")
    usable = storage.values[: len(storage.values) // dtype.itemsize * dtype.itemsize]
    return _rebuilt(_Storage(usable.view(dtype)), offset, size, stride)


def _inner(tensor: Any, *_: Any) -> Any:
    """A parameter is its tensor, and an array of another device is that array."""
    return tensor.tensor if isinstance(tensor, StoredArray) else tensor


def _unusable(*_: Any) -> UnusableTensor:
    return UnusableTensor("sparse, quantised, without values, or of a type of its own")


_TENSORS: dict[str, Answer] = {
    "torch._utils._rebuild_tensor": _rebuilt,
    "torch._utils._rebuild_tensor_v2": _rebuilt,
    "torch._utils._rebuild_tensor_v3": _rebuilt_of_type,
    **dict.fromkeys(
        (
            "torch._utils._rebuild_parameter",
            "torch._utils._rebuild_parameter_with_state",
            "torch._utils._rebuild_device_tensor_from_numpy",
            "torch._utils._rebuild_device_tensor_from_cpu_tensor",
            "torch.nn.parameter.Parameter",
            "torch.nn.parameter.Buffer",
        ),
        _inner,
    ),
    **dict.fromkeys(
        (
            "torch._utils._rebuild_sparse_tensor",
            "torch._utils._rebuild_sparse_csr_tensor",
            "torch._utils._rebuild_nested_tensor",
            "torch._utils._rebuild_qtensor",
            "torch._utils._rebuild_meta_tensor_no_storage",
            "torch._utils._rebuild_wrapper_subclass",
        ),
        _unusable,
    ),
}


def _answers(most_bytes: int, steps: Budget) -> dict[str, Answer]:
    """Answers to the names that tensors and arrays need, for one file."""
    answers = plain_answers(most_bytes) | _TENSORS

    def of_type(function: Any, _kind: Any, arguments: Any, *_: Any) -> Any:
        answer = answers.get(function.name) if isinstance(function, Named) else None
        return answer(*arguments) if answer and isinstance(arguments, tuple) else _unusable()

    def of_bytes(raw: Any) -> Any:
        """Tensors in plain pickles lie in files of `torch.save` of their own."""
        return _read_bare(raw, steps).content if isinstance(raw, bytes) else _unusable()

    return answers | {
        "torch._tensor._rebuild_from_type_v2": of_type,
        "torch.storage._load_from_bytes": of_bytes,
    }

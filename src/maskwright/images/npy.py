"""Arrays in NumPy's files (`.npy`): headers and values, without running what a file may hold besides numbers.

NumPy's own reader asks for memory before it knows that the file has so many values; here the file's length bounds it.
"""

from __future__ import annotations

import math
from io import BytesIO
from tokenize import TokenError  # what NumPy's reading of a damaged header may end in
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from maskwright.errors import DataError

NPY_START = b"\x93NUMPY"


class NpyHeader(NamedTuple):
    """What a file says of its array; `length` is that of the header in bytes."""

    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype[Any]
    length: int


def npy_header(file: IO[bytes]) -> NpyHeader:
    """The header at the start of an open file.

    Raises:
        ValueError: it is damaged.
    """
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        return NpyHeader(*read(file), file.tell())
    except (TokenError, TypeError) as error:
        raise ValueError(str(error)) from error  # what a damaged header ends in


def npy_array(data: bytes, name: str) -> npt.NDArray[Any]:
    """The array in the bytes of a file; a view of them, which cannot be written to.

    Args:
        data: of the file.
        name: what to call it in errors.

    Raises:
        ValueError: the file is damaged or cut off.
        DataError: it holds Python objects.
    """
    header = npy_header(BytesIO(data))
    if header.dtype.hasobject:
        raise DataError(
            f"{name} holds Python objects, which are a pickle and could run code; save only the array of numbers"
        )
    count = math.prod(header.shape)
    if not 0 < count * header.dtype.itemsize <= len(data) - header.length:
        raise ValueError("its values are not all there")
    values = np.frombuffer(data, header.dtype, count, header.length)
    return values.reshape(header.shape, order="F" if header.is_fortran else "C")

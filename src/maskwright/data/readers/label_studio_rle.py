"""The run lengths of Label Studio's brush: a stream of bits that holds an RGBA picture, of which the last band counts.

The stream is that of the JavaScript library rle-pack: 32 bits for the number of values, 5 for their width less one, 4
for each of four widths of lengths less one. Then, until all values are there: a bit that is 1 where one value is
repeated and 0 where each value follows by itself, two bits that choose the width of the length, the length less one,
and the values.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from maskwright.data.checks import Problem
from maskwright.structures.masks.crop import Bitmap

_BANDS = 4


def brush_pixels(values: Any, size: tuple[int, int]) -> Bitmap | Problem:
    """(H, W) what a brush painted, whatever its opacity.

    Args:
        values: the bytes of the stream, as a list of numbers.
        size: (height, width) of the image.
    """
    try:
        stream = _Bits(bytes(values) if isinstance(values, list) else b"")
        num_values, value_width = stream.read(32), stream.read(5) + 1
        length_widths = [stream.read(4) + 1 for _ in range(4)]
        if num_values != size[0] * size[1] * _BANDS:
            found = f"rle has {num_values} values, the image {size[0]} × {size[1]} pixels of {_BANDS} values"
            return Problem("bad-rle", f"{found}; export it again")
        painted = np.zeros(num_values, dtype=bool)
        start = 0
        while start < num_values:
            is_run = stream.read(1)
            end = start + 1 + stream.read(length_widths[stream.read(2)])
            if is_run:
                painted[start:end] = stream.read(value_width) > 0
            else:
                painted[start:end] = [stream.read(value_width) > 0 for _ in range(start, min(end, num_values))]
            start = end
    except (TypeError, ValueError, EOFError):
        return Problem("bad-rle", "rle is not a complete list of bytes (0 to 255) as a brush makes it; export it again")
    return painted.reshape(*size, _BANDS)[..., -1]


class _Bits:
    """Reads numbers of some bits from bytes, the highest bit first."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._next_bit = 0

    def read(self, width: int) -> int:
        """The next number.

        Raises:
            EOFError: the bytes end before.
        """
        start, end = self._next_bit, self._next_bit + width
        if end > 8 * len(self._data):
            raise EOFError
        self._next_bit = end
        part = self._data[start // 8 : -(-end // 8)]
        return int.from_bytes(part, "big") >> (-end % 8) & ((1 << width) - 1)

"""JSON of annotation files, whose size bounds how many lists and tables they may ask for."""

from __future__ import annotations

import json
from typing import Any

# a smaller file is read whatever it holds
ALWAYS_READ_BYTES = 2**20
# what a list or table takes in a file at the least, on average
_LEAST_BYTES = 5


def parse_json(data: bytes) -> Any:
    """What a JSON text in UTF-8, UTF-16 or UTF-32 holds.

    Raises:
        json.JSONDecodeError: it is broken; the error has line and column.
        ValueError: it is no text, or consists of little else than brackets.
        RecursionError: it is nested too deeply.
    """
    if len(data) > ALWAYS_READ_BYTES and len(data) < _LEAST_BYTES * (data.count(b"[") + data.count(b"{")):
        raise ValueError("it has almost only brackets, which annotations never have")
    return json.loads(data)

"""JSON files of a form that a type states: read and checked in one go, refused with the key of the defect."""

from __future__ import annotations

import codecs
import json
import os
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, TypeAdapter, ValidationError

from maskwright.errors import DataError

T = TypeVar("T")

# that a file in UTF-8 or UTF-16 may begin with
_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

# in pixels; nothing is as large
_MOST_AREA = 1e12

# what only details depend on: where it is no number of its kind, it counts as missing
Area = Annotated[float | None, BeforeValidator(lambda value: value if _is_number(value) else None)]
Count = Annotated[
    int | None, BeforeValidator(lambda value: value if _is_number(value) and value in range(2**20) else None)
]
# tools write "", 0 or {} where there is nothing
EMPTY_IS_NONE = BeforeValidator(lambda value: value or None)
# a class may be called 5, or have half a surrogate in its name
Name = Annotated[str, BeforeValidator(lambda value: str(value).encode(errors="replace").decode())]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _MOST_AREA


def checked(adapter: TypeAdapter[T], source: object, where: str, expected: str) -> T:
    """A JSON file, or its contents, as the type that the adapter stands for.

    Raises:
        DataError: it cannot be read or is of another form; the message names `where`, the key in it and `expected`.
    """
    try:
        if not isinstance(source, str | os.PathLike):
            return adapter.validate_python(source)
        data = Path(source).read_bytes()
        try:
            return adapter.validate_json(data)
        except ValidationError as error:
            if b"\0" not in data[:4] and not data.startswith(_MARKS) and b"\\ud" not in data.lower():
                raise
            return adapter.validate_python(_json_of_another_kind(data, error))
    except OSError as error:
        raise DataError(f"{where}: cannot be read: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        problem = "is missing" if first["type"] == "missing" else first["msg"]
        keys = ", ".join(f"entry {key}" if isinstance(key, int) else repr(key) for key in first["loc"])
        raise DataError(f"{where}: {keys + ': ' if keys else ''}{problem}; expected {expected}") from None


def _json_of_another_kind(data: bytes, error: ValidationError) -> Any:
    """JSON in UTF-16, with a byte order mark or half a surrogate, which pydantic does not read; else the error."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise error from None

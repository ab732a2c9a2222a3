"""The strict base of every table of a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, model_validator

_NONE = "none"

# far beyond every network that there is: a recipe may come from an untrusted checkpoint, and takes time and memory
MOST_LAYERS = 256
MOST_CHANNELS = 2**16
MOST_SIDE_PX = 100_000


class StrictModel(BaseModel):
    """Frozen, and a key it does not know is an error: a misspelt setting never passes silently.

    The word `none`, which the meanings of keys use, is no value where there may be none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _read_none(cls, table: Any) -> Any:
        if not isinstance(table, Mapping):
            return table
        return {key: None if value == _NONE and cls._may_lack(key) else value for key, value in table.items()}

    @classmethod
    def _may_lack(cls, key: str) -> bool:
        field = cls.model_fields.get(key)
        return field is not None and type(None) in get_args(field.annotation)

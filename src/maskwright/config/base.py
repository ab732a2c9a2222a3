"""The strict base of every table of a recipe."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class StrictModel(BaseModel):
    """Frozen, and a key it does not know is an error: a misspelt setting never passes silently."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

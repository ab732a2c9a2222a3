"""What every recipe has, whatever its family."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from maskwright.config.base import StrictModel
from maskwright.config.categories import CategoryConfig, named_categories
from maskwright.config.data import DataConfig
from maskwright.config.train import TrainConfig


class WeightsConfig(StrictModel):
    """Published weights of a recipe."""

    source: str = Field(description="a file inside the package (package://…) or an https address")
    sha256: str | None = Field(None, description="of the file")
    size: int | None = Field(None, gt=0, description="of the file, in bytes")
    licence: str = Field(description="under which the weights may be used")


def _read_categories(value: Any) -> Any:
    """A name of a known list, a list of names (ids 1, 2, …), or a list of {id, name}."""
    if isinstance(value, str):
        return named_categories(value)
    if isinstance(value, list | tuple) and all(isinstance(entry, str) for entry in value):
        return tuple(CategoryConfig(id=index, name=name) for index, name in enumerate(value, start=1))
    return value


class Recipe(StrictModel):
    """The common part of a resolved recipe; families add their tables."""

    name: str = Field("unnamed", description="how the recipe is called")
    summary: str = Field("", description="one line for the list of recipes")
    family: str
    categories: Annotated[tuple[CategoryConfig, ...], BeforeValidator(_read_categories)] = Field(
        (), description="classes in the order of the network's outputs; empty: taken from the training annotations"
    )
    weights: dict[str, WeightsConfig] = Field({}, description="published weights by name")
    default_weights: str | None = Field(None, description="the name used when none is asked for; none: random")
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()

"""The predictor of a command, loaded from its options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from maskwright.cli.options import read_overrides
from maskwright.cli.terminal import warn

if TYPE_CHECKING:
    from maskwright.predict.predictor import Predictor


def load_predictor(
    model: str, weights: str | None, device: str, precision: Literal["fp32", "bf16"], changes: Sequence[str] | None
) -> Predictor:
    """As `maskwright.load`; warns where the recipe loads no weights by itself and none were asked for."""
    from maskwright.predict.loading import is_checkpoint, load

    predictor = load(model, weights, device, read_overrides(changes), precision)
    if weights is None and not is_checkpoint(model) and predictor.recipe.default_weights is None:
        listed = f", for example {next(iter(predictor.recipe.weights))}" if predictor.recipe.weights else ""
        warn(f"recipe {model} loads no weights unasked, so these are random and find nothing; give --weights{listed}")
    return predictor

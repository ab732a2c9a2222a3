"""The predictor of a command, loaded from its options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from maskwright.cli.options import read_overrides
from maskwright.cli.terminal import fetching_bar, warn
from maskwright.errors import ConfigError

if TYPE_CHECKING:
    from maskwright.predict.predictor import Predictor


def load_predictor(
    model: str,
    weights: str | None,
    device: str,
    precision: Literal["fp32", "bf16", "auto"],
    changes: Sequence[str] | None,
    *,
    is_augmented: bool = False,
    tile_px: int | None = None,
    overlap_px: int | None = None,
) -> Predictor:
    """As `maskwright.load`, then augmented or tiled where the options say so.

    Warns where the recipe loads no weights by itself and none are given.

    Raises:
        ConfigError: an overlap without tiles, or what the model cannot do.
    """
    from maskwright.checkpoints.loading import is_checkpoint
    from maskwright.predict.loading import load

    with fetching_bar() as progress:
        predictor = load(model, weights, device, read_overrides(changes), precision, progress)
    if weights is None and not is_checkpoint(model) and predictor.recipe.default_weights is None:
        listed = f", for example {next(iter(predictor.recipe.weights))}" if predictor.recipe.weights else ""
        warn(
            f"recipe {model} loads no weights by default, so these are random and find nothing; give --weights{listed}"
        )
    predictor = predictor.augmented() if is_augmented else predictor
    if overlap_px is not None and tile_px is None:
        raise ConfigError("--overlap is of tiles: give --tile too")
    return predictor if tile_px is None else predictor.tiled(tile_px, overlap_px)

"""What a training starts from: existing weights instead of random ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from maskwright.checkpoints.class_rows import MatchedRows, for_log, match_rows
from maskwright.checkpoints.fetching import FetchProgress
from maskwright.checkpoints.fitting import inflate_stem, put_backbone, transfer
from maskwright.checkpoints.loading import locate_weights, recipe_of
from maskwright.checkpoints.reading import ForeignWeights, read_weights
from maskwright.config.run import Recipe
from maskwright.errors import CheckpointError, ConfigError
from maskwright.training.distributed import World

_PART = "part of the model"


@dataclass(frozen=True, eq=False)
class InitialWeights:
    """A checkpoint that a training starts from.

    Attributes:
        path: of the file.
        found: its weights under our names.
        channels: of the images that will be trained on.
        is_bgr: the recipe's order of three channels is blue, green, red.
        recipe: whose classes get the rows of their names; None takes the rows in the order of the file.
        name: a name of the weights for the log; None: the path of their file.
    """

    path: Path
    found: ForeignWeights
    channels: int = 3
    is_bgr: bool = False
    recipe: Recipe | None = None
    name: str | None = None

    def put_into(self, model: nn.Module) -> dict[str, Any]:
        """Load a backbone into the model's, a whole model into all of it, or into all but what has another shape.

        Rows of a predictor go to the classes of their names; those of classes that the file has not stay random. Images
        with another number of channels make no difference: the first convolution is inflated.

        Returns:
            What was taken, for the log: `initial_weights` (the file), `taken` (backbone, model, or part of the model),
            `tensors` (how many), `stem` (where it was inflated), `class_rows`, `stuff_rows` and `keypoint_rows` (see
            `RowMatch`), and of a part `skipped` (name of a weight → why not) and `random` (names of layers).

        Raises:
            CheckpointError: not even the backbone fits, or its classes are not known.
        """
        source = f"train.initial_weights: checkpoint {self.path}"
        weights, stem = inflate_stem(self.found.weights, model, self.channels, self.is_bgr)
        stem_numbers = {} if stem is None else {"stem": stem}
        if self.found.is_backbone:
            put_backbone(weights, model, source)
            return self._summary("backbone", len(weights)) | stem_numbers
        rows = self._match_rows(weights, model, source)
        return self._put(rows, model, source) | stem_numbers | for_log(rows.matches)

    def _match_rows(self, weights: dict[str, Tensor], model: nn.Module, source: str) -> MatchedRows:
        if self.recipe is None:
            return MatchedRows(weights, {}, {})
        try:
            theirs = recipe_of(self.found, str(self.path), {})
        except ConfigError as error:
            raise CheckpointError(
                f"{source} does not say which classes it knows ({error}); set train.class_rows=position if they are "
                "those of the recipe, in the same order"
            ) from error
        return match_rows(weights, model, theirs, self.recipe)

    def _put(self, rows: MatchedRows, model: nn.Module, source: str) -> dict[str, Any]:
        report = transfer(rows.weights, model, source)
        if report.is_whole:
            has_fresh = any(match.fresh for match in rows.matches.values())
            whole = self._summary("model", len(rows.weights))
            return whole | {"taken": _PART, "skipped": {}, "random": []} if has_fresh else whole
        random = sorted({name.rpartition(".")[0] for name in report.untouched})
        skipped = {**report.skipped, **rows.dropped}
        return self._summary(_PART, len(report.taken)) | {"skipped": skipped, "random": random}

    def _summary(self, part: str, num_tensors: int) -> dict[str, Any]:
        return {"initial_weights": self.name or str(self.path), "taken": part, "tensors": num_tensors}


def read_initial_weights(
    recipe: Recipe, source: str, world: World, progress: FetchProgress | None = None
) -> InitialWeights:
    """The checkpoint that `source` names, fetched by the main process.

    Raises:
        ConfigError, CheckpointError: there is no such file, or it cannot be fetched or read.
    """
    path = world.in_main(lambda: locate_weights(recipe, source, progress))
    return initial_weights_of(recipe, path, read_weights(path))


def initial_weights_of(recipe: Recipe, path: Path, found: ForeignWeights) -> InitialWeights:
    """What was read of a file, to start a training of the recipe from."""
    pixels = recipe.pixels
    named = recipe if recipe.train.class_rows == "name" else None
    return InitialWeights(path, found, pixels.channels, pixels.channel_order == "bgr", named)

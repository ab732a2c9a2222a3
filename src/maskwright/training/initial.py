"""What a training starts from: weights that others made, in place of random ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from maskwright.checkpoints.fitting import compare_weights, inflate_stem, put_backbone, put_weights
from maskwright.checkpoints.reading import ForeignWeights, read_weights
from maskwright.checkpoints.simple import transfer
from maskwright.config.run import Recipe
from maskwright.errors import CheckpointError
from maskwright.predict.loading import locate_weights
from maskwright.training.distributed import World


@dataclass(frozen=True, eq=False)
class InitialWeights:
    """A checkpoint that a training starts from.

    Attributes:
        path: of the file.
        found: its weights under our names.
        channels: of the images that will be trained on.
        is_bgr: the recipe's order of three channels is blue, green, red.
    """

    path: Path
    found: ForeignWeights
    channels: int = 3
    is_bgr: bool = False

    def put_into(self, model: nn.Module) -> dict[str, Any]:
        """Load a backbone into the model's, a whole model into all of it, or into all but what has another shape.

        So the heads of a model that was trained on other classes stay random, and the rest is taken. Images with
        another number of channels make no difference: the first convolution is inflated.

        Returns:
            What was taken, for the log: `initial_weights` (the file), `taken` (backbone, model, or part of the model),
            `tensors` (how many), `stem` (where it was inflated), and of a part `skipped` (name of a weight → why not)
            and `random` (names of layers).

        Raises:
            CheckpointError: not even the backbone fits.
        """
        source = f"train.initial_weights: checkpoint {self.path}"
        weights, stem = inflate_stem(self.found.weights, model, self.channels, self.is_bgr)
        told = {} if stem is None else {"stem": stem}
        return self._put(weights, model, source) | told

    def _put(self, weights: Mapping[str, Tensor], model: nn.Module, source: str) -> dict[str, Any]:
        if self.found.is_backbone:
            put_backbone(weights, model, source)
            return self._told("backbone", len(weights))
        if compare_weights(weights, model).is_exact:
            put_weights(weights, model, source)
            return self._told("model", len(weights))
        report = transfer(weights, model)
        missing = [name for name in report.untouched if name.startswith("backbone.")]
        if missing:
            raise CheckpointError(
                f"{source} has another backbone than the recipe, which lacks {len(missing)} weights in it, first "
                f"{missing[0]}; `maskwright inspect {self.path}` shows what it has"
            )
        random = sorted({name.rpartition(".")[0] for name in report.untouched})
        return self._told("part of the model", len(report.taken)) | {"skipped": report.skipped, "random": random}

    def _told(self, part: str, num_tensors: int) -> dict[str, Any]:
        return {"initial_weights": str(self.path), "taken": part, "tensors": num_tensors}


def read_initial_weights(recipe: Recipe, world: World) -> InitialWeights | None:
    """The checkpoint that `train.initial_weights` names, fetched by the main process; None where it names none.

    Raises:
        ConfigError, CheckpointError: there is no such file, or it cannot be fetched or read.
    """
    source = recipe.train.initial_weights
    if source is None:
        return None
    path = world.in_main(lambda: locate_weights(recipe, source))
    pixels = recipe.pixels
    return InitialWeights(path, read_weights(path), pixels.channels, pixels.channel_order == "bgr")

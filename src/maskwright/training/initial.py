"""What a training starts from: weights that others made, in place of random ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from maskwright.checkpoints.fitting import put_backbone, put_weights
from maskwright.checkpoints.reading import ForeignWeights, read_weights
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
    """

    path: Path
    found: ForeignWeights

    def put_into(self, model: nn.Module) -> None:
        """Load a backbone into the model's, or a whole model into all of it.

        Raises:
            CheckpointError: it does not fit completely.
        """
        source = f"train.initial_weights: checkpoint {self.path}"
        if self.found.is_backbone:
            put_backbone(self.found.weights, model, source)
            return
        try:
            put_weights(self.found.weights, model, source)
        except CheckpointError as error:
            raise CheckpointError(
                f"{error}. A whole model must fit exactly: starting from all but its heads is not possible yet"
            ) from error

    def told(self) -> dict[str, str | int]:
        """What was taken, for the log."""
        part = "backbone" if self.found.is_backbone else "model"
        return {"initial_weights": str(self.path), "taken": part, "tensors": len(self.found.weights)}


def read_initial_weights(recipe: Recipe, world: World) -> InitialWeights | None:
    """The checkpoint that `train.initial_weights` names, fetched by the main process; None where it names none.

    Raises:
        ConfigError, CheckpointError: there is no such file, or it cannot be fetched or read.
    """
    source = recipe.train.initial_weights
    if source is None:
        return None
    path = world.from_main(locate_weights(recipe, source) if world.is_main else None)
    assert path is not None
    return InitialWeights(path, read_weights(path))

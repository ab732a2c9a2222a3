"""A run's whole state as one checkpoint file, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from maskwright.checkpoints.native import NativeCheckpoint, read_native, write_native
from maskwright.config.run import Recipe
from maskwright.errors import CheckpointError, TrainingError
from maskwright.training.ema import AveragedWeights
from maskwright.training.fingerprint import Fingerprint, explain_change
from maskwright.training.intact import read_progress, refuse_missing_moments, refuse_other_weights
from maskwright.training.progress import Progress


@dataclass(eq=False)
class TrainingState:
    """Everything that a step changes; nothing else is needed to resume bit for bit.

    Attributes:
        model: the network.
        optimiser: with its moments.
        average: of the weights, or None.
        progress: how far the run is.
        data: part (`train`, `val`) → fingerprint of its data.
    """

    model: nn.Module
    optimiser: torch.optim.Optimizer
    average: AveragedWeights | None
    progress: Progress = field(default_factory=Progress)
    data: Mapping[str, Fingerprint] = field(default_factory=dict)

    def advance(self) -> None:
        """Count one more optimiser step."""
        self.progress = replace(self.progress, step=self.progress.step + 1)

    def record(self, value: float | None, loss: float | None) -> None:
        """Count one more evaluation with its best-metric value and its loss."""
        self.progress = self.progress.after_evaluation(value, loss)

    def weights_to_use(self) -> dict[str, Tensor]:
        """The weights to predict with: the averaged ones where there are any."""
        return dict(self.model.state_dict()) if self.average is None else self.average.state

    def write(self, path: Path, recipe: Recipe) -> None:
        """The whole state, atomically.

        Raises:
            TrainingError: a weight or moment is not finite; the file stays as it was.
            OutputError: the file cannot be written; it stays as it was.
        """
        training = {"step": torch.tensor(self.progress.step)}  # an optimiser without momentum has no state at all
        training |= {f"optimiser/{name}": value for name, value in self._moments().items()}
        if self.average is not None:
            training |= {f"weights/{name}": value for name, value in self.model.state_dict().items()}
        self._write(path, recipe, training)

    def write_weights(self, path: Path, recipe: Recipe) -> None:
        """The weights to predict with and nothing of the run; otherwise as `write`."""
        self._write(path, recipe, {})

    def _write(self, path: Path, recipe: Recipe, training: dict[str, Tensor]) -> None:
        progress = {**vars(self.progress), "data": dict(self.data), "tensors": len(training)}
        checkpoint = NativeCheckpoint(self.weights_to_use(), recipe.model_dump(mode="json"), training, progress)
        _refuse_non_finite(checkpoint.weights | training, self.progress.step)
        write_native(path, checkpoint)

    def restore(self, path: Path) -> None:
        """Restore the state that `write` wrote.

        Raises:
            CheckpointError: the file holds a model but no run, or not the whole state of this one, or its data have
                changed since.
        """
        checkpoint = read_native(path, with_training=True)
        if not checkpoint.training:
            raise CheckpointError(f"checkpoint {path} holds a model but no state of a run: there is nothing to resume")
        progress = read_progress(checkpoint.progress, path)
        self._refuse_other_data(checkpoint.progress.get("data", {}), path)
        moments = _below("optimiser/", checkpoint.training)
        raw = _below("weights/", checkpoint.training) if self.average is not None else checkpoint.weights
        refuse_other_weights(raw, self.model.state_dict(), path)
        refuse_other_weights(checkpoint.weights, self.model.state_dict(), path)
        count = checkpoint.progress.get("tensors", len(checkpoint.training))
        refuse_missing_moments(moments, self.model, len(checkpoint.training) - count, path)
        self.model.load_state_dict(raw)
        if self.average is not None:
            for name, value in checkpoint.weights.items():
                self.average.state[name].copy_(value)
        self._restore_moments(moments)
        self.progress = progress

    def _refuse_other_data(self, before: Any, path: Path) -> None:
        for part, found in self.data.items():
            known = before.get(part) if isinstance(before, Mapping) else None
            if isinstance(known, Mapping) and known != found:
                raise CheckpointError(
                    f"checkpoint {path}: {explain_change(part, known, found)}; put the old annotations back, or train "
                    f"into a new folder from its weights: train.initial_weights={path}"
                )

    def _moments(self) -> dict[str, Tensor]:
        """The optimiser's state as `moment/parameter` → tensor."""
        names: dict[Tensor, str] = {parameter: name for name, parameter in self.model.named_parameters()}
        return {
            f"{moment}/{names[parameter]}": value
            for parameter, moments in self.optimiser.state.items()
            for moment, value in moments.items()
            if value is not None
        }

    def _restore_moments(self, moments: dict[str, Tensor]) -> None:
        parameters = dict(self.model.named_parameters())
        for key, value in moments.items():
            moment, _, name = key.partition("/")
            parameter = parameters[name]
            # on the parameter's device, where the fused optimisers want their counters too, and in its memory format
            like = parameter if value.shape == parameter.shape else value.to(parameter.device)
            self.optimiser.state[parameter][moment] = torch.empty_like(like).copy_(value)


def _below(prefix: str, tensors: dict[str, Any]) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _refuse_non_finite(tensors: Mapping[str, Tensor], step: int) -> None:
    """An update can overflow although its losses and its gradient were finite."""
    for name, value in tensors.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise TrainingError(
                f"step {step}: its update made {name} non-finite, so nothing is written; the last checkpoint is "
                "from before it. A lower train.learning_rate, a longer train.warmup_iterations or a train.clip_norm "
                "usually helps"
            )

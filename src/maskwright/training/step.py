"""One optimiser step: forward, losses, backward, update."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from maskwright.config.train import TrainConfig
from maskwright.data.loader import TrainingSample
from maskwright.errors import TrainingError
from maskwright.images.preprocess import Preprocess
from maskwright.ops.losses import LossSum
from maskwright.structures import ImageBatch, Targets
from maskwright.training.distributed import World


@dataclass(frozen=True, eq=False)
class Stepper:
    """What every step of a run needs; steps change only the model's weights.

    Attributes:
        model: the network, wrapped for several processes where there are several.
        optimiser: over its trainable parameters.
        preprocess: from images to network input.
        config: of the run.
        world: the processes that share a step.
        device: of this process.
    """

    model: nn.Module
    optimiser: torch.optim.Optimizer
    preprocess: Preprocess
    config: TrainConfig
    world: World
    device: torch.device

    def step(self, step: int, samples: Sequence[TrainingSample]) -> dict[str, float]:
        """Train on this process's share of a step.

        Args:
            step: number of the step, counted from 1 as in the log; for messages.
            samples: this process's images.

        Returns:
            Every loss over all processes, `loss` (their weighted sum) and `gradient_norm`.

        Raises:
            TrainingError: a loss or the gradient is not finite; no weight has changed then.
        """
        self.optimiser.zero_grad(set_to_none=True)
        parts = _equal_parts(samples, self.config.accumulate)
        logged: dict[str, float] = {}
        for index, part in enumerate(parts):
            is_last = index == len(parts) - 1
            with self._gradients_joined(is_last):
                losses = self._losses(part)
                total = self._weighted_sum(losses)
                for name, value in {**self._over_all_processes(losses), "loss": self._total(total)}.items():
                    if not math.isfinite(value):
                        self._stop(step, f"loss term {name!r} is {value}", part)
                    logged[name] = logged.get(name, 0.0) + value / len(parts)
                (total / len(parts)).backward()
        logged["gradient_norm"] = self._clip()
        if not math.isfinite(logged["gradient_norm"]):
            self._stop(step, f"the gradient's norm is {logged['gradient_norm']} although every loss is finite", samples)
        self.optimiser.step()
        return logged

    def _losses(self, samples: Sequence[TrainingSample]) -> dict[str, Tensor]:
        """Each loss as this process's share: the mean over processes of the shares is the loss of the whole step."""
        batch, targets = self._batch(samples)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            sums: dict[str, LossSum] = self.model(batch, targets)
        counts = self.world.sum(torch.stack([loss.count for loss in sums.values()])).clamp(min=1) / self.world.size
        return {name: loss.total / count for (name, loss), count in zip(sums.items(), counts, strict=True)}

    def _batch(self, samples: Sequence[TrainingSample]) -> tuple[ImageBatch, list[Targets]]:
        images = [sample.image.to(self.device, non_blocking=True) for sample in samples]
        sizes = [sample.targets.size for sample in samples]
        # all processes pad alike, so that a share of a step is computed as it would be in the whole
        largest = self.world.largest((max(height for height, _ in sizes), max(width for _, width in sizes)))
        batch = self.preprocess.padded(images, [sample.key for sample in samples], at_least=largest)
        return batch, [sample.targets.to(self.device) for sample in samples]

    def _weighted_sum(self, losses: dict[str, Tensor]) -> Tensor:
        return torch.stack([self.config.loss_weights.get(name, 1.0) * loss for name, loss in losses.items()]).sum()

    def _over_all_processes(self, losses: dict[str, Tensor]) -> dict[str, float]:
        means = self.world.sum(torch.stack([loss.detach() for loss in losses.values()])) / self.world.size
        return dict(zip(losses, means.tolist(), strict=True))

    def _total(self, total: Tensor) -> float:
        return (self.world.sum(total.detach()) / self.world.size).item()

    def _gradients_joined(self, is_last: bool) -> Any:
        """Gradients are summed over processes once a step, with its last part."""
        if isinstance(self.model, DistributedDataParallel) and not is_last:
            return self.model.no_sync()
        return nullcontext()

    def _clip(self) -> float:
        parameters = [parameter for parameter in self.model.parameters() if parameter.grad is not None]
        limit = self.config.clip_norm if self.config.clip_norm is not None else math.inf
        return nn.utils.clip_grad_norm_(parameters, limit).item()

    def _stop(self, step: int, what: str, samples: Sequence[TrainingSample]) -> NoReturn:
        """Raised in all processes at once, since all have the same sums; the main one names the images of all."""
        own = [str(sample.path) for sample in samples]
        files = ", ".join(file for share in self.world.gather(own) or [own] for file in share)
        raise TrainingError(
            f"step {step}: {what}; the images of this part of the step are {files}. The last checkpoint is from before "
            "it. A lower train.learning_rate, a longer train.warmup_iterations or a train.clip_norm usually helps; "
            "`maskwright data check` finds broken annotations"
        )


def _equal_parts(samples: Sequence[TrainingSample], count: int) -> list[Sequence[TrainingSample]]:
    length = len(samples) // count
    return [samples[index * length : (index + 1) * length] for index in range(count)]

"""What a training says at its start: the machine, the data, and how long the run is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from maskwright.config.run import Recipe
from maskwright.data.network_scale import scale_lines
from maskwright.data.record import Dataset, ImageRecord, count_objects
from maskwright.predict.evaluate import why_nothing_counts
from maskwright.training.events import missing_tensorboard
from maskwright.training.teaching import teaching_warnings

# weights of a network that a processor trains within a day
_MOST_ON_CPU = 15_000_000


def machine_facts(recipe: Recipe, model: nn.Module, device: torch.device) -> dict[str, Any]:
    """`device` and `weights` (how many there are).

    Where these are too many for the machine, `smaller` (a recipe); without TensorBoard, `no_events` (why).
    """
    num_weights = sum(parameter.numel() for parameter in model.parameters())
    facts = {"device": describe(device), "weights": num_weights}
    if (missing := missing_tensorboard()) is not None:
        facts["no_events"] = str(missing)
    is_too_much = device.type == "cpu" and num_weights > _MOST_ON_CPU
    return facts | ({"smaller": recipe.small_recipe} if is_too_much and recipe.small_recipe is not None else {})


def data_facts(
    recipe: Recipe, dataset: Dataset, records: Sequence[ImageRecord], images_per_epoch: int, validation: Dataset | None
) -> dict[str, Any]:
    """What is trained on: `images`, `objects`, `validation_images`, `classes`, `steps`, `epochs`, `warnings` (lines).

    Args:
        recipe: resolved.
        dataset: of the training.
        records: its images that are trained on.
        images_per_epoch: how many are drawn in an epoch, repeated ones counted as often.
        validation: of the run, if there is one.
    """
    train = recipe.train
    warnings = [*teaching_warnings(recipe, dataset, records), *scale_lines(recipe, records), *_warmup_lines(recipe)]
    if validation is not None and (reason := why_nothing_counts(recipe, validation)) is not None:
        warnings.append(f"{reason}; the best checkpoint is the last one then")
    return {
        "images": len(records),
        "objects": count_objects(records)[0],
        "validation_images": 0 if validation is None else len(validation.records),
        "classes": [category.name for category in recipe.categories],
        "steps": train.num_steps,
        "batch_size": train.batch_size,
        "epochs": round(train.num_steps * train.batch_size / images_per_epoch, 2),
        **({"warnings": warnings} if warnings else {}),
    }


def describe(device: torch.device) -> str:
    """A device in words."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    threads = torch.get_num_threads()
    return f"cpu, {threads} thread{'s' * (threads != 1)}" if device.type == "cpu" else str(device)


def _warmup_lines(recipe: Recipe) -> list[str]:
    train = recipe.train
    if train.warmup_steps == train.warmup_iterations:
        return []
    given = f"train.warmup_iterations={train.warmup_iterations} is more than half of the {train.num_steps} steps"
    return [f"{given}: the warm-up ends after {train.warmup_steps}"]

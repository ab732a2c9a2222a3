"""What is read off the names and shapes of weights under our names, one layer at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from maskwright.errors import CheckpointError

Weights = Mapping[str, Tensor]

_CLASS_BIASES = "box_head.class_logits.bias"


def num_classes_of(weights: Weights) -> int:
    """Classes without background.

    Raises:
        CheckpointError: there are no class scores.
    """
    biases = weights.get(_CLASS_BIASES)
    if biases is None or biases.ndim != 1 or len(biases) < 2:
        raise CheckpointError(f"{_CLASS_BIASES} is no list of numbers, so the number of classes is not known")
    return len(biases) - 1


def norm_of(weights: Weights, layer: str) -> str:
    """The normalisation of a layer, by its parameters: statistics, and a counter where they are tracked."""
    if f"{layer}norm.weight" not in weights:
        return "none"
    if f"{layer}norm.running_mean" not in weights:
        return "group"
    return "batch" if f"{layer}norm.num_batches_tracked" in weights else "frozen_batch"


def conv_facts(weights: Weights, table: str, first: str, channels: str = "channels") -> dict[str, Any]:
    """Channels, norm and biases of a head's convolutions, from the first of them."""
    norm = norm_of(weights, first)
    return {
        f"{table}.{channels}": rows_of(weights, f"{first}conv.weight"),
        f"{table}.norm": norm,
        f"{table}.has_biases": norm != "none" and f"{first}conv.bias" in weights,
    }


def is_shared(weights: Weights, biases: str, rows: int, num_classes: int) -> bool:
    """Whether a predictor serves all classes at once."""
    return num_classes > 1 and rows_of(weights, biases) == rows


def rows_of(weights: Weights, name: str) -> int | None:
    """Outputs of a layer, from its weight or bias; None where there is none."""
    value = weights.get(name)
    return len(value) if value is not None and value.ndim > 0 else None


def count_of(weights: Weights, start: str) -> int:
    """How many numbers follow `start` in the names."""
    return len(set(numbers_of(weights, start)))


def numbers_of(weights: Weights, start: str) -> Iterator[str]:
    """The number behind `start` in each name that has one."""
    for name in weights:
        if name.startswith(start):
            number = name[len(start) :].split(".")[0]
            if number.isdecimal():
                yield number

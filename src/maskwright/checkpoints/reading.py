"""Any supported checkpoint file → weights under our names, and what the file says of the model."""

from __future__ import annotations

import pickle
import struct
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from maskwright.checkpoints.backbones import (
    from_torchvision_backbone,
    from_yolact_backbone,
    is_torchvision_backbone,
    is_yolact_backbone,
)
from maskwright.checkpoints.native import is_native, read_native
from maskwright.checkpoints.torchvision import from_torchvision, is_torchvision, torchvision_recipe
from maskwright.checkpoints.yolact import from_yolact, is_yolact, yolact_recipe
from maskwright.errors import CheckpointError

SUFFIXES = (".safetensors", ".pth", ".pt")

State = Mapping[str, Tensor]

# lineage, whether keys are of it, the recipe and its overrides, the weights under our names
_MODELS: tuple[
    tuple[
        str,
        Callable[[set[str]], bool],
        Callable[[State], tuple[str, dict[str, Any]]],
        Callable[[State], dict[str, Tensor]],
    ],
    ...,
] = (
    ("torchvision", is_torchvision, torchvision_recipe, from_torchvision),
    ("yolact", is_yolact, yolact_recipe, from_yolact),
)
# lineage, whether keys are of it, the weights under our names
_BACKBONES: tuple[tuple[str, Callable[[set[str]], bool], Callable[[State], dict[str, Tensor]]], ...] = (
    ("torchvision", is_torchvision_backbone, from_torchvision_backbone),
    ("yolact", is_yolact_backbone, from_yolact_backbone),
)

# what torch's unpickler raises on files that are cut off, damaged or made to hurt
_BROKEN = (
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    MemoryError,
    OverflowError,
    struct.error,
)


@dataclass(frozen=True, eq=False)
class ForeignWeights:
    """A checkpoint made ready for a model of ours.

    Attributes:
        lineage: whose format the file has.
        weights: name → tensor under our names.
        recipe: the resolved recipe of a maskwright file, as nested dicts; None for the others.
        recipe_name: the shipped recipe that fits a foreign model; None for ours, and for a backbone.
        implied: dotted overrides that the file itself proves (its norms, its class count).
    """

    lineage: str
    weights: dict[str, Tensor]
    recipe: dict[str, Any] | None
    recipe_name: str | None
    implied: dict[str, Any]

    @property
    def is_backbone(self) -> bool:
        """Whether the file is a backbone alone: a start for training, no model."""
        return self.recipe is None and self.recipe_name is None


def read_weights(path: Path) -> ForeignWeights:
    """Read a checkpoint of any supported format; nothing in the file is ever executed.

    Raises:
        CheckpointError: no such file, a broken or unsafe one, or a format that is not known.
    """
    if not path.is_file():
        raise CheckpointError(f"checkpoint {path} does not exist, or is not a file")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in SUFFIXES:
        return _recognised(_load_torch(path), path)
    raise CheckpointError(f"checkpoint {path}: unknown suffix {path.suffix!r}; known are {', '.join(SUFFIXES)}")


def _read_safetensors(path: Path) -> ForeignWeights:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"checkpoint {path} cannot be read ({error}); it is cut off, or no safetensors file"
        ) from error
    if not is_native(metadata):
        return _recognised(safetensors.torch.load_file(path), path)
    checkpoint = read_native(path)
    return ForeignWeights("maskwright", checkpoint.weights, checkpoint.recipe, None, {})


def _load_torch(path: Path) -> Mapping[str, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the error that follows says it in one line
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"checkpoint {path} is refused: it is damaged, or holds objects besides tensors, which could run code when "
            "loaded; save the state dict alone, with torch.save(model.state_dict(), …)"
        ) from error
    except _BROKEN as error:
        raise CheckpointError(f"checkpoint {path} cannot be read; it is cut off, or no torch file") from error
    if isinstance(content, Mapping):
        for key in ("model", "state_dict"):  # training scripts wrap the state dict
            if isinstance(content.get(key), Mapping):
                content = content[key]
    if not isinstance(content, Mapping) or not all(_is_weight(key, value) for key, value in content.items()):
        raise CheckpointError(f"checkpoint {path} holds no state dict (a table of names and tensors)")
    return {key.removeprefix("module."): value for key, value in content.items()}


def _is_weight(key: Any, value: Any) -> bool:
    """Whether an entry is a name and a plain tensor with its values (not sparse, and not on the meta device)."""
    is_plain = isinstance(value, Tensor) and value.layout == torch.strided and value.device.type == "cpu"
    return isinstance(key, str) and is_plain


def _recognised(state: State, path: Path) -> ForeignWeights:
    keys = set(state)
    for lineage, is_model, recipe_for, renamed in _MODELS:
        if is_model(keys):
            try:
                recipe_name, implied = recipe_for(state)
            except CheckpointError as error:
                raise CheckpointError(f"checkpoint {path}: {error}") from error
            return ForeignWeights(lineage, renamed(state), None, recipe_name, implied)
    for lineage, is_backbone, renamed in _BACKBONES:
        if is_backbone(keys):
            return ForeignWeights(lineage, renamed(state), None, None, {})
    some = ", ".join(sorted(keys)[:3]) or "none at all"
    raise CheckpointError(
        f"checkpoint {path}: its keys ({some}, …) are of no format known here; known are maskwright, torchvision and "
        "yolact"
    )

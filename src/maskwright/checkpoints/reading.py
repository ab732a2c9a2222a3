"""Any supported checkpoint file → weights under our names, and what the file says of the model."""

from __future__ import annotations

import pickle
import struct
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from maskwright.checkpoints import backbones, caffe2, detectron2, matterport, simple, torchvision, yolact
from maskwright.checkpoints.keras import read_keras
from maskwright.checkpoints.native import is_native, read_native
from maskwright.checkpoints.pickles import read_pickle
from maskwright.errors import CheckpointError

SUFFIXES = (".safetensors", ".pth", ".pt", ".pkl", ".h5")

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class _Lineage:
    """Whose models they are, whether keys are of one, its recipe and overrides, and its weights under our names."""

    name: str
    is_model: Callable[[set[str]], bool]
    recipe_for: Callable[[State], tuple[str, dict[str, Any]]]
    renamed: Callable[[State], dict[str, Tensor]]


_MODELS = (
    _Lineage("torchvision", torchvision.is_torchvision, torchvision.torchvision_recipe, torchvision.from_torchvision),
    _Lineage("detectron2", detectron2.is_detectron2, detectron2.detectron2_recipe, detectron2.from_detectron2),
    _Lineage("simple", simple.is_simple, simple.simple_recipe, simple.from_simple),
    _Lineage("matterport", matterport.is_matterport, matterport.matterport_recipe, matterport.from_matterport),
    _Lineage("yolact", yolact.is_yolact, yolact.yolact_recipe, yolact.from_yolact),
)
# lineage, whether keys are of it, the weights under our names
_BACKBONES: tuple[tuple[str, Callable[[set[str]], bool], Callable[[State], dict[str, Tensor]]], ...] = (
    ("torchvision", backbones.is_torchvision_backbone, backbones.from_torchvision_backbone),
    ("detectron2", detectron2.is_detectron2_backbone, detectron2.from_detectron2),
    ("caffe2", caffe2.is_caffe2, backbones.from_caffe2_backbone),
    ("matterport", matterport.is_matterport_backbone, matterport.from_matterport),
    ("yolact", backbones.is_yolact_backbone, backbones.from_yolact_backbone),
)
# besides weights, training scripts save numbers of numpy's (detectron2 the best metric so far)
_SCALAR: Any = np.float64().__reduce__()[0]
_NUMBERS: list[Any] = [
    *((_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    np.dtype,
    *(type(np.dtype(kind)) for kind in "fdilq?"),
]

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
    readers: dict[str, Callable[[Path], Any]] = {".pkl": read_pickle, ".h5": read_keras}
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in SUFFIXES:
        return _recognised(_state_dict(readers.get(path.suffix, _load_torch)(path), path), path)
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


def _load_torch(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            is_zip = file.read(4) == b"PK\x03\x04"  # whose tensors need not be copied out of the file
        with warnings.catch_warnings(), torch.serialization.safe_globals(_NUMBERS):
            warnings.simplefilter("ignore")  # the error that follows says it in one line
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"checkpoint {path} is refused: it is damaged, or holds objects besides tensors, which could run code when "
            "loaded; save the state dict alone, with torch.save(model.state_dict(), …)"
        ) from error
    except _BROKEN as error:
        raise CheckpointError(f"checkpoint {path} cannot be read; it is cut off, or no torch file") from error


def _state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    """The table of weights in what a file holds, however training scripts wrapped it."""
    if isinstance(content, Mapping):
        for key in ("model", "state_dict", "blobs"):  # the last: Detectron, on Caffe2
            if isinstance(content.get(key), Mapping):
                content = content[key]
    if not isinstance(content, Mapping) or not all(_is_weight(key, value) for key, value in content.items()):
        raise CheckpointError(f"checkpoint {path} holds no state dict (a table of names and tensors)")
    return {key.removeprefix("module."): value for key, value in content.items()}


def _is_weight(key: Any, value: Any) -> bool:
    """Whether an entry is a name and a plain tensor with all of its values.

    It may not be sparse, on the meta device, or a few numbers that pose as billions.
    """
    is_plain = isinstance(value, Tensor) and value.layout == torch.strided and value.device.type == "cpu"
    return isinstance(key, str) and is_plain and value.nbytes <= value.untyped_storage().nbytes()


def _recognised(state: State, path: Path) -> ForeignWeights:
    keys = set(state)
    for lineage in _MODELS:
        if lineage.is_model(keys):
            try:
                recipe_name, implied = lineage.recipe_for(state)
            except CheckpointError as error:
                raise CheckpointError(f"checkpoint {path}: {error}") from error
            return ForeignWeights(lineage.name, lineage.renamed(state), None, recipe_name, implied)
    for name, is_backbone, renamed in _BACKBONES:
        if is_backbone(keys):
            return ForeignWeights(name, renamed(state), None, None, {})
    some = ", ".join(sorted(keys)[:3]) or "none at all"
    known = ", ".join(lineage.name for lineage in _MODELS)
    raise CheckpointError(
        f"checkpoint {path}: its keys ({some}, …) are of no format known here; known are maskwright, {known}"
    )

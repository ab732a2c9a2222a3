"""From our weights to files that other programs read."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from maskwright.checkpoints.lineage import Lineage
from maskwright.checkpoints.reading import LINEAGES
from maskwright.config import Recipe, load_recipe
from maskwright.errors import CheckpointError
from maskwright.files import replace_file

_WRITTEN = {lineage.name: lineage for lineage in LINEAGES if lineage.write is not None}


def write_foreign(path: Path, weights: Mapping[str, Tensor], lineage: str) -> int:
    """Write another program's state dict: `.pth` as torch saves it, `.pkl` as numpy arrays, as detectron2's zoo has.

    Returns:
        How many tensors were written.

    Raises:
        CheckpointError: no such format, or an architecture that the other program does not have.
        OutputError: the file cannot be written.
    """
    write = _written(lineage).write
    assert write is not None
    state = write(weights)
    if path.suffix == ".pkl":
        arrays = {name: _as_array(value) for name, value in state.items()}
        data = pickle.dumps({"model": arrays, "__author__": "maskwright"}, protocol=4)
    else:
        buffer = io.BytesIO()
        state = {name: value.detach().cpu().contiguous() for name, value in state.items()}
        torch.save({"model": state} if lineage == "detectron2" else state, buffer)
        data = buffer.getvalue()
    replace_file(path, data)
    return len(state)


def recipe_without_settings(weights: Mapping[str, Tensor], lineage: str) -> Recipe:
    """The recipe that another program's file of our weights is recognised as: only names and shapes go into the file.

    Raises:
        CheckpointError: no such format, or no recipe fits.
    """
    return load_recipe(*_written(lineage).recognise(weights))


def _written(lineage: str) -> Lineage:
    if lineage not in _WRITTEN:
        raise CheckpointError(f"no format called {lineage!r}; choose one of {', '.join(_WRITTEN)}")
    return _WRITTEN[lineage]


def _as_array(value: Tensor) -> np.ndarray:
    """numpy knows no bfloat16; single precision holds all its numbers."""
    value = value.detach().cpu()
    return (value.float() if value.dtype == torch.bfloat16 else value).contiguous().numpy()

"""maskwright's own checkpoint: one safetensors file with the weights and, in its header, the resolved recipe.

A training checkpoint holds the rest of the run too, under names that begin with `training/`; so every checkpoint is a
model for every command, and no file can be out of step with another.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from maskwright.errors import CheckpointError
from maskwright.files import replace_file

FORMAT = 1
TRAINING = "training/"
_HEADER = "maskwright"
_MOST_LETTERS = 1 << 23  # a recipe with 1,203 categories takes 100,000


@dataclass(frozen=True, eq=False)
class NativeCheckpoint:
    """A checkpoint of ours.

    Attributes:
        weights: name → tensor, as in the model's `state_dict`.
        recipe: the resolved recipe as nested dicts.
        training: name → tensor of the run's state; empty in a checkpoint that is only a model.
        progress: where the run stands (step, best metric, …), JSON-like.
        is_resumable: whether the file that was read holds the run's state, which `training` may leave out.
    """

    weights: dict[str, Tensor]
    recipe: dict[str, Any]
    training: dict[str, Tensor]
    progress: dict[str, Any]
    is_resumable: bool = False


def write_native(path: Path, checkpoint: NativeCheckpoint) -> None:
    """Write a checkpoint so that at every moment, a power cut included, `path` is the old file or the new one, whole.

    Raises:
        OutputError: the folder cannot be written to, or the disk is full; the old file is still there.
    """
    tensors = checkpoint.weights | {TRAINING + name: value for name, value in checkpoint.training.items()}
    header = {"format": FORMAT, "recipe": checkpoint.recipe, "progress": checkpoint.progress}
    data = safetensors.torch.save(
        {name: value.detach().cpu().contiguous() for name, value in tensors.items()}, {_HEADER: json.dumps(header)}
    )
    replace_file(path, data)


def is_native(metadata: Mapping[str, str] | None) -> bool:
    """Whether a safetensors header is that of a maskwright checkpoint."""
    return metadata is not None and _HEADER in metadata


def read_native(path: Path, *, with_training: bool = False) -> NativeCheckpoint:
    """Read a checkpoint of ours; the run's state only when asked for.

    Raises:
        CheckpointError: the file is broken, not one of ours, or of a newer format.
    """
    with _native_errors(path), safe_open(path, framework="pt") as file:
        return read_open_file(file, path, with_training=with_training)


def read_open_file(file: Any, path: Path, *, with_training: bool = False) -> NativeCheckpoint:
    """As `read_native`, from the file that `safe_open` gave for this path."""
    with _native_errors(path):
        header = _read_header(file.metadata() or {})
        names = list(file.keys())
        weights = {name: file.get_tensor(name) for name in names if not name.startswith(TRAINING)}
        run = [name for name in names if name.startswith(TRAINING)]
        training = {name.removeprefix(TRAINING): file.get_tensor(name) for name in run} if with_training else {}
    if header["format"] != FORMAT:
        raise CheckpointError(
            f"checkpoint {path} has format {header['format']!r}, this maskwright reads {FORMAT}: update maskwright"
        )
    return NativeCheckpoint(weights, header["recipe"], training, header["progress"], bool(run))


@contextmanager
def _native_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (SafetensorError, OSError, LookupError, ValueError, TypeError, RuntimeError) as error:
        raise CheckpointError(
            f"checkpoint {path} cannot be read ({str(error).splitlines()[0]}); it is cut off, or not a maskwright file"
        ) from error


def _read_header(metadata: Mapping[str, str]) -> dict[str, Any]:
    """The header's table; files are untrusted, so its form and size are checked."""
    text = metadata[_HEADER]
    if len(text) > _MOST_LETTERS:
        raise ValueError(f"its header has more than {_MOST_LETTERS:,} letters")
    header = json.loads(text)
    tables = (header, header.get("recipe"), header.get("progress")) if isinstance(header, dict) else ()
    if not tables or not all(isinstance(table, dict) for table in tables) or type(header.get("format")) is not int:
        raise ValueError("its header is no table of format, recipe and progress")
    return dict(header)

"""Any supported checkpoint file → weights under our names, and what the file says of the model."""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from maskwright.checkpoints.detectron2 import DETECTRON2
from maskwright.checkpoints.foreign_programs import (
    describe_folder,
    describe_json,
    describe_program,
    describe_start,
    describe_zip,
)
from maskwright.checkpoints.keras import is_hdf5, read_keras
from maskwright.checkpoints.lineage import BackboneFiles, Lineage
from maskwright.checkpoints.matterport import MATTERPORT
from maskwright.checkpoints.native import NativeCheckpoint, is_native, read_open_file
from maskwright.checkpoints.pickle_machine import Refusal
from maskwright.checkpoints.simple import SIMPLE
from maskwright.checkpoints.tables import WeightTable, weight_tables
from maskwright.checkpoints.torch_files import UnusableTensor, read_bare_pickle, read_torch_zip
from maskwright.checkpoints.torchvision import TORCHVISION
from maskwright.checkpoints.unpickling import Unpickled
from maskwright.checkpoints.yolact import YOLACT
from maskwright.errors import CheckpointError

# by which an address or a name is known to be meant as a checkpoint; a file is read by its content
SUFFIXES = (".safetensors", ".pth", ".pt", ".pkl", ".pickle", ".ckpt", ".bin", ".tar", ".h5", ".hdf5")

# in the order in which they are tried
LINEAGES = (TORCHVISION, DETECTRON2, SIMPLE, MATTERPORT, YOLACT)
# what readers of files that are cut off, damaged or made to hurt raise
_BROKEN = (
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    MemoryError,
    OverflowError,
    NotImplementedError,
    zipfile.BadZipFile,
    struct.error,
)
_START_BYTES = 512
_ZIP = b"PK\x03\x04"
_MOST_SHARED = 8  # times that tensors of a file may refer to its bytes: weights that several layers share
_MOST_NAMES = 5000  # of weights, by which other programs are known
_MOST_HEAD = 10  # tensors of a classifier beside a backbone
_SHOWN, _LONGEST = 60, 200  # letters of a name and of a reason in a message


@dataclass(frozen=True, eq=False)
class ForeignWeights:
    """A checkpoint made ready for a model of ours.

    Attributes:
        lineage: whose format the file has.
        weights: name → tensor under our names.
        recipe: the resolved recipe of a maskwright file, as nested dicts; None for the others.
        recipe_name: the shipped recipe that fits a foreign model; None for ours, and for a backbone.
        implied: dotted overrides that the file itself proves (its norms, its class count).
        found_in: what the names of the weights began with in the file, such as `model.` or `state_dict.net.`.
        others: such beginnings of further weights of a whole model, which were not taken.
        left_out: classes of objects in the file that are no weights, and were not built.
        progress: where the run stood that wrote a maskwright file, see `NativeCheckpoint`; empty without a run.
        is_resumable: whether the state of that run is in the file too.
    """

    lineage: str
    weights: dict[str, Tensor]
    recipe: dict[str, Any] | None
    recipe_name: str | None
    implied: dict[str, Any]
    found_in: str = ""
    others: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    progress: dict[str, Any] = field(default_factory=dict)
    is_resumable: bool = False

    @property
    def is_backbone(self) -> bool:
        """Whether the file holds only a backbone: a start for training, no model."""
        return self.recipe is None and self.recipe_name is None


def read_weights(path: Path) -> ForeignWeights:
    """Read a checkpoint of any supported format, known by its content; nothing in the file is ever executed.

    Raises:
        CheckpointError: no such file, a broken or unsafe one, one of another program, or a format that is not known.
        MissingDependency: a Keras file without h5py.
    """
    if path.is_dir():
        raise CheckpointError(f"checkpoint {path} {describe_folder(path)}")
    if not path.is_file():
        raise CheckpointError(f"checkpoint {path} does not exist, or is not a file")
    with _checkpoint_errors(path), path.open("rb") as file:
        start = file.read(_START_BYTES)
    if not start:
        raise CheckpointError(f"checkpoint {path} is empty (0 bytes); copy or download it again")
    if start[8:9] == b"{" or path.suffix == ".safetensors":
        return _read_safetensors(path)
    if is_hdf5(start) or path.suffix in (".h5", ".hdf5"):
        return _recognised(read_keras(path), (), path)
    description = describe_zip(path) if start.startswith(_ZIP) else describe_start(start)
    if description is not None:
        raise CheckpointError(f"checkpoint {path} {description}")
    with _checkpoint_errors(path):
        found = _read_pickles(path, start)
        return _recognised(found.content, found.classes, path, _MOST_SHARED * path.stat().st_size)


def _read_pickles(path: Path, start: bytes) -> Unpickled:
    if start.startswith(_ZIP):
        return read_torch_zip(path)
    if start.startswith(pickle.PROTO) or (start and path.suffix in (".pkl", ".pickle")):
        return read_bare_pickle(path)
    raise ValueError(describe_json(path) or "its first bytes are those of no format that is known here")


def _read_safetensors(path: Path) -> ForeignWeights:
    try:
        with safe_open(path, framework="pt") as file:
            if is_native(file.metadata()):
                return _native(read_open_file(file, path))
            content = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"checkpoint {path} cannot be read ({error}); it is cut off, or no safetensors file"
        ) from error
    return _recognised(content, (), path)


def _native(checkpoint: NativeCheckpoint) -> ForeignWeights:
    return ForeignWeights(
        "maskwright",
        checkpoint.weights,
        checkpoint.recipe,
        None,
        {},
        progress=checkpoint.progress,
        is_resumable=checkpoint.is_resumable,
    )


@contextmanager
def _checkpoint_errors(path: Path) -> Iterator[None]:
    """Turn what readers raise into errors about `path`."""
    try:
        yield
    except Refusal as refusal:
        raise CheckpointError(
            f"checkpoint {path} is refused: it asks for {str(refusal)[:_SHOWN]}, which could run code, and nothing of "
            "it was run; save only the weights, with torch.save(model.state_dict(), …)"
        ) from refusal
    except _BROKEN as error:
        reason = str(error).splitlines()[0][:_LONGEST] if str(error) else type(error).__name__
        raise CheckpointError(
            f"checkpoint {path} cannot be read ({reason}); it is cut off, damaged, or no checkpoint"
        ) from error


def _recognised(content: Any, classes: Iterable[str], path: Path, most_bytes: int | None = None) -> ForeignWeights:
    """The likeliest of a file's tables of weights that is a whole model, or else that is a backbone."""
    tables = weight_tables(content)
    models = [(lineage, table) for table in tables if (lineage := _lineage_of(table))]
    if not models:
        _refuse_foreign(content, classes, tables, path)
    backbones = [] if models else [(files, table) for table in tables if (files := _backbone_of(table))]
    candidates: list[tuple[Lineage | BackboneFiles, WeightTable]] = [*models, *backbones[:1]]
    if not candidates:
        raise CheckpointError(_unknown(tables, path))
    (source, table), *others = candidates
    state = _tensors(table, path, most_bytes)
    try:
        recipe, implied, weights = source.read(state)
    except CheckpointError as error:
        raise CheckpointError(f"checkpoint {path}: {error}") from error
    other_prefixes, left_out = tuple(other.prefix for _, other in others), tuple(sorted(classes))
    return ForeignWeights(source.name, weights, None, recipe, implied, table.prefix, other_prefixes, left_out)


def _lineage_of(table: WeightTable) -> Lineage | None:
    keys = set(table.weights)
    return next((lineage for lineage in LINEAGES if lineage.is_model(keys)), None)


def _backbone_of(table: WeightTable) -> BackboneFiles | None:
    if table.num_beside > _MOST_HEAD:
        return None
    keys = set(table.weights)
    return next((files for lineage in LINEAGES for files in lineage.backbones if files.is_backbone(keys)), None)


def _refuse_foreign(content: Any, classes: Iterable[str], tables: Sequence[WeightTable], path: Path) -> None:
    names = dict.fromkeys(table.prefix + name for table in tables if table.is_whole for name in table.weights)
    if (description := describe_program(classes, islice(names, _MOST_NAMES), content)) is not None:
        raise CheckpointError(f"checkpoint {path} {description}")


def _unknown(tables: Sequence[WeightTable], path: Path) -> str:
    """Why the file is of no use here."""
    if not any(name for table in tables for name in table.weights):
        return f"checkpoint {path} holds no state dict (a table of names and tensors)"
    largest = max(tables, key=lambda table: len(table.weights))
    some = ", ".join(name[:_SHOWN] for name in sorted(largest.weights)[:3])
    known = ", ".join(lineage.name for lineage in LINEAGES)
    return f"checkpoint {path}: its keys ({some}, …) are of no format known here; known are maskwright, {known}"


def _tensors(table: WeightTable, path: Path, most_bytes: int | None) -> dict[str, Tensor]:
    """The weights of a table, if all of their values are in the file."""
    tensors: dict[str, Tensor] = {}
    for name, weight in table.weights.items():
        if isinstance(weight, UnusableTensor):
            raise CheckpointError(f"checkpoint {path}: its {name[:_SHOWN]} is a tensor {weight.reason}; save it dense")
        tensors[name] = weight
    if most_bytes is not None and sum(tensor.nbytes for tensor in tensors.values()) > most_bytes:
        raise CheckpointError(f"checkpoint {path}: its tensors are more than its bytes can hold; it is damaged")
    return tensors

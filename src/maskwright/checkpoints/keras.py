"""Keras files (`.h5`) of matterport's Mask R-CNN, under the names of its PyTorch port."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from maskwright.budget import Budget
from maskwright.errors import CheckpointError, MissingDependency

_LAYERS = {
    "conv1": "fpn.C1.0",
    "bn_conv1": "fpn.C1.1",
    **{f"fpn_c{level}p{level}": f"fpn.P{level}_conv1" for level in range(2, 6)},
    **{f"fpn_p{level}": f"fpn.P{level}_conv2.1" for level in range(2, 6)},
    "rpn_conv_shared": "rpn.conv_shared",
    "rpn_class_raw": "rpn.conv_class",
    "rpn_bbox_pred": "rpn.conv_bbox",
    **{f"mrcnn_class_{part}{n}": f"classifier.{part}{n}" for part in ("conv", "bn") for n in (1, 2)},
    "mrcnn_class_logits": "classifier.linear_class",
    "mrcnn_bbox_fc": "classifier.linear_bbox",
    **{f"mrcnn_mask_{part}{n}": f"mask.{part}{n}" for part in ("conv", "bn") for n in range(1, 5)},
    "mrcnn_mask_deconv": "mask.deconv",
    "mrcnn_mask": "mask.conv5",
}
# a letter for each block: res4b_branch2a is the first convolution of the second block in res4
_BLOCK_LAYER = re.compile(r"(?P<kind>res|bn)(?P<stage>[2-5])(?P<block>[a-z])_branch(?P<branch>1|2[abc])")
_PARTS = {
    "kernel:0": "weight",
    "bias:0": "bias",
    "gamma:0": "weight",
    "beta:0": "bias",
    "moving_mean:0": "running_mean",
    "moving_variance:0": "running_var",
}
# convolutions are (height, width, in, out), deconvolutions (height, width, out, in), dense layers (in, out)
_TRANSPOSES = {4: (3, 2, 0, 1), 2: (1, 0)}
_MOST_COMPRESSION = 30  # of a file's bytes to those of its arrays; trained weights are made little smaller
_MOST_ITEMS = 100_000  # groups and arrays
_HDF5 = b"\x89HDF\r\n\x1a\n"


def is_hdf5(start: bytes) -> bool:
    """Whether these are the first bytes of an HDF5 file."""
    return start.startswith(_HDF5)


def read_keras(path: Path) -> dict[str, Tensor]:
    """The weights of a file with only weights or a whole model; layers that are not matterport's keep their names.

    Of a whole model, the description of its layers (which may hold code) is not read.

    Raises:
        MissingDependency: h5py is not installed.
        CheckpointError: the file is broken, or no HDF5.
    """
    try:
        import h5py
    except ImportError as error:
        raise MissingDependency("h5py", "h5") from error
    try:
        with h5py.File(path, "r") as file:
            items = _Items(h5py)
            root = next((item for key, item in items.of(file) if _is_whole_model(h5py, key, item)), file)
            memory = Budget(_MOST_COMPRESSION * path.stat().st_size, "bytes of arrays")
            return {_name(layer, part): _tensor(values, memory) for layer, part, values in items.arrays(root)}
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, RecursionError, MemoryError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"checkpoint {path} cannot be read ({reason}); it is cut off, or no HDF5") from error


class _Items:
    """What lies in the groups of a file, each group once: they may hold each other, on ever more paths."""

    def __init__(self, h5py: Any) -> None:
        self._h5py = h5py
        self._budget = Budget(_MOST_ITEMS, "groups and arrays")
        self._seen: set[Any] = set()

    def of(self, group: Any) -> Iterator[tuple[str, Any]]:
        """(name, group or array) of all in a group that lie in this very file: links could lead to any other."""
        for key in group:
            self._budget.spend()
            if isinstance(group.get(key, getlink=True), self._h5py.HardLink):
                yield key, group[key]

    def arrays(self, root: Any) -> Iterator[tuple[str, str, Any]]:
        """(layer, weight, array) of all below a group whose values are in this very file too."""
        waiting = [root]
        while waiting:
            group = waiting.pop()
            address = self._h5py.h5o.get_info(group.id).addr
            if address in self._seen:
                continue
            self._seen.add(address)
            inner = []
            for key, item in self.of(group):
                if isinstance(item, self._h5py.Group):
                    inner.append(item)
                elif isinstance(item, self._h5py.Dataset) and item.external is None and not item.is_virtual:
                    yield group.name.rpartition("/")[2], key, item
            waiting += reversed(inner)


def _is_whole_model(h5py: Any, key: str, item: Any) -> bool:
    """Whether an entry holds the weights of a file that has a model's description beside them."""
    return key == "model_weights" and isinstance(item, h5py.Group)


def _tensor(values: Any, memory: Budget) -> Tensor:
    memory.spend(values.nbytes)
    if values.dtype.kind not in "fiu":
        raise ValueError(f"{values.name} is an array of {values.shape} {values.dtype}")
    tensor = torch.from_numpy(values[()].astype(values.dtype.newbyteorder("="), copy=False))
    return tensor.permute(_TRANSPOSES[tensor.ndim]).contiguous() if tensor.ndim in _TRANSPOSES else tensor


def _name(layer: str, part: str) -> str:
    return f"{_LAYERS.get(layer) or _block_layer(layer) or layer}.{_PARTS.get(part, part)}"


def _block_layer(layer: str) -> str | None:
    match = _BLOCK_LAYER.fullmatch(layer)
    if match is None:
        return None
    is_conv, branch = match["kind"] == "res", match["branch"]
    if branch == "1":
        last = "downsample.0" if is_conv else "downsample.1"
    else:
        last = f"{'conv' if is_conv else 'bn'}{'abc'.index(branch[1]) + 1}"
    return f"fpn.C{match['stage']}.{ord(match['block']) - ord('a')}.{last}"

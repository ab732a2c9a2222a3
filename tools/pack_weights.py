"""Make a checkpoint small enough to ship: weights of convolutions and linear layers in half precision, of few digits.

    python tools/pack_weights.py runs/nuclei/checkpoints/best.safetensors OUT.safetensors

Biases and norms stay fp32; nothing of the training run is kept. Loading widens the weights to fp32 again. Of the ten
bits behind the point of a half-precision number six are kept, of large weights four, so that the wheel, which is
compressed, has 11.6 MB in place of 16.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from maskwright.checkpoints.native import NativeCheckpoint, read_native, write_native

_KEPT_BITS, _KEPT_OF_LARGE = 6, 4
_LARGE = 200_000  # values


def rounded(weight: Tensor) -> Tensor:
    """A weight as float16 whose last bits are zero, rounded to the nearest, of two equally near to the even one."""
    dropped = 10 - (_KEPT_OF_LARGE if weight.numel() > _LARGE else _KEPT_BITS)
    bits = weight.to(torch.float16).view(torch.int16).to(torch.int32) & 0xFFFF
    half = (1 << (dropped - 1)) - 1 + (bits >> dropped & 1)
    kept = bits + half & ~((1 << dropped) - 1)
    return torch.where(kept >= 1 << 15, kept - (1 << 16), kept).to(torch.int16).view(torch.float16)


def pack(source: Path, target: Path) -> None:
    """Write the packed checkpoint; the paths of the training data are taken out of its recipe."""
    checkpoint = read_native(source)
    weights = {name: rounded(value) if value.ndim > 1 else value for name, value in checkpoint.weights.items()}
    empty = {"images": None, "annotations": None}
    data = {**checkpoint.recipe["data"]}
    data |= {split: {**data[split], **empty} for split in ("train", "val")}
    write_native(target, NativeCheckpoint(weights, {**checkpoint.recipe, "data": data}, {}, checkpoint.progress))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    pack(arguments.source, arguments.target)
    print(f"{arguments.target}: {arguments.target.stat().st_size / 1e6:.1f} MB")

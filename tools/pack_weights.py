"""Make a checkpoint small enough to ship: weights of convolutions and linear layers in half precision.

    python tools/pack_weights.py runs/nuclei/checkpoints/best.safetensors OUT.safetensors

Biases and norms stay fp32; nothing of the training run is kept. Loading widens the weights to fp32 again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from maskwright.checkpoints.native import NativeCheckpoint, read_native, write_native


def pack(source: Path, target: Path) -> None:
    """Write the packed checkpoint; the paths of the training data are taken out of its recipe."""
    checkpoint = read_native(source)
    weights = {name: value.to(torch.float16) if value.ndim > 1 else value for name, value in checkpoint.weights.items()}
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

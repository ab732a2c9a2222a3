"""Memory of predicting a long video: how much a process holds at frame 100 and at the last of 2,000 frames.

    python benchmarks/video_memory.py [--model M] [--weights W] [--frames 2000] [--size 240 320]

Makes a synthetic video, predicts it into a temporary folder as `maskwright predict` does, with overlays, and reads the
resident memory of the process as it goes. Exits with status 1 where the two differ by more than 5 %. Without a model it
takes a tiny untrained one, so that the pipeline is what is measured.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np

import maskwright as mw
from maskwright.images.video_writer import VideoWriter
from maskwright.predict.writing import predict_files

EARLY, LARGEST_RATIO = 100, 1.05
TINY = {
    "categories": ["thing"],
    "resize.short_side": 64,
    "resize.long_side": 128,
    "backbone.depth": 18,
    "backbone.width": 8,
    "backbone.frozen_stages": 0,
    "fpn.channels": 16,
    "rpn.test_proposals_before_nms": 60,
    "rpn.test_proposals_after_nms": 60,
    "box_head.conv_channels": 16,
    "box_head.fc_channels": 16,
    "mask_head.num_convs": 1,
    "mask_head.channels": 16,
    "detect.max_detections": 10,
    "detect.score_threshold": 0.0,
}


def resident_mib() -> float:
    """Memory that this process holds now."""
    import psutil

    return psutil.Process(os.getpid()).memory_info().rss / 2**20


def write_synthetic(path: Path, num_frames: int, size: tuple[int, int]) -> None:
    """A bright square that wanders over noise, 25 frames a second."""
    noise = np.random.default_rng(0).integers(0, 80, (*size, 3), dtype=np.uint8)
    side = min(size) // 4
    with VideoWriter(path) as writer:
        for index in range(num_frames):
            picture = np.roll(noise, index, axis=1)
            top, left = (index * step % (length - side) for step, length in zip((2, 3), size, strict=True))
            picture[top : top + side, left : left + side] = 200
            writer.add(picture, index / 25)


def measure(predictor: mw.Predictor, video: Path, output: Path) -> dict[int, float]:
    """Resident MiB by frame, every hundred frames."""
    held = {}
    for number, outcome in enumerate(predict_files(predictor, [video], output), start=1):
        assert outcome.error is None, outcome.error
        if number % EARLY == 0:
            held[number] = resident_mib()
    return held


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="recipe name, recipe file or checkpoint; by default a tiny random one")
    parser.add_argument("--weights")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--size", type=int, nargs=2, default=(240, 320), metavar=("HEIGHT", "WIDTH"))
    arguments = parser.parse_args()
    if arguments.model:
        predictor = mw.load(arguments.model, arguments.weights, arguments.device)
    else:
        predictor = mw.load("mask_rcnn", "random", arguments.device, TINY)
    with tempfile.TemporaryDirectory() as folder:
        video, output = Path(folder) / "synthetic.mp4", Path(folder) / "out"
        output.mkdir()
        write_synthetic(video, arguments.frames, tuple(arguments.size))
        start = perf_counter()
        held = measure(predictor, video, output)
        pace = arguments.frames / (perf_counter() - start)
    first, last = held[EARLY], held[max(held)]
    print("MiB by frame: " + ", ".join(f"{number}: {mib:.0f}" for number, mib in held.items()))
    print(
        f"at frame {EARLY} {first:.1f} MiB, at frame {max(held)} {last:.1f} MiB, ratio {last / first:.3f}; "
        f"{pace:.1f} frames a second"
    )
    sys.exit(last / first > LARGEST_RATIO)


if __name__ == "__main__":
    main()

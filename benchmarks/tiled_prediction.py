"""Tiled prediction of a mosaic of microscopy images: memory, time, and what it finds beside one image after the other.

    python benchmarks/tiled_prediction.py NUCLEI [--side 10000] [--tile 512] [--overlap 192]

NUCLEI has val/ and val.json. The validation images, each at the size at which the bundled model sees it, are laid side
by side until a square of `side` pixels is full, a margin of its median colour around each. `maskwright predict --tile`
reads the square in a process of its own, whose peak of resident memory is told. The same images are predicted one by
one, and the recall of both (objects found with a score above 0.5 and a mask IoU of at least 0.5, each detection for one
object) is compared: of all objects, and of those that the border of their own image does not cut. The others end at a
straight edge in the square, which no microscope shows, and are found less often there whatever the tiles. Exits with
status 1 where the peak is 3 GB or more, or the recalls of whole objects differ by more than 0.01.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np
from PIL import Image

import maskwright as mw
from maskwright.data.readers import read_dataset
from maskwright.structures import CropMasks
from maskwright.structures.masks.crop import Crop
from maskwright.structures.masks.rle import rle_to_crop

MODEL, SCORE, IOU, MARGIN_PX = "nuclei/mask_rcnn_small", 0.5, 0.5, 16
MOST_GB, LARGEST_DIFFERENCE = 3.0, 0.01


class Tile(NamedTuple):
    """A source image at network size, and its objects."""

    pixels: np.ndarray
    masks: CropMasks

    def objects(self) -> list[Crop]:
        """Those that have any pixels."""
        return [crop for crop in self.masks.crops() if crop.pixels.any()]

    def is_whole(self) -> list[bool]:
        """Of each object, whether it does not reach the image's border."""
        height, width = self.pixels.shape[:2]
        return [
            min(c.top, c.left, height - c.top - c.pixels.shape[0], width - c.left - c.pixels.shape[1]) > 0
            for c in self.objects()
        ]

    def framed(self) -> np.ndarray:
        """The image with its margin."""
        height, width = self.pixels.shape[:2]
        frame = np.empty((height + 2 * MARGIN_PX, width + 2 * MARGIN_PX, 3), dtype=np.uint8)
        frame[:] = np.median(self.pixels.reshape(-1, 3), axis=0)
        frame[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX] = self.pixels
        return frame


def sources(nuclei: Path, resize: mw.Predictor) -> list[Tile]:
    """The validation images as the network sees them."""
    dataset = read_dataset(nuclei / "val", nuclei / "val.json")
    tiles = []
    for record in dataset.records:
        height, width = resize.preprocess.resize.scaled_size(record.size)
        with Image.open(record.path) as image:
            pixels = np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR))
        tiles.append(Tile(pixels, record.targets(dataset.categories).resized((height, width)).masks))
    return tiles


def places(tiles: Sequence[Tile], side: int) -> Iterator[tuple[int, int, int]]:
    """(index of the image, top, left) row by row until the square is full."""
    number, top = 0, 0
    while True:
        row, left, height = [], 0, 0
        while True:
            rows, columns = (length + 2 * MARGIN_PX for length in tiles[number % len(tiles)].pixels.shape[:2])
            if left + columns > side:
                break
            row.append((number % len(tiles), top, left))
            left, height, number = left + columns, max(height, rows), number + 1
        if top + height > side:
            return
        yield from row
        top += height


def found_of(objects: Sequence[Crop], detections: Sequence[Crop]) -> np.ndarray:
    """(G,) bool which objects get a detection of their own, detections best first."""
    corners = np.array([(c.top, c.left, c.bottom, c.right) for c in objects])
    is_free = np.ones(len(objects), dtype=bool)
    for crop in detections:
        is_before = (corners[:, 0] < crop.bottom) & (corners[:, 1] < crop.right)
        near = is_before & (corners[:, 2] > crop.top) & (corners[:, 3] > crop.left)
        ious = {place: crop.iou(objects[place]) for place in np.flatnonzero(near & is_free)}
        best = max(ious, key=ious.__getitem__, default=None)
        if best is not None and ious[best] >= IOU:
            is_free[best] = False
    return ~is_free


def predict_mosaic(path: Path, output: Path, tile: int, overlap: int) -> tuple[list[Crop], float, float]:
    """The masks that the command finds, best first, its seconds, and its peak of memory in GB."""
    words = ["predict", path, "--model", MODEL, "--tile", tile, "--overlap", overlap, "--output", output]
    words += ["--no-overlays", "--score-threshold", SCORE, "--device", "cpu"]
    start = perf_counter()
    subprocess.run([sys.executable, "-m", "maskwright", *map(str, words)], check=True)
    seconds, peak = perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9
    found = json.loads((output / "predictions.json").read_text())["annotations"]
    found.sort(key=lambda annotation: -annotation["score"])
    return [rle_to_crop(annotation["segmentation"]) for annotation in found], seconds, peak


def main() -> None:
    """Lay the mosaic, predict both ways, tell the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nuclei", type=Path)
    parser.add_argument("--side", type=int, default=10_000)
    parser.add_argument("--tile", type=int, default=512)
    parser.add_argument("--overlap", type=int, default=192)
    options = parser.parse_args()
    predictor = mw.load(MODEL, device="cpu")
    tiles = sources(options.nuclei, predictor)
    laid = list(places(tiles, options.side))
    mosaic = np.zeros((options.side, options.side, 3), dtype=np.uint8)
    objects: list[Crop] = []
    for index, top, left in laid:
        frame = tiles[index].framed()
        mosaic[top : top + frame.shape[0], left : left + frame.shape[1]] = frame
        moved = (MARGIN_PX + top, MARGIN_PX + left)
        objects += [crop.moved(*moved) for crop in tiles[index].objects()]
    is_whole = np.array([whole for index, _, _ in laid for whole in tiles[index].is_whole()])
    print(f"{options.side} × {options.side} pixels of {len(laid)} images, {len(objects)} objects", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mosaic.png"
        Image.fromarray(mosaic).save(path, compress_level=1)
        del mosaic
        detections, seconds, peak = predict_mosaic(path, Path(folder) / "out", options.tile, options.overlap)
    print(f"in tiles: {len(detections)} detections, {seconds:.0f} s, peak {peak:.2f} GB", flush=True)
    in_tiles, start = found_of(objects, detections), perf_counter()
    alone_of = {
        index: found_of(
            tiles[index].objects(), list(predictor(tiles[index].pixels, score_threshold=SCORE).masks.crops())
        )
        for index in sorted({index for index, _, _ in laid})
        if tiles[index].objects()
    }
    alone = np.concatenate([alone_of[index] for index, _, _ in laid if index in alone_of])
    print(f"one by one: {perf_counter() - start:.0f} s for {len(alone_of)} images")
    for what, counted in (("all objects", np.ones_like(is_whole)), ("whole objects", is_whole)):
        recalls = in_tiles[counted].mean(), alone[counted].mean()
        print(f"recall of {counted.sum()} {what}: in tiles {recalls[0]:.4f}, one by one {recalls[1]:.4f}")
    if peak >= MOST_GB or abs(recalls[0] - recalls[1]) > LARGEST_DIFFERENCE:
        sys.exit(1)


if __name__ == "__main__":
    main()

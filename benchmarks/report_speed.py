"""How long `maskwright evaluate --output DIR` takes after the network: metrics, report and files.

    python benchmarks/report_speed.py --images 500 --objects 20
    PYTHONPATH=../other/src python benchmarks/report_speed.py --output other   # another commit on the same data

The command runs whole on drawn images; only the network's part is replaced by results that are ready, and the clock
starts there. The fastest of `--repeats` runs counts. With `--output` the last run's files stay, for a comparison.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import hotcoco.mask
import numpy as np
from PIL import Image

from maskwright.cli.app import app
from maskwright.predict.findings import Findings

SIZE = HEIGHT, WIDTH = 480, 640
NUM_CORNERS = 24
_WORDS = ["--model", "nuclei/mask_rcnn_small", "--device", "cpu", "--format", "coco", "--set", "expected={}"]

Entry = dict[str, Any]


def main() -> None:
    """Draw data, run the command on it, and print its seconds."""
    parser = argparse.ArgumentParser(description="Seconds from ready results to metrics and report.")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--objects", type=int, default=20, help="in each image; detections are a quarter more")
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--table", action="append", default=[], metavar="NAME", help="a further rule; repeatable")
    parser.add_argument("--output", type=Path, help="where the files of the last run stay")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = draw_data(Path(folder), options.images, options.objects, options.classes)
        output = options.output or Path(folder) / "output"
        runs = [seconds_of(Path(folder), results, output, options.table) for _ in range(options.repeats)]
    print(f"{options.images} images of {options.objects} objects, {len(results)} detections")
    print(f"{min(wall for wall, _ in runs):.2f} s, of the processor {min(busy for _, busy in runs):.2f} s")


def seconds_of(data: Path, results: list[Entry], output: Path, tables: list[str]) -> tuple[float, float]:
    """From ready results to the end of the command; by the clock, and by the processor."""
    starts: list[tuple[float, float]] = []

    def ready(*_args: object, **_words: object) -> Findings:
        starts.append((time.perf_counter(), time.process_time()))
        return Findings(results, None, 0.0)

    words = ["--images", str(data / "images"), "--annotations", str(data / "annotations.json")]
    words += [word for name in tables for word in ("--table", name)]
    with (
        patch("maskwright.predict.evaluate.find_in", ready),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        app(["evaluate", *_WORDS, *words, "--output", str(output)], standalone_mode=False)
    start, busy = starts[-1]
    return time.perf_counter() - start, time.process_time() - busy


def draw_data(folder: Path, num_images: int, num_objects: int, num_classes: int) -> list[Entry]:
    """A COCO dataset of polygons with its images, and results near them with a quarter beside."""
    (folder / "images").mkdir()
    rng = np.random.default_rng(0)
    images: list[Entry] = []
    objects: list[Entry] = []
    results: list[Entry] = []
    for number in range(1, num_images + 1):
        name = f"{number:05}.jpg"
        coarse = rng.integers(0, 255, (HEIGHT // 8, WIDTH // 8, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR).save(folder / "images" / name)
        images.append({"id": number, "file_name": name, "height": HEIGHT, "width": WIDTH})
        for place in range(num_objects + num_objects // 4):
            where = rng.uniform((50, 50, 6, 6), (WIDTH - 50, HEIGHT - 50, 45, 45))
            class_id = int(rng.integers(1, num_classes + 1))
            entry = {"image_id": number, "category_id": class_id}
            if place < num_objects:
                objects.append({**entry, "id": len(objects) + 1, "iscrowd": 0, **polygon(where)})
            guess = class_id if rng.random() < 0.9 else int(rng.integers(1, num_classes + 1))
            found = run_lengths(where + rng.normal(0, (2, 2, 2, 2)))
            results.append({**entry, "category_id": guess, "score": round(float(rng.random()), 3), **found})
    categories = [{"id": id_, "name": f"class {id_}" if id_ > 1 else "nucleus"} for id_ in range(1, num_classes + 1)]
    dataset = {"images": images, "annotations": objects, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(dataset))
    return results


def polygon(where: np.ndarray) -> Entry:
    """An ellipse by its centre x, y and half axes."""
    x, y, wide, high = where.tolist()
    angles = [2 * math.pi * corner / NUM_CORNERS for corner in range(NUM_CORNERS)]
    outline = [round(v, 2) for a in angles for v in (x + wide * math.cos(a), y + high * math.sin(a))]
    box = [round(v, 2) for v in (x - wide, y - high, 2 * wide, 2 * high)]
    return {"segmentation": [outline], "bbox": box, "area": round(math.pi * wide * high, 2)}


def run_lengths(where: np.ndarray) -> Entry:
    """The same as a compressed mask."""
    x, y, wide, high = where.tolist()
    rows, columns = np.ogrid[:HEIGHT, :WIDTH]
    inside = ((columns + 0.5 - x) / max(wide, 2)) ** 2 + ((rows + 0.5 - y) / max(high, 2)) ** 2 <= 1
    rle = dict(hotcoco.mask.encode(np.asfortranarray(inside.astype(np.uint8))))
    box = [float(v) for v in np.asarray(hotcoco.mask.to_bbox([rle])).ravel()]
    counts = rle["counts"] if isinstance(rle["counts"], str) else rle["counts"].decode()
    return {"segmentation": {"size": list(SIZE), "counts": counts}, "bbox": box}


if __name__ == "__main__":
    main()

"""How much memory metrics need as images with thousands of objects become more.

    python benchmarks/evaluation_memory.py --images 20 60 --objects 3000

Each number of images is measured in a process of its own, on annotations and results in memory: squares on a grid as
run lengths, and each of them found one pixel beside its place. The peak counts all memory of the process that is its
own, libraries and data included; the first line of the output is a process that has the data and measures nothing.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from maskwright.evaluation import Comparison, evaluate_results
from maskwright.evaluation.errors import analyse_errors
from maskwright.structures.masks.crop import Crop
from maskwright.structures.masks.rle import crop_to_rle

SQUARE_PX = 12
STEP_PX = 16

Side = list[dict[str, Any]]


def main() -> None:
    """Print peak memory and seconds of each measure at each number of images."""
    parser = argparse.ArgumentParser(description="Peak memory of metrics at growing numbers of images.")
    parser.add_argument("--images", type=int, nargs="+", default=[20, 60])
    parser.add_argument("--objects", type=int, default=3000, help="in each image, and detections as many")
    options = parser.parse_args()

    context = multiprocessing.get_context("spawn")
    for name in MEASURES:
        for num_images in options.images:
            with context.Pool(1) as pool:
                peak_mb, seconds = pool.apply(measured, (name, num_images, options.objects))
            print(f"{name:8} {num_images:4} images of {options.objects}: peak {peak_mb:6.0f} MB, {seconds:5.1f} s")


def measured(name: str, num_images: int, num_objects: int) -> tuple[float, float]:
    """Peak memory of this process in MB and the seconds of the measure alone."""
    dataset, results = crowded(num_images, num_objects)
    start = time.perf_counter()
    MEASURES[name](results, dataset, num_objects)
    seconds = time.perf_counter() - start
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, seconds


def crowded(num_images: int, num_objects: int) -> tuple[dict[str, Any], Side]:
    """A COCO dataset of squares on a grid, and results one pixel to their right."""
    side = math.ceil(math.sqrt(num_objects)) * STEP_PX
    pixels = np.ones((SQUARE_PX, SQUARE_PX), dtype=bool)
    places = [divmod(number, side // STEP_PX) for number in range(num_objects)]
    objects, results = [], []
    for image_id in range(1, num_images + 1):
        rng = np.random.default_rng(image_id)
        for (row, column), score in zip(places, rng.random(num_objects).round(2).tolist(), strict=True):
            for shift, entries in ((0, objects), (1, results)):
                top, left = row * STEP_PX, column * STEP_PX + shift
                entry = {"image_id": image_id, "category_id": 1, "bbox": [left, top, SQUARE_PX, SQUARE_PX]}
                entries.append({**entry, "segmentation": crop_to_rle(Crop(pixels, top, left), (side, side))})
            results[-1]["score"] = score
    images = [{"id": image_id, "height": side, "width": side} for image_id in range(1, num_images + 1)]
    return {"images": images, "annotations": objects, "categories": [{"id": 1, "name": "square"}]}, results


def _nothing(results: Side, dataset: dict[str, Any], limit: int) -> None:
    """The data alone."""


MEASURES: dict[str, Callable[[Side, dict[str, Any], int], object]] = {
    "nothing": _nothing,
    "metrics": evaluate_results,
    "errors": lambda results, dataset, limit: analyse_errors(Comparison.of(results, dataset, limit), "mask"),
}


if __name__ == "__main__":
    main()

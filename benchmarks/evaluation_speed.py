"""How much faster box and mask metrics come from `evaluate_results` than from pycocotools, and how far they lie apart.

    python benchmarks/evaluation_speed.py ../shared/data/nuclei/train.json

The detections are drawn from the ground truth itself, each mask moved by up to two pixels, with scores in steps of a
hundredth.
Both sides get the same two files and report boxes and masks; the fastest of `--repeats` runs counts.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from maskwright.evaluation import evaluate_results
from maskwright.structures.masks.rle import any_to_rle, crop_to_rle, rle_to_crop


def main() -> None:
    """Time both on the same files and print the ratio and the largest difference."""
    parser = argparse.ArgumentParser(description="Speed of COCO metrics beside pycocotools, and their difference.")
    parser.add_argument("annotations", type=Path, help="a COCO annotation file with masks")
    parser.add_argument(
        "--detections", type=int, default=17_000, help="of so many objects, or of all if there are fewer"
    )
    parser.add_argument("--max-detections", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()

    dataset = json.loads(options.annotations.read_text())
    results = jittered(dataset, options.detections)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.json"
        path.write_text(json.dumps(results))
        ours = best_of(options.repeats, lambda: with_maskwright(path, options.annotations, options.max_detections))
        reference = best_of(
            options.repeats, lambda: with_pycocotools(path, options.annotations, options.max_detections)
        )
    without_nan = {name: -1.0 if math.isnan(number) else number for name, number in ours[1].items()}
    difference = max(abs(without_nan[name] - number) for name, number in reference[1].items())
    print(f"objects {len(dataset['annotations'])}, detections {len(results)}")
    print(f"mask AP {ours[1]['mask.AP']:.4f}, box AP {ours[1]['box.AP']:.4f}")
    print(f"pycocotools {reference[0]:.2f} s, maskwright {ours[0]:.2f} s: {reference[0] / ours[0]:.1f} times as fast")
    print(f"largest difference of a number: {difference:.1e}")


def jittered(dataset: dict[str, Any], num_detections: int) -> list[dict[str, Any]]:
    """Some of the objects as detections, each crop moved by up to two pixels within its image."""
    rng = np.random.default_rng(0)
    chosen = rng.permutation(len(dataset["annotations"]))[:num_detections]
    sizes = {image["id"]: (image["height"], image["width"]) for image in dataset["images"]}
    results = []
    for annotation in [dataset["annotations"][place] for place in np.sort(chosen)]:
        height, width = size = sizes[annotation["image_id"]]
        crop = rle_to_crop(any_to_rle(annotation["segmentation"], size))
        rows, columns = crop.pixels.shape
        down, right = rng.integers(-2, 3, size=2)
        top = int(np.clip(crop.top + down, 0, height - rows))
        left = int(np.clip(crop.left + right, 0, width - columns))
        result = {key: annotation[key] for key in ("image_id", "category_id")}
        result["score"] = round(float(rng.random()), 2)
        result["bbox"] = [left, top, columns, rows]
        results.append({**result, "segmentation": crop_to_rle(crop._replace(top=top, left=left), size)})
    return results


def best_of(repeats: int, run: Callable[[], dict[str, float]]) -> tuple[float, dict[str, float]]:
    """Seconds of the fastest run, and its numbers."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        numbers = run()
        seconds.append(time.perf_counter() - start)
    return min(seconds), numbers


def with_maskwright(results: Path, annotations: Path, max_detections: int) -> dict[str, float]:
    """AP and AR by dotted name."""
    return evaluate_results(results, annotations, max_detections).flat()


def with_pycocotools(results: Path, annotations: Path, max_detections: int) -> dict[str, float]:
    """AP and AR by dotted name; -1 where there is no ground truth."""
    numbers: dict[str, float] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        entries = json.loads(results.read_text())
        for kind, iou_type in (("box", "bbox"), ("mask", "segm")):
            if kind == "mask":
                entries = [{key: value for key, value in entry.items() if key != "bbox"} for entry in entries]
            evaluation = COCOeval(truth, truth.loadRes(entries), iou_type)
            evaluation.params.maxDets = [max_detections]
            evaluation.evaluate()
            evaluation.accumulate()
            precision, recall = evaluation.eval["precision"], evaluation.eval["recall"][:, :, 0]
            ranges = {"AP": 0, "APs": 1, "APm": 2, "APl": 3}
            parts = {name: precision[:, :, :, place] for name, place in ranges.items()}
            parts |= {"AP50": precision[0, :, :, 0], "AP75": precision[5, :, :, 0], "AR": recall}
            known = {f"{kind}.{name}": part[part > -1] for name, part in parts.items()}
            numbers |= {name: float(part.mean()) if part.size else -1.0 for name, part in known.items()}
    return numbers


if __name__ == "__main__":
    main()

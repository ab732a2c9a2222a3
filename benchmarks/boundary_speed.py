"""How much faster Boundary AP comes from `evaluate_boundary` than by the official rule, and how far they lie apart.

    pip install opencv-python-headless
    python benchmarks/boundary_speed.py ../shared/data/nuclei/train.json

The official API is not packaged, so its rule stands here as a subclass of pycocotools' evaluation: whole bitmaps,
eroded by OpenCV, their boundaries encoded, on one core. The detections are the ground truth itself, each mask moved by
up to two pixels, with scores in steps of a hundredth. Both sides get the same two files and report masks alone.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pycocotools.mask
from evaluation_speed import best_of, jittered
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from maskwright.evaluation import Comparison, evaluate_boundary

DILATION_SHARE = 0.02


class BoundaryEvaluation(COCOeval):
    """COCO's evaluation of masks where all but crowds agree as well as the worse of masks and boundaries."""

    def _prepare(self) -> None:
        """Add to every object its boundary, as the official API does when it loads a file."""
        super()._prepare()
        for entries in (*self._gts.values(), *self._dts.values()):
            for entry in entries:
                entry["boundary"] = boundary_of(entry["segmentation"])

    def computeIoU(self, image_id: int, category_id: int) -> Any:  # noqa: N802 - pycocotools calls it so
        """(D, G) how well the detections of an image agree with its objects."""
        ious = super().computeIoU(image_id, category_id)
        objects, found = self._gts[image_id, category_id], self._dts[image_id, category_id]
        if not objects or not found:
            return ious
        order = np.argsort([-entry["score"] for entry in found], kind="mergesort")[: self.params.maxDets[-1]]
        is_crowd = [int(entry["iscrowd"]) for entry in objects]
        boundaries = pycocotools.mask.iou(
            [found[place]["boundary"] for place in order], [entry["boundary"] for entry in objects], is_crowd
        )
        return np.where(np.array(is_crowd, dtype=bool), ious, np.minimum(ious, boundaries))


def main() -> None:
    """Time both on the same files and print the ratio and the largest difference."""
    parser = argparse.ArgumentParser(description="Speed of Boundary AP beside the official rule, and their difference.")
    parser.add_argument("annotations", type=Path, help="a COCO annotation file with masks")
    parser.add_argument("--max-detections", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--images", type=int, default=600, help="of the file, from its beginning")
    options = parser.parse_args()

    dataset = json.loads(options.annotations.read_text())
    dataset["images"] = dataset["images"][: options.images]
    known = {image["id"] for image in dataset["images"]}
    dataset["annotations"] = [entry for entry in dataset["annotations"] if entry["image_id"] in known]
    results = jittered(dataset)
    with tempfile.TemporaryDirectory() as folder:
        paths = Path(folder) / "results.json", Path(folder) / "annotations.json"
        for path, content in zip(paths, (results, dataset), strict=True):
            path.write_text(json.dumps(content))
        ours = best_of(options.repeats, lambda: with_maskwright(*paths, options.max_detections))
        reference = best_of(options.repeats, lambda: with_pycocotools(*paths, options.max_detections))
    without_nan = {name: -1.0 if math.isnan(number) else number for name, number in ours[1].items()}
    difference = max(abs(without_nan[name] - number) for name, number in reference[1].items())
    print(f"images {len(known)}, objects {len(dataset['annotations'])}, boundary AP {ours[1]['boundary.AP']:.4f}")
    print(f"official rule {reference[0]:.2f} s, maskwright {ours[0]:.2f} s: {reference[0] / ours[0]:.1f} times as fast")
    print(f"largest difference of a number: {difference:.1e}")


def with_maskwright(results: Path, annotations: Path, max_detections: int) -> dict[str, float]:
    """AP and AR by dotted name."""
    return evaluate_boundary(Comparison.of(results, annotations, max_detections), DILATION_SHARE).flat()


def with_pycocotools(results: Path, annotations: Path, max_detections: int) -> dict[str, float]:
    """AP and AR by dotted name; -1 where there is no ground truth."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        entries = json.loads(results.read_text())
        found = truth.loadRes([{key: value for key, value in entry.items() if key != "bbox"} for entry in entries])
        evaluation = BoundaryEvaluation(truth, found, "segm")
        evaluation.params.maxDets = [max_detections]
        evaluation.evaluate()
        evaluation.accumulate()
    precision, recall = evaluation.eval["precision"], evaluation.eval["recall"][:, :, 0]
    parts = {name: precision[:, :, :, place] for place, name in enumerate(("AP", "APs", "APm", "APl"))}
    parts |= {"AP50": precision[0, :, :, 0], "AP75": precision[5, :, :, 0], "AR": recall}
    known = {f"boundary.{name}": part[part > -1] for name, part in parts.items()}
    return {name: float(part.mean()) if part.size else -1.0 for name, part in known.items()}


def boundary_of(rle: dict[str, Any]) -> dict[str, Any]:
    """The mask without its erosion by a square of 3, as often as the boundary is wide; outside is background."""
    mask = pycocotools.mask.decode(rle)
    width = max(1, round(DILATION_SHARE * float(np.hypot(*mask.shape))))
    padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    eroded = cv2.erode(padded, np.ones((3, 3), dtype=np.uint8), iterations=width)[1:-1, 1:-1]
    encoded: dict[str, Any] = pycocotools.mask.encode(np.asfortranarray(mask - eroded))
    return encoded


if __name__ == "__main__":
    main()

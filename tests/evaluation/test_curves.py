"""The curves behind the numbers are those of pycocotools, element by element, on scenes made to part the two."""

from __future__ import annotations

import contextlib
import copy
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as reference_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from maskwright.evaluation import Comparison, Curves

SIZE = (100, 110)
IOU_TYPES = {"box": "bbox", "mask": "segm", "keypoints": "keypoints"}
# around the limits of small and medium objects, and what no object should have
SIDES = (0, 1, 2, 31, 32, 33, 95, 96, 97)
AREAS = (0, 32**2, 96**2, 1e10, 2e10)
# of which most are equal; they need not be shares of one
SCORES = (0.5, 0.5, 0.5, 1.0, 0.0, -1.0, 1e-12)


def rle_of_pixels(mask: np.ndarray) -> dict[str, Any]:
    rle = reference_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(SIZE), "counts": rle["counts"].decode()}


def rle_of_box(box: list[float]) -> dict[str, Any]:
    x, y, width, height = (int(side) for side in box)
    mask = np.zeros(SIZE, dtype=bool)
    mask[y : y + height, x : x + width] = True
    return rle_of_pixels(mask)


def hard_box(rng: np.random.Generator) -> list[float]:
    width, height = (int(side) for side in rng.choice(SIDES, size=2))
    return [float(rng.integers(0, SIZE[1] - width + 1)), float(rng.integers(0, SIZE[0] - height + 1)), width, height]


def hard_object(rng: np.random.Generator, before: list[dict[str, Any]]) -> dict[str, Any]:
    """Often a crowd, sometimes the very box of another; its area, which the file states, need not be that of its mask.

    `ignore` and `difficult` mean nothing to COCO.
    """
    box = before[-1]["bbox"] if before and rng.random() < 0.2 else hard_box(rng)
    area = rng.choice(AREAS) if rng.random() < 0.3 else box[2] * box[3]
    flags = {name: int(rng.random() < 0.3) for name in ("iscrowd", "ignore", "difficult")}
    return {"bbox": box, "segmentation": rle_of_box(box), "area": float(area), **flags}


def hard_detection(rng: np.random.Generator, source: list[float]) -> dict[str, Any]:
    """The object itself, its half, its double, or something else; one in ten has an empty mask."""
    x, y, width, height = source
    doubled = [x, y, min(2 * width, SIZE[1] - x), height]
    box = [source, [x, y, width // 2, height], doubled, hard_box(rng)][rng.integers(4)]
    mask = rle_of_pixels(np.zeros(SIZE, dtype=bool)) if rng.random() < 0.1 else rle_of_box(box)
    return {"bbox": box, "segmentation": mask, "score": float(rng.choice(SCORES))}


def hard_scene(seed: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Images and classes without objects, without detections, and without either."""
    rng = np.random.default_rng(seed)
    objects: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image_id in (4, 9, 2):
        for category_id in (7, 1):
            place = {"image_id": image_id, "category_id": category_id}
            own: list[dict[str, Any]] = []
            for _ in range(rng.integers(0, 5)):
                own.append({**place, **hard_object(rng, own)})
            sources = [entry["bbox"] for entry in own] or [hard_box(rng)]
            objects += own
            results += [{**place, **hard_detection(rng, sources[n % len(sources)])} for n in range(rng.integers(0, 8))]
    rng.shuffle(objects)
    rng.shuffle(results)
    return results, dataset_of(objects, (7, 3, 1))


def hard_people(seed: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """More than the twenty that count in some images; objects without any labelled point, or with a wrong count."""
    rng = np.random.default_rng(seed)
    objects, results = [], []
    for image_id in (4, 9, 2):
        for category_id in (1, 6):
            place = {"image_id": image_id, "category_id": category_id}
            for _ in range(rng.integers(0, 16)):
                side = float(rng.choice([0, 1, 20, 32, 96]))
                corner = rng.uniform(0, 60, 2)
                points, flags = corner + rng.uniform(0, side, (17, 2)), rng.integers(0, 3, (17, 1))
                flags *= int(rng.random() > 0.2)
                entry = {"bbox": [*corner.tolist(), side, side], "area": float(rng.choice([side**2, *AREAS]))}
                entry |= {"iscrowd": int(rng.random() < 0.2), "ignore": int(rng.random() < 0.3)}
                entry["keypoints"] = np.hstack([points * (flags > 0), flags]).ravel().tolist()
                entry["num_keypoints"] = int((flags > 0).sum()) if rng.random() < 0.9 else int(rng.choice([0, 5]))
                objects.append({**place, **entry})
                for _ in range(rng.integers(0, 4)):
                    found = points + rng.normal(0, 0.06 * side, points.shape) * (rng.random() < 0.7)
                    keypoints = np.hstack([found, np.ones((17, 1))]).ravel().tolist()
                    results.append({**place, "keypoints": keypoints, "score": float(rng.choice(SCORES))})
    rng.shuffle(results)
    return results, dataset_of(objects, (6, 1, 3))


def dataset_of(objects: list[dict[str, Any]], category_ids: tuple[int, ...]) -> dict[str, Any]:
    """With an image that has nothing."""
    return {
        "images": [{"id": id_, "height": SIZE[0], "width": SIZE[1]} for id_ in (4, 9, 30, 2)],
        "categories": [{"id": id_, "name": str(id_)} for id_ in category_ids],
        "annotations": [{**entry, "id": number} for number, entry in enumerate(objects, start=1)],
    }


def reference(results: list[dict[str, Any]], dataset: dict[str, Any], kind: str, limit: int) -> Curves:
    """Masks are loaded without boxes, so that areas are those of masks."""
    kept = [{key: value for key, value in entry.items() if kind != "mask" or key != "bbox"} for entry in results]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = copy.deepcopy(dataset)
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(copy.deepcopy(kept)), IOU_TYPES[kind])
        evaluation.params.maxDets = [limit]
        evaluation.evaluate()
        evaluation.accumulate()
    return Curves(evaluation.eval["precision"][..., 0], evaluation.eval["recall"][..., 0])


def assert_equal(ours: Curves, theirs: Curves) -> None:
    for own, their in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(own, their, rtol=0, atol=1e-9)


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6).filter(lambda seed: hard_scene(seed)[0]), limit=st.sampled_from([1, 3, 100]))
def test_curves_of_boxes_and_masks_are_those_of_pycocotools(seed, limit):
    results, dataset = hard_scene(seed)
    curves = Comparison.of(results, dataset, limit).curves
    assert list(curves) == ["box", "mask"]
    for kind, ours in curves.items():
        assert_equal(ours, reference(results, dataset, kind, limit))


@pytest.mark.parametrize("seed", range(12))
def test_curves_of_keypoints_are_those_of_pycocotools(seed):
    results, dataset = hard_people(seed)
    assert_equal(Comparison.of(results, dataset).curves["keypoints"], reference(results, dataset, "keypoints", 20))


def test_classes_stand_in_the_order_of_their_ids():
    found = {"image_id": 4, "category_id": 3, "bbox": [0.0, 0.0, 9.0, 9.0], "score": 0.5}
    truth = dataset_of([{**found, "area": 81.0}], (7, 3, 1))
    precision, recall = Comparison.of([found], truth).curves["box"]
    assert precision.shape == (10, 101, 3, 4)
    assert recall[0, :, 0].tolist() == [-1, 1, -1]

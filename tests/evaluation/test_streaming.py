"""Images are compared few at a time, and nothing of the result shows it."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import hotcoco
import numpy as np
import pytest

from maskwright.evaluation import Comparison, streaming
from maskwright.evaluation.coco_format import read_coco
from maskwright.evaluation.comparison import IOU_TYPES
from maskwright.evaluation.errors import analyse_errors
from maskwright.structures.masks.rle import any_to_rle

SIZE = 100
IDS = [int(number) for number in np.random.default_rng(0).permutation(12) + 5]


def crowded(seed: int, *, federated: bool = False) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Results with many equal scores, and a dataset whose images are in no order."""
    rng = np.random.default_rng(seed)
    labels = {"neg_category_ids": [1], "not_exhaustive_category_ids": [3]} if federated else {}
    images = [{"id": number, "height": SIZE, "width": SIZE, **labels} for number in IDS]
    objects = [entry(rng) | {"iscrowd": int(rng.random() < 0.1)} for _ in range(80)]
    found = [entry(rng) | {"score": float(rng.integers(5)) / 5} for _ in range(160)]
    for result in found:
        result["mask_score"] = float(rng.integers(5)) / 5
        result["segmentation"] = any_to_rle(result["segmentation"], (SIZE, SIZE))
    categories = [{"id": 3, "name": "a"}, {"id": 1, "name": "b"}]
    return found, {"images": images, "annotations": objects, "categories": categories}


def entry(rng: np.random.Generator) -> dict[str, Any]:
    x, y, width, height = map(int, (*rng.integers(0, 60, 2), *rng.integers(3, 40, 2)))
    return {
        "image_id": int(rng.choice(IDS)),
        "category_id": int(rng.choice([1, 3])),
        "bbox": [x, y, width, height],
        "segmentation": [[x, y, x + width, y, x + width, y + height]],
        "keypoints": [x, y, 2, x + width, y + height, 2],
    }


def in_small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming.parts_of, "__defaults__", (None, 1))


@pytest.mark.parametrize("federated", [False, True])
@pytest.mark.parametrize("limit", [2, 100])
def test_curves_are_the_same_to_the_last_bit_whatever_the_parts(
    federated: bool, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    results, dataset = crowded(1, federated=federated)
    whole = Comparison.of(results, dataset, limit).curves
    in_small_parts(monkeypatch)
    parts = Comparison.of(results, dataset, limit).curves
    assert whole.keys() == parts.keys() == {"box", "keypoints", "mask"}
    for kind, (precision, recall) in whole.items():
        assert np.array_equal(precision, parts[kind].precision)
        assert np.array_equal(recall, parts[kind].recall)


@pytest.mark.parametrize("kind", ["box", "mask", "keypoints"])
def test_errors_are_the_same_whatever_the_parts(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    results, dataset = crowded(2)
    whole = analyse_errors(Comparison.of(results, dataset, 3), kind)
    in_small_parts(monkeypatch)
    parts = analyse_errors(Comparison.of(results, dataset, 3), kind)
    assert whole.breakdown == parts.breakdown
    for field in fields(whole.fates):
        one, other = (getattr(analysis.fates, field.name) for analysis in (whole, parts))
        assert np.array_equal(one, other, equal_nan=True), field.name


def test_a_part_has_few_pairs_or_one_image() -> None:
    results, dataset = crowded(3)
    read: Any = read_coco(dataset)
    parts = list(streaming.parts_of(read, results, most_pairs=150))  # type: ignore[arg-type]  # plain dicts
    assert sum(len(part.images) for part in parts) == len(IDS)
    assert sorted(index for part in parts for index in part.detections) == list(range(160))
    for part in parts:
        counts = [
            sum(dataset["annotations"][index]["image_id"] == image["id"] for index in part.objects)
            * sum(results[index]["image_id"] == image["id"] for index in part.detections)
            for image in part.images
        ]
        assert len(part.images) == 1 or sum(counts) <= 150


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["box", "mask"])
def test_kinds_of_errors_and_their_cost_are_those_of_hotcoco(kind: str, seed: int) -> None:
    results, dataset = crowded(seed)
    breakdown = analyse_errors(Comparison.of(results, dataset, 5), kind).breakdown
    assert breakdown is not None
    errors = of_hotcoco(results, dataset, kind)
    names = {"Cls": "class", "Loc": "location", "Both": "both", "Dupe": "duplicate", "Bkg": "background"}
    for short, name in {**names, "Miss": "missed"}.items():
        assert breakdown.counts[name] == errors["counts"][short]
        assert breakdown.lost_ap[name] == pytest.approx(errors["delta_ap"][short], abs=1e-12)
    assert breakdown.ap50 == pytest.approx(errors["ap_base"], abs=1e-12)


def of_hotcoco(results: list[dict[str, Any]], dataset: dict[str, Any], kind: str) -> dict[str, Any]:
    """All images at once."""
    truth = hotcoco.COCO(dict(read_coco(dataset)))
    key = "mask_score" if kind == "mask" else "score"
    detected = truth.load_res([{**result, "score": result[key]} for result in results])
    evaluation = hotcoco.COCOeval(truth, detected, IOU_TYPES[kind])
    evaluation.params.max_dets, evaluation.params.iou_thrs = [5], [0.5]
    evaluation.params.area_rng, evaluation.params.area_rng_lbl = [[0.0, 1e10]], ["all"]
    evaluation.evaluate()
    evaluation.accumulate()
    return evaluation.tide_errors(pos_thr=0.5)

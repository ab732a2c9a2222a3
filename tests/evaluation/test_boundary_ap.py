"""Boundary AP beside pycocotools whose IoU is replaced by the paper's, on real masks and on what is usually wrong."""

from __future__ import annotations

import contextlib
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pycocotools.mask
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from maskwright.errors import ConfigError, DataError
from maskwright.evaluation import Comparison, evaluate_results
from maskwright.evaluation.boundary import boundary_of, boundary_width, evaluate_boundary
from maskwright.structures.masks.crop import Crop
from maskwright.structures.masks.rle import any_to_rle, crop_to_rle, rle_to_crop

Bitmap = npt.NDArray[np.bool_]
COLUMNS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR")


def eroded_once(mask: Bitmap) -> Bitmap:
    """What is left under a square of 3; all is background outside the image."""
    height, width = mask.shape
    padded = np.pad(mask, 1)
    shifted = [padded[y : y + height, x : x + width] for y in range(3) for x in range(3)]
    return np.logical_and.reduce(shifted)


def boundary_by_definition(mask: Bitmap, share: float = 0.02) -> Bitmap:
    """The rule of the paper's API: as many erosions as a share of the diagonal has pixels."""
    inside = mask
    for _ in range(max(1, round(share * float(np.sqrt(mask.shape[0] ** 2 + mask.shape[1] ** 2))))):
        inside = eroded_once(inside)
    return mask & ~inside


class OfficialRule(COCOeval):
    """pycocotools' evaluation with the API's computeBoundaryIoU."""

    share = 0.02

    def computeIoU(self, image_id: int, category_id: int) -> Any:  # noqa: N802 - pycocotools calls it so
        ious = super().computeIoU(image_id, category_id)
        objects, found = self._gts[image_id, category_id], self._dts[image_id, category_id]
        if not objects or not found:
            return ious
        order = np.argsort([-entry["score"] for entry in found], kind="mergesort")[: self.params.maxDets[-1]]
        sides = [found[place] for place in order], objects
        rles = []
        for entries in sides:
            bitmaps = [pycocotools.mask.decode(entry["segmentation"]).astype(bool) for entry in entries]
            boundaries = [boundary_by_definition(bitmap, self.share) for bitmap in bitmaps]
            rles.append([pycocotools.mask.encode(np.asfortranarray(b.astype(np.uint8))) for b in boundaries])
        is_crowd = [int(entry["iscrowd"]) for entry in objects]
        boundary_ious = pycocotools.mask.iou(*rles, is_crowd)
        return np.where(np.array(is_crowd, dtype=bool), ious, np.minimum(ious, boundary_ious))


def official(
    results: list[dict[str, Any]], dataset: dict[str, Any], max_detections: int, share: float
) -> dict[str, float]:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = json.loads(json.dumps(dataset))
        truth.createIndex()
        entries = [{key: value for key, value in entry.items() if key != "bbox"} for entry in results]
        evaluation = OfficialRule(truth, truth.loadRes(json.loads(json.dumps(entries))), "segm")
        evaluation.share = share
        evaluation.params.maxDets = [max_detections]
        evaluation.evaluate()
        evaluation.accumulate()
    precision, recall = evaluation.eval["precision"], evaluation.eval["recall"][:, :, 0]
    parts = {name: precision[:, :, :, place] for place, name in enumerate(("AP", "APs", "APm", "APl"))}
    parts |= {"AP50": precision[0, :, :, 0], "AP75": precision[5, :, :, 0], "AR": recall}
    known = {name: part[part > -1] for name, part in parts.items()}
    return {name: float(part.mean()) if part.size else math.nan for name, part in known.items()}


def compare(
    results: list[dict[str, Any]], dataset: dict[str, Any], max_detections: int = 100, share: float = 0.02
) -> dict[str, float]:
    """Our numbers, after they were found to be the official ones."""
    ours = evaluate_boundary(Comparison.of(results, dataset, max_detections), share)["boundary"]
    expected = official(results, dataset, max_detections, share)
    assert {name: ours[name] for name in COLUMNS} == pytest.approx(expected, abs=1e-12, nan_ok=True)
    return dict(ours)


def entry_of(bitmap: Bitmap, image_id: int = 1, category_id: int = 1, **more: Any) -> dict[str, Any]:
    """An annotation; with a score, a detection."""
    encoded = pycocotools.mask.encode(np.asfortranarray(bitmap.astype(np.uint8)))
    rle = {"size": list(bitmap.shape), "counts": encoded["counts"].decode()}
    box = pycocotools.mask.toBbox(encoded).tolist()
    entry = {"image_id": image_id, "category_id": category_id, "bbox": box, "segmentation": rle, **more}
    if "score" not in entry:
        entry = {"iscrowd": 0, "area": float(bitmap.sum()), **entry}
    return entry


def dataset_of(*annotations: dict[str, Any], size: tuple[int, int] = (60, 80), images: int = 2) -> dict[str, Any]:
    return {
        "images": [{"id": id_, "height": size[0], "width": size[1]} for id_ in range(1, images + 1)],
        "categories": [{"id": id_, "name": name} for id_, name in ((1, "cat"), (5, "dog"), (3, "cow"))],
        "annotations": [{**annotation, "id": id_} for id_, annotation in enumerate(annotations, start=1)],
    }


def rectangle(top: int, left: int, height: int, width: int, size: tuple[int, int] = (60, 80)) -> Bitmap:
    bitmap = np.zeros(size, dtype=bool)
    bitmap[top : top + height, left : left + width] = True
    return bitmap


@st.composite
def scenes(draw: st.DrawFn) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rectangles on a coarse grid with few scores, so that equal IoUs, scores and crowds meet, also at borders."""
    places = st.tuples(*[st.integers(0, 4)] * 2, *[st.integers(0, 5)] * 2)
    heads = st.tuples(st.integers(1, 2), st.sampled_from([1, 5]))

    def bitmap() -> Bitmap:
        top, left, height, width = draw(places)
        return rectangle(10 * top, 15 * left, 10 * height, 14 * width)

    annotations, results = [], []
    for image_id, category_id in draw(st.lists(heads, max_size=5)):
        is_crowd = draw(st.sampled_from([0, 0, 0, 1]))
        annotations.append(entry_of(bitmap(), image_id, category_id, iscrowd=is_crowd))
    for image_id, category_id in draw(st.lists(heads, min_size=1, max_size=7)):
        results.append(entry_of(bitmap(), image_id, category_id, score=draw(st.sampled_from([0.25, 0.5, 0.75]))))
    if annotations and draw(st.booleans()):
        again = draw(st.sampled_from(annotations))
        mask = pycocotools.mask.decode(again["segmentation"]).astype(bool)
        results.append(entry_of(mask, again["image_id"], again["category_id"], score=0.5))
    return results, dataset_of(*annotations)


@given(scenes(), st.sampled_from([1, 2, 100]), st.sampled_from([0.001, 0.02, 0.05, 0.5]))
def test_every_number_is_that_of_the_official_rule(scene, max_detections: int, share: float) -> None:
    compare(*scene, max_detections, share)


@given(st.integers(0, 10**6))
def test_so_it_is_for_ragged_masks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    results, annotations = [], []
    for place in range(4):
        bitmap = rectangle(3 * place, 9 * place, 40, 50) & (rng.random((60, 80)) < 0.995)
        annotations.append(entry_of(bitmap, iscrowd=int(rng.random() < 0.2)))
        moved = np.roll(bitmap, rng.integers(-2, 3, 2), (0, 1))
        results.append(entry_of(moved, score=float(rng.integers(1, 4)) / 4))
    compare(results, dataset_of(*annotations))


@given(st.integers(0, 10**6), st.integers(1, 9))
def test_a_boundary_is_what_erosions_by_a_square_take(seed: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    size = tuple(rng.integers(1, 40, 2))
    bitmap = rng.random(size) < rng.choice([0.5, 0.97, 1])
    inside = bitmap
    for _ in range(width):
        inside = eroded_once(inside)
    crop = rle_to_crop(crop_to_rle(Crop(bitmap, 0, 0), (int(size[0]), int(size[1]))))
    pixels, top, left = boundary_of(crop, width)
    drawn = np.zeros(size, dtype=bool)
    drawn[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    assert np.array_equal(drawn, bitmap & ~inside)


def test_a_boundary_is_opencvs() -> None:
    cv2 = pytest.importorskip("cv2", reason="compares with OpenCV, which is not installed")
    rng = np.random.default_rng(3)
    for size in ((300, 500), (37, 64), (5, 5)):
        bitmap = np.kron(rng.random((size[0] // 5, size[1])) < 0.98, np.ones((5, 1))).astype(np.uint8)
        padded = cv2.copyMakeBorder(bitmap, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        width = boundary_width(bitmap.shape, 0.02)
        eroded = cv2.erode(padded, np.ones((3, 3), dtype=np.uint8), iterations=width)[1:-1, 1:-1]
        ours = boundary_of(Crop(bitmap.astype(bool), 0, 0), width).pixels
        assert np.array_equal(ours, (bitmap - eroded).astype(bool))
        assert np.array_equal(ours, boundary_by_definition(bitmap.astype(bool)))


def test_real_masks_give_the_official_numbers(shared: Path) -> None:
    dataset = json.loads((shared / "data" / "nuclei" / "val.json").read_text())
    small = [image for image in dataset["images"] if image["height"] * image["width"] < 100_000]
    few = {image["id"]: image for image in small[:5]}
    sizes = {id_: (image["height"], image["width"]) for id_, image in few.items()}
    annotations = [entry for entry in dataset["annotations"] if entry["image_id"] in few]
    rng = np.random.default_rng(0)
    results = []
    for annotation in annotations:
        height, width = size = sizes[annotation["image_id"]]
        pixels, top, left = rle_to_crop(any_to_rle(annotation["segmentation"], size))
        top = int(np.clip(top + rng.integers(-2, 3), 0, height - pixels.shape[0]))
        left = int(np.clip(left + rng.integers(-2, 3), 0, width - pixels.shape[1]))
        entry = {key: annotation[key] for key in ("image_id", "category_id")}
        entry |= {"score": round(float(rng.random()), 1), "segmentation": crop_to_rle(Crop(pixels, top, left), size)}
        results.append(entry)
    dataset = {**dataset, "images": list(few.values()), "annotations": annotations}
    compare(results, dataset, 50)
    ours = compare(results, dataset, 50, 0.005)  # nuclei are small: at 0.02 they are boundary all over
    assert 0 < ours["AP"] < evaluate_results(results, dataset, 50)["mask"]["AP"]


def test_masks_found_exactly_have_an_ap_of_one() -> None:
    bitmap = rectangle(5, 5, 40, 40)
    metrics = evaluate_boundary(Comparison.of([entry_of(bitmap, score=0.9)], dataset_of(entry_of(bitmap))))
    assert metrics["boundary"]["AP"] == pytest.approx(1)
    assert metrics["per_category"]["cat"]["boundary"]["AP"] == pytest.approx(1)
    assert math.isnan(metrics["per_category"]["dog"]["boundary"]["AP"])
    assert (metrics["images"], metrics["max_detections"], metrics["truncated_images"]) == (2, 100, 0)


def test_a_sloppy_outline_costs_what_mask_ap_hides() -> None:
    truth = dataset_of(entry_of(rectangle(10, 10, 40, 40)))
    results = [entry_of(rectangle(11, 11, 38, 38), score=0.9)]  # 0.9 of the mask, but half of a boundary of 2 pixels
    assert evaluate_results(results, truth)["mask"]["AP75"] == pytest.approx(1)
    ours = compare(results, truth)
    assert ours["AP75"] == 0


def test_a_detection_on_a_crowd_is_compared_as_a_mask_alone() -> None:
    crowd = rectangle(0, 0, 60, 80)
    truth = dataset_of(entry_of(crowd, iscrowd=1), entry_of(rectangle(10, 10, 20, 20)))
    inside = [entry_of(rectangle(30, 40, 20, 20), score=0.9), entry_of(rectangle(5, 50, 9, 20), score=0.8)]
    assert compare([*inside, entry_of(rectangle(10, 10, 20, 20), score=0.7)], truth)["AP"] == pytest.approx(1)


@pytest.mark.parametrize(
    "bitmap",
    [
        rectangle(0, 0, 60, 80),  # all borders of the image
        rectangle(0, 0, 1, 1),
        rectangle(59, 79, 1, 1),
        rectangle(20, 0, 1, 80),
        rectangle(0, 0, 0, 0),  # nothing
        rectangle(10, 10, 30, 30) & ~rectangle(20, 20, 2, 2),
    ],
)
def test_unusual_masks_give_the_official_numbers(bitmap: Bitmap) -> None:
    others = rectangle(0, 0, 59, 80), rectangle(10, 10, 30, 30)
    annotations = [entry_of(shape) for shape in (bitmap, *others)]
    results = [entry_of(shape, score=score) for score, shape in ((0.5, bitmap), (0.5, others[1]), (0.9, others[0]))]
    compare(results, dataset_of(*annotations))


def test_of_equal_ious_the_later_object_is_taken() -> None:
    left, between, right = (rectangle(10, column, 30, 30) for column in (10, 13, 16))
    results = [entry_of(between, score=0.9), entry_of(left, score=0.5)]
    aps = [
        compare(results, dataset_of(*map(entry_of, pair)), share=0.5)["AP75"] for pair in ((left, right), (right, left))
    ]
    assert aps[0] > aps[1]  # only if the first detection leaves the left one to the second


def test_an_object_of_the_range_is_preferred_to_an_ignored_one() -> None:
    shape = rectangle(10, 10, 30, 30)
    small, large = entry_of(shape, area=10.0), entry_of(shape, area=90000.0)
    for pair in ((small, large), (large, small)):
        compare([entry_of(shape, score=0.5)], dataset_of(*pair))


def test_an_interior_of_one_line_is_no_boundary() -> None:
    truth = dataset_of(entry_of(rectangle(10, 10, 5, 40)))  # boundaries are 2 pixels wide
    results = [entry_of(rectangle(10, 12, 5, 40), score=0.9)]
    ours = compare(results, truth)
    assert ours["AP"] == pytest.approx(0.8)  # mask IoU is above 0.9, boundary IoU below
    assert evaluate_results(results, truth)["mask"]["AP"] == pytest.approx(0.9)


def test_more_detections_than_the_limit_are_left_out_and_told() -> None:
    shapes = [rectangle(10 * place, 0, 9, 80) for place in range(6)]
    truth = dataset_of(*map(entry_of, shapes))
    results = [entry_of(shape, score=0.9 - place / 10) for place, shape in enumerate(shapes)]
    metrics = evaluate_boundary(Comparison.of(results, truth, max_detections=4))
    assert metrics["boundary"]["AR"] == pytest.approx(4 / 6)
    assert metrics["truncated_images"] == 1
    compare(results, truth, 4)


def test_a_mask_score_ranks_before_the_score_of_the_box() -> None:
    good, bad = rectangle(10, 10, 30, 30), rectangle(40, 60, 15, 15)
    results = [entry_of(good, score=0.2, mask_score=0.9), entry_of(bad, score=0.5)]
    assert evaluate_boundary(Comparison.of(results, dataset_of(entry_of(good))))["boundary"]["AP"] == pytest.approx(1)


def test_polygons_and_plain_counts_are_masks_as_well() -> None:
    polygon = [[10.0, 10.0, 50.0, 10.0, 50.0, 40.0, 10.0, 40.0]]
    truth = dataset_of({**entry_of(rectangle(10, 10, 30, 40)), "segmentation": polygon})
    counts = {"size": [60, 80], "counts": [10 * 60 + 10, *[30, 30] * 39, 30, 60 * 80 - 10 * 60 - 10 - 39 * 60 - 30]}
    results = [{**entry_of(rectangle(10, 10, 30, 40), score=0.5), "segmentation": counts}]
    assert evaluate_boundary(Comparison.of(results, truth))["boundary"]["AP"] == pytest.approx(1)


def test_files_are_read_as_well(tmp_path: Path) -> None:
    shape = rectangle(10, 10, 30, 30)
    for name, content in (("results", [entry_of(shape, score=0.9)]), ("truth", dataset_of(entry_of(shape)))):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    metrics = evaluate_boundary(Comparison.of(tmp_path / "results.json", str(tmp_path / "truth.json")))
    assert metrics["boundary"]["AP"] == pytest.approx(1)


@pytest.mark.parametrize("annotations", [[], [entry_of(rectangle(10, 10, 30, 30))]])
def test_without_detections_or_objects_nothing_breaks(annotations) -> None:
    expected = 0.0 if annotations else math.nan
    for results in ([], [entry_of(rectangle(40, 40, 9, 9), category_id=5, score=0.5)]):
        ap = evaluate_boundary(Comparison.of(results, dataset_of(*annotations)))["boundary"]["AP"]
        assert ap == pytest.approx(expected, nan_ok=True)


def test_what_cannot_be_compared_is_refused() -> None:
    shape = rectangle(10, 10, 30, 30)
    results, truth = [entry_of(shape, score=0.9)], dataset_of(entry_of(shape))
    with pytest.raises(ConfigError, match="max_detections is 0"):
        evaluate_boundary(Comparison.of(results, truth, 0))
    for share in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ConfigError, match="a boundary needs a width above 0"):
            evaluate_boundary(Comparison.of(results, truth), dilation_share=share)
    boxes = [{key: value for key, value in results[0].items() if key != "segmentation"}]
    with pytest.raises(DataError, match="have no masks"):
        evaluate_boundary(Comparison.of(boxes, truth))
    federated = {**truth, "images": [{**image, "neg_category_ids": [3]} for image in truth["images"]]}
    with pytest.raises(DataError, match="LVIS"):
        evaluate_boundary(Comparison.of(results, federated))

"""Mean IoU and its relatives beside their definition, detectron2's rule written out, and hotcoco."""

from __future__ import annotations

import math
import pickle

import hotcoco.semantic
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskwright.errors import DataError
from maskwright.evaluation.semantic import SemanticTally

NAMES = ["sky", "sea", "sand", "grass"]
Pair = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]


def row(*classes: int) -> npt.NDArray[np.uint8]:
    return np.array([classes], dtype=np.uint8)


def tally_of(*pairs: Pair) -> SemanticTally:
    tally = SemanticTally(NAMES)
    for true, found in pairs:
        tally.add(true, found)
    return tally


@st.composite
def pairs(draw: st.DrawFn) -> Pair:
    size = draw(st.tuples(st.integers(1, 3), st.integers(1, 4)))
    number = size[0] * size[1]
    true = draw(st.lists(st.sampled_from([0, 1, 2, 3, 255]), min_size=number, max_size=number))
    found = draw(st.lists(st.integers(0, 3), min_size=number, max_size=number))
    return np.array(true, dtype=np.uint8).reshape(size), np.array(found, dtype=np.uint8).reshape(size)


def by_definition(some: list[Pair]) -> dict[str, float]:
    """detectron2's evaluate(), its table of C + 1 classes with one for what is ignored, as sets of pixels."""
    true, found = (np.concatenate([np.zeros(0), *(pair[side].ravel() for pair in some)]) for side in (0, 1))
    true, found = true[true != 255], found[true != 255]
    ious, accuracies, shares = {}, {}, {}
    for place, name in enumerate(NAMES):
        is_true, is_found = true == place, found == place
        num_true, num_common = is_true.sum(), (is_true & is_found).sum()
        ious[name] = num_common / (is_true | is_found).sum() if num_true else math.nan
        accuracies[name] = num_common / num_true if num_true else math.nan
        shares[name] = num_true / len(true) if len(true) else 0.0
    known = [name for name in NAMES if shares[name]]
    numbers = {f"per_category.{name}.IoU": iou for name, iou in ious.items()}
    numbers |= {f"per_category.{name}.accuracy": accuracy for name, accuracy in accuracies.items()}
    if not known:
        return numbers | dict.fromkeys(["mIoU", "fwIoU", "mACC", "pACC"], math.nan) | {"images": len(some)}
    return numbers | {
        "mIoU": sum(ious[name] for name in known) / len(known),
        "fwIoU": sum(ious[name] * shares[name] for name in known),
        "mACC": sum(accuracies[name] for name in known) / len(known),
        "pACC": float((true == found).mean()),
        "images": len(some),
    }


def test_numbers_are_those_of_a_hand_made_table() -> None:
    metrics = tally_of((row(0, 0, 0, 1, 255), row(0, 0, 1, 1, 1))).metrics()
    assert metrics["per_category"]["sky"] == {"IoU": 2 / 3, "accuracy": 2 / 3}
    assert metrics["per_category"]["sea"] == {"IoU": 1 / 2, "accuracy": 1.0}
    assert metrics["mIoU"] == pytest.approx(7 / 12)
    assert metrics["fwIoU"] == pytest.approx(0.75 * 2 / 3 + 0.25 / 2)
    assert metrics["mACC"] == pytest.approx(5 / 6)
    assert metrics["pACC"] == 0.75


@given(st.lists(pairs(), max_size=4))
def test_numbers_are_those_of_the_definition(some: list[Pair]) -> None:
    assert tally_of(*some).metrics().flat() == pytest.approx(by_definition(some), abs=1e-12, nan_ok=True)


@given(st.lists(pairs(), min_size=1, max_size=4))
def test_where_every_found_class_occurs_hotcoco_says_the_same(some: list[Pair]) -> None:
    everything = (row(0, 1, 2, 3), row(0, 0, 2, 3))
    theirs = hotcoco.semantic.SemanticEval(NAMES)
    for true, found in (*some, everything):
        theirs.update(true, found)
    ours, results = tally_of(*some, everything).metrics(), theirs.results()
    for own, name in (("mIoU", "mIoU"), ("fwIoU", "fwIoU"), ("mACC", "mAcc"), ("pACC", "aAcc")):
        assert ours[own] == pytest.approx(results[name], abs=1e-12)
    for entry in results["per_class"]:
        assert ours["per_category"][entry["name"]]["IoU"] == pytest.approx(entry["IoU"], abs=1e-12)


def test_a_class_only_found_is_in_no_mean_where_hotcoco_counts_it_as_zero() -> None:
    true, found = row(0, 0, 1), row(0, 2, 1)
    metrics = tally_of((true, found)).metrics()
    assert metrics["mIoU"] == pytest.approx((1 / 2 + 1) / 2)
    assert math.isnan(metrics["per_category"]["sand"]["IoU"])
    theirs = hotcoco.semantic.SemanticEval(NAMES)
    theirs.update(true, found)
    assert theirs.results()["mIoU"] == pytest.approx((1 / 2 + 1 + 0) / 3)


def test_what_is_found_where_nobody_knows_does_not_count() -> None:
    plain = tally_of((row(0, 1), row(0, 0))).metrics()
    ignored = tally_of((row(0, 255, 1, 255), row(0, 3, 0, 255))).metrics()
    assert plain == ignored


@pytest.mark.parametrize("some", [[], [(row(255, 255), row(0, 1))]])
def test_without_ground_truth_everything_is_unknown(some: list[Pair]) -> None:
    metrics = tally_of(*some).metrics()
    assert all(math.isnan(metrics[name]) for name in ("mIoU", "fwIoU", "mACC", "pACC"))


@given(st.lists(pairs(), max_size=5), st.integers(0, 5))
def test_tallies_of_parts_travel_and_merge_to_that_of_all(some: list[Pair], border: int) -> None:
    merged = tally_of(*some[:border])
    merged.merge(pickle.loads(pickle.dumps(tally_of(*some[border:]))))
    assert merged.metrics() == tally_of(*some).metrics()


def test_a_tally_stays_small_whatever_was_added() -> None:
    pixels = np.zeros((1000, 1000), dtype=np.uint8)
    assert len(pickle.dumps(tally_of(*[(pixels, pixels)] * 5))) < 2000


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_maps_of_any_integers_are_the_same(dtype: type) -> None:
    true, found = row(0, 1, 255, 3), row(0, 2, 2, 3)
    assert tally_of((true.astype(dtype), found.astype(dtype))).metrics() == tally_of((true, found)).metrics()


@pytest.mark.parametrize(
    ("true", "found", "message"),
    [
        (row(0, 1), row(0), r"shape \(1, 2\), the found ones \(1, 1\)"),
        (row(0, 4), row(0, 1), "true to be of class 4; there are 0 to 3"),
        (row(0, 1), row(0, 4), "found to be of class 4; there are 0 to 3"),
        (row(0, 1), row(0, 255), "found to be of class 255"),
        (row(0, 1).astype(np.int64), -row(0, 1).astype(np.int64), "found to be of class -1"),
    ],
)
def test_what_does_not_fit_is_refused_and_not_counted(true, found, message: str) -> None:
    tally = SemanticTally(NAMES)
    with pytest.raises(DataError, match=message):
        tally.add(true, found)
    assert tally.num_images == 0 and not tally.confusion.any()


def test_tallies_of_other_classes_do_not_merge() -> None:
    with pytest.raises(DataError, match="cannot be merged"):
        SemanticTally(NAMES).merge(SemanticTally(NAMES[:2]))
    with pytest.raises(DataError, match="'sky' occurs twice"):
        SemanticTally(["sky", "sky"])

"""Panoptic quality beside the paper's definition written out pixel by pixel, and hotcoco on the same files."""

from __future__ import annotations

import contextlib
import io
import json
import math
import pickle
from collections import defaultdict
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import hotcoco.panoptic
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from maskwright.errors import DataError
from maskwright.evaluation.panoptic import PanopticTally
from maskwright.evaluation.panoptic_files import evaluate_panoptic, segment_ids

CAT, DOG, SKY, SEA = 3, 4, 8, 9
CATEGORIES = [
    {"id": CAT, "name": "cat", "isthing": 1},
    {"id": DOG, "name": "dog", "isthing": 1},
    {"id": SKY, "name": "sky", "isthing": 0},
    {"id": SEA, "name": "sea", "isthing": 0},
]
MEANS = [f"{name}{group}" for group in ("", "_things", "_stuff") for name in ("PQ", "SQ", "RQ")]


class Case(NamedTuple):
    """One image, as `PanopticTally.add` takes it."""

    true_ids: npt.NDArray[np.int32]
    true_segments: Mapping[int, tuple[int, bool]]
    found_ids: npt.NDArray[np.int32]
    found_segments: Mapping[int, int]


def row(*ids: int) -> npt.NDArray[np.int32]:
    return np.array([ids], dtype=np.int32)


def tally_of(*cases: Case) -> PanopticTally:
    tally = PanopticTally(CATEGORIES)
    for case in cases:
        tally.add(*case)
    return tally


def by_definition(cases: Sequence[Case]) -> dict[int, list[Fraction]]:
    """Category id → sum of IoUs, true positives, false positives, false negatives, from sets of pixels."""
    counts: dict[int, list[Fraction]] = defaultdict(lambda: [Fraction(0)] * 4)

    def count(category: int, *numbers: Fraction | int) -> None:
        counts[category] = [old + new for old, new in zip(counts[category], numbers, strict=True)]

    for case in cases:
        void = case.true_ids == 0
        truths = {id_: (case.true_ids == id_, *entry) for id_, entry in case.true_segments.items()}
        missed, wrong = dict(truths), {}
        for id_, category in case.found_segments.items():
            pixels = case.found_ids == id_
            wrong[id_] = pixels
            for true, (true_pixels, true_category, is_crowd) in truths.items():
                num_common, num_all = (pixels & true_pixels).sum(), ((pixels & ~void) | true_pixels).sum()
                if category == true_category and not is_crowd and num_all and 2 * num_common > num_all:
                    count(category, Fraction(int(num_common), int(num_all)), 1, 0, 0)
                    del missed[true], wrong[id_]
        for _, category, is_crowd in missed.values():
            count(category, 0, 0, 0, int(not is_crowd))
        for id_, pixels in wrong.items():
            forgiven = void
            crowds = [truth for truth in truths.values() if truth[1:] == (case.found_segments[id_], True)]
            for crowd, _, _ in crowds[-1:]:
                forgiven = void | crowd
            count(case.found_segments[id_], 0, 0, int(2 * (pixels & forgiven).sum() <= pixels.sum()), 0)
    return counts


def quality(counts: Sequence[Fraction]) -> tuple[float, float, float]:
    iou, true_positives, false_positives, false_negatives = counts
    rest = true_positives + (false_positives + false_negatives) / 2
    return float(iou / rest), float(iou / true_positives) if true_positives else 0.0, float(true_positives / rest)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Maps so small that overlaps of one half are common; ids of a map may be missing in the list of true segments."""
    size = draw(st.tuples(st.integers(1, 3), st.integers(1, 5)))
    numbers = st.lists(st.integers(0, 4), min_size=size[0] * size[1], max_size=size[0] * size[1])
    true_ids, found_ids = (np.array(draw(numbers), dtype=np.int32).reshape(size) for _ in range(2))
    categories = st.sampled_from([CAT, DOG, SKY])
    listed = draw(st.lists(st.integers(1, 6), unique=True))
    true_segments = {id_: (draw(categories), draw(st.booleans())) for id_ in listed}
    found_segments = {int(id_): draw(categories) for id_ in np.unique(found_ids) if id_}
    return Case(true_ids, true_segments, found_ids, found_segments)


def write(
    folder: Path, name: str, maps: Sequence[npt.NDArray[np.int32]], segments: Sequence[Mapping[int, Any]]
) -> Path:
    """A panoptic file with its folder; segments are id → category id, or (category id, is crowd)."""
    (folder / name).mkdir()
    entries = []
    for image_id, (ids, listed) in enumerate(zip(maps, segments, strict=True), start=1):
        picture = np.stack([ids >> shift & 255 for shift in (0, 8, 16)], axis=-1).astype(np.uint8)
        Image.fromarray(picture).save(folder / name / f"{image_id}.png")
        infos = []
        for id_, entry in listed.items():
            category, is_crowd = entry if isinstance(entry, tuple) else (entry, False)
            area = int((ids == id_).sum())
            infos.append({"id": id_, "category_id": category, "iscrowd": int(is_crowd), "area": area})
        entries.append({"image_id": image_id, "file_name": f"{image_id}.png", "segments_info": infos})
    images = [{"id": place + 1, "height": ids.shape[0], "width": ids.shape[1]} for place, ids in enumerate(maps)]
    document = {"images": images, "annotations": entries, "categories": CATEGORIES}
    (folder / f"{name}.json").write_text(json.dumps(document))
    return folder / f"{name}.json"


def write_cases(folder: Path, some: Sequence[Case]) -> tuple[Path, Path]:
    """Results and annotations."""
    results = write(folder, "results", [case.found_ids for case in some], [case.found_segments for case in some])
    return results, write(folder, "truth", [case.true_ids for case in some], [case.true_segments for case in some])


def random_case(seed: int) -> Case:
    """Blocks of 4 × 4 pixels, the found ones moved a little, with void and at most one crowd of a class."""
    rng = np.random.default_rng(seed)
    true_ids = np.kron(rng.integers(0, 7, (4, 5)), np.ones((4, 4))).astype(np.int32) * 300
    found_ids = np.roll(true_ids, rng.integers(-1, 2, 2), (0, 1)) // 300
    categories = rng.choice([CAT, DOG, SKY, SEA], 7).tolist()
    listed = [int(id_) for id_ in np.unique(true_ids) if id_]
    true_segments = {id_: (categories[id_ // 300], False) for id_ in listed}
    true_segments[listed[0]] = (categories[listed[0] // 300], True)
    found_segments = {int(id_): categories[id_] for id_ in np.unique(found_ids) if id_}
    some = next(iter(found_segments))
    found_segments[some] = DOG if found_segments[some] == CAT else CAT
    return Case(true_ids, true_segments, found_ids, found_segments)


def test_what_is_found_exactly_has_a_quality_of_one() -> None:
    ids = row(1, 1, 2, 2, 3)
    metrics = tally_of(Case(ids, {1: (CAT, False), 2: (DOG, False), 3: (SKY, False)}, ids, {1: CAT, 2: DOG, 3: SKY}))
    assert [metrics.metrics()[name] for name in MEANS] == [1.0] * 9


def test_quality_is_that_of_a_hand_made_table() -> None:
    # cat: 3 of 4 pixels found; dog: missed, a cat was seen there; sky: found exactly
    case = Case(
        row(1, 1, 1, 1, 2, 2, 3, 3),
        {1: (CAT, False), 2: (DOG, False), 3: (SKY, False)},
        row(7, 7, 7, 0, 5, 5, 6, 6),
        {7: CAT, 5: CAT, 6: SKY},
    )
    metrics = tally_of(case).metrics()
    assert metrics["per_category"]["cat"] == {"PQ": 0.75 / 1.5, "SQ": 0.75, "RQ": 1 / 1.5}
    assert metrics["per_category"]["dog"] == {"PQ": 0.0, "SQ": 0.0, "RQ": 0.0}
    assert math.isnan(metrics["per_category"]["sea"]["PQ"])
    assert (metrics["PQ_things"], metrics["PQ_stuff"]) == (0.25, 1.0)
    assert metrics["PQ"] == pytest.approx(1.5 / 3)
    assert metrics["images"] == 1


def test_an_iou_of_one_half_is_no_match() -> None:
    half = Case(row(1, 1, 1, 1), {1: (CAT, False)}, row(5, 5, 0, 0), {5: CAT})
    more = Case(row(1, 1, 1, 0), {1: (CAT, False)}, row(5, 5, 0, 0), {5: CAT})
    assert tally_of(half).counts[CAT].tolist() == [0, 0, 1, 1]
    assert tally_of(more).counts[CAT].tolist() == [2 / 3, 1, 0, 0]


def test_void_pixels_do_not_count_in_the_union() -> None:
    case = Case(row(1, 1, 0, 0, 0), {1: (CAT, False)}, row(5, 5, 5, 5, 5), {5: CAT})
    assert tally_of(case).counts[CAT].tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize(("num_forgiven", "expected"), [(2, 1), (3, 0)])
@pytest.mark.parametrize("is_crowd", [True, False])
def test_a_found_segment_mostly_on_void_or_crowd_is_forgiven(num_forgiven: int, expected: int, is_crowd: bool) -> None:
    true_ids = row(*[2 if is_crowd else 0] * num_forgiven, *[1] * (4 - num_forgiven))
    case = Case(true_ids, {1: (SKY, False), 2: (CAT, True)}, row(5, 5, 5, 5), {5: CAT})
    assert tally_of(case).counts[CAT].tolist() == [0, 0, expected, 0]


def test_a_crowd_of_another_class_forgives_nothing() -> None:
    case = Case(row(2, 2, 2), {2: (DOG, True)}, row(5, 5, 5), {5: CAT})
    metrics = tally_of(case)
    assert metrics.counts[CAT].tolist() == [0, 0, 1, 0]
    assert metrics.counts[DOG].tolist() == [0, 0, 0, 0]


def test_of_two_crowds_of_a_class_only_the_last_forgives() -> None:
    for crowds, expected in (((2, 3), 0), ((3, 2), 1)):
        listed = dict.fromkeys(crowds, (CAT, True))
        case = Case(row(3, 3, 3, 2), listed, row(5, 5, 5, 5), {5: CAT})
        assert tally_of(case).counts[CAT][2] == expected


def test_an_image_without_anything_leaves_everything_unknown() -> None:
    metrics = tally_of(Case(row(0, 0), {}, row(0, 0), {})).metrics()
    assert all(math.isnan(metrics[name]) for name in MEANS)
    assert metrics["images"] == 1


def test_true_segments_without_a_pixel_are_missed() -> None:
    case = Case(row(0, 0), {4: (CAT, False), 5: (DOG, True)}, row(0, 0), {})
    assert tally_of(case).counts[CAT].tolist() == [0, 0, 0, 1]
    assert tally_of(case).counts[DOG].tolist() == [0, 0, 0, 0]


@given(st.lists(cases(), max_size=3))
def test_counts_and_means_are_those_of_the_definition(some: list[Case]) -> None:
    tally, expected = tally_of(*some), by_definition(some)
    for category, counts in tally.counts.items():
        assert counts.tolist() == pytest.approx([float(number) for number in expected[category]], abs=1e-12)
    metrics = tally.metrics()
    for group, ids in (("", [CAT, DOG, SKY, SEA]), ("_things", [CAT, DOG]), ("_stuff", [SKY, SEA])):
        known = [quality(expected[id_]) for id_ in ids if any(expected[id_][1:])]
        means = np.mean(known, axis=0) if known else [math.nan] * 3
        for name, number in zip(("PQ", "SQ", "RQ"), means, strict=True):
            assert metrics[name + group] == pytest.approx(number, abs=1e-12, nan_ok=True)


@given(st.lists(cases(), max_size=4), st.integers(0, 4))
def test_tallies_of_parts_travel_and_merge_to_that_of_all(some: list[Case], border: int) -> None:
    merged = tally_of(*some[:border])
    merged.merge(pickle.loads(pickle.dumps(tally_of(*some[border:]))))
    whole = tally_of(*some)
    assert merged.metrics().flat() == pytest.approx(whole.metrics().flat(), abs=1e-12, nan_ok=True)


def test_a_tally_stays_small_whatever_was_added() -> None:
    ids = np.arange(1_000_000, dtype=np.int32).reshape(1000, 1000) // 250_000
    case = Case(ids, {1: (CAT, False), 2: (DOG, False)}, ids, {1: CAT, 2: DOG, 3: SKY})
    assert len(pickle.dumps(tally_of(*[case] * 5))) < 2000


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, np.uint32])
def test_maps_of_any_integers_are_the_same(dtype: type) -> None:
    case = random_case(1)
    case = case._replace(
        true_ids=case.true_ids // 300, true_segments={k // 300: v for k, v in case.true_segments.items()}
    )
    other = case._replace(true_ids=case.true_ids.astype(dtype), found_ids=case.found_ids.astype(dtype))
    assert tally_of(other).metrics() == tally_of(case).metrics()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"found_ids": row(1, 1)}, r"shape \(1, 3\), the found one \(1, 2\)"),
        ({"found_segments": {}}, "shows segment 5, which is not in the list"),
        ({"found_segments": {5: CAT, 6: DOG}}, "found segment 6 is in the list, but no pixel"),
        ({"found_segments": {5: 77}}, "found segment 5 is of the unknown category 77; there are 3, 4, 8, 9"),
        ({"true_segments": {1: (77, False)}}, "true segment 1 is of the unknown category 77"),
        ({"found_ids": row(5, 5, -1)}, "shows segment -1"),
    ],
)
def test_what_does_not_fit_is_refused_and_not_counted(change: dict[str, Any], message: str) -> None:
    good = Case(row(1, 1, 1), {1: (CAT, False)}, row(5, 5, 0), {5: CAT})
    tally = PanopticTally(CATEGORIES)
    with pytest.raises(DataError, match=message):
        tally.add(*good._replace(**change))
    assert tally.metrics() == PanopticTally(CATEGORIES).metrics()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"id": 1, "name": "cat"}, "'isthing' of 0 or 1"),
        ({"id": "1", "name": "cat", "isthing": 1}, "integer 'id'"),
        ({"id": CAT, "name": "cow", "isthing": 1}, "id 3 occurs twice"),
    ],
)
def test_categories_that_cannot_be_told_apart_are_refused(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        PanopticTally([*CATEGORIES, entry])


def test_tallies_of_other_classes_do_not_merge() -> None:
    with pytest.raises(DataError, match="cannot be merged"):
        PanopticTally(CATEGORIES).merge(PanopticTally(CATEGORIES[:3]))


def test_classes_of_one_name_have_their_id_behind_it() -> None:
    tally = PanopticTally([*CATEGORIES, {"id": 20, "name": "sea", "isthing": 1}])
    assert list(tally.metrics()["per_category"]) == ["cat", "dog", "sky", "sea (9)", "sea (20)"]


def test_files_give_what_hotcoco_gives(tmp_path: Path) -> None:
    results, truth = write_cases(tmp_path, [random_case(seed) for seed in range(30)])
    metrics = evaluate_panoptic(results, truth)
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = hotcoco.panoptic.pq_compute(truth, results)
    for suffix, group in (("", "All"), ("_things", "Things"), ("_stuff", "Stuff")):
        for name in ("PQ", "SQ", "RQ"):
            assert metrics[name + suffix] == pytest.approx(theirs[group][name.lower()], abs=1e-12)
    for entry in CATEGORIES:
        expected = {name.upper(): number for name, number in theirs["per_class"][entry["id"]].items()}
        ours = metrics["per_category"][entry["name"]]
        assert {name: ours[name] for name in ours} == pytest.approx({name: expected[name] for name in ours})
    assert 0.1 < metrics["PQ"] < 0.9


def test_files_of_real_images_give_what_hotcoco_gives(shared: Path, tmp_path: Path) -> None:
    truth = shared / "data" / "coco128" / "panoptic_val2017.json"
    document = json.loads(truth.read_text())
    document["annotations"] = document["annotations"][:12]
    maps = [segment_ids(truth.with_suffix("") / entry["file_name"]) for entry in document["annotations"]]
    (tmp_path / "results").mkdir()
    for entry, ids in zip(document["annotations"], maps, strict=True):
        moved = np.roll(ids, (3, 8), (0, 1))
        Image.fromarray(np.stack([moved >> s & 255 for s in (0, 8, 16)], axis=-1).astype(np.uint8)).save(
            tmp_path / "results" / entry["file_name"]
        )
    for name in ("results", "truth"):
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
    paths = tmp_path / "results.json", tmp_path / "truth.json"
    metrics = evaluate_panoptic(*paths, annotation_pictures=truth.with_suffix(""))
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = hotcoco.panoptic.pq_compute(paths[1], paths[0], gt_folder=truth.with_suffix(""))
    for suffix, group in (("", "All"), ("_things", "Things"), ("_stuff", "Stuff")):
        for name in ("PQ", "SQ", "RQ"):
            assert metrics[name + suffix] == pytest.approx(theirs[group][name.lower()], abs=1e-12)


def test_an_image_without_results_is_an_error(tmp_path: Path) -> None:
    _, truth = write_cases(tmp_path, [random_case(0), random_case(1)])
    few = write(tmp_path, "few", [random_case(0).found_ids], [random_case(0).found_segments])
    with pytest.raises(DataError, match=r"few\.json: has no entry for image 2"):
        evaluate_panoptic(few, truth)


def test_errors_of_files_name_the_file_and_the_image(tmp_path: Path) -> None:
    case = random_case(0)
    results, truth = write_cases(tmp_path, [case])
    wrong = write(tmp_path, "wrong", [case.found_ids], [{}])
    with pytest.raises(DataError, match=r"wrong\.json: image 1: the found map shows segment"):
        evaluate_panoptic(wrong, truth)
    with pytest.raises(DataError, match=r"folder of segment pictures .*nowhere does not exist"):
        evaluate_panoptic(results, truth, tmp_path / "nowhere")
    (tmp_path / "results" / "1.png").unlink()
    with pytest.raises(DataError, match=r"1\.png does not exist"):
        evaluate_panoptic(results, truth)
    truth.write_text("{}")
    with pytest.raises(DataError, match=r"truth\.json.*is missing; expected annotations with image_id"):
        evaluate_panoptic(results, truth)

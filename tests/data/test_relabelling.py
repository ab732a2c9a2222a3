"""Classes renamed, joined and left out, and several datasets joined into one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskwright.data.joining import join_datasets
from maskwright.data.record import Dataset, Defect, FederatedLabels, ImageRecord
from maskwright.data.relabelling import relabel
from maskwright.data.segment_picture import SegmentClasses, SegmentLabel, SegmentPicture
from maskwright.errors import ConfigError
from maskwright.structures import Categories

CLASSES = {3: "cat", 5: "dog", 9: "sheep"}


def record_of(image_id: int, *category_ids: int, **extra: Any) -> ImageRecord:
    annotations = tuple(
        {"id": 100 * image_id + place, "image_id": image_id, "category_id": id_, "bbox": [0, 0, 4, 4]}
        for place, id_ in enumerate(category_ids)
    )
    return ImageRecord(image_id, Path(f"{image_id}.png"), (8, 8), annotations, **extra)


def dataset_of(
    records: list[ImageRecord], classes: dict[int, str] = CLASSES, source: str = "a.json", **extra: Any
) -> Dataset:
    categories = Categories(tuple(classes.values()), tuple(classes))
    return Dataset(tuple(records), categories, source, extra.pop("defects", ()), **extra)


def names_of(dataset: Dataset) -> list[list[str]]:
    """Class names of the objects of each image."""
    return [
        [dataset.categories[dataset.categories.label_of(entry["category_id"])] for entry in record.annotations]
        for record in dataset.records
    ]


# renaming and choosing


def test_without_a_change_the_dataset_is_the_same() -> None:
    dataset = dataset_of([record_of(1, 3)])
    assert relabel(dataset, {}, None) is dataset
    assert join_datasets([dataset]) is dataset


def test_classes_are_renamed_and_several_become_one() -> None:
    dataset = relabel(dataset_of([record_of(1, 3, 9, 5), record_of(2)]), {"dog": "pet", "cat": "pet"}, None)
    assert dataset.categories == Categories(("pet", "sheep"), (3, 9))
    assert names_of(dataset) == [["pet", "sheep", "pet"], []]


def test_a_class_may_be_joined_to_one_that_keeps_its_name() -> None:
    dataset = relabel(dataset_of([record_of(1, 3, 5)]), {"dog": "cat"}, None)
    assert dataset.categories == Categories(("cat", "sheep"), (3, 9))
    assert names_of(dataset) == [["cat", "cat"]]


def test_names_are_exchanged_at_once() -> None:
    assert names_of(relabel(dataset_of([record_of(1, 3, 5)]), {"dog": "cat", "cat": "dog"}, None)) == [["dog", "cat"]]


def test_classes_are_chosen_by_their_new_names_and_images_stay() -> None:
    dataset = relabel(dataset_of([record_of(1, 3, 9), record_of(2, 9)]), {"cat": "pet"}, ["pet"])
    assert dataset.categories == Categories(("pet",), (3,))
    assert names_of(dataset) == [["pet"], []]


@pytest.mark.parametrize(
    ("rename", "only", "message"),
    [
        ({"sheeps": "ewe"}, None, r"^rename: a\.json has no class 'sheeps'; did you mean 'sheep'\?$"),
        ({"zebra": "horse"}, None, r"^rename: a\.json has no class 'zebra'; its classes are cat, dog, sheep$"),
        ({"cat": "pet"}, ["cat"], r"^only: a\.json has no class 'cat'; its classes are pet, dog, sheep$"),
        ({}, ["dog", "ship"], r"^only: a\.json has no class 'ship'"),
    ],
)
def test_a_class_that_the_data_has_not_is_answered_with_those_it_has(
    rename: dict[str, str], only: list[str] | None, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        relabel(dataset_of([record_of(1, 3)]), rename, only)


def test_a_joined_class_is_as_frequent_as_its_most_frequent_part() -> None:
    dataset = dataset_of([record_of(1, 3)], frequencies={3: "r", 5: "c", 9: "f"})
    assert relabel(dataset, {"dog": "cat"}, None).frequencies == {3: "c", 9: "f"}
    assert relabel(dataset, {}, ["sheep"]).frequencies == {9: "f"}


@pytest.mark.parametrize(
    ("objects", "negative", "not_exhaustive", "expected"),
    [
        ((), (3, 5), (), ((3,), ())),  # no part is there
        ((), (3,), (), ((), ())),  # of one part nothing is known
        ((3,), (5,), (), ((), ())),  # all is known
        ((3,), (), (), ((), (3,))),  # there may be more of the other part
        ((3,), (5,), (3,), ((), (3,))),
        ((3, 5), (9,), (), ((9,), ())),
    ],
)
def test_of_a_joined_class_is_known_what_is_known_of_all_its_parts(
    objects: tuple[int, ...], negative: Any, not_exhaustive: Any, expected: tuple[Any, Any]
) -> None:
    record = record_of(1, *objects, federated=FederatedLabels(negative, not_exhaustive))
    (joined,) = relabel(dataset_of([record]), {"dog": "cat"}, None).records
    assert joined.federated == FederatedLabels(*expected)


PICTURE = SegmentPicture(Path("1.png"), {1: SegmentLabel(3), 2: SegmentLabel(9, True), 3: SegmentLabel(40)})
SEGMENT_CLASSES = SegmentClasses(Categories(("cat", "dog", "sheep"), (3, 5, 9)), Categories(("sky", "sea"), (40, 41)))


def test_segments_follow_their_classes() -> None:
    dataset = dataset_of([record_of(1, 3, segments=PICTURE)], segment_classes=SEGMENT_CLASSES)
    changed = relabel(dataset, {"sheep": "ewe", "sea": "sky"}, ["ewe"])
    assert changed.segment_classes == SegmentClasses(Categories(("ewe",), (9,)), Categories(("sky",), (40,)))
    assert changed.records[0].segments is not None
    assert changed.records[0].segments.segments == {2: SegmentLabel(9, True), 3: SegmentLabel(40)}


# joining


OTHER = {1: "horse", 3: "dog"}


def test_classes_are_united_by_name_and_keep_free_ids() -> None:
    joined = join_datasets([dataset_of([record_of(7, 9, 5)]), dataset_of([record_of(7, 3, 1)], OTHER, "b.json")])
    assert joined.categories == Categories(("cat", "dog", "sheep", "horse"), (3, 5, 9, 1))
    assert names_of(joined) == [["sheep", "dog"], ["dog", "horse"]]


def test_an_id_that_is_taken_is_replaced_by_one_above_all() -> None:
    joined = join_datasets([dataset_of([]), dataset_of([], {9: "horse", 5: "cow"}, "b.json")])
    assert joined.categories == Categories((*CLASSES.values(), "horse", "cow"), (3, 5, 9, 10, 11))


datasets = st.lists(
    st.tuples(
        st.permutations(["cat", "dog", "sheep", "horse"]),
        st.lists(st.lists(st.integers(0, 3), max_size=3), max_size=3),
        st.integers(0, 6),
    ).map(
        lambda drawn: dataset_of(
            [record_of(11 + n, *(drawn[2] + place for place in places)) for n, places in enumerate(drawn[1])],
            dict(enumerate(drawn[0], start=drawn[2])),
        )
    ),
    min_size=2,
    max_size=3,
)


@given(datasets)
def test_joining_keeps_every_image_and_the_names_of_its_objects(parts: list[Dataset]) -> None:
    joined = join_datasets(parts)
    assert names_of(joined) == [names for part in parts for names in names_of(part)]
    assert [record.path for record in joined.records] == [record.path for part in parts for record in part.records]
    assert [record.id for record in joined.records] == list(range(1, len(joined.records) + 1))
    annotations = joined.to_coco()["annotations"]
    assert [entry["id"] for entry in annotations] == list(range(1, len(annotations) + 1))
    assert all(entry["image_id"] == record.id for record in joined.records for entry in record.annotations)
    assert len(set(joined.categories.ids)) == len(joined.categories)
    assert all(record.federated is None for record in joined.records)  # all know the same four classes


def test_defects_are_reported_with_their_source_and_new_image() -> None:
    lost = Defect("bad-box", "annotation 4 of '7.png'", "bbox …", 7)
    gone = Defect("missing-image", "image 8 ('8.png')", "there is no file", 8)
    parts = [dataset_of([record_of(1)]), dataset_of([record_of(7)], source="b.json", defects=(lost, gone))]
    joined = join_datasets(parts)
    assert joined.source == "a.json, b.json"
    assert [(str(defect), defect.image_id) for defect in joined.defects] == [
        ("b.json: annotation 4 of '7.png': bbox …", 2),
        ("b.json: image 8 ('8.png'): there is no file", None),
    ]
    assert joined.skipped_lines() == [
        "left out of a.json, b.json: 2 defects (bad-box 1, missing-image 1)",
        "  bad-box: b.json: annotation 4 of '7.png': bbox …",
        "  missing-image: b.json: image 8 ('8.png'): there is no file",
    ]
    assert parts[0].skipped_lines() == []


@pytest.mark.parametrize("spelling", ["Sheep", "SHEEP", "she_ep", "she ep"])
def test_two_spellings_of_a_class_are_refused(spelling: str) -> None:
    parts = [dataset_of([]), dataset_of([], {1: spelling}, "b.json")]
    with pytest.raises(ConfigError, match=f"class '{spelling}' of b.json is spelt 'sheep' in a.json.*rename="):
        join_datasets(parts)
    assert len(join_datasets([parts[0], relabel(parts[1], {spelling: "sheep"}, None)]).categories) == 3


def test_spellings_that_one_dataset_tells_apart_are_two_classes() -> None:
    two = {1: "polish", 2: "Polish"}
    assert join_datasets([dataset_of([], two), dataset_of([], two, "b.json")]).categories.names == ("polish", "Polish")


def test_keypoints_must_have_the_same_names() -> None:
    named = dataset_of([], keypoint_names=("nose", "tail"))
    assert join_datasets([dataset_of([]), named, named]).keypoint_names == ("nose", "tail")
    with pytest.raises(ConfigError, match=r"keypoints of b\.json are tail, nose, those of a\.json nose, tail"):
        join_datasets([named, dataset_of([], source="b.json", keypoint_names=("tail", "nose"))])


def test_frequencies_stay_where_every_class_has_one() -> None:
    first = dataset_of([], frequencies={3: "r", 5: "f", 9: "c"})
    assert join_datasets([first, dataset_of([], {1: "cat"}, frequencies={1: "c"})]).frequencies == {
        3: "c", 5: "f", 9: "c",
    }  # fmt: skip
    assert join_datasets([first, dataset_of([], {1: "horse"})]).frequencies == {}


def test_segments_get_ids_that_are_nobody_elses() -> None:
    first = dataset_of([record_of(1, 3)], {3: "cat", 40: "dog"})
    second = dataset_of([record_of(1, 9, segments=PICTURE)], segment_classes=SEGMENT_CLASSES, source="b.json")
    joined = join_datasets([first, second])
    assert joined.categories == Categories(("cat", "dog", "sheep"), (3, 40, 9))
    assert joined.segment_classes == SegmentClasses(
        Categories(("cat", "dog", "sheep"), (3, 40, 9)), Categories(("sky", "sea"), (41, 42))
    )
    assert joined.records[0].segments is None
    assert joined.records[1].segments is not None
    assert joined.records[1].segments.segments == {1: SegmentLabel(3), 2: SegmentLabel(9, True), 3: SegmentLabel(41)}


# classes that were not searched for


def test_of_classes_that_only_another_dataset_has_nothing_is_known_and_nothing_is_scored() -> None:
    joined = join_datasets([dataset_of([record_of(1, 5), record_of(2)]), dataset_of([record_of(1, 1)], OTHER, "b")])
    assert [record.federated for record in joined.records] == [
        FederatedLabels((3, 9), ()), FederatedLabels((3, 5, 9), ()), FederatedLabels((5,), ()),
    ]  # fmt: skip
    results = [{"image_id": image, "category_id": id_} for image in (1, 3) for id_ in (1, 3, 5, 9)]
    scored = [(entry["image_id"], entry["category_id"]) for entry in joined.scorable_results(results)]
    assert scored == [(1, 3), (1, 5), (1, 9), (3, 1), (3, 5)]


def test_labels_of_federated_data_keep_their_meaning() -> None:
    record = record_of(1, 3, federated=FederatedLabels((5,), (3,)))
    joined = join_datasets([dataset_of([], {5: "wolf"}, "b.json"), dataset_of([record])])
    assert joined.categories.ids == (5, 3, 6, 9)
    assert joined.records[0].federated == FederatedLabels((6,), (3,))


def test_where_all_classes_were_looked_for_every_result_is_scored() -> None:
    results = [{"image_id": 1, "category_id": id_} for id_ in (3, 5)]
    assert dataset_of([record_of(1)]).scorable_results(results) == results

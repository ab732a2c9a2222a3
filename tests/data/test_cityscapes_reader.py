"""Both readers of Cityscapes: the pictures of instances and the polygons give the same objects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask

from maskwright.config.cityscapes_labels import LABELS, STUFF, THINGS
from maskwright.data.readers import read_dataset, read_with_defects
from maskwright.data.readers.cityscapes import instance_picture_of
from maskwright.data.record import Dataset
from maskwright.errors import DataError

SIZE = (40, 60)
FRAME = "ulm/ulm_000000_000019"
LABEL_OF_NAME = {label.name: label for label in LABELS}
CAR, PERSON = 26, 24

Entry = dict[str, Any]


def square(label: str, left: float, top: float, side: float = 10, **changes: Any) -> Entry:
    right, bottom = left + side, top + side
    return {"label": label, "polygon": [[left, top], [right, top], [right, bottom], [left, bottom]], **changes}


# in the order in which they are painted
SCENE = [
    square("road", 0, 0, 59),
    square("car", 5, 5, 20),
    square("car", 30, 5),
    square("persongroup", 12, 12, 6),
    square("license plate", 32, 7, 2),
    square("pole", 20, 0, 3),
    square("caravan", 34, 9, 4),
    square("rider", 50, 30, 12),
    square("bus", 0, 30, deleted=1),
    square("unlabeled", 30, 14, 3),
    square("train", 50, 10, 5),
    square("trailer", 49, 9, 8),
]


def pictures_of(entries: list[Entry]) -> tuple[Image.Image, Image.Image]:
    """The pictures of instances and of classes, painted as the dataset's authors describe theirs."""
    instances, classes = Image.new("I", SIZE[::-1]), Image.new("L", SIZE[::-1])
    counts = dict.fromkeys(LABEL_OF_NAME, 0)
    for entry in entries:
        name = entry["label"]
        is_group = name not in LABEL_OF_NAME
        label = LABEL_OF_NAME[name.removesuffix("group") if is_group else name]
        if entry.get("deleted"):
            continue
        value = label.id
        if label.has_instances and not is_group:
            value = 1000 * label.id + counts[name]
            counts[name] += 1
        if value >= 0:
            points = [tuple(point) for point in entry["polygon"]]
            ImageDraw.Draw(instances).polygon(points, fill=value)
            ImageDraw.Draw(classes).polygon(points, fill=label.id)
    return instances, classes


def write(folder: Path, entries: list[Entry], frame: str = FRAME) -> None:
    image = folder / "leftImg8bit" / "val" / f"{frame}_leftImg8bit.png"
    truth = folder / "gtFine" / "val" / f"{frame}_gtFine_"
    for path in (image, truth):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", SIZE[::-1]).save(image)
    instances, classes = pictures_of(entries)
    Image.fromarray(np.array(instances).astype(np.uint16)).save(f"{truth}instanceIds.png")
    classes.save(f"{truth}labelIds.png")
    document = {"imgHeight": SIZE[0], "imgWidth": SIZE[1], "objects": entries}
    Path(f"{truth}polygons.json").write_text(json.dumps(document))


def read(folder: Path, format_: str) -> Dataset:
    return read_with_defects(folder / "leftImg8bit" / "val", folder / "gtFine" / "val", format_)


def truth_of(folder: Path, ending: str) -> Path:
    return folder / "gtFine" / "val" / f"{FRAME}_gtFine_{ending}"


def described(dataset: Dataset) -> set[tuple[int, int, str]]:
    """Objects of all images together, in no order; a class's groups as one, since in a picture they are one."""
    found: set[tuple[int, int, str]] = set()
    crowds: dict[int, list[Any]] = {}
    for record in dataset.records:
        for annotation in record.annotations:
            if annotation["iscrowd"]:
                crowds.setdefault(annotation["category_id"], []).append(annotation["segmentation"])
            else:
                found.add((annotation["category_id"], 0, annotation["segmentation"]["counts"]))
    return found | {(id_, 1, coco_mask.merge(parts)["counts"].decode()) for id_, parts in crowds.items()}


def test_the_table_has_eight_things_and_eleven_kinds_of_stuff() -> None:
    assert [label.id for label in THINGS] == [24, 25, 26, 27, 28, 31, 32, 33]
    assert [label.id for label in STUFF] == [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23]
    assert sorted(label.train_id for label in (*THINGS, *STUFF)) == list(range(19))
    assert len({label.name for label in LABELS}) == len({label.id for label in LABELS}) == len(LABELS) == 35


def test_the_table_is_that_of_the_official_scripts() -> None:
    official = pytest.importorskip("cityscapesscripts.helpers.labels", reason="needs cityscapesscripts")
    ours = [
        (label.name, label.id, label.train_id, label.has_instances, label.ignored_in_evaluation) for label in LABELS
    ]
    assert ours == [
        (label.name, label.id, label.trainId, label.hasInstances, label.ignoreInEval) for label in official.labels
    ]


@pytest.mark.parametrize("format_", ["cityscapes", "cityscapes_polygons"])
def test_objects_are_what_is_seen_of_them(tmp_path: Path, format_: str) -> None:
    write(tmp_path, SCENE)
    dataset = read(tmp_path, format_)
    assert dataset.defects == ()
    (record,) = dataset.records
    assert (record.id, record.size, record.path.name) == (1, SIZE, "ulm_000000_000019_leftImg8bit.png")
    values = np.array(pictures_of(SCENE)[0])
    # a train hides under a trailer, the bus was deleted, caravans and trailers are not evaluated
    shown = {(CAR, 0): [26000, 26001], (PERSON, 1): [24], (25, 0): [25000]}
    expected = {
        (*kind, coco_mask.encode(np.asfortranarray(values == value, dtype=np.uint8))["counts"].decode())
        for kind, found in shown.items()
        for value in found
    }
    assert described(dataset) == expected
    for annotation in record.annotations:
        assert annotation["area"] == coco_mask.area(annotation["segmentation"])
        assert annotation["bbox"] == coco_mask.toBbox(annotation["segmentation"]).tolist()


POINTS = st.lists(st.tuples(st.integers(-5, 65), st.integers(-5, 45)), min_size=3, max_size=6)
NAMES = st.sampled_from(["car", "cargroup", "person", "persongroup", "road", "static", "trailer", "license plate"])


@given(scene=st.lists(st.builds(lambda name, points: {"label": name, "polygon": points}, NAMES, POINTS), max_size=8))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_both_readers_find_the_same_objects(tmp_path: Path, scene: list[Entry]) -> None:
    write(tmp_path, scene)
    from_pictures, from_polygons = read(tmp_path, "cityscapes"), read(tmp_path, "cityscapes_polygons")
    assert from_pictures.defects == ()
    assert {defect.kind for defect in from_polygons.defects} <= {"empty-mask"}
    assert described(from_pictures) == described(from_polygons)


@pytest.mark.parametrize("format_", ["cityscapes", "cityscapes_polygons"])
def test_segments_are_the_19_classes_of_the_picture_of_classes(tmp_path: Path, format_: str) -> None:
    write(tmp_path, SCENE)
    dataset = read(tmp_path, format_)
    assert dataset.categories.ids == tuple(label.id for label in THINGS)
    segments, classes = dataset.records[0].segments, dataset.segment_classes
    assert segments is not None
    assert classes is not None
    assert len(classes.things) + len(classes.stuff) == 19
    outputs = {label.id: label.train_id for label in (*THINGS, *STUFF)}
    train_id = np.full(256, 255)
    train_id[list(outputs)] = list(outputs.values())
    assert (segments.semantic(SIZE, outputs).numpy() == train_id[np.array(pictures_of(SCENE)[1])]).all()


def test_the_picture_of_instances_of_a_record_is_found_from_either_reader(tmp_path: Path) -> None:
    write(tmp_path, SCENE)
    picture = truth_of(tmp_path, "instanceIds.png")
    for format_ in ("cityscapes", "cityscapes_polygons"):
        assert instance_picture_of(read(tmp_path, format_).records[0]) == picture
    truth_of(tmp_path, "labelIds.png").unlink()
    (record,) = read(tmp_path, "cityscapes_polygons").records
    assert record.segments is None
    assert instance_picture_of(record) == picture
    picture.unlink()
    with pytest.raises(DataError, match=r"no picture of instances .*_gtFine_instanceIds.png"):
        instance_picture_of(record)


def test_images_are_numbered_by_city_and_frame(tmp_path: Path) -> None:
    for frame in (FRAME, "aachen/aachen_000001_000019", "aachen/aachen_000000_000019"):
        write(tmp_path, SCENE, frame)
    names = [record.path.name[:13] for record in read(tmp_path, "cityscapes").records]
    assert names == ["aachen_000000", "aachen_000001", "ulm_000000_00"]


def test_coarse_annotations_are_read_alike(tmp_path: Path) -> None:
    write(tmp_path, SCENE)
    fine = described(read(tmp_path, "cityscapes"))
    for path in sorted((tmp_path / "gtFine" / "val" / "ulm").iterdir()):
        path.rename(path.with_name(path.name.replace("gtFine", "gtCoarse")))
    dataset = read(tmp_path, "cityscapes")
    assert described(dataset) == fine
    assert instance_picture_of(dataset.records[0]).name.endswith("_gtCoarse_instanceIds.png")


@pytest.mark.parametrize(
    ("format_", "ending"), [("cityscapes", "instanceIds.png"), ("cityscapes_polygons", "polygons.json")]
)
def test_files_without_a_counterpart_are_defects(tmp_path: Path, format_: str, ending: str) -> None:
    for frame in (FRAME, "ulm/ulm_000001_000019", "ulm/ulm_000002_000019"):
        write(tmp_path, SCENE, frame)
    truth_of(tmp_path, ending).unlink()
    (tmp_path / "leftImg8bit" / "val" / "ulm" / "ulm_000001_000019_leftImg8bit.png").unlink()
    dataset = read(tmp_path, format_)
    assert [record.path.name for record in dataset.records] == ["ulm_000002_000019_leftImg8bit.png"]
    without_file, without_image = dataset.defects
    assert (without_file.kind, without_image.kind) == ("missing-annotation", "missing-image")
    assert "ulm_000000_000019_leftImg8bit.png" in without_file.where
    assert without_image.where.endswith(f"ulm_000001_000019_gtFine_{ending}")


@pytest.mark.parametrize("format_", ["cityscapes", "cityscapes_polygons"])
def test_annotations_of_another_size_spoil_their_image(tmp_path: Path, format_: str) -> None:
    write(tmp_path, SCENE)
    Image.new("RGB", SIZE).save(tmp_path / "leftImg8bit" / "val" / f"{FRAME}_leftImg8bit.png")
    dataset = read(tmp_path, format_)
    (defect,) = dataset.defects
    assert (defect.kind, defect.image_id, dataset.records) == ("size-mismatch", 1, ())
    assert "is for 60 × 40 pixels (width × height), its image has 40 × 60" in defect.message


def test_a_value_of_no_class_is_reported_and_the_rest_read(tmp_path: Path) -> None:
    write(tmp_path, SCENE)
    path = truth_of(tmp_path, "instanceIds.png")
    values = np.array(Image.open(path))
    values[0, :2] = 40_003, 60
    Image.fromarray(values).save(path)
    dataset = read(tmp_path, "cityscapes")
    assert [str(defect) for defect in dataset.defects] == [
        f"ulm_000000_000019_gtFine_instanceIds.png: value {value}: there is no class with id {id_} in Cityscapes"
        for value, id_ in ((60, 60), (40_003, 40))
    ]
    assert len(dataset.records[0].annotations) == 4


def test_a_broken_picture_leaves_its_image_out(tmp_path: Path) -> None:
    write(tmp_path, SCENE)
    path = truth_of(tmp_path, "instanceIds.png")
    path.write_bytes(path.read_bytes()[:60])
    dataset = read(tmp_path, "cityscapes")
    (defect,) = dataset.defects
    assert path.name in defect.message
    assert dataset.records == ()


@pytest.mark.parametrize(
    ("entry", "field", "kind", "message"),
    [
        (square("spaceship", 0, 0), ".label", "unknown-label", "no class 'spaceship' in Cityscapes"),
        (square("spacegroup", 0, 0), ".label", "unknown-label", "no class 'spacegroup'"),
        ({"polygon": [[0, 0], [1, 1], [2, 0]]}, ".label", "unknown-label", "no class None"),
        ({"label": "car"}, ".polygon", "bad-polygon", "None is not a list of at least 3 points"),
        ({"label": "car", "polygon": [[0, 0], [4, 4]]}, ".polygon", "bad-polygon", "at least 3 points"),
        ({"label": "sky", "polygon": [[0, 0], [4, 4], [4]]}, ".polygon", "bad-polygon", "point 2 is [4]"),
        ({"label": "car", "polygon": [[0, 0], [4, 4], [float("nan"), 0]]}, ".polygon", "bad-polygon", "point 2 is"),
        ({"label": "car", "polygon": [[0, 0], [4, 4], [10**400, 0]]}, ".polygon", "bad-polygon", "point 2 is"),
        (square("car", 70, 0), ".polygon", "empty-mask", "wholly outside the image, which is 60 wide and 40 high"),
        (7, "", "bad-annotation", "7 is no object with 'label' and 'polygon'"),
    ],
)
def test_a_bad_object_is_reported_with_its_file_and_field(
    tmp_path: Path, entry: Any, field: str, kind: str, message: str
) -> None:
    write(tmp_path, SCENE)
    path = truth_of(tmp_path, "polygons.json")
    document = json.loads(path.read_text())
    document["objects"].insert(3, entry)
    path.write_text(json.dumps(document))
    dataset = read(tmp_path, "cityscapes_polygons")
    (defect,) = dataset.defects
    assert (defect.kind, defect.where) == (kind, f"{path.name}: objects[3]{field}")
    assert message in defect.message
    assert len(dataset.records[0].annotations) == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [('{"objects": [', "broken JSON at line 1"), ("[]", "has no list 'objects'"), ('{"objects": 3}', "no list")],
)
def test_a_file_that_is_not_cityscapes_json_leaves_its_image_out(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path, SCENE)
    write(tmp_path, SCENE, "ulm/ulm_000001_000019")
    truth_of(tmp_path, "polygons.json").write_text(text)
    dataset = read(tmp_path, "cityscapes_polygons")
    (defect,) = dataset.defects
    assert (defect.kind, defect.where) == ("broken-json", "ulm_000000_000019_gtFine_polygons.json")
    assert message in defect.message
    assert [record.path.name for record in dataset.records] == ["ulm_000001_000019_leftImg8bit.png"]


def test_folders_without_such_files_are_refused(tmp_path: Path) -> None:
    write(tmp_path, SCENE)
    images, truth = tmp_path / "leftImg8bit", tmp_path / "gtFine"
    with pytest.raises(DataError, match=r"no image \*_leftImg8bit.png in .*gtFine; give a folder like leftImg8bit/val"):
        read_dataset(truth, truth, "cityscapes")
    with pytest.raises(DataError, match=r"no file \*_gtFine_polygons.json in .*leftImg8bit; give a folder like gtFine"):
        read_dataset(images, images, "cityscapes_polygons")

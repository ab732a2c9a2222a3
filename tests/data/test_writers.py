"""Writing datasets: what comes back through each kind's reader, and what is reported to be lost."""

from __future__ import annotations

import json
from pathlib import Path

import hotcoco.mask
import numpy as np
import pytest
from PIL import Image

from maskwright.data.readers import READERS, read_dataset
from maskwright.data.readers.options import ReadOptions
from maskwright.data.record import Dataset, FederatedLabels, ImageRecord
from maskwright.data.segment_picture import SegmentClasses, SegmentLabel, SegmentPicture
from maskwright.data.writers import WRITERS, write_dataset
from maskwright.errors import DataError, OutputError
from maskwright.structures import Categories
from maskwright.structures.masks.crop import Crop
from maskwright.structures.masks.rle import any_to_rle, crop_to_rle

SIZE = (60, 80)
CATEGORIES = Categories(("cat", "red cell", "Straße"), (3, 7, 12))
# a picture of all objects shows only the upper of two that overlap
PAINTED = {"voc", "id_maps", "coco_panoptic"}
LABELS_ONLY = {"id_maps"}


def boxes_mask(*boxes):
    """Rectangles x1 y1 x2 y2 on top of each other, in turn foreground and hole."""
    pixels = np.zeros(SIZE, dtype=bool)
    for sign, (x1, y1, x2, y2) in boxes:
        pixels[y1:y2, x1:x2] = sign
    return pixels


SHAPES = {
    "ring": boxes_mask((True, (2, 2, 22, 22)), (False, (6, 6, 12, 12)), (False, (14, 14, 15, 15))),
    "three parts": boxes_mask((True, (30, 2, 40, 10)), (True, (45, 5, 55, 9)), (True, (33, 15, 36, 30))),
    "island in a hole": boxes_mask((True, (2, 30, 22, 50)), (False, (5, 33, 18, 47)), (True, (9, 38, 13, 42))),
    "one pixel": boxes_mask((True, (25, 25, 26, 26))),
    "corner": boxes_mask((True, (70, 50, 80, 60))),
    "left border": boxes_mask((True, (0, 52, 9, 60)), (False, (3, 54, 6, 60))),
    "diagonal": np.pad(np.eye(8, dtype=bool), ((50, 2), (50, 22))),
}
OVERLAPPING = {"large": boxes_mask((True, (58, 10, 78, 30))), "small": boxes_mask((True, (60, 20, 66, 40)))}


def annotation(pixels, category_id, **details):
    rle = crop_to_rle(Crop(pixels, 0, 0), SIZE)
    box = [float(side) for side in hotcoco.mask.to_bbox(rle)]
    return {"category_id": category_id, "segmentation": rle, "bbox": box, "iscrowd": 0, **details}


def save_image(path, size=SIZE):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(len(path.name)).integers(0, 255, (*size, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def dataset(tmp_path) -> Dataset:
    """An image with everything that is hard to write, one without objects in a folder of its own, and an overlap."""
    shapes = tuple(annotation(pixels, CATEGORIES.ids[k % 3]) for k, pixels in enumerate(SHAPES.values()))
    overlap = tuple(annotation(pixels, 7) for pixels in OVERLAPPING.values())
    records = (
        ImageRecord(1, save_image(tmp_path / "source" / "all.png"), SIZE, shapes),
        ImageRecord(2, save_image(tmp_path / "source" / "night" / "empty.png"), SIZE, ()),
        ImageRecord(5, save_image(tmp_path / "source" / "night" / "two.png"), SIZE, overlap),
    )
    return Dataset(records, CATEGORIES, "synthetic", ())


def objects(dataset: Dataset) -> dict[str, list[tuple[str, str]]]:
    """Name of an image → (class, run lengths) of its objects."""
    names = dict(zip(dataset.categories.ids, dataset.categories.names, strict=True))
    return {
        record.path.stem: sorted(
            (names[one["category_id"]], any_to_rle(one["segmentation"], record.size)["counts"])
            for one in record.annotations
        )
        for record in dataset.records
    }


def round_trip(dataset, target, kind, **options):
    made = write_dataset(dataset, target, kind, **options)
    back = read_dataset(made.images, made.annotations, kind)
    assert back.defects == ()
    return made, back


@pytest.mark.parametrize("kind", sorted(WRITERS))
def test_holes_parts_and_single_pixels_come_back_exactly(dataset, tmp_path, kind):
    _, back = round_trip(dataset, tmp_path / "out", kind)
    wanted, found = objects(dataset), objects(back)
    if kind in LABELS_ONLY:
        wanted, found = ({k: sorted(rle for _, rle in v) for k, v in each.items()} for each in (wanted, found))
    assert found["all"] == wanted["all"]
    assert found["empty"] == []
    if kind not in PAINTED:
        assert found["two"] == wanted["two"]


@pytest.mark.parametrize("kind", sorted(PAINTED))
def test_pixels_under_other_objects_are_counted(dataset, tmp_path, kind):
    made, back = round_trip(dataset, tmp_path / "out", kind)
    overlap = np.logical_and(*OVERLAPPING.values()).sum()
    assert f"{overlap} pixels of objects, under smaller objects that overlap them" in made.left_out.lines()
    areas = sorted(hotcoco.mask.area(any_to_rle(one["segmentation"], SIZE)) for one in back.records[-1].annotations)
    assert areas == sorted([OVERLAPPING["small"].sum(), OVERLAPPING["large"].sum() - overlap])


@pytest.mark.parametrize("kind", ["coco", "lvis", "yolo"])
def test_formats_with_a_list_of_classes_keep_their_order(dataset, tmp_path, kind):
    assert round_trip(dataset, tmp_path / "out", kind)[1].categories.names == CATEGORIES.names


@pytest.mark.parametrize("kind", sorted(set(WRITERS) - {"id_maps"}))
def test_nothing_is_lost_of_plain_objects(dataset, tmp_path, kind):
    plain = Dataset(dataset.records[:1], CATEGORIES, "plain", ())
    assert round_trip(plain, tmp_path / "out", kind)[0].left_out.lines() == []


@pytest.mark.parametrize("kind", sorted(WRITERS))
def test_real_nuclei_come_back_but_for_what_is_reported(shared, tmp_path, kind):
    whole = read_dataset(shared / "data/nuclei/val", shared / "data/nuclei/val.json")
    some = Dataset(tuple(sorted(whole.records, key=lambda one: len(one.annotations))[-6:-3]), whole.categories, "n", ())
    made, back = round_trip(some, tmp_path / "out", kind, images="link")
    left_out = sum(n for what, n in made.left_out.counts.items() if not what.startswith("objects' classes"))
    wanted, found = ([rle for v in objects(each).values() for _, rle in v] for each in (some, back))
    assert len(set(wanted) - set(found)) <= left_out
    assert len(wanted) - len(found) <= left_out


def test_every_writer_has_a_reader():
    assert set(WRITERS) <= set(READERS)


def special(tmp_path, **details):
    """An image with one plain object and one that is special."""
    objects = (annotation(SHAPES["ring"], 3), annotation(SHAPES["corner"], 7, **details))
    return Dataset((ImageRecord(1, save_image(tmp_path / "in" / "a.png"), SIZE, objects),), CATEGORIES, "special", ())


@pytest.mark.parametrize("kind", sorted(set(WRITERS) - {"coco", "labelme", "coco_panoptic"}))
def test_crowds_never_become_objects_and_are_counted(tmp_path, kind):
    made, back = round_trip(special(tmp_path, iscrowd=1), tmp_path / "out", kind)
    assert len(back.records[0].annotations) == 1
    assert any(line.startswith("1 crowds") for line in made.left_out.lines())


@pytest.mark.parametrize("kind", ["coco", "labelme", "coco_panoptic"])
def test_crowds_stay_crowds(tmp_path, kind):
    made, back = round_trip(special(tmp_path, iscrowd=1), tmp_path / "out", kind)
    assert sorted(one["iscrowd"] for one in back.records[0].annotations) == [0, 1]
    assert not any("crowds" in line for line in made.left_out.lines())


@pytest.mark.parametrize("kind", sorted(WRITERS))
def test_marks_of_difficult_objects_are_kept_or_counted(tmp_path, kind):
    made, back = round_trip(special(tmp_path, difficult=1), tmp_path / "out", kind)
    is_kept = any(one.get("difficult") for one in back.records[0].annotations)
    assert is_kept == (kind in {"coco", "lvis", "voc", "labelme"})
    assert is_kept != any("difficult" in line for line in made.left_out.lines())


@pytest.mark.parametrize("kind", sorted(WRITERS))
def test_keypoints_are_kept_or_counted(tmp_path, kind):
    made, back = round_trip(special(tmp_path, keypoints=[75, 55, 2], num_keypoints=1), tmp_path / "out", kind)
    is_kept = any(one.get("keypoints") for one in back.records[0].annotations)
    assert is_kept == (kind in {"coco", "lvis"})
    assert is_kept != any("keypoints" in line for line in made.left_out.lines())


def test_keypoint_names_are_written(tmp_path):
    named = special(tmp_path, keypoints=[75, 55, 2])
    named = Dataset(named.records, named.categories, "named", (), ("nose",))
    assert round_trip(named, tmp_path / "out", "coco")[1].keypoint_names == ("nose",)


@pytest.mark.parametrize("kind", ["coco", "lvis", "voc", "yolo"])
def test_objects_with_a_box_alone_keep_it(tmp_path, kind):
    boxes = special(tmp_path)
    one = {"category_id": 7, "bbox": [10.0, 20.0, 30.5, 12.25], "iscrowd": 0}
    boxes = Dataset((ImageRecord(1, boxes.records[0].path, SIZE, (one,)),), CATEGORIES, "boxes", ())
    made = write_dataset(boxes, tmp_path / "out", kind)
    back = read_dataset(made.images, made.annotations, kind, options=ReadOptions(needs_masks=False))
    assert back.records[0].annotations[0]["bbox"] == pytest.approx(one["bbox"], abs=1e-3)
    assert not any("mask" in line for line in made.left_out.lines())


@pytest.mark.parametrize("kind", ["masks", "id_maps", "coco_panoptic", "labelme"])
def test_objects_with_a_box_alone_are_counted(tmp_path, kind):
    boxes = special(tmp_path)
    one = {"category_id": 7, "bbox": [10.0, 20.0, 30.5, 12.25], "iscrowd": 0}
    mixed = Dataset(
        (ImageRecord(1, boxes.records[0].path, SIZE, (*boxes.records[0].annotations, one)),), CATEGORIES, "b", ()
    )
    made = write_dataset(mixed, tmp_path / "out", kind)
    assert any(line.startswith("1 objects without a mask") for line in made.left_out.lines())


def test_more_objects_than_eight_bits_number_are_void_in_voc(tmp_path):
    pixels = [
        boxes_mask((True, (2 * (k % 40), 2 * (k // 40), 2 * (k % 40) + 1, 2 * (k // 40) + 1))) for k in range(260)
    ]
    record = ImageRecord(1, save_image(tmp_path / "in" / "a.png"), SIZE, tuple(annotation(one, 7) for one in pixels))
    made, back = round_trip(Dataset((record,), CATEGORIES, "many", ()), tmp_path / "out", "voc")
    assert len(back.records[0].annotations) == 254
    assert "6 objects after the 254th of their image, now void" in made.left_out.lines()
    picture = np.asarray(Image.open(tmp_path / "out" / "SegmentationObject" / "a.png"))
    assert np.count_nonzero(picture == 255) == 6


def test_lvis_says_which_classes_an_image_has_none_of(dataset, tmp_path):
    crowded = ImageRecord(9, dataset.records[0].path, SIZE, (annotation(SHAPES["ring"], 3, iscrowd=1),))
    partly = ImageRecord(10, dataset.records[2].path, SIZE, (), federated=FederatedLabels((12,), (3,)))
    _, back = round_trip(
        Dataset((crowded, partly), CATEGORIES, "l", (), frequencies={3: "f"}, is_lvis=True), tmp_path / "out", "lvis"
    )
    assert [one.federated for one in back.records] == [FederatedLabels((7, 12), (3,)), FederatedLabels((12,), (3,))]
    assert back.frequencies == {3: "f", 7: "r", 12: "r"}


def test_panoptic_pictures_keep_stuff(tmp_path):
    ids = np.full(SIZE, 11_000, dtype=np.uint16)
    ids[:10], ids[50:] = 0, 26_001
    (tmp_path / "in").mkdir()
    Image.fromarray(ids).save(tmp_path / "in" / "ids.png")
    labels = {0: SegmentLabel(20), 11_000: SegmentLabel(21), 26_001: SegmentLabel(3)}
    picture = SegmentPicture(tmp_path / "in" / "ids.png", labels, "values")
    record = ImageRecord(4, save_image(tmp_path / "in" / "a.png"), SIZE, (annotation(ids == 26_001, 3),), picture)
    classes = SegmentClasses(CATEGORIES, Categories(("road", "sky"), (20, 21)))
    whole = Dataset((record,), CATEGORIES, "panoptic", (), segment_classes=classes)
    _, back = round_trip(whole, tmp_path / "out", "coco_panoptic")
    outputs = {3: 0, 20: 1, 21: 2}
    assert back.segment_classes == classes
    assert back.records[0].segments.semantic(SIZE, outputs).tolist() == picture.semantic(SIZE, outputs).tolist()
    assert (
        "1 images' pictures of stuff and things, left out"
        in write_dataset(whole, tmp_path / "coco", "coco").left_out.lines()
    )


def test_images_are_copied_linked_or_left(dataset, tmp_path):
    for how, is_link in (("copy", False), ("link", True)):
        made = write_dataset(dataset, tmp_path / how, "yolo", how)
        path = made.images / "night" / "two.png"
        assert path.is_symlink() == is_link
        assert path.read_bytes() == dataset.records[2].path.read_bytes()
    made = write_dataset(dataset, tmp_path / "none", "yolo", "none")
    assert made.images == tmp_path / "source"
    assert not (tmp_path / "none" / "images").exists()
    labels = tmp_path / "none" / "labels"
    assert objects(read_dataset(made.images, labels, "yolo")) == objects(dataset)


def test_images_that_would_share_an_annotation_file_get_names_of_their_own(tmp_path):
    paths = [save_image(tmp_path / "in" / name) for name in ("a.png", "a.bmp", "a_1.png", "A.tif", "a_4/b.png")]
    shapes = list(SHAPES.values())
    records = tuple(ImageRecord(k, path, SIZE, (annotation(shapes[k], 7),)) for k, path in enumerate(paths, 1))
    twins = Dataset(records, CATEGORIES, "twins", ())
    _, back = round_trip(twins, tmp_path / "out", "masks")
    found = {one.path.relative_to(tmp_path / "out/images").as_posix() for one in back.records}
    assert found == {"a_1_.png", "a_2.bmp", "a_1.png", "A_4_.tif", "a_4/b.png"}
    with pytest.raises(DataError, match="copy or link"):
        write_dataset(twins, tmp_path / "none", "masks", "none")


def test_names_never_lead_out_of_the_new_folder(tmp_path):
    inside, outside = save_image(tmp_path / "in" / "deep" / "a.png"), save_image(tmp_path / "in" / "b.png")
    paths = [inside, inside.parent / ".." / outside.name]
    records = tuple(ImageRecord(k, path, SIZE, ()) for k, path in enumerate(paths))
    made = write_dataset(Dataset(records, CATEGORIES, "dots", ()), tmp_path / "out", "coco")
    assert sorted(str(path.relative_to(made.images)) for path in made.images.rglob("*.png")) == ["b.png", "deep/a.png"]


def test_a_folder_with_something_in_it_is_refused(dataset, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("precious")
    with pytest.raises(OutputError, match="not empty"):
        write_dataset(dataset, tmp_path / "out", "coco")
    assert (tmp_path / "out" / "mine.txt").read_text() == "precious"


def test_an_empty_folder_is_filled(dataset, tmp_path):
    (tmp_path / "out").mkdir()
    assert write_dataset(dataset, tmp_path / "out", "coco").annotations.is_file()


def test_nothing_is_left_of_a_conversion_that_failed(dataset, tmp_path):
    dataset.records[2].path.unlink()
    with pytest.raises(DataError, match="is gone since"):
        write_dataset(dataset, tmp_path / "out", "coco")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_two_conversions_into_one_folder_do_not_mix(dataset, tmp_path):
    (tmp_path / "out.unfinished").mkdir()
    with pytest.raises(OutputError, match="another conversion"):
        write_dataset(dataset, tmp_path / "out", "coco")
    assert (tmp_path / "out.unfinished").is_dir()


@pytest.mark.parametrize("kind", ["yolo", "labelme", "voc", "masks"])
def test_classes_with_one_name_are_refused_where_the_name_is_all_there_is(tmp_path, kind):
    twins = Dataset(special(tmp_path).records, Categories(("N/A", "N/A"), (3, 7)), "twins", ())
    with pytest.raises(DataError, match="several categories are called 'N/A'"):
        write_dataset(twins, tmp_path / "out", kind)


def test_a_class_that_can_be_no_folder_is_refused(tmp_path):
    odd = Dataset(special(tmp_path).records, Categories(("a/b", "c"), (3, 7)), "odd", ())
    with pytest.raises(DataError, match="'a/b' cannot be the name of a folder"):
        write_dataset(odd, tmp_path / "out", "masks")


def test_unknown_formats_are_refused(dataset, tmp_path):
    with pytest.raises(DataError, match="choose one of coco"):
        write_dataset(dataset, tmp_path / "out", "hdf5")


def test_coco_keeps_polygons_as_they_were_drawn(tmp_path):
    path = save_image(tmp_path / "in" / "a.png")
    polygon = [10.5, 10.25, 30, 12, 20, 40.125]
    one = {"id": 44, "category_id": 3, "segmentation": [polygon], "bbox": [10.5, 10.25, 19.5, 29.875], "colour": "red"}
    plain = Dataset((ImageRecord(1, path, SIZE, (one,)),), CATEGORIES, "polygon", ())
    made = write_dataset(plain, tmp_path / "out", "coco")
    written = json.loads(Path(made.annotations).read_text())["annotations"][0]
    assert {key: written[key] for key in one} == one
    assert written["image_id"] == 1
    assert written["area"] == pytest.approx(300, abs=20)

"""Pictures whose values number the objects of an image become masks."""

from __future__ import annotations

from pathlib import Path

import hotcoco.mask as coco_mask
import numpy as np
import pytest
from PIL import Image, ImageFilter

from maskwright.data.readers import read_dataset, read_with_defects
from maskwright.data.readers.id_maps import SUFFIXES
from maskwright.data.readers.options import ReadOptions
from maskwright.data.record import Dataset
from maskwright.errors import DataError

SIZE = (6, 8)
IDS = np.zeros(SIZE, dtype=np.uint16)
IDS[0:2, 0:3], IDS[3:6, 4:8], IDS[5, 0] = 7, 300, 7


def save(path: Path, values: np.ndarray = IDS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, values)
    else:
        Image.fromarray(values).save(path)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """One image, `images/a.jpg`, and an empty folder `maps`."""
    save(tmp_path / "images" / "a.jpg", np.zeros((*SIZE, 3), dtype=np.uint8))
    (tmp_path / "maps").mkdir()
    return tmp_path


def read(root: Path, maps: str = "maps") -> Dataset:
    return read_with_defects(root / "images", root / maps, "id_maps")


def has_both_objects(dataset: Dataset) -> bool:
    assert dataset.defects == ()
    assert dataset.categories.names == ("object",)
    (record,) = dataset.records
    return [coco_mask.decode(found["segmentation"]).tolist() for found in record.annotations] == [
        (id_ == IDS).astype(int).tolist() for id_ in (7, 300)
    ]


@pytest.mark.parametrize("suffix", ["", *SUFFIXES])
@pytest.mark.parametrize("ending", [".png", ".tif", ".npy"])
def test_every_value_above_zero_is_an_object(root: Path, suffix: str, ending: str) -> None:
    save(root / "maps" / f"a{suffix}{ending}")
    assert has_both_objects(read(root))


def test_colours_are_ids(root: Path) -> None:
    save(root / "maps" / "a.png", np.dstack([IDS & 255, IDS >> 8, IDS & 0]).astype(np.uint8))
    assert has_both_objects(read(root))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_with_a_suffix_maps_may_lie_among_the_images(root: Path, suffix: str) -> None:
    save(root / "images" / f"a{suffix}.png")
    assert has_both_objects(read(root, "images"))


def test_cellposes_session_file_counts_only_where_its_masks_are_not_exported(root: Path) -> None:
    save(root / "images" / "a_cp_masks.png")
    np.save(root / "images" / "a_seg.npy", np.array({"masks": IDS * 0}, dtype=object))
    assert has_both_objects(read(root, "images"))
    (root / "images" / "a_cp_masks.png").unlink()
    np.save(root / "images" / "a_seg.npy", np.array({"masks": IDS}, dtype=object))
    assert has_both_objects(read(root, "images"))


def test_an_image_whose_own_name_ends_like_a_map_is_an_image(root: Path) -> None:
    save(root / "images" / "a_mask.jpg", np.zeros((*SIZE, 3), dtype=np.uint8))
    save(root / "maps" / "a_labels.png")
    save(root / "maps" / "a_mask.png", IDS * 0)
    dataset = read(root)
    assert dataset.defects == ()
    assert [(record.path.name, len(record.annotations)) for record in dataset.records] == [
        ("a.jpg", 2),
        ("a_mask.jpg", 0),  # a picture of zeros makes a negative example
    ]


def test_images_in_folders_have_their_maps_in_folders_alike(root: Path) -> None:
    (root / "images" / "day").mkdir()
    (root / "images" / "a.jpg").rename(root / "images" / "day" / "a.jpg")
    save(root / "maps" / "day" / "a_mask.png")
    assert has_both_objects(read(root))


def test_what_has_no_partner_or_two_is_reported(root: Path) -> None:
    for name in ("b", "c"):
        save(root / "images" / f"{name}.jpg", np.zeros((*SIZE, 3), dtype=np.uint8))
    save(root / "maps" / "a.png")
    save(root / "maps" / "b.png")
    save(root / "maps" / "b_mask.tif")
    save(root / "maps" / "d.png")
    dataset = read(root)
    assert [record.path.name for record in dataset.records] == ["a.jpg"]
    assert [(found.kind, found.where, found.image_id) for found in dataset.defects] == [
        ("missing-image", str(root / "maps" / "d.png"), None),
        ("ambiguous-map", "image 'b.jpg'", 2),
        ("missing-map", "image 'c.jpg'", 3),
    ]
    assert "b.png, b_mask.tif" in str(dataset.defects[1])
    assert "c.png or c_masks.png" in str(dataset.defects[2])


def test_a_map_that_cannot_be_used_spoils_its_image(root: Path) -> None:
    path = save(root / "maps" / "a.png", IDS[:, :7])
    (defect,) = read(root).defects
    assert (defect.kind, defect.where) == ("wrong-size", "a.png")
    assert "is 6 × 7 pixels (height × width), its image 6 × 8" in str(defect)
    path.write_bytes(save(path).read_bytes()[:60])
    (defect,) = read(root).defects
    assert f"{path} is broken or cut off" in str(defect)
    assert read(root).records == ()


def test_a_photograph_in_place_of_a_map_is_reported_and_not_cut_into_pixels(root: Path) -> None:
    photograph = np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint8)
    save(root / "images" / "a.jpg", photograph)
    save(root / "maps" / "a.png", photograph)
    (defect,) = read(root).defects
    assert (defect.kind, defect.where) == ("bad-map", "a.png")


def test_a_background_that_is_not_0_is_reported(root: Path) -> None:
    ids = np.ones((6, 8), np.uint8)
    ids[2:4, 2:5] = 2
    save(root / "maps" / "a.png", np.array([[0, 0, 0], [255, 255, 255], [200, 10, 10]], np.uint8)[ids])
    (remark,) = read(root).remarks
    assert (remark.kind, remark.where) == ("background-id", "a.png")
    assert "16777215 is in all four corners" in remark.message


def test_white_with_smooth_edges_is_reported(root: Path) -> None:
    white = np.zeros((40, 60), np.uint8)
    white[10:30, 10:50] = 255
    smooth = np.asarray(Image.fromarray(white).filter(ImageFilter.GaussianBlur(1)))
    save(root / "images" / "a.jpg", white)
    save(root / "maps" / "a.png", smooth)
    assert [remark.kind for remark in read(root).remarks] == ["smoothed-map"]


def test_a_file_in_place_of_the_folder_is_refused(root: Path) -> None:
    with pytest.raises(DataError, match=r"maps\.png is a file; give the folder"):
        read(save(root / "maps.png").parent, "maps.png")


@pytest.mark.parametrize("ending", [".png", ".tif", ".npy"])
def test_real_nuclei_come_back_exactly(tmp_path: Path, shared: Path, ending: str) -> None:
    images = shared / "data" / "nuclei" / "val"
    expected = []
    for record in read_dataset(images, shared / "data" / "nuclei" / "val.json").records[:12]:
        numbers = np.zeros(record.size, dtype=np.uint16)
        for number, annotation in enumerate(record.annotations, start=1):
            numbers[coco_mask.decode(annotation["segmentation"]) > 0] = number  # one pixel of all belongs to two
        save(tmp_path / "maps" / f"{record.path.stem}_masks{ending}", numbers)
        save(tmp_path / "images" / record.path.name, np.asarray(Image.open(record.path)))
        expected.append((record.path.name, numbers, len(record.annotations)))
    found = read(tmp_path)
    assert found.defects == ()
    for record, (name, numbers, count) in zip(found.records, expected, strict=True):
        assert (record.path.name, len(record.annotations)) == (name, count)
        for number, annotation in enumerate(record.annotations, start=1):
            assert (coco_mask.decode(annotation["segmentation"]) == (numbers == number)).all()


def blobs(value: int, dtype: type = np.uint8) -> np.ndarray:
    """Two parts of one value; one has a hole, and a corner that only touches belongs to it."""
    picture = np.zeros((8, 12), dtype=dtype)
    picture[1:4, 1:4] = picture[4, 4] = picture[5:7, 8:11] = value
    picture[2, 2] = 0
    return picture


def binary_set(root: Path, pictures: list[np.ndarray], ending: str = ".png") -> Path:
    for number, picture in enumerate(pictures):
        save(root / "images" / f"{number}.jpg", np.zeros((*picture.shape[:2], 3), dtype=np.uint8))
        save(root / "maps" / f"{number}{ending}", picture)
    return root


BINARY = {
    "white": [blobs(255)],
    "deep white": [blobs(65535, np.uint16)],
    "white colours": [np.dstack([blobs(255)] * 3)],
    "two levels": [blobs(1).astype(bool)],
    "the same small number": [blobs(1), blobs(1)],
}


@pytest.mark.parametrize("kind", BINARY)
@pytest.mark.parametrize("ending", [".png", ".npy"])
def test_maps_of_black_and_white_are_refused_with_the_way_out(tmp_path: Path, kind: str, ending: str) -> None:
    dataset = read(binary_set(tmp_path, BINARY[kind], ending))
    assert dataset.records == ()
    assert {defect.kind for defect in dataset.defects} == {"binary-map"}
    assert "2 parts of one value" in str(dataset.defects[0]) and "--binary-maps" in str(dataset.defects[0])


@pytest.mark.parametrize("kind", BINARY)
def test_parts_of_maps_of_black_and_white_are_objects_on_request(tmp_path: Path, kind: str) -> None:
    root = binary_set(tmp_path, BINARY[kind])
    folders = root / "images", root / "maps", "id_maps"
    dataset = read_with_defects(*folders, ReadOptions(binary_maps="split"))
    assert dataset.defects == ()
    shape = blobs(1) > 0
    for record in dataset.records:
        left, right = (coco_mask.decode(found["segmentation"]).astype(bool) for found in record.annotations)
        assert (left | right == shape).all() and not left[:, 6:].any() and not right[:, :6].any()
        assert [found["bbox"] for found in record.annotations] == [[1, 1, 4, 4], [8, 5, 3, 2]]
    ids = [found["id"] for record in dataset.records for found in record.annotations]
    assert ids == list(range(1, len(ids) + 1))
    whole = read_with_defects(*folders, ReadOptions(binary_maps="whole"))
    assert whole.defects == () and [len(record.annotations) for record in whole.records] == [1] * len(whole.records)


def test_an_id_in_several_parts_stays_one_object(tmp_path: Path) -> None:
    several, one = blobs(1), np.zeros((8, 12), dtype=np.uint8)
    one[2:5, 2:5] = 1
    several[7, 11] = 2
    dataset = read(binary_set(tmp_path / "a", [blobs(1), several]))  # one map numbers two objects
    assert dataset.defects == () and [len(record.annotations) for record in dataset.records] == [1, 2]
    dataset = read(binary_set(tmp_path / "b", [one, one, blobs(1)]))  # most have one part: one is hidden in its middle
    assert dataset.defects == () and [len(record.annotations) for record in dataset.records] == [1, 1, 1]
    assert [remark.kind for remark in dataset.remarks] == ["one-value"]


def test_maps_of_white_that_are_in_one_part_need_no_decision(tmp_path: Path) -> None:
    picture = np.zeros((8, 12), dtype=np.uint8)
    picture[2:5, 2:5] = 255
    dataset = read(binary_set(tmp_path, [picture, picture]))
    assert dataset.defects == () and dataset.remarks == ()


def test_pictures_of_classes_are_no_maps_of_objects(tmp_path: Path) -> None:
    save(tmp_path / "images" / "a.jpg", np.zeros((*SIZE, 3), dtype=np.uint8))
    save(tmp_path / "SegmentationClass" / "a.png")
    with pytest.raises(DataError, match="show classes, not single objects; give those of SegmentationObject"):
        read(tmp_path, "SegmentationClass")

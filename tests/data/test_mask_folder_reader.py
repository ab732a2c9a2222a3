"""Folders with one mask image per object become masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hotcoco.mask as coco_mask
import numpy as np
import pytest
from PIL import Image

from maskwright.data.readers import read_dataset, read_with_defects
from maskwright.data.record import Dataset
from maskwright.errors import DataError

SIZE = (6, 8)
SHAPE = np.zeros(SIZE, dtype=bool)
SHAPE[1:3, 2:6] = True
SHAPE[2, 3] = False
WHITE = np.where(SHAPE, 255, 0).astype(np.uint8)


def save(path: Path, picture: np.ndarray | Image.Image = WHITE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture).save(path)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """One image, `images/a.jpg`, with one mask, `masks/a/1.png`."""
    save(tmp_path / "images" / "a.jpg", np.zeros((*SIZE, 3), dtype=np.uint8))
    save(tmp_path / "masks" / "a" / "1.png")
    return tmp_path


def read(root: Path) -> Dataset:
    return read_with_defects(root / "images", root / "masks", "masks")


def masks_of(dataset: Dataset) -> list[list[Any]]:
    return [
        [coco_mask.decode(found["segmentation"]).astype(bool).tolist() for found in record.annotations]
        for record in dataset.records
    ]


def test_a_mask_is_an_object_with_the_box_around_it(root: Path) -> None:
    dataset = read(root)
    assert dataset.defects == ()
    assert dataset.categories.names == ("object",)
    assert masks_of(dataset) == [[SHAPE.tolist()]]
    assert dataset.records[0].annotations[0]["bbox"] == [2, 1, 4, 2]


def test_folders_in_the_folder_of_an_image_are_classes(root: Path) -> None:
    (root / "masks" / "a" / "1.png").unlink()
    save(root / "masks" / "a" / "red cell" / "1.png")
    save(root / "masks" / "a" / "blue cell" / "1.tif")
    save(root / "masks" / "a" / "blue cell" / "more" / "1.png")
    dataset = read(root)
    assert dataset.categories.names == ("blue cell", "red cell")
    assert [found["category_id"] for found in dataset.records[0].annotations] == [1, 1, 2]


def test_images_in_folders_have_their_masks_in_folders_alike(root: Path) -> None:
    save(root / "images" / "day" / "b.jpg", np.zeros((*SIZE, 3), dtype=np.uint8))
    save(root / "masks" / "day" / "b" / "1.png")
    dataset = read(root)
    assert dataset.defects == ()
    assert [len(masks) for masks in masks_of(dataset)] == [1, 1]


def test_an_empty_folder_is_a_negative_example_and_none_a_defect(root: Path) -> None:
    for name in ("b.jpg", "c.jpg"):
        save(root / "images" / name, np.zeros((*SIZE, 3), dtype=np.uint8))
    (root / "masks" / "b").mkdir()
    dataset = read(root)
    assert [record.path.name for record in dataset.records] == ["a.jpg", "b.jpg"]
    assert dataset.records[1].annotations == ()
    ((kind, text),) = [(found.kind, str(found)) for found in dataset.defects]
    assert kind == "missing-masks"
    assert text.startswith("image 'c.jpg': there is no folder")


def test_a_folder_of_masks_without_image_is_reported(root: Path) -> None:
    for name in ("b", "day/c", ".cache"):
        (root / "masks" / name).mkdir(parents=True)
    save(root / "images" / "day" / "d.jpg", np.zeros((*SIZE, 3), dtype=np.uint8))
    (root / "masks" / "day" / "d").mkdir()
    assert [(found.kind, found.where) for found in read(root).defects] == [
        ("missing-image", str(root / "masks" / "b")),
        ("missing-image", str(root / "masks" / "day" / "c")),
    ]


def grey_on_black(values: np.ndarray, mode: str) -> Image.Image:
    return Image.fromarray(values).convert(mode)


def with_palette(colours: list[int]) -> Image.Image:
    picture = Image.fromarray(SHAPE.astype(np.uint8))
    picture.putpalette(colours)
    return picture


ALPHA = np.dstack([np.full((*SIZE, 3), 200), WHITE]).astype(np.uint8)
PICTURES = {
    "bilevel": Image.fromarray(SHAPE),
    "one": SHAPE.astype(np.uint8),
    "sixteen bits": SHAPE.astype(np.uint16) * 256,
    "blue": np.dstack([0 * WHITE, 0 * WHITE, WHITE]),
    "opaque": np.dstack([WHITE, WHITE, WHITE, np.full(SIZE, 255, dtype=np.uint8)]),
    "grey and alpha": Image.merge("LA", [Image.fromarray(WHITE), Image.fromarray(255 - WHITE)]),
    "alpha alone": ALPHA,
    "palette of black and white": with_palette([0, 0, 0, 255, 255, 255]),
}


@pytest.mark.parametrize("picture", PICTURES.values(), ids=PICTURES.keys())
def test_whatever_is_not_black_is_foreground(root: Path, picture: Any) -> None:
    save(root / "masks" / "a" / "1.png", picture)
    assert masks_of(read(root)) == [[SHAPE.tolist()]]


def test_of_a_palette_the_colours_count(root: Path) -> None:
    save(root / "masks" / "a" / "1.png", with_palette([255, 255, 255, 0, 0, 0]))
    assert masks_of(read(root)) == [[(~SHAPE).tolist()]]


def test_in_a_jpeg_half_white_divides(tmp_path: Path) -> None:
    half = np.zeros((64, 64), dtype=bool)
    half[20:44, 13:50] = True
    save(tmp_path / "images" / "a.png", np.zeros((64, 64), dtype=np.uint8))
    save(tmp_path / "masks" / "a" / "1.jpg", np.where(half, 255, 0).astype(np.uint8))
    assert masks_of(read(tmp_path)) == [[half.tolist()]]


def test_arrays_are_masks_too(root: Path) -> None:
    (root / "masks" / "a" / "1.png").unlink()
    np.save(root / "masks" / "a" / "1.npy", SHAPE)
    assert masks_of(read(root)) == [[SHAPE.tolist()]]


def test_masks_that_cannot_be_used_are_reported_by_file_and_the_others_stay(root: Path) -> None:
    folder = root / "masks" / "a"
    save(folder / "2.png", np.zeros(SIZE, dtype=np.uint8))
    save(folder / "3.png", np.full((8, 6), 255, dtype=np.uint8))
    (folder / "4.png").write_bytes((folder / "1.png").read_bytes()[:50])
    (folder / "5.png").write_text("no picture")
    np.save(folder / "6.npy", np.zeros((6, 8, 3)))
    (folder / "notes.txt").write_text("no mask")
    dataset = read(root)
    assert masks_of(dataset) == [[SHAPE.tolist()]]
    assert [(found.kind, found.where, found.image_id) for found in dataset.defects] == [
        ("empty-mask", "a/2.png", 1),
        *(("bad-mask", f"a/{name}", 1) for name in ("3.png", "4.png", "5.png", "6.npy")),
    ]
    assert "is 8 × 6 pixels (height × width), its image 6 × 8" in str(dataset.defects[1])


def test_images_that_differ_in_their_ending_alone_are_reported(root: Path) -> None:
    save(root / "images" / "a.png", np.zeros(SIZE, dtype=np.uint8))
    assert [found.kind for found in read(root).defects] == ["ambiguous-image"]


def test_the_layout_of_the_data_science_bowl(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d", "e"):
        save(tmp_path / name / "images" / f"{name}.png", np.zeros(SIZE, dtype=np.uint8))
    save(tmp_path / "a" / "masks" / "1.png")
    save(tmp_path / "a" / "masks" / "2.png", np.zeros(SIZE, dtype=np.uint8))
    (tmp_path / "b" / "masks").mkdir()
    save(tmp_path / "d" / "images" / "other.png")
    (tmp_path / "e" / "images" / "e.png").unlink()
    dataset = read_with_defects(tmp_path, tmp_path, "masks")
    assert masks_of(dataset) == [[SHAPE.tolist()], []]
    assert [(found.kind, found.where) for found in dataset.defects] == [
        ("ambiguous-image", str(tmp_path / "d")),
        ("missing-image", str(tmp_path / "e")),
        ("empty-mask", "a/masks/2.png"),
        ("missing-masks", "image 'c.png'"),
    ]


def test_one_folder_for_both_that_has_not_the_bowls_layout_is_refused(root: Path) -> None:
    with pytest.raises(DataError, match=r"has no ID/images/ID\.png"):
        read_with_defects(root / "images", root / "images", "masks")


def test_a_file_in_place_of_the_folder_is_refused(root: Path) -> None:
    with pytest.raises(DataError, match=r"1\.png is a file; give the folder"):
        read_with_defects(root / "images", root / "masks" / "a" / "1.png", "masks")


@pytest.mark.parametrize("is_bowl", [False, True])
def test_real_nuclei_come_back_exactly(tmp_path: Path, shared: Path, is_bowl: bool) -> None:
    images = shared / "data" / "nuclei" / "val"
    source = read_dataset(images, shared / "data" / "nuclei" / "val.json").records[:6]
    for record in source:
        name = record.path.stem
        save(tmp_path / (f"{name}/images" if is_bowl else "images") / record.path.name, Image.open(record.path))
        for number, annotation in enumerate(record.annotations):
            mask = coco_mask.decode(annotation["segmentation"]) * np.uint8(255)
            save(tmp_path / (f"{name}/masks" if is_bowl else f"masks/{name}") / f"{number:04}.png", mask)
    folders = (tmp_path, tmp_path) if is_bowl else (tmp_path / "images", tmp_path / "masks")
    found = read_with_defects(*folders, "masks")
    assert found.defects == ()
    assert [[mask["segmentation"] for mask in record.annotations] for record in found.records] == [
        [mask["segmentation"] for mask in record.annotations] for record in source
    ]

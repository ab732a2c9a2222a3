"""Tables of run lengths as competitions give them, whichever way their runs are counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskwright.data.readers import read_with_defects
from maskwright.data.record import Dataset
from maskwright.errors import DataError

HEIGHT, WIDTH = 40, 60
SQUARE = np.zeros((HEIGHT, WIDTH), dtype=bool)
SQUARE[8:30, 10:40] = True
DISC = (np.mgrid[:HEIGHT, :WIDTH][0] - 20) ** 2 + (np.mgrid[:HEIGHT, :WIDTH][1] - 30) ** 2 < 100


def runs(mask: np.ndarray, *, by_rows: bool = False, first: int = 1) -> str:
    values = np.concatenate([[0], (mask if by_rows else mask.T).ravel().astype(int), [0]])
    starts, ends = np.flatnonzero(np.diff(values) == 1), np.flatnonzero(np.diff(values) == -1)
    return " ".join(f"{start + first} {end - start}" for start, end in zip(starts, ends, strict=True))


def read(folder: Path, table: str) -> Dataset:
    (folder / "images").mkdir(exist_ok=True)
    for name in ("a.png", "b.png"):
        Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "images" / name)
    (folder / "train.csv").write_text(table)
    return read_with_defects(folder / "images", folder / "train.csv", "kaggle")


def masks(dataset: Dataset) -> list[list[tuple[str, np.ndarray]]]:
    assert not dataset.defects, dataset.defects
    found = []
    for record in dataset.records:
        targets = record.targets(dataset.categories)
        names = [dataset.categories.names[label] for label in targets.labels.tolist()]
        found.append(list(zip(names, targets.masks.bitmaps(), strict=True)))
    return found


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("by_rows", [False, True])
@pytest.mark.parametrize("head", ["ImageId,EncodedPixels", "id,rle", "id,annotation", "image_id,encoded_pixels"])
def test_objects_tell_which_way_their_runs_are_counted(tmp_path, head, by_rows, first) -> None:
    top = np.zeros_like(SQUARE)
    top[:3, :4] = True  # whose first run starts at the first pixel
    rows = [f"a.png,{runs(mask, by_rows=by_rows, first=first)}" for mask in (SQUARE, DISC, top)]
    dataset = read(tmp_path, "\n".join([head, *rows]))
    ((one, two, three),) = masks(dataset)
    assert np.array_equal(one[1], SQUARE) and np.array_equal(two[1], DISC) and np.array_equal(three[1], top)
    assert "rows" in str(dataset.remarks[0]) if by_rows else "columns" in str(dataset.remarks[0])


def test_names_without_ending_images_without_objects_and_classes_are_read(tmp_path) -> None:
    table = f"ImageId,EncodedPixels,Height,Width,ClassId\na,{runs(SQUARE)},{HEIGHT},{WIDTH},6_3\nb,,,,\n"
    first, second = masks(read(tmp_path, table))
    assert [name for name, _ in first] == ["6_3"]
    assert second == []


def test_a_class_behind_the_image_is_its_class(tmp_path) -> None:
    table = f"ImageId_ClassId,EncodedPixels\na.png_1,{runs(SQUARE)}\na.png_2,{runs(DISC)}\na.png_3,\n"
    ((one, two),) = masks(read(tmp_path, table))
    assert (one[0], two[0]) == ("1", "2")


@pytest.mark.parametrize(
    ("cell", "kind"),
    [("5", "bad-rle"), ("5 x", "bad-rle"), ("2399 9", "bad-rle"), ("-3 4", "bad-rle"), ("9" * 5000 + " 1", "bad-rle")],
)
def test_runs_that_cannot_be_used_are_defects_of_their_line(tmp_path, cell, kind) -> None:
    dataset = read(tmp_path, f"ImageId,EncodedPixels\na.png,{runs(SQUARE)}\na.png,{cell}\n")
    (defect,) = dataset.defects
    assert (defect.kind, defect.where) == (kind, "line 3")


@pytest.mark.parametrize("table", ["", "a,b\n1,2\n", "ImageId,EncodedPixels\n", "\x00\xff"])
def test_a_table_without_images_or_runs_is_refused(tmp_path, table) -> None:
    with pytest.raises(DataError, match=r"train\.csv"):
        read(tmp_path, table)


def test_the_format_is_recognised_when_another_is_asked_for(tmp_path) -> None:
    read(tmp_path, f"ImageId,EncodedPixels\na.png,{runs(SQUARE)}\n")
    with pytest.raises(DataError, match="--format kaggle"):
        read_with_defects(tmp_path / "images", tmp_path / "train.csv", "coco")

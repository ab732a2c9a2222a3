"""SBD's MATLAB files become masks of Pascal VOC's classes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import hotcoco.mask as coco_mask
import numpy as np
import pytest
from PIL import Image

from maskwright.data.readers import read_dataset, read_with_defects
from maskwright.data.readers.voc import PASCAL
from maskwright.data.record import Dataset
from maskwright.errors import MissingDependency

SIZE = (6, 8)


def save_mat(path: Path, numbers: Any, categories: Any, **changes: Any) -> None:
    """As SBD's own files: a struct of 1 × 1 with a picture, a column of classes and a column of sparse boundaries."""
    sparse = pytest.importorskip("scipy.sparse")
    path.parent.mkdir(exist_ok=True)
    column = np.array(categories).reshape(-1, 1)
    boundaries = np.empty((len(column), 1), dtype=object)
    for row in range(len(column)):
        boundaries[row, 0] = sparse.csc_matrix(np.eye(4))
    truth = {"Segmentation": numbers, "Boundaries": boundaries, "Categories": column, **changes}
    sys.modules["scipy.io"].savemat(path, {"GTinst": truth}, do_compression=True)


def numbers_of_picture() -> np.ndarray:
    numbers = np.zeros(SIZE, dtype=np.uint8)
    numbers[0:2, 0:3], numbers[3:6, 4:8] = 1, 2
    return numbers


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A dataset of one image, a cat and a dog."""
    pytest.importorskip("scipy.io")
    (tmp_path / "img").mkdir()
    Image.fromarray(np.zeros((*SIZE, 3), dtype=np.uint8)).save(tmp_path / "img" / "a.jpg")
    save_mat(tmp_path / "inst" / "a.mat", numbers_of_picture(), [8, 12])
    (tmp_path / "val.txt").write_text("a\n")
    return tmp_path


def read(root: Path, annotations: str = "inst") -> Dataset:
    return read_with_defects(root / "img", root / annotations, "sbd")


@pytest.mark.parametrize("annotations", ["inst", "val.txt"])
def test_objects_have_the_classes_of_the_file_and_boxes_around_their_masks(root: Path, annotations: str) -> None:
    dataset = read(root, annotations)
    assert dataset.defects == ()
    assert dataset.categories == PASCAL
    cat, dog = dataset.records[0].annotations
    assert (cat["category_id"], dog["category_id"]) == (8, 12)
    assert (cat["bbox"], dog["bbox"]) == ([0, 0, 3, 2], [4, 3, 4, 3])
    for number, found in enumerate((cat, dog), start=1):
        assert (coco_mask.decode(found["segmentation"]) == (numbers_of_picture() == number)).all()


def test_an_image_without_objects_is_a_negative_example(root: Path) -> None:
    save_mat(root / "inst" / "a.mat", np.zeros(SIZE, dtype=np.uint8), [])
    assert read(root).defects == ()
    assert read(root).records[0].annotations == ()


@pytest.mark.parametrize(
    ("categories", "kind", "where"),
    [
        ([8], "unknown-object", "a.mat, GTinst.Segmentation"),
        ([8, 12, 3], "empty-mask", "a.mat, GTinst.Categories(3)"),
        ([8, 21], "unknown-category", "a.mat, GTinst.Categories(2)"),
        ([0, 12], "unknown-category", "a.mat, GTinst.Categories(1)"),
        ([8.5, 12], "unknown-category", "a.mat, GTinst.Categories(1)"),
        ([np.nan, 12.0], "unknown-category", "a.mat, GTinst.Categories(1)"),
    ],
)
def test_picture_and_classes_that_do_not_fit_are_reported(
    root: Path, categories: list[int], kind: str, where: str
) -> None:
    save_mat(root / "inst" / "a.mat", numbers_of_picture(), categories)
    dataset = read(root)
    assert [(found.kind, found.where) for found in dataset.defects] == [(kind, where)]
    assert len(dataset.records[0].annotations) >= 1


def test_a_file_without_the_truth_of_its_image_spoils_it(root: Path) -> None:
    path = root / "inst" / "a.mat"
    save_mat(path, np.zeros((8, 6), dtype=np.uint8), [])
    assert "is 8 × 6 (height × width), the image 6 × 8" in str(read(root).defects[0])
    save_mat(path, np.zeros((*SIZE, 2)), [])
    assert "expected (H, W)" in str(read(root).defects[0])
    sys.modules["scipy.io"].savemat(path, {"GTcls": {"Segmentation": 1}})
    assert "has no struct GTinst" in str(read(root).defects[0])
    sys.modules["scipy.io"].savemat(path, {"GTinst": np.eye(3)})
    assert "has no struct GTinst" in str(read(root).defects[0])
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x89HDF\r\n\x1a\n")
    assert "save it in MATLAB with -v7" in str(read(root).defects[0])
    path.unlink()
    assert "a.mat does not exist" in str(read(root, "val.txt").defects[0])
    assert read(root, "val.txt").records == ()


@pytest.mark.filterwarnings("ignore")  # SciPy's, of damaged files
def test_a_damaged_file_is_reported_and_hides_no_other(root: Path) -> None:
    whole = (root / "inst" / "a.mat").read_bytes()
    random = np.random.default_rng(0)
    for trial in range(120):
        damaged = bytearray(whole[: random.integers(len(whole))] if trial % 2 else whole)
        for place in random.integers(0, max(1, len(damaged)), 3 if trial % 3 else 0):
            if damaged:
                damaged[place] = random.integers(256)
        (root / "inst" / "a.mat").write_bytes(damaged)
        read(root)  # an error that is not reported as a defect would end the test


def test_without_scipy_the_extra_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(MissingDependency, match=r"maskwright\[sbd\]"):
        read(root)


def test_real_nuclei_come_back_exactly(tmp_path: Path, shared: Path) -> None:
    pytest.importorskip("scipy.io")
    images = shared / "data" / "nuclei" / "val"
    source = read_dataset(images, shared / "data" / "nuclei" / "val.json").records[:8]
    for record in source:
        numbers = np.zeros(record.size, dtype=np.uint16)
        for number, annotation in enumerate(record.annotations, start=1):
            numbers[coco_mask.decode(annotation["segmentation"]) > 0] = number
        save_mat(tmp_path / "inst" / f"{record.path.stem}.mat", numbers, [15] * len(record.annotations))
    found = read_with_defects(images, tmp_path / "inst", "sbd")
    assert found.defects == ()
    assert [[mask["segmentation"] for mask in record.annotations] for record in found.records] == [
        [mask["segmentation"] for mask in record.annotations] for record in source
    ]

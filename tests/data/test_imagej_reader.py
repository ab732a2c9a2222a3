"""Regions of interest of ImageJ, written by roifile, give the pixels that they surround."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskwright.data.readers import read_with_defects
from maskwright.data.record import Dataset
from maskwright.errors import DataError

roifile = pytest.importorskip("roifile")

HEIGHT, WIDTH = 40, 60
SQUARE = np.zeros((HEIGHT, WIDTH), dtype=bool)
SQUARE[8:30, 10:40] = True
CORNERS = [[10, 8], [40, 8], [40, 30], [10, 30]]


def region(kind: str = "POLYGON", points: list[list[float]] = CORNERS) -> bytes:
    roi = roifile.ImagejRoi.frompoints(np.array(points, dtype=np.int32))
    roi.roitype = roifile.ROI_TYPE[kind]
    if kind in ("RECT", "OVAL"):  # whose right and lower ends are beside them, in ImageJ
        roi.right, roi.bottom = (int(max(side)) for side in zip(*points, strict=True))
    return roi.tobytes()


def images(folder: Path, *names: str) -> Path:
    (folder / "images").mkdir()
    for name in names:
        Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "images" / name)
    return folder / "images"


def archive(path: Path, *regions: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as file:
        for number, data in enumerate(regions):
            file.writestr(f"{number:04}.roi", data)
    return path


def masks(dataset: Dataset) -> list[np.ndarray]:
    assert not dataset.defects, dataset.defects
    return [mask for record in dataset.records for mask in record.targets(dataset.categories).masks.bitmaps()]


@pytest.mark.parametrize("kind", ["POLYGON", "FREEHAND", "TRACED", "RECT"])
def test_outlines_lie_on_the_corners_of_pixels(tmp_path, kind) -> None:
    folder = images(tmp_path, "im0.png")
    path = archive(tmp_path / "RoiSet.zip", region(kind))
    (found,) = masks(read_with_defects(folder, path, "imagej"))
    assert np.array_equal(found, SQUARE)


def test_an_oval_fills_its_box(tmp_path) -> None:
    folder = images(tmp_path, "im0.png")
    (found,) = masks(read_with_defects(folder, archive(tmp_path / "RoiSet.zip", region("OVAL")), "imagej"))
    assert found.sum() == pytest.approx(np.pi * 15 * 11, rel=0.02)


@pytest.mark.parametrize("name", ["a.zip", "a_RoiSet.zip", "RoiSet_a.zip", "a/RoiSet.zip"])
def test_archives_belong_to_the_image_that_they_are_called_like(tmp_path, name) -> None:
    folder = images(tmp_path, "a.png", "b.png")
    archive(tmp_path / "rois" / name, region(), region())
    archive(tmp_path / "rois" / "b.zip", region())
    dataset = read_with_defects(folder, tmp_path / "rois", "imagej")
    assert not dataset.defects
    assert [len(record.annotations) for record in dataset.records] == [2, 1]


def test_files_of_one_region_are_read_too(tmp_path) -> None:
    folder = images(tmp_path, "a.png", "b.png")
    (tmp_path / "rois" / "a").mkdir(parents=True)
    (tmp_path / "rois" / "a" / "first.roi").write_bytes(region())
    (tmp_path / "rois" / "b.roi").write_bytes(region())
    dataset = read_with_defects(folder, tmp_path / "rois", "imagej")
    assert [len(record.annotations) for record in dataset.records] == [1, 1]


@pytest.mark.parametrize(
    ("data", "kind"),
    [(region("POINT"), "shape-without-area"), (b"Iout", "bad-shape"), (b"", "bad-shape"), (region()[:70], "bad-shape")],
)
def test_what_is_no_outline_is_a_defect(tmp_path, data, kind) -> None:
    folder = images(tmp_path, "im0.png")
    (defect,) = read_with_defects(folder, archive(tmp_path / "RoiSet.zip", data), "imagej").defects
    assert defect.kind in (kind, "bad-polygon")


def test_a_broken_archive_and_one_without_an_image_are_defects(tmp_path) -> None:
    folder = images(tmp_path, "a.png", "b.png")
    archive(tmp_path / "rois" / "elsewhere.zip", region())
    (tmp_path / "rois" / "a.zip").write_bytes(b"PK\x03\x04 cut short")
    kinds = {defect.kind for defect in read_with_defects(folder, tmp_path / "rois", "imagej").defects}
    assert kinds == {"missing-image", "bad-annotation", "missing-annotation"}


def test_the_format_is_recognised_when_another_is_asked_for(tmp_path) -> None:
    folder = images(tmp_path, "im0.png")
    with pytest.raises(DataError, match="--format imagej"):
        read_with_defects(folder, archive(tmp_path / "RoiSet.zip", region()), "coco")

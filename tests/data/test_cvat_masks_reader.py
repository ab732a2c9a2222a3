"""CVAT's export "Segmentation mask" keeps its objects and their classes."""

from __future__ import annotations

from pathlib import Path

import hotcoco.mask as coco_mask
import numpy as np
import pytest
from PIL import Image

from maskwright.data.readers import read_with_defects
from maskwright.data.record import Dataset
from maskwright.errors import DataError

SIZE = (12, 16)
LABELMAP = "# label:color_rgb:parts:actions\nbackground:0,0,0::\nred car:220,30,30::\nbus:2:30,200,40::\n"
CAR, BUS = (220, 30, 30), (30, 200, 40)
# colours of objects as the export has them: those of Pascal VOC's palette
FIRST, SECOND, THIRD = (128, 0, 0), (0, 128, 0), (128, 128, 0)


def pictures() -> tuple[np.ndarray, np.ndarray]:
    """Two cars, one in two parts, and a bus between them: objects and classes."""
    objects, classes = np.zeros((*SIZE, 3), dtype=np.uint8), np.zeros((*SIZE, 3), dtype=np.uint8)
    for rows, columns, own, label in [
        (slice(1, 4), slice(1, 4), FIRST, CAR),
        (slice(1, 4), slice(6, 8), FIRST, CAR),
        (slice(1, 4), slice(4, 6), SECOND, BUS),
        (slice(7, 10), slice(2, 9), THIRD, CAR),
    ]:
        objects[rows, columns], classes[rows, columns] = own, label
    return objects, classes


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """Images `photos/a.jpg`, `photos/b c.jpg` (without objects) and an export of both."""
    root = tmp_path / "export"
    for folder in ("SegmentationObject", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    (tmp_path / "photos").mkdir()
    for name in ("a", "b c", "unlabelled"):
        Image.new("RGB", SIZE[::-1]).save(tmp_path / "photos" / f"{name}.jpg")
    (root / "labelmap.txt").write_text(LABELMAP)
    (root / "ImageSets" / "Segmentation" / "default.txt").write_text('a\n"b c"\n')
    for folder, picture in zip(("SegmentationObject", "SegmentationClass"), pictures(), strict=True):
        Image.fromarray(picture).save(root / folder / "a.png")
    return root


def read(export: Path, annotations: Path | None = None) -> Dataset:
    return read_with_defects(export.parent / "photos", annotations or export, "cvat_masks")


def test_objects_have_their_pixels_and_their_classes(export: Path) -> None:
    dataset = read(export)
    assert dataset.defects == ()
    assert dataset.categories.names == ("red car", "bus:2")
    assert [record.path.name for record in dataset.records] == ["a.jpg", "b c.jpg"]
    objects, _ = pictures()
    found = {
        tuple(objects[coco_mask.decode(one["segmentation"]) > 0][0].tolist()): (
            coco_mask.decode(one["segmentation"]).astype(bool),
            dataset.categories.names[dataset.categories.ids.index(one["category_id"])],
        )
        for one in dataset.records[0].annotations
    }
    assert {own: name for own, (_, name) in found.items()} == {FIRST: "red car", SECOND: "bus:2", THIRD: "red car"}
    assert all((mask == (objects == own).all(axis=2)).all() for own, (mask, _) in found.items())
    assert dataset.records[1].annotations == ()


def test_a_palette_stands_for_its_colours(export: Path) -> None:
    expected = read(export)
    for folder in ("SegmentationObject", "SegmentationClass"):
        path = export / folder / "a.png"
        Image.open(path).quantize(8, dither=Image.Dither.NONE).save(path)
    assert read(export).to_coco() == expected.to_coco()


@pytest.mark.parametrize(
    "part", ["labelmap.txt", "SegmentationObject", "SegmentationClass", "ImageSets/Segmentation/default.txt"]
)
def test_any_part_of_the_export_leads_to_the_whole_and_other_formats_are_answered_with_it(
    export: Path, part: str
) -> None:
    assert read(export, export / part).to_coco() == read(export).to_coco()
    for name in ("coco", "id_maps", "voc"):
        with pytest.raises(DataError, match=r"export looks like cvat_masks: give that, and its format \(--format"):
            read_with_defects(export.parent / "photos", export / part, name).refuse_defects()


def test_what_does_not_fit_is_reported(export: Path) -> None:
    (export / "labelmap.txt").write_text("background:0,0,0::\nred car:220,30,30::\n")
    (defect,) = read(export).defects
    assert "its colour 30,200,40 in SegmentationClass is that of no label" in str(defect)
    (export / "labelmap.txt").write_text("red car;220,30,30\n")
    with pytest.raises(DataError, match=r"labelmap\.txt, line 1: .* is not label:red,green,blue:parts:actions"):
        read(export)
    (export / "labelmap.txt").write_text(LABELMAP)
    Image.new("RGB", (5, 4)).save(export / "SegmentationClass" / "a.png")
    assert "is 4 × 5 (height × width), its image 12 × 16" in str(read(export).defects[0])
    (export / "SegmentationClass" / "a.png").unlink()
    assert "a.png does not exist" in str(read(export).defects[0])
    (export.parent / "photos" / "b c.jpg").unlink()
    assert {defect.kind for defect in read(export).defects} == {"missing-image", "bad-annotation"}

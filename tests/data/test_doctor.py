from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from maskwright.data.doctor import DatasetSummary, check_dataset
from maskwright.data.file_checks import check_file
from maskwright.data.record import ImageRecord
from maskwright.errors import DataError
from maskwright.images.read import read_image

HEIGHT, WIDTH = 40, 60


def a_dataset(folder: Path) -> dict[str, Any]:
    """Noise of 40 × 60: `a.png` with two objects and a crowd, `b.jpg` with one object, `c.png` with none."""
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    names = {1: "a.png", 2: "b.jpg", 3: "c.png"}
    for name in names.values():
        Image.fromarray(noise).save(folder / name)
    places = [(1, 7, 4, 0), (1, 7, 9, 0), (1, 2, 16, 1), (2, 2, 25, 0)]
    return {
        "images": [{"id": id_, "file_name": name, "height": HEIGHT, "width": WIDTH} for id_, name in names.items()],
        "annotations": [
            {
                "id": id_,
                "image_id": image_id,
                "category_id": category_id,
                "bbox": [1, 1, side, side],
                "segmentation": [[1, 1, 1 + side, 1, 1 + side, 1 + side, 1, 1 + side]],
                "iscrowd": iscrowd,
            }
            for id_, (image_id, category_id, side, iscrowd) in enumerate(places, start=1)
        ],
        "categories": [{"id": 2, "name": "dust"}, {"id": 7, "name": "cell"}, {"id": 8, "name": "hair"}],
    }


def check(folder: Path, document: dict[str, Any], **options: Any) -> DatasetSummary:
    (folder / "set.json").write_text(json.dumps(document), encoding="utf-8")
    return check_dataset(folder, folder / "set.json", **options)


def cut(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def test_a_clean_dataset_is_clean(tmp_path: Path) -> None:
    report = check(tmp_path, a_dataset(tmp_path))
    assert report.is_clean
    assert report.defects == ()
    assert report.lines()[-1] == "no defects"


def test_a_report_counts_what_there_is(tmp_path: Path) -> None:
    report = check(tmp_path, a_dataset(tmp_path))
    assert (report.num_images, report.num_annotations, report.num_crowds) == (3, 4, 1)
    assert report.num_images_without_objects == 1
    assert report.max_annotations_per_image == 3
    assert report.annotations_per_category == {"dust": 2, "cell": 2, "hair": 0}
    assert report.side_px == pytest.approx({0.0: 4, 0.1: 5.5, 0.5: 12.5, 0.9: 22.3, 1.0: 25})
    assert report.image_modes == {"RGB": 3}


def test_the_report_can_be_read(tmp_path: Path) -> None:
    assert check(tmp_path, a_dataset(tmp_path)).lines() == [
        str(tmp_path / "set.json"),
        "images       3, 1 of them without objects",
        "annotations  4, 1 of them crowds",
        "             at most 3 on one image",
        "categories   3: dust 2, cell 2, hair 0",
        "object side  in pixels (square root of the box's area), quantiles: 0% 4, 10% 6, 50% 12, 90% 22, 100% 25",
        "image files  RGB 3",
        "no defects",
    ]


@pytest.mark.parametrize("name", ["a.png", "b.jpg"])
def test_a_truncated_image_is_found(tmp_path: Path, name: str) -> None:
    document = a_dataset(tmp_path)
    cut(tmp_path / name, 0.7)
    report = check(tmp_path, document)
    assert [defect.kind for defect in report.defects] == ["truncated-image"]
    assert name in report.defects[0].where
    assert "cut off" in report.defects[0].message


@pytest.mark.parametrize("data", [b"", b"<html>not found</html>"])
def test_a_file_that_is_no_image_is_found(tmp_path: Path, data: bytes) -> None:
    document = a_dataset(tmp_path)
    (tmp_path / "b.jpg").write_bytes(data)
    report = check(tmp_path, document)
    assert [(defect.kind, defect.image_id) for defect in report.defects] == [("unreadable-image", 2)]
    assert "b.jpg" in report.defects[0].where
    assert report.image_modes == {"RGB": 2}


def test_a_missing_image_is_found(tmp_path: Path) -> None:
    document = a_dataset(tmp_path)
    (tmp_path / "c.png").unlink()
    report = check(tmp_path, document)
    assert [(defect.kind, defect.image_id) for defect in report.defects] == [("missing-image", 3)]
    assert report.num_images == 2


def test_an_image_of_another_size_than_annotated_is_found(tmp_path: Path) -> None:
    document = a_dataset(tmp_path)
    Image.new("RGB", (WIDTH + 1, HEIGHT)).save(tmp_path / "c.png")
    report = check(tmp_path, document)
    assert [defect.kind for defect in report.defects] == ["size-mismatch"]
    assert "61 wide and 40 high, the annotations say 60 and 40" in report.defects[0].message
    assert "stored" not in report.defects[0].message


def test_kinds_of_pixels_are_noted_and_no_defect(tmp_path: Path) -> None:
    document = a_dataset(tmp_path)
    Image.new("L", (WIDTH, HEIGHT)).save(tmp_path / "a.png")
    Image.fromarray(np.full((HEIGHT, WIDTH), 4000, dtype=np.uint16)).save(tmp_path / "c.png")
    report = check(tmp_path, document)
    assert report.is_clean
    assert report.image_modes == {"grey": 1, "RGB": 1, "16-bit grey": 1}


def test_defects_of_annotations_and_files_are_reported_together_with_counts(tmp_path: Path) -> None:
    document = a_dataset(tmp_path)
    document["annotations"][0]["bbox"] = [1, 1, 0, 4]
    document["annotations"][1]["bbox"] = [1, 1, 4, 0]
    document["annotations"][3]["category_id"] = 99
    cut(tmp_path / "c.png", 0.5)
    report = check(tmp_path, document)
    assert report.defect_counts == {"box-without-area": 2, "unknown-category": 1, "truncated-image": 1}
    lines = report.lines()
    assert lines[-1] == "defects      4: box-without-area 2, unknown-category 1, truncated-image 1"
    assert lines[0].startswith("  box-without-area: annotation 1 of 'a.png': bbox [1, 1, 0, 4] has no area")
    assert lines[3].startswith("  truncated-image: image 3 ('c.png'): ")
    assert report.lines(most_per_kind=1)[1] == "  box-without-area: and 1 more"


def test_many_equal_defects_are_a_few_lines_and_the_counts_are_the_last(tmp_path: Path) -> None:
    document = a_dataset(tmp_path)
    document["annotations"] = [
        {**document["annotations"][0], "id": 1 + id_, "bbox": [1, 1, 0, 0]} for id_ in range(3000)
    ]
    document["images"][0]["file_name"] = f"{'photograph_' * 8}a.png"
    (tmp_path / "a.png").rename(tmp_path / document["images"][0]["file_name"])
    lines = check(tmp_path, document).lines(most_per_kind=10)
    assert len(lines) < 25
    assert document["images"][0]["file_name"] in lines[0]
    assert lines[10] == "  box-without-area: and 2990 more"
    assert lines[-1] == "defects      3000: box-without-area 3000"


def test_pixels_can_be_left_unread(tmp_path: Path) -> None:
    document = a_dataset(tmp_path)
    cut(tmp_path / "a.png", 0.5)
    report = check(tmp_path, document, reads_pixels=False)
    assert report.is_clean
    assert report.image_modes == {}


def test_progress_is_reported_after_every_image(tmp_path: Path) -> None:
    reported: list[tuple[int, int]] = []
    check(tmp_path, a_dataset(tmp_path), progress=lambda done, total: reported.append((done, total)))
    assert reported == [(1, 3), (2, 3), (3, 3)]


def test_a_dataset_without_any_usable_image_is_reported_on(tmp_path: Path) -> None:
    document = a_dataset(tmp_path)
    for name in ("a.png", "b.jpg", "c.png"):
        (tmp_path / name).unlink()
    report = check(tmp_path, document)
    assert report.defect_counts == {"missing-image": 3}
    assert (report.num_images, report.num_annotations, report.max_annotations_per_image) == (0, 0, 0)
    assert report.side_px == {}
    assert report.lines()


def test_what_cannot_be_checked_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.json does not exist"):
        check_dataset(tmp_path, tmp_path / "none.json")


def test_categories_of_one_name_are_counted_together(tmp_path: Path) -> None:
    document = a_dataset(tmp_path)
    document["categories"][0]["name"] = "cell"
    assert check(tmp_path, document).annotations_per_category == {"cell": 4, "hair": 0}


def test_real_nuclei_are_healthy(shared: Path) -> None:
    report = check_dataset(shared / "data/nuclei/val", shared / "data/nuclei/val.json")
    assert report.is_clean
    assert report.num_images == sum(report.image_modes.values()) == 101


def test_real_photographs_are_healthy(shared: Path) -> None:
    report = check_dataset(shared / "data/coco128/val2017", shared / "data/coco128/instances_val2017.json")
    assert report.is_clean
    assert report.num_crowds == 5


@pytest.mark.parametrize("is_progressive", [False, True])
def test_a_jpeg_is_broken_for_the_check_where_it_is_for_training(tmp_path: Path, is_progressive: bool) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    path = tmp_path / "a.jpg"
    Image.fromarray(pixels).save(path, quality=60, progressive=is_progressive)
    whole = path.read_bytes()
    for length in [*range(1, len(whole), 37), len(whole) - 2, len(whole) - 1, len(whole)]:
        path.write_bytes(whole[:length])
        try:
            read_image(path)
            is_sound = True
        except DataError:
            is_sound = False
        checked = check_file(ImageRecord(1, path, (40, 48), ()))
        assert (checked.problem is None) == is_sound, length


def test_checking_a_dataset_needs_no_torch() -> None:
    code = "import sys, maskwright.data.doctor; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_a_defect(tmp_path: Path, value: float) -> None:
    document = a_dataset(tmp_path)
    pixels = np.full((HEIGHT, WIDTH, 3), 0.5, dtype=np.float32)
    pixels[3, 4, 1] = value
    np.save(tmp_path / "c.npy", pixels)
    document["images"][2]["file_name"] = "c.npy"
    report = check(tmp_path, document)
    assert [(defect.kind, defect.image_id) for defect in report.defects] == [("unreadable-image", 3)]
    assert "replace what is not finite" in report.defects[0].message


@pytest.mark.parametrize("values", [np.array([[-5]]), np.array([[70_000]]), np.array([[1j]])])
def test_values_that_no_setting_takes_are_a_defect(tmp_path: Path, values: np.ndarray) -> None:
    document = a_dataset(tmp_path)
    np.save(tmp_path / "c.npy", np.broadcast_to(values, (HEIGHT, WIDTH)))
    document["images"][2]["file_name"] = "c.npy"
    assert [defect.kind for defect in check(tmp_path, document).defects] == ["unreadable-image"]


@pytest.mark.parametrize("animated", ["c.gif", "c.png"])
def test_floats_further_pages_and_frames_are_remarks(tmp_path: Path, animated: str) -> None:
    document = a_dataset(tmp_path)
    tifffile.imwrite(tmp_path / "a.tif", np.full((HEIGHT, WIDTH, 3), 0.5, dtype=np.float32), photometric="rgb")
    tifffile.imwrite(tmp_path / "b.tif", np.zeros((3, HEIGHT, WIDTH, 3), dtype=np.uint16), photometric="rgb")
    frames = [Image.new("L", (WIDTH, HEIGHT), value) for value in (0, 200)]
    frames[0].save(tmp_path / animated, save_all=True, append_images=frames[1:])
    for entry, name in zip(document["images"], ("a.tif", "b.tif", animated), strict=True):
        entry["file_name"] = name
    report = check(tmp_path, document)
    assert report.is_clean
    found = [remark for remark in report.remarks if remark.kind != "unlisted-images"]
    assert [(remark.kind, remark.image_id) for remark in found] == [
        ("float-values", 1),
        ("first-page", 2),
        ("first-frame", 3),
    ]


def test_an_image_with_a_brightness_of_its_own_is_reported(tmp_path: Path) -> None:
    document = a_dataset(tmp_path)
    np.save(tmp_path / "c.npy", np.linspace(-3, 3, HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH))
    document["images"][2]["file_name"] = "c.npy"
    report = check(tmp_path, document)
    assert report.is_clean and {remark.kind for remark in report.remarks} >= {"float-values", "own-range"}


def test_what_systems_and_cellpose_leave_among_images_is_left_out_and_counted(tmp_path: Path) -> None:
    document = a_dataset(tmp_path)
    for name in ("._a.png", ".DS_Store", "Thumbs.db", "a_cp_masks.png", "a_seg.npy"):
        (tmp_path / name).write_bytes(b"Mac OS X")
    report = check(tmp_path, document)
    assert report.is_clean
    (remark,) = report.remarks
    assert remark.kind == "left-out-files"
    assert "5 files in it are not taken for images: .DS_Store, ._a.png, Thumbs.db and 2 more" in str(remark)

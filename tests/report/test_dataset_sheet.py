"""The contact sheet of a dataset, and the command that makes it."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from maskwright.data.record import Defect
from maskwright.errors import ConfigError, DataError
from maskwright.report import write_sheet
from maskwright.report.dataset_sheet import choose_records


def sheet(case, path, **settings) -> str:
    write_sheet(path, case.dataset, title="a dataset", **settings)
    return path.read_text(encoding="utf-8")


def test_sheet_tells_categories_sizes_and_images(case, tmp_path) -> None:
    page = sheet(case, tmp_path / "sheet.html")
    assert page.count("<img ") == 4
    for shown in ("cat", "dog", "64 × 64", "Object size", "Aspect ratio", "Objects per image", "image1.png"):
        assert shown in page
    assert 'href="#defects"' not in page
    assert "http" not in re.sub(r"http-equiv", "", page)


def test_sample_is_a_function_of_the_seed(make, tmp_path) -> None:
    records = make(tmp_path / "data", num_images=30, num_objects=0, num_detections=0).dataset.records
    first = [record.id for record in choose_records(records, 8, 0)]
    assert first == [record.id for record in choose_records(records, 8, 0)] == sorted(first)
    assert first != [record.id for record in choose_records(records, 8, 1)]
    assert choose_records(records, 100, 0) == list(records)


@pytest.mark.parametrize(
    "shape",
    [{"num_objects": 0}, {"has_masks": False}, {"has_keypoints": True}, {"mode": "I;16"}, {"num_images": 1}],
    ids=str,
)
def test_every_kind_of_data_has_a_sheet(make, tmp_path, shape) -> None:
    case = make(tmp_path / "data", **shape)
    assert sheet(case, tmp_path / "sheet.html").count("<img ") == len(case.dataset.records)


def test_defects_are_grouped_and_cut_short(case, tmp_path) -> None:
    many = [Defect("bad-<b>mask</b>", f"annotation {n}", "is empty", 1) for n in range(5000)]
    rare = [Defect("missing-image", "image 9", "is not there", 9)]
    page = sheet(replace(case, dataset=replace(case.dataset, defects=(*many, *rare))), tmp_path / "sheet.html")
    assert "bad-&lt;b&gt;mask&lt;/b&gt; <b>5\u202f000</b>" in page
    assert "and 4\u202f850 more" in page
    assert "image 9" in page
    assert len(page) < 200_000
    assert "missing-image" not in sheet(case, tmp_path / "sheet.html", has_defects=False)


def test_broken_images_are_named(case, tmp_path) -> None:
    case.dataset.records[1].path.write_bytes(b"nothing")
    page = sheet(case, tmp_path / "sheet.html")
    assert page.count("<img ") == 3
    assert "not shown: image" in page


def test_what_cannot_be_shown_is_refused(case, tmp_path) -> None:
    with pytest.raises(ConfigError, match="-1 images"):
        sheet(case, tmp_path / "sheet.html", num_images=-1)
    with pytest.raises(DataError, match="empty"):
        sheet(replace(case, dataset=replace(case.dataset, records=())), tmp_path / "sheet.html")


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_screen(make, browse, tmp_path, width) -> None:
    case = make(tmp_path / "data", ["x" * 90, "dog"], file_name="y" * 120 + "{}.png")
    defects = (Defect("bad-mask", "annotation 7", "z" * 200, 1),)
    page = sheet(replace(case, dataset=replace(case.dataset, defects=defects)), tmp_path / "sheet.html")
    script = "return [page.documentElement.scrollWidth, [...page.images].every(image => image.naturalWidth > 0)];"
    seen = browse(page, script, width)
    assert seen.console == []
    assert seen.value == [width, True]

"""`maskwright data show`."""

from __future__ import annotations

import json


def test_page_is_written_and_named(here, tiny, tmp_path):
    outcome = here("data", "show", tiny.images, tiny.annotations, "--output", tmp_path / "new" / "sheet.html")
    assert outcome.status == 0, outcome.err
    assert outcome.out.startswith("3 images → ")
    page = (tmp_path / "new" / "sheet.html").read_text(encoding="utf-8")
    assert page.count("<img ") == 3
    assert "square" in page


def test_count_and_default_name(here, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert here("data", "show", tiny.images, tiny.annotations, "--count", 1, "--seed", 3).status == 0
    assert (tmp_path / "dataset.html").read_text(encoding="utf-8").count("<img ") == 1


def test_defects_are_shown_with_status_0(here, tiny, tmp_path):
    content = json.loads(tiny.annotations.read_text())
    content["annotations"][0]["bbox"] = [5, 5, 0, 0]
    content["images"][1]["file_name"] = "gone.png"
    (tmp_path / "bad.json").write_text(json.dumps(content))
    words = ["data", "show", tiny.images, tmp_path / "bad.json", "--output", tmp_path / "sheet.html"]
    outcome = here(*words)
    assert outcome.status == 0, outcome.err
    assert "warning: left out: 2 defects" in outcome.err or "warning: left out: " in outcome.err
    assert "gone.png" in (tmp_path / "sheet.html").read_text(encoding="utf-8")
    assert here(*words, "--skip-bad").status == 0
    assert "gone.png" not in (tmp_path / "sheet.html").read_text(encoding="utf-8")


def test_without_a_usable_image_there_is_no_page(here, tiny, tmp_path):
    content = json.loads(tiny.annotations.read_text())
    content["images"] = [{**image, "file_name": f"gone{image['id']}.png"} for image in content["images"]]
    (tmp_path / "gone.json").write_text(json.dumps(content))
    outcome = here("data", "show", tiny.images, tmp_path / "gone.json", "--output", tmp_path / "sheet.html")
    assert outcome.status == 2
    assert "no usable image" in outcome.err
    assert not (tmp_path / "sheet.html").exists()


def test_only_pages_are_written(here, tiny):
    outcome = here("data", "show", tiny.images, tiny.annotations, "--output", tiny.annotations)
    assert outcome.status == 2
    assert "does not end in .html" in outcome.err
    assert json.loads(tiny.annotations.read_text())

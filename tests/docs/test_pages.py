"""Every block of README.md and of the pages in docs/ does what it says."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from sybil import Document
from tests.docs.pages import Blocks

import maskwright

_REPOSITORY = Path(__file__).resolve().parents[2]
_ASSETS = Path(maskwright.__file__).parent / "assets"
_PAGES = [_REPOSITORY / "README.md", *sorted((_REPOSITORY / "docs").rglob("*.md"))]
_SPLITS = {"train": slice(0, 5), "val": slice(5, 8)}


@pytest.fixture(scope="session")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages call your data: images for training and validation, new ones, and a finished run."""
    folder = tmp_path_factory.mktemp("bundled")
    content = json.loads((_ASSETS / "demo" / "annotations.json").read_text(encoding="utf-8"))
    names = {image["id"]: f"{number:04}.png" for number, image in enumerate(content["images"], start=1)}
    for split, part in _SPLITS.items():
        (folder / "images" / split).mkdir(parents=True)
        images = [{**image, "file_name": names[image["id"]]} for image in content["images"][part]]
        for image, source in zip(images, content["images"][part], strict=True):
            shutil.copy(_ASSETS / "demo/images" / source["file_name"], folder / "images" / split / image["file_name"])
        ids = {image["id"] for image in images}
        annotations = [one for one in content["annotations"] if one["image_id"] in ids]
        split_content = {**content, "images": images, "annotations": annotations}
        (folder / f"{split}.json").write_text(json.dumps(split_content), encoding="utf-8")
    (folder / "images" / "new").mkdir()
    for number, name in enumerate(sorted((folder / "images" / "val").iterdir())[:2], start=1):
        shutil.copy(name, folder / "images" / "new" / f"{number:04}.png")
    checkpoints = folder / "runs" / "mine" / "checkpoints"
    checkpoints.mkdir(parents=True)
    shutil.copy(_ASSETS / "nuclei_mask_rcnn_small.safetensors", checkpoints / "best.safetensors")
    return folder


def test_the_readme_is_short_and_its_links_lead_somewhere() -> None:
    text = _PAGES[0].read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    links = re.findall(r"\]\(([^)#]+)", text)
    assert len(links) > 5
    assert [link for link in links if "://" not in link and not (_REPOSITORY / link).exists()] == []


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.relative_to(_REPOSITORY).as_posix())
def test_every_block_of_a_page_does_what_it_says(
    page: Path, bundled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data"
    shutil.copytree(bundled, folder)
    monkeypatch.chdir(folder)
    for example in Document.parse(str(page), Blocks()).examples():
        example.evaluate()

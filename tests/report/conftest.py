"""Hand-made datasets with images on disk, results for them, and a browser that looks at the pages made of them."""

from __future__ import annotations

import html
import json
import random
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from maskwright.data.readers import read_dataset
from maskwright.data.readers.options import ReadOptions
from maskwright.data.record import Dataset
from maskwright.evaluation import Comparison, Metrics, coco_metrics
from maskwright.report import write_report

SIDE = 64


@dataclass(frozen=True)
class Case:
    """A dataset with results for it."""

    dataset: Dataset
    results: list[dict[str, Any]]

    @property
    def comparison(self) -> Comparison:
        return Comparison.of(self.results, self.dataset.to_coco())

    def metrics(self) -> Metrics:
        return coco_metrics(self.comparison)

    def report(self, path: Path, metrics: Metrics | None = None, title: str = "a model on data") -> str:
        """The text of the page."""
        write_report(path, self.dataset, self.comparison, metrics or self.metrics(), title=title)
        return path.read_text(encoding="utf-8")


def make_case(
    folder: Path,
    names: Sequence[str] = ("cat", "dog"),
    *,
    num_images: int = 4,
    num_objects: int = 3,
    num_detections: int = 4,
    has_masks: bool = True,
    has_keypoints: bool = False,
    mode: str = "RGB",
    file_name: str = "image{}.png",
) -> Case:
    """Squares in noise; detections lie at them, more or less, and sometimes have another class."""
    (folder / "images").mkdir(parents=True)
    draw = random.Random(0)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for number in range(1, num_images + 1):
        path = folder / "images" / file_name.format(number)
        pixels = np.random.default_rng(number).integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
        if mode == "I;16":
            Image.fromarray(pixels[..., 0].astype(np.uint16) * 16).save(path)
        else:
            Image.fromarray(pixels).convert(mode).save(path)
        images.append({"id": number, "file_name": path.name, "height": SIDE, "width": SIDE})
        for place in range(max(num_objects, num_detections)):
            left, top, side = draw.randrange(4, 40), draw.randrange(4, 40), draw.randrange(8, 20)
            category = draw.randrange(len(names)) + 1
            thing = shape(left, top, side, has_masks, has_keypoints, "polygon")
            if place < num_objects:
                annotations.append(
                    {"id": len(annotations) + 1, "image_id": number, "category_id": category, "iscrowd": 0, **thing}
                )
            if place < num_detections:
                moved = shape(left + draw.choice([0, 0, 1, 20]), top, side, has_masks, has_keypoints, "rle")
                guess = category if draw.random() < 0.8 else draw.randrange(len(names)) + 1
                results.append({"image_id": number, "category_id": guess, "score": draw.random(), **moved})
    categories: list[dict[str, Any]] = [{"id": place, "name": name} for place, name in enumerate(names, start=1)]
    if has_keypoints:
        categories = [{**category, "keypoints": ["nose", "tail"]} for category in categories]
    path = folder / "annotations.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return Case(read_dataset(folder / "images", path, options=ReadOptions(needs_masks=has_masks)), results)


def shape(left: int, top: int, side: int, has_masks: bool, has_keypoints: bool, kind: str) -> dict[str, Any]:
    """A square that ends at the border of the image at the latest."""
    right, bottom = min(left + side, SIDE), min(top + side, SIDE)
    thing: dict[str, Any] = {
        "bbox": [left, top, right - left, bottom - top],
        "area": float((right - left) * (bottom - top)),
    }
    if has_masks and kind == "polygon":
        thing["segmentation"] = [[left, top, right, top, right, bottom, left, bottom]]
    elif has_masks:
        height = bottom - top
        runs = [left * SIDE + top, *[height, SIDE - height] * (right - left - 1), height]
        thing["segmentation"] = {"size": [SIDE, SIDE], "counts": [*runs, SIDE * SIDE - sum(runs)]}
    if has_keypoints:
        thing |= {"keypoints": [left, top, 2, right, bottom, 1], "num_keypoints": 2}
    return thing


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return make_case(tmp_path / "data")


@dataclass(frozen=True)
class Seen:
    """What a script found out in a page, and what the browser's console said meanwhile."""

    value: Any
    console: list[str]


@pytest.fixture(scope="session")
def browse(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str, int], Seen]:
    """Opens a page in a headless browser, as wide as asked for, and runs a function body in it (`page`, `view`)."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("needs Chromium, which is not installed")
    folder = tmp_path_factory.mktemp("browser")

    def look(page: str, script: str, width: int = 390) -> Seen:
        # a window has a least width, a frame has not; what stands in `srcdoc` may be looked at from outside
        around = f"""<body><iframe id="frame" style="width:{width}px;height:800px;border:0"
            srcdoc="{html.escape(page)}"></iframe><script>document.getElementById("frame").onload = event => {{
            const view = event.target.contentWindow, page = view.document;
            const value = (() => {{ {script} }})();
            document.body.textContent = "found " + JSON.stringify(value) + " end"; }}</script></body>"""
        (folder / "around.html").write_text(around, encoding="utf-8")
        words = [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr",
            f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=5000", "--window-size=1400,900",
            "--dump-dom", (folder / "around.html").as_uri(),
        ]  # fmt: skip
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120, encoding="utf-8")
        assert "found " in done.stdout, done.stderr
        found = done.stdout.partition("found ")[2].partition(" end")[0]
        return Seen(json.loads(html.unescape(found)), [line for line in done.stderr.splitlines() if "CONSOLE" in line])

    return look


@pytest.fixture(scope="session")
def make() -> Callable[..., Case]:
    """`make_case`, for tests that want another one."""
    return make_case

"""`maskwright demo`: the bundled model on the bundled images."""

from __future__ import annotations

import json
from importlib.resources import files

import pytest

from maskwright import load
from maskwright.data.doctor import check_dataset

BUNDLED = files("maskwright") / "assets" / "demo"


def test_bundled_images_are_few_small_and_without_defects():
    report = check_dataset(str(BUNDLED / "images"), str(BUNDLED / "annotations.json"))
    assert report.is_clean
    assert report.num_images == len(list((BUNDLED / "images").iterdir())) == 8
    assert sum(len(path.read_bytes()) for path in (BUNDLED / "images").iterdir()) < 600_000


def test_bundled_weights_are_small_and_fit_their_recipe():
    for path in (files("maskwright") / "assets").glob("*.safetensors"):
        assert path.stat().st_size < 10_000_000
    assert load("nuclei/yolact_small", device="cpu").recipe.default_weights == "nuclei"


@pytest.mark.slow
@pytest.mark.parametrize("model", [[], ["--model", "nuclei/yolact_small"]], ids=["mask_rcnn", "yolact"])
def test_demo_finds_the_nuclei_of_the_bundled_images(process, tmp_path, model):
    outcome = process("demo", *model, "--output", tmp_path / "demo", "--device", "cpu")
    assert outcome.status == 0, outcome.err
    metrics = json.loads((tmp_path / "demo" / "metrics.json").read_text())
    assert metrics["mask"]["AP"] > 0.3
    assert metrics["box"]["AP"] > 0.3
    assert f"mask AP {metrics['mask']['AP']:.3f}" in outcome.out
    assert len(list((tmp_path / "demo" / "overlays").glob("*.png"))) == 8
    predictions = json.loads((tmp_path / "demo" / "predictions.json").read_text())
    assert len(predictions["images"]) == 8
    assert len(predictions["annotations"]) > 100

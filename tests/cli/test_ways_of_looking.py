"""Test-time augmentation and tiles through the commands."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def model(tiny):
    return ["--model", tiny.recipe, "--weights", "random", "--device", "cpu", "--set", "augmented.short_sides=[48,64]"]


def test_an_evaluation_takes_views_and_tiles(here, tiny, model, tmp_path):
    data = ["--images", tiny.images, "--annotations", tiny.annotations]
    for number, options in enumerate((["--tta"], ["--tile", 40], ["--tta", "--tile", 40, "--overlap", 8])):
        outcome = here("evaluate", *model, *data, *options, "--output", tmp_path / str(number))
        assert outcome.status == 0, outcome.err
        metrics = json.loads((tmp_path / str(number) / "metrics.json").read_text())
        assert metrics["images"] == 3
        assert (tmp_path / str(number) / "report.html").stat().st_size > 1000


def test_a_prediction_takes_views_and_tiles(here, tiny, model, tmp_path):
    options = ["--tta", "--tile", 40, "--overlap", 8, "--score-threshold", 0]
    outcome = here("predict", tiny.images, *model, *options, "--output", tmp_path / "out")
    assert outcome.status == 0, outcome.err
    found = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert {image["height"] for image in found["images"]} == {64}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--overlap", 8], "--overlap is of tiles: give --tile too"),
        (["--tile", 40, "--overlap", 40], "tiles of 40 px cannot overlap by 40 px"),
    ],
)
def test_an_overlap_that_makes_no_sense_is_refused(here, tiny, model, tmp_path, options, message):
    outcome = here("predict", tiny.images, *model, *options, "--output", tmp_path / "out")
    assert outcome.status == 2
    assert message in outcome.err

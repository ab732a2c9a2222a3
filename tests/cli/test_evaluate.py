"""The tables of `evaluate`."""

from __future__ import annotations

import json

import pytest

from maskwright.errors import ConfigError
from maskwright.evaluation import Metrics, yolact_table
from maskwright.predict.evaluate import evaluate
from maskwright.predict.loading import load


@pytest.fixture
def words(tiny) -> list[object]:
    return [
        "evaluate", "--model", tiny.recipe, "--weights", "random", "--images", tiny.images,
        "--annotations", tiny.annotations, "--set", "detect.score_threshold=0",
    ]  # fmt: skip


def test_yolacts_table_is_printed_and_written_when_asked_for(here, tiny, words, tmp_path):
    outcome = here(*words, "--table", "yolact", "--output", tmp_path / "out")
    assert outcome.status == 0, outcome.err
    assert "AP50" in outcome.out
    assert "YOLACT's table" in outcome.out
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["yolact"].keys() == {"box", "mask"}
    assert Metrics(metrics["yolact"]) == yolact_table(tmp_path / "out" / "results.json", tiny.annotations)


def test_without_the_option_there_is_only_cocos_table(here, words, tmp_path):
    outcome = here(*words, "--output", tmp_path / "out")
    assert "YOLACT" not in outcome.out
    assert "yolact" not in json.loads((tmp_path / "out" / "metrics.json").read_text())


def test_an_unknown_table_is_refused(here, tiny, words):
    assert here(*words, "--table", "pascal").status == 2
    predictor = load(str(tiny.recipe), "random", "cpu")
    with pytest.raises(ConfigError, match="no table 'pascal'; choose of boundary, cityscapes, voc, yolact"):
        evaluate(predictor, tiny.images, tiny.annotations, tables=["pascal"])

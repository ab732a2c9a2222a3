"""A tiny YOLACT++ through every command: trained, told of, used, measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pycocotools.coco import COCO

from maskwright.config import load_recipe
from maskwright.evaluation import Metrics, evaluate_results

TINY = """
base: yolact
summary: so small that a test can train it
resize: {size: 64}
backbone: {depth: 18, width: 8, frozen_stages: 0}
fpn: {channels: 16}
anchors: {sizes_px: [[8], [16], [32], [48], [64]]}
protonet: {channels: 16, num_prototypes: 8}
head: {channels: 16}
rescoring: {is_on: true}
detect: {score_threshold: 0, max_detections: 20}
data: {workers: 0}
train: {iterations: 3, batch_size: 2, warmup_iterations: 1, log_every: 1, checkpoint_every: 1}
"""


@pytest.fixture(scope="module")
def run(here, tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("yolact")
    (folder / "tiny_yolact.yaml").write_text(TINY)
    return folder / "run", here("train", folder / "tiny_yolact.yaml", *tiny.overrides, "--output", folder / "run")


@pytest.fixture(scope="module")
def best(run) -> Path:
    return run[0] / "checkpoints" / "best.safetensors"


def test_training_prints_every_step(run, best):
    assert run[1].status == 0, run[1].err
    assert [f"step {step}/3  loss" in run[1].out for step in (1, 2, 3)] == [True] * 3
    assert best.is_file()


def test_a_checkpoint_is_named(here, run, best):
    outcome = here("inspect", best)
    assert outcome.status == 0, outcome.err
    assert "YOLACT" in outcome.out
    assert "every weight fits" in outcome.out


@pytest.mark.parametrize("nms", ["fast", "cross_class", "traditional"])
def test_images_become_predictions(here, tiny, run, best, tmp_path, nms):
    outcome = here(
        "predict", tiny.images, "--model", best, "--output", tmp_path / "out", "--score-threshold", 0,
        "--max-detections", 5, "--device", "cpu", "--set", f"detect.nms={nms}", "--set", "resize.size=80",
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    predictions = COCO(tmp_path / "out" / "predictions.json")
    assert 0 < len(predictions.getAnnIds(imgIds=[1])) <= 5
    for annotation in predictions.loadAnns(predictions.getAnnIds()):
        assert predictions.annToMask(annotation).shape == (64, 64)
    assert sorted(path.name for path in (tmp_path / "out" / "overlays").iterdir()) == ["1.png", "2.png", "3.png"]


def test_results_have_mask_scores_and_the_metrics_use_them(here, tiny, run, best, tmp_path):
    outcome = here(
        "evaluate", "--model", best, "--images", tiny.images, "--annotations", tiny.annotations,
        "--output", tmp_path / "out",
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results and all("mask_score" in result for result in results)
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    by_mask_score = [{**result, "score": result["mask_score"]} for result in results]
    again = evaluate_results(by_mask_score, tiny.annotations, max_detections=20)
    assert Metrics(metrics)["mask"] == again["mask"]


def test_a_finished_run_can_be_resumed_and_is_measured_again(here, tiny, run):
    recipe = run[0].parent / "tiny_yolact.yaml"
    outcome = here("train", recipe, *tiny.overrides, "--resume", "--output", run[0])
    assert outcome.status == 0, outcome.err
    assert "3 steps done\n" in outcome.out
    assert "step 1/3" not in outcome.out


@pytest.mark.parametrize("name", ["yolact", "yolact/r50", "yolact/plus_r101", "yolact/darknet53"])
def test_a_printed_recipe_is_a_recipe_file_that_gives_the_same(here, tmp_path, name):
    file = tmp_path / "printed.yaml"
    file.write_text(here("recipes", name).out, encoding="utf-8")
    assert load_recipe(str(file)) == load_recipe(name)


@pytest.mark.parametrize("word", ["resize.short_side=64", "rpn.nms_iou=0.6", "detect.nms=soft", "detect.nms_iou=2"])
def test_what_the_family_does_not_know_is_refused_in_one_line(here, tiny, tmp_path, word):
    outcome = here("train", "yolact", *tiny.overrides, word, "--output", tmp_path / "run")
    assert outcome.status == 2
    assert outcome.err.startswith("error: ") and len(outcome.err.splitlines()) == 1
    assert word.partition("=")[0].partition(".")[0] in outcome.err

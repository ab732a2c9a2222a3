"""Cityscapes through `evaluate`: pixels by its measure of classes, objects by that of instances."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskwright.config.cityscapes_labels import LABELS, STUFF, THINGS
from maskwright.data.readers import read_dataset
from maskwright.evaluation import CityscapesTally, evaluate_cityscapes
from maskwright.predict.evaluate import evaluate_dataset, measure
from maskwright.predict.findings import find_in, joined
from maskwright.predict.loading import load

SIZE = (64, 96)
NAMES = [label.name for label in sorted((*THINGS, *STUFF), key=lambda label: label.train_id)]
BACKBONE = """
resize: {short_side: 64, long_side: 128}
backbone: {depth: 18, width: 8, frozen_stages: 0, norm: batch}
fpn: {channels: 16}
"""
SEMANTIC = f"""
summary: a semantic FPN so small that a test can run it
categories: cityscapes
rpn: {{is_on: false}}
mask_head: {{is_on: false}}
semantic_head: {{is_on: true, channels: 32, has_things: false, categories: [{", ".join(NAMES)}]}}
{BACKBONE}"""
INSTANCES = f"""
summary: a Mask R-CNN so small that a test can run it, whose category ids are none of Cityscapes' labels
categories: [bicycle, tree, car, person]
rpn: {{test_proposals_before_nms: 50, test_proposals_after_nms: 50}}
box_head: {{fc_channels: 16}}
mask_head: {{num_convs: 1, channels: 8}}
detect: {{max_detections: 20, score_threshold: 0.0}}
{BACKBONE}"""


@dataclass(frozen=True)
class Tree:
    """The folders of a small Cityscapes."""

    images: Path
    annotations: Path

    @property
    def words(self) -> tuple[object, ...]:
        return "--images", self.images, "--annotations", self.annotations, "--format", "cityscapes", "--device", "cpu"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """Four street scenes of blocks: every class somewhere, objects with numbers, groups, and ignored labels."""
    tree = Tree(*(tmp_path_factory.mktemp("cityscapes") / part / "val" for part in ("leftImg8bit", "gtFine")))
    draw = np.random.default_rng(0)
    for number in range(4):
        blocks = draw.choice([label.id for label in LABELS if label.id >= 0], (4, 6))
        is_single = (blocks >= 24) & (draw.random(blocks.shape) < 0.8)
        objects = np.where(is_single, 1000 * blocks + np.arange(24).reshape(4, 6), blocks)
        pixels = draw.integers(0, 255, (*SIZE, 3), dtype=np.uint8)
        for folder, ending, values in (
            (tree.images, "leftImg8bit", pixels),
            (tree.annotations, "gtFine_labelIds", enlarged(blocks).astype(np.uint8)),
            (tree.annotations, "gtFine_instanceIds", enlarged(objects).astype(np.uint16)),
        ):
            (folder / "ulm").mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(folder / "ulm" / f"ulm_00000{number}_000019_{ending}.png")
    return tree


def enlarged(blocks: np.ndarray) -> np.ndarray:
    return blocks.repeat(16, axis=0).repeat(16, axis=1)


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        (tmp_path / "recipe.yaml").write_text(text)
        return tmp_path / "recipe.yaml"

    return write


def test_a_class_for_every_pixel_is_measured_by_cityscapes_rule(here, recipe, tree, tmp_path):
    path, out = recipe(SEMANTIC), tmp_path / "out"
    outcome = here("evaluate", "--model", path, "--weights", "random", *tree.words, "--output", out)
    assert outcome.status == 0, outcome.err
    assert "Cityscapes" in outcome.out
    measured = json.loads((out / "metrics.json").read_text())
    expected = CityscapesTally()
    predictor = load(str(path), "random", "cpu")
    label_ids = np.array([label.id for label in LABELS if label.name in NAMES])  # in the order of train ids
    for image in sorted((tree.images / "ulm").iterdir()):
        truth = [
            np.array(Image.open(tree.annotations / "ulm" / image.name.replace("leftImg8bit", f"gtFine_{kind}")))
            for kind in ("labelIds", "instanceIds")
        ]
        expected.add(truth[0], label_ids[predictor(image).semantic.labels().numpy()], truth[1])
    assert measured["cityscapes_semantic"] == expected.metrics().to_dict()
    assert 0 < measured["cityscapes_semantic"]["category_mIoU"] < 1
    assert measured["cityscapes_semantic"]["iIoU"] is not None


def test_two_processes_measure_what_one_does(recipe, tree):
    predictor = load(str(recipe(SEMANTIC)), "random", "cpu")
    dataset = read_dataset(tree.images, tree.annotations, "cityscapes")
    whole = evaluate_dataset(predictor, dataset).metrics
    shares = [find_in(predictor, replace(dataset, records=dataset.records[rank::2]), None) for rank in (0, 1)]
    metrics = measure(joined(shares, dataset), predictor.recipe, dataset)
    assert metrics["semantic"] == whole["semantic"]
    assert metrics["cityscapes_semantic"].flat() == pytest.approx(
        whole["cityscapes_semantic"].flat(), abs=1e-12, nan_ok=True
    )


def test_a_model_that_knows_some_of_the_classes_by_name_is_measured_on_all(here, recipe, tree, tmp_path):
    few = [*(label.name for label in STUFF), "lamp", "car"]
    path = recipe(SEMANTIC.replace(", ".join(NAMES), ", ".join(few)))
    outcome = here("evaluate", "--model", path, "--weights", "random", *tree.words, "--output", tmp_path / "out")
    assert outcome.status == 0, outcome.err
    measured = json.loads((tmp_path / "out" / "metrics.json").read_text())["cityscapes_semantic"]
    assert measured["per_category"]["bus"]["IoU"] == 0


def test_a_model_with_one_output_for_all_things_is_not_measured_so(here, recipe, tree, tmp_path):
    words = ("evaluate", "--model", recipe(SEMANTIC), "--weights", "random", "--output", tmp_path / "out")
    stuff = ", ".join(label.name for label in STUFF)
    changes = ("--set", "semantic_head.has_things=true", "--set", f"semantic_head.categories=[{stuff}]")
    outcome = here(*words, *tree.words, *changes)
    assert outcome.status == 0, outcome.err
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()).keys() == {"semantic", "images", "seconds"}


def test_without_pictures_of_instances_there_is_no_iiou(recipe, tree, tmp_path):
    copied = Tree(tree.images, tmp_path / "gtFine")
    shutil.copytree(tree.annotations, copied.annotations)
    dataset = read_dataset(copied.images, copied.annotations, "cityscapes")
    next(iter(copied.annotations.rglob("*_instanceIds.png"))).unlink()
    metrics = evaluate_dataset(load(str(recipe(SEMANTIC)), "random", "cpu"), dataset).metrics
    assert "mIoU" in metrics["cityscapes_semantic"]
    assert "iIoU" not in metrics["cityscapes_semantic"]


@pytest.mark.parametrize("is_panoptic", [False, True])
def test_objects_are_measured_by_cityscapes_rule_whatever_the_ids_of_the_model(
    here, recipe, tree, tmp_path, is_panoptic
):
    stuff = ", ".join(label.name for label in STUFF)
    semantic = f"semantic_head: {{is_on: true, channels: 32, categories: [{stuff}]}}"
    path = recipe(INSTANCES + semantic * is_panoptic)
    words = ("evaluate", "--model", path, "--weights", "random", "--output", tmp_path / "out")
    outcome = here(*words, *tree.words, "--table", "cityscapes")
    assert outcome.status == 0, outcome.err
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {result["category_id"] for result in results} <= {24, 26, 33}
    assert results
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    pictures = sorted(tree.annotations.rglob("*_instanceIds.png"))
    assert metrics["cityscapes"] == evaluate_cityscapes(results, dict(enumerate(pictures, start=1))).to_dict()
    assert ("semantic" in metrics) == is_panoptic


def test_what_a_table_lacks_is_reported_before_the_first_prediction(here, recipe, tree, tiny):
    words = ("evaluate", "--weights", "random", "--device", "cpu", "--table", "cityscapes", "--model")
    coco = ("--images", tiny.images, "--annotations", tiny.annotations)
    outcome = here(*words, recipe(INSTANCES.replace("tree", "square")), *coco)
    assert (outcome.status, "images:" in outcome.err) == (2, False)
    assert "has no picture of instances" in outcome.err
    outcome = here(*words, recipe(SEMANTIC), *tree.words)
    assert outcome.status == 2
    assert "table 'cityscapes' is of objects" in outcome.err


def test_detectron2s_recipe_for_cityscapes_runs_at_any_size(here, tree, tmp_path):
    changes = (
        "backbone.depth=18", "backbone.width=8", "fpn.channels=16", "box_head.fc_channels=16", "mask_head.channels=8",
        "mask_head.num_convs=1", "resize.short_side=64", "resize.long_side=128", "detect.score_threshold=0",
    )  # fmt: skip
    words = ("evaluate", "--model", "detectron2/mask_rcnn_r50_fpn_cityscapes", "--weights", "random")
    sets = (word for change in changes for word in ("--set", change))
    outcome = here(*words, *tree.words, *sets, "--table", "cityscapes", "--output", tmp_path / "out")
    assert outcome.status == 0, outcome.err
    assert (tmp_path / "out" / "report.html").read_text().count("Cityscapes, objects")
    measured = json.loads((tmp_path / "out" / "metrics.json").read_text())["cityscapes"]
    assert measured["per_category"].keys() == {label.name for label in THINGS}

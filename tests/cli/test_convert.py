"""`maskwright convert`, there and back."""

from __future__ import annotations

import pickle
import re

import pytest
import safetensors.torch
import torch
from torch import Tensor

from maskwright.checkpoints.native import NativeCheckpoint, read_native, write_native
from maskwright.config import load_recipe
from maskwright.models.build import build_model

# narrow, so that a file has few bytes
NARROW = {
    "categories": ["brick", "egg"],
    "backbone.width": 8,
    "fpn.channels": 16,
    "box_head.fc_channels": 16,
    "mask_head.channels": 16,
}
SETTINGS = [f"--set={key}={value}" for key, value in NARROW.items() if key != "categories"]


def native(tmp_path, recipe: str, **changes: object) -> dict[str, Tensor]:
    """Writes `ours.safetensors`; returns its weights."""
    resolved = load_recipe(f"{recipe}", {**NARROW, **changes})
    weights = build_model(resolved).state_dict()
    table = resolved.model_dump(mode="json")
    write_native(tmp_path / "ours.safetensors", NativeCheckpoint(weights, table, {}, {}))
    return weights


def assert_same(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert set(first) == set(second)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("recipe", "lineage", "suffix"),
    [
        ("torchvision/mask_rcnn_r50_fpn", "torchvision", ".pth"),
        ("detectron2/mask_rcnn_r50_fpn", "detectron2", ".pkl"),
        ("detectron2/mask_rcnn_r50_fpn", "detectron2", ".pth"),
        ("detectron2/mask_rcnn_r50_c4", "detectron2", ".pkl"),
    ],
)
def test_there_and_back_every_number_is_the_same(here, tmp_path, recipe, lineage, suffix) -> None:
    weights = native(tmp_path, recipe)
    theirs, back = tmp_path / f"theirs{suffix}", tmp_path / "back.safetensors"
    outcome = here("convert", tmp_path / "ours.safetensors", theirs, "--format", lineage)
    assert outcome.status == 0, outcome.err
    assert f"{lineage}, {len(weights)} tensors" in outcome.out
    outcome = here("convert", theirs, back)
    assert outcome.status == 0, outcome.err
    found = read_native(back)
    assert_same(found.weights, weights)
    assert [category["name"] for category in found.recipe["categories"]] == ["class 1", "class 2"]
    assert found.recipe["backbone"]["width"] == 8
    assert safetensors.torch.load_file(back)


def test_settings_that_the_other_program_takes_otherwise_are_reported(here, tmp_path) -> None:
    native(tmp_path, "detectron2/mask_rcnn_r50_fpn")
    outcome = here("convert", tmp_path / "ours.safetensors", tmp_path / "theirs.pth", "--format", "torchvision")
    assert outcome.status == 0
    assert "torchvision has others by default (pixels.channel_order, pixels.divisor" in outcome.err
    native(tmp_path, "torchvision/mask_rcnn_r50_fpn")
    outcome = here("convert", tmp_path / "ours.safetensors", tmp_path / "theirs.pth", "--format", "torchvision")
    assert (outcome.status, outcome.err) == (0, "")


def test_recipe_and_categories_may_be_named(here, tmp_path) -> None:
    native(tmp_path, "detectron2/mask_rcnn_r50_fpn")
    here("convert", tmp_path / "ours.safetensors", tmp_path / "theirs.pth", "--format", "detectron2")
    names = ["--set", "categories=[brick, egg]", *SETTINGS]
    words = ("convert", tmp_path / "theirs.pth", tmp_path / "back.safetensors")
    outcome = here(*words, "--recipe", "detectron2/mask_rcnn_r50_fpn_1x", *names)
    assert outcome.status == 0, outcome.err
    recipe = read_native(tmp_path / "back.safetensors").recipe
    assert recipe["name"] == "detectron2/mask_rcnn_r50_fpn_1x"
    assert [category["name"] for category in recipe["categories"]] == ["brick", "egg"]


def test_detectron2s_pickles_hold_arrays_in_a_table(here, tmp_path) -> None:
    native(tmp_path, "detectron2/mask_rcnn_r50_fpn")
    here("convert", tmp_path / "ours.safetensors", tmp_path / "theirs.pkl", "--format", "detectron2")
    content = pickle.loads((tmp_path / "theirs.pkl").read_bytes())
    assert set(content) == {"model", "__author__"}
    assert content["model"]["roi_heads.box_predictor.cls_score.weight"].shape == (3, 16)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["x.onnx"], "target .*x.onnx: give a .safetensors file, or .pth or .pkl with --format"),
        (["x.pth"], "say whose state dict it becomes"),
        (["x.safetensors", "--format", "torchvision"], "give a .safetensors file, or"),
        (["x.pth", "--format", "tensorflow"], "no format called 'tensorflow'; choose one of torchvision, detectron2"),
        (["x.pth", "--format", "torchvision"], "torchvision has names only for models with a pyramid"),
        (["x.safetensors", "--recipe", "mask_rcnn"], "has its recipe inside: leave out --recipe mask_rcnn"),
        (["x.safetensors", "--set", "fpn.channels=32"], "does not fit the recipe"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(here, tmp_path, words, message) -> None:
    native(tmp_path, "detectron2/mask_rcnn_r50_c4" if "torchvision" in words else "detectron2/mask_rcnn_r50_fpn")
    outcome = here("convert", tmp_path / "ours.safetensors", tmp_path / words[0], *words[1:])
    assert outcome.status == 2
    assert outcome.err.count("\n") == 1
    assert not (tmp_path / words[0]).exists()
    assert re.search(message, outcome.err), outcome.err


def test_the_source_itself_is_no_target_and_stays_as_it_was(here, tmp_path) -> None:
    native(tmp_path, "detectron2/mask_rcnn_r50_fpn")
    path = tmp_path / "ours.safetensors"
    before = path.read_bytes()
    (tmp_path / "link.safetensors").symlink_to(path)
    for target in (path, tmp_path / "link.safetensors"):
        outcome = here("convert", path, target, "--set", "detect.nms_iou=0.6")
        assert outcome.status == 2
        assert re.fullmatch(r"error: target .* is the source itself, which would be lost: .*\n", outcome.err)
    assert path.read_bytes() == before


def test_a_backbone_without_heads_is_refused(here, tmp_path) -> None:
    torch.save({"stem.conv1.weight": torch.zeros(1)}, tmp_path / "backbone.pth")
    outcome = here("convert", tmp_path / "backbone.pth", tmp_path / "x.safetensors", "--recipe", "mask_rcnn")
    assert outcome.status == 2
    assert "holds only a backbone" in outcome.err

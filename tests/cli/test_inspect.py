"""What `maskwright inspect` tells of checkpoints that no run here left."""

from __future__ import annotations

import argparse
import pickle

import numpy as np
import pytest
import torch
import torchvision

import maskwright as mw
from maskwright.checkpoints.native import NativeCheckpoint, write_native
from maskwright.config import load_recipe

SMALL = {
    "categories": ["brick", "egg"],
    "backbone.width": 8,
    "fpn.channels": 16,
    "protonet.channels": 8,
    "head.channels": 16,
}


def told(here, path) -> dict[str, str]:
    outcome = here("inspect", path)
    assert outcome.status == 0, outcome.err
    return dict(line.split(None, 1) for line in outcome.out.splitlines())


@pytest.mark.parametrize(
    ("recipe", "size", "parts"),
    [
        ("yolact/r50", 550, ["ResNet-50 (width 8, norm batch)", "3 anchors on a cell"]),
        (
            "yolact/plus_r50",
            200,
            ["ResNet-50 (width 8, norm batch, deformable)", "9 anchors on a cell", "mask re-scoring"],
        ),
        ("yolact/darknet53", 550, ["DarkNet-53 (width 8, norm batch)", "3 anchors on a cell"]),
    ],
)
def test_the_parts_of_a_yolact_are_reported(here, tmp_path, recipe, size, parts) -> None:
    predictor = mw.load(recipe, "random", "cpu", {**SMALL, "resize.size": size})
    table = predictor.recipe.model_dump(mode="json")
    write_native(tmp_path / "model.safetensors", NativeCheckpoint(predictor.model.state_dict(), table, {}, {}))
    lines = told(here, tmp_path / "model.safetensors")
    assert lines["architecture"].startswith(f"YOLACT at {size} px, {parts[0]}, FPN of 16 channels, ")
    assert all(part in lines["architecture"] for part in parts)
    assert ("re-scoring" in lines["architecture"]) == (len(parts) == 3)
    assert lines["categories"] == "brick (1), egg (2)"
    assert lines["fit"] == "every weight fits"


def test_a_backbone_is_reported_as_one(here, tmp_path) -> None:
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "resnet18.pth")
    lines = told(here, tmp_path / "resnet18.pth")
    assert lines["lineage"] == "torchvision"
    assert lines["use"] == "only a backbone: start a training from it, with train.initial_weights=FILE"
    assert "recipe" not in lines


NARROW = {"categories": ["brick", "egg"], "backbone.width": 8, "fpn.channels": 16, "box_head.fc_channels": 16}


@pytest.mark.parametrize(
    ("recipe", "parts"),
    [
        ("torchvision/mask_rcnn_r50_fpn", ["Mask R-CNN, ResNet-50", "mask head of 4 × 256 convolutions to 28 px"]),
        ("detectron2/mask_rcnn_r50_c4", ["Mask R-CNN", "only the features of res4 (C4)", "box head of res5"]),
        ("detectron2/faster_rcnn_r50_dc5", ["Faster R-CNN", "only the features of res5 (DC5)"]),
        ("detectron2/keypoint_rcnn_r50_fpn", ["Keypoint R-CNN", "17 keypoints"]),
        ("detectron2/cascade_mask_rcnn_r50_fpn", ["Cascade R-CNN", "class-agnostic, 2 stages more behind it"]),
        ("detectron2/panoptic_fpn_r50", ["Panoptic FPN", "semantic head of 54 outputs"]),
        ("detectron2/semantic_fpn_r50", ["Semantic FPN", "16 channels, semantic head of 54 outputs"]),
        ("detectron2/mask_rcnn_r50_fpn_3x_dconv", ["deformable, unmodulated"]),
        ("detectron2/mask_rcnn_r50_fpn_3x_gn", ["norm group", "linear (norm group)"]),
        ("simple/mask_rcnn_r50", ["only the features of res5, by convolutions to 16 channels"]),
        ("matterport/mask_rcnn_r50", ["0 convolutions and 2 × 16 linear (norm batch)"]),
    ],
)
def test_the_parts_of_a_two_stage_model_are_reported(here, tmp_path, recipe, parts) -> None:
    changes = NARROW if "_gn" not in recipe else {"categories": ["brick", "egg"]}
    predictor = mw.load(recipe, "random", "cpu", changes)
    table = predictor.recipe.model_dump(mode="json")
    write_native(tmp_path / "model.safetensors", NativeCheckpoint(predictor.model.state_dict(), table, {}, {}))
    lines = told(here, tmp_path / "model.safetensors")
    assert all(part in lines["architecture"] for part in parts), lines["architecture"]
    assert lines["fit"] == "every weight fits"


def test_msras_backbone_is_reported_as_one(here, tmp_path) -> None:
    blobs = {name: np.ones(4, "f4") for name in ("conv1_w", "res_conv1_bn_s", "res2_0_branch2a_w")}
    (tmp_path / "R-50.pkl").write_bytes(pickle.dumps(blobs))
    lines = told(here, tmp_path / "R-50.pkl")
    assert (lines["lineage"], lines["weights"]) == ("caffe2", "5 tensors, 20 numbers")


def test_weights_that_are_not_finite_are_reported(here, tmp_path) -> None:
    state = torchvision.models.resnet18().state_dict()
    state["layer1.0.conv1.weight"][0] = torch.nan
    torch.save(state, tmp_path / "resnet18.pth")
    lines = told(here, tmp_path / "resnet18.pth")
    assert lines["values"].startswith("1 weights are not finite numbers, first backbone.stages.0.0.conv1.conv.weight")
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "resnet18.pth")
    assert told(here, tmp_path / "resnet18.pth")["values"] == "all finite"


def test_where_the_weights_were_found_and_what_was_left_out_is_reported(here, tmp_path) -> None:
    state = {f"module.{key}": value for key, value in torchvision.models.resnet18().state_dict().items()}
    torch.save({"net": state, "args": argparse.Namespace(lr=1)}, tmp_path / "resnet18.pth")
    outcome = here("inspect", tmp_path / "resnet18.pth")
    assert "found under   net.\n" in outcome.out
    assert "left out      objects of argparse.Namespace; none was built\n" in outcome.out


@pytest.mark.parametrize(
    "progress",
    [
        {"step": "x"},
        {"step": 3, "best": "x"},
        {"best": [1]},
        {"best": 10**400},
        {"step": {}},
        {"step": 1, "best": True},
    ],
    ids=str,
)
def test_a_damaged_progress_is_reported(here, tmp_path, progress) -> None:
    table = load_recipe("mask_rcnn", {"categories": ["a"]}).model_dump(mode="json")
    write_native(tmp_path / "x.safetensors", NativeCheckpoint({"a": torch.zeros(1)}, table, {}, progress))
    assert told(here, tmp_path / "x.safetensors")["training"] == "a run whose progress is damaged: weights only"


def test_names_in_a_file_do_not_steer_the_terminal(here, tmp_path) -> None:
    table = load_recipe("mask_rcnn", {"categories": ["a"]}).model_dump(mode="json")
    table |= {
        "name": "\x1b[31mred",
        "categories": [{"id": 1, "name": "\x1b]0;title\x07"}, {"id": 2, "name": "y" * 5000}],
    }
    write_native(tmp_path / "x.safetensors", NativeCheckpoint({"a": torch.zeros(1)}, table, {}, {}))
    outcome = here("inspect", tmp_path / "x.safetensors")
    assert outcome.status in (0, 2)
    shown = outcome.out + outcome.err
    assert "\x1b" not in shown and "\x07" not in shown
    assert max(map(len, shown.splitlines())) <= 2000

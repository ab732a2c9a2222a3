"""What `maskwright inspect` tells of checkpoints that no run here left."""

from __future__ import annotations

import pytest
import torch
import torchvision

import maskwright as mw
from maskwright.checkpoints.native import NativeCheckpoint, write_native

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
def test_the_parts_of_a_yolact_are_told(here, tmp_path, recipe, size, parts) -> None:
    predictor = mw.load(recipe, "random", "cpu", {**SMALL, "resize.size": size})
    table = predictor.recipe.model_dump(mode="json")
    write_native(tmp_path / "model.safetensors", NativeCheckpoint(predictor.model.state_dict(), table, {}, {}))
    lines = told(here, tmp_path / "model.safetensors")
    assert lines["architecture"].startswith(f"YOLACT at {size} px, {parts[0]}, FPN of 16 channels, ")
    assert all(part in lines["architecture"] for part in parts)
    assert ("re-scoring" in lines["architecture"]) == (len(parts) == 3)
    assert lines["categories"] == "brick (1), egg (2)"
    assert lines["fit"] == "every weight has its place"


def test_a_backbone_is_told_as_one(here, tmp_path) -> None:
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "resnet18.pth")
    lines = told(here, tmp_path / "resnet18.pth")
    assert lines["lineage"] == "torchvision"
    assert lines["use"] == "a backbone alone: start a training from it, with train.initial_weights=FILE"
    assert "recipe" not in lines

"""No tensor is left behind on the CPU where a network runs elsewhere: all kinds of networks, on a simulated card."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import maskwright as mw
from maskwright.predict.losses import loss_sums

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for the module of the simulated card

from simulated_card import simulated_card

SIZE = (60, 80)
SQUARE = {"bbox": [10, 10, 20, 20], "segmentation": [[10, 10, 30, 10, 30, 30, 10, 30]], "category_id": 1, "iscrowd": 0}
TRIANGLE = {"bbox": [40, 20, 30, 30], "segmentation": [[40, 20, 70, 20, 55, 50]], "category_id": 1, "iscrowd": 0}
CROWD = {
    "bbox": [0, 50, 60, 10],
    "segmentation": {"size": [60, 80], "counts": [50, 10] * 60 + [1200]},
    "category_id": 1,
    "iscrowd": 1,
}
POINTS = {"keypoints": [number for point in range(17) for number in (12 + point, 15 + point % 5, 2)]}

# what a tiny network needs beside `tiny_network`, by recipe
TWO_STAGE: dict[str, dict[str, Any]] = {
    "mask_rcnn": {},
    "torchvision/mask_rcnn_r50_fpn_v2": {},
    "torchvision/keypoint_rcnn_r50_fpn": {"categories": ["person"], "keypoint_head.channels": 16},
    "detectron2/mask_rcnn_r50_c4": {"anchors.sizes_px": [[16, 32, 64]]},
    "detectron2/mask_rcnn_r50_fpn_3x_dconv": {"backbone.depth": 50},
    "detectron2/cascade_mask_rcnn_r50_fpn": {},
    "detectron2/panoptic_fpn_r50": {},
    "detectron2/pointrend_mask_rcnn_r50_fpn": {"mask_head.points.fc_channels": 16},
    "matterport/mask_rcnn_r50": {"rpn.channels": 16, "pixels.std": [60.0, 60.0, 60.0]},
    "simple/mask_rcnn_r50": {"anchors.sizes_px": [[16, 32, 64]]},
}
ONE_STAGE: dict[str, dict[str, Any]] = {
    "yolact": {},
    "yolact/plus_r50": {"backbone.depth": 50},
    "yolact/r50": {"detect.nms": "traditional", "detect.score_threshold": 0.3},
    "yolact/r101": {"detect.nms": "cross_class"},
}


@pytest.fixture
def overrides(recipe, tiny_network, tiny_yolact) -> dict[str, Any]:
    is_two_stage = recipe in TWO_STAGE
    given = {**tiny_network, **TWO_STAGE[recipe]} if is_two_stage else {**tiny_yolact, **ONE_STAGE[recipe]}
    if recipe.endswith("plus_r50"):
        del given["anchors.sizes_px"]
    return {"detect.score_threshold": 0.0, **given}


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def targets_of(predictor: mw.Predictor) -> mw.Targets:
    targets = mw.Targets.from_coco(
        [{**SQUARE, **POINTS}, {**TRIANGLE, **POINTS}, CROWD], SIZE, predictor.categories.names
    )
    semantic = np.zeros(SIZE, dtype=np.uint8)
    semantic[30:], semantic[:, :4] = 1, 255
    return targets.with_semantic(semantic)


def answers(recipe: str, overrides: dict[str, Any], picture: np.ndarray, is_on_card: bool) -> tuple[Any, ...]:
    """Detections, masks, losses and the gradient's norm; the card of the quick recipes is one without float64."""
    with simulated_card(knows_float64=recipe not in QUICK) if is_on_card else nullcontext("cpu") as device:
        predictor = mw.load(recipe, "random", device=device, overrides=overrides)
        found = predictor([picture, picture[:40]])[0]
        assert found.boxes.device.type == "cpu"
        sums = loss_sums(predictor, [picture], [targets_of(predictor)])
        torch.stack([loss.mean() for loss in sums.values()]).sum().backward()
        gradients = [parameter.grad for parameter in predictor.model.parameters() if parameter.grad is not None]
        norm = sum(gradient.cpu().double().square().sum().item() for gradient in gradients)
        losses = {name: loss.mean().item() for name, loss in sums.items()}
        areas = [] if found.masks is None else found.masks.areas().tolist()
        return found.boxes.tolist(), found.scores.tolist(), areas, losses, norm


# these cover what the families have in common; of each of the others it takes several seconds to learn little more
QUICK = {"mask_rcnn", "yolact"}


@pytest.mark.parametrize(
    "recipe",
    [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in (*TWO_STAGE, *ONE_STAGE)],
)
def test_a_network_gives_on_a_card_what_it_gives_on_the_cpu(recipe, overrides, picture) -> None:
    here, there = (answers(recipe, overrides, picture, is_on_card) for is_on_card in (False, True))
    assert len(here[0]) > 0
    for found, wanted in zip(there[0], here[0], strict=True):
        assert found == pytest.approx(wanted, abs=1e-2)
    assert there[1] == pytest.approx(here[1], abs=1e-4)
    assert there[2] == pytest.approx(here[2], abs=3)
    assert there[3] == pytest.approx(here[3], rel=1e-4, abs=1e-6)
    assert there[4] == pytest.approx(here[4], rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["augmented", "tiled"])
@pytest.mark.parametrize("recipe", ["mask_rcnn", "yolact"])
def test_views_and_tiles_are_joined_on_a_card_as_on_the_cpu(recipe, way, overrides, picture) -> None:
    boxes = []
    for is_on_card in (False, True):
        with simulated_card() if is_on_card else nullcontext("cpu") as device:
            whole = mw.load(recipe, "random", device=device, overrides=overrides)
            predictor = whole.augmented() if way == "augmented" else whole.tiled(48, 16)
            boxes.append(predictor(picture).boxes)
    torch.testing.assert_close(*boxes, rtol=0, atol=1e-2)


def test_the_simulated_card_refuses_what_a_card_refuses() -> None:
    with simulated_card() as card:
        there, here = torch.arange(3.0, device=card), torch.arange(3.0)
        assert there.double().dtype == torch.float64
        refused = [
            lambda: there + here,
            lambda: torch.cat([there, here]),
            lambda: here[there.long()],
            there.numpy,
            lambda: there.index_put((here.long(),), here),
        ]
        for deed in refused:
            with pytest.raises(RuntimeError):
                deed()
        assert (there + torch.tensor(1.0)).tolist() == [1, 2, 3]
        assert there[here.long()].tolist() == there.cpu().tolist() == [0, 1, 2]
        assert (there.new_tensor([1.0, 2.0, 3.0]) + torch.tensor([1.0, 1.0, 1.0], device=card)).tolist() == [2, 3, 4]


def test_a_simulated_gpu_of_apple_refuses_float64() -> None:
    with simulated_card(knows_float64=False) as card:
        there = torch.arange(3.0, device=card)
        boxes = torch.zeros(1, 4, dtype=torch.float64)
        for deed in (there.double, lambda: boxes.to(card), lambda: torch.ones(1, dtype=torch.float64, device=card)):
            with pytest.raises(TypeError, match="float64"):
                deed()
        assert there.cpu().double().tolist() == [0, 1, 2]

"""PointRend's masks learn, are predicted from the run's checkpoint, and go to detectron2's names and back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import Arguments, log_of

import maskwright as mw
from maskwright.checkpoints.reading import read_weights
from maskwright.checkpoints.writing import write_foreign

POINTS = {
    "mask_head.kind": "point",
    "mask_head.pool_px": 14,
    "mask_head.channels": 16,
    "mask_head.points.coarse_fc_channels": 64,
    "mask_head.points.fc_channels": 32,
    "data.augment.scale_jitter": [1.0, 1.0],
    "data.augment.vertical_flip": 0.0,
    "data.augment.transpose": 0.0,
    "data.augment.colour": 0.0,
    "train.learning_rate": 5e-3,
    "train.schedule": "cosine",
    "train.clip_norm": 5.0,
}


def test_both_losses_of_the_masks_fall_and_the_checkpoint_predicts_and_comes_back(
    training: Callable[..., Arguments], dataset: Path, tmp_path: Path
) -> None:
    changes = {**POINTS, "train.iterations": 24, "train.batch_size": 4, "train.checkpoint_every": 24}
    mw.train(**training(tmp_path / "run", changes))
    lines = log_of(tmp_path / "run")
    for name in ("mask", "mask_point"):
        first, last = (sum(line[name] for line in some) / 4 for some in (lines[:4], lines[-4:]))
        assert last < 0.9 * first

    trained = tmp_path / "run" / "checkpoints" / "last.safetensors"
    predictor = mw.load(trained, device="cpu", overrides={"detect.score_threshold": 0.0})
    image = dataset / "images" / "1.png"
    found = predictor(image)
    assert len(found) > 0
    assert found.masks.probabilities.shape[1:] == (224, 224)

    write_foreign(tmp_path / "back.pth", predictor.model.state_dict(), "detectron2")
    read = read_weights(tmp_path / "back.pth")
    assert read.recipe_name == "detectron2/pointrend_mask_rcnn_r50_fpn"
    own = predictor.model.state_dict()
    assert all(torch.equal(read.weights[name], own[name]) for name in own if not name.endswith("num_batches_tracked"))


@pytest.mark.parametrize("base", ["mask_rcnn", "torchvision/mask_rcnn_r50_fpn"])
def test_the_masks_of_any_pyramid_become_fine_by_an_override(
    base: str, training: Callable[..., Arguments], tiny_network: dict[str, Any], dataset: Path, tmp_path: Path
) -> None:
    short = {"train.iterations": 1, "train.batch_size": 2, "train.initial_weights": None, "data.workers": 0}
    arguments = training(tmp_path / "run", {"mask_head.kind": "point"})
    overrides = {**tiny_network, **short, **arguments["overrides"], "categories": ["brick", "egg"]}
    mw.train(**{**arguments, "recipe": base, "overrides": overrides})
    (line,) = log_of(tmp_path / "run")
    assert line["mask_point"] > 0
    trained = tmp_path / "run" / "checkpoints" / "last.safetensors"
    predictor = mw.load(trained, device="cpu", overrides={"detect.score_threshold": 0.0})
    found = predictor(dataset / "images" / "1.png")
    assert found.masks.probabilities.shape == (len(found), 224, 224)


@pytest.mark.slow
def test_ten_images_can_be_learnt_by_heart_in_fine_masks(training: Callable[..., Arguments], tmp_path: Path) -> None:
    changes = {**POINTS, "train.iterations": 200, "train.batch_size": 4, "train.warmup_iterations": 20}
    changes |= {"mask_head.points.subdivisions": 3, "train.checkpoint_every": 100}
    metrics = mw.train(**training(tmp_path / "run", changes, validates=True)).metrics
    assert metrics["mask"]["AP"] > 0.5

"""torchvision's Keypoint R-CNN gives here the keypoints and losses that torchvision gave.

Neighbouring cells of a heat map can be of nearly the same height; which of them is the higher one may then depend on
the order of summation, and the keypoint moves by a cell. One in two hundred may.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.ops import box_iou

import maskwright as mw

BOXES_PX = 0.02
KEYPOINTS_PX = 0.05
SCORES = 1e-4
HEIGHTS = 5e-4  # of heights above one: share
LOSSES = 1e-4
MOVED_SHARE = 1 / 200

LOSS_NAMES = {
    "loss_objectness": "rpn_objectness",
    "loss_rpn_box_reg": "rpn_box",
    "loss_classifier": "class",
    "loss_box_reg": "box",
    "loss_keypoint": "keypoint",
}


@pytest.fixture(scope="module")
def predictor(keypoint_case, tmp_path_factory) -> mw.Predictor:
    checkpoint: Path = tmp_path_factory.mktemp("weights") / "reference.pth"
    torch.save(keypoint_case.weights(), checkpoint)
    numbers, training = keypoint_case.config["defaults"], keypoint_case.training["train_config"]
    # samplers so large that they take all candidates: no chance is left in the losses
    overrides = {
        "resize.short_side": numbers["min_size"],
        "resize.long_side": numbers["max_size"],
        "detect.score_threshold": numbers["box_score_thresh"],
        "backbone.frozen_stages": 0,
        "rpn.anchors_per_image": training["rpn_batch_size_per_image"],
        "roi.rois_per_image": training["box_batch_size_per_image"],
        "rpn.train_proposals_after_nms": training["rpn_post_nms_top_n_train"],
    }
    return mw.load("torchvision/keypoint_rcnn_r50_fpn", weights=checkpoint, device="cpu", overrides=overrides)


@pytest.fixture(scope="module")
def found(keypoint_case, predictor) -> mw.Instances:
    """What is found in the image, in the order in which the reference found it."""
    found = predictor(keypoint_case.image)
    recorded = torch.from_numpy(keypoint_case.expected["final/0/boxes"])
    indices = box_iou(recorded, found.boxes).argmax(dim=1)
    assert sorted(indices.tolist()) == list(range(len(found)))
    return found[indices]


def moved_share(points: Tensor, recorded: Any) -> float:
    """The share of keypoints that are elsewhere."""
    return float(
        ((points[..., :2] - torch.from_numpy(recorded)[..., :2]).abs().amax(dim=-1) > KEYPOINTS_PX).float().mean()
    )


def test_boxes_and_scores_agree(keypoint_case, found) -> None:
    assert (found.boxes - torch.from_numpy(keypoint_case.expected["final/0/boxes"])).abs().max() < BOXES_PX
    assert (found.scores - torch.from_numpy(keypoint_case.expected["final/0/scores"])).abs().max() < SCORES
    assert found.masks is None


def test_keypoints_agree_in_the_image_and_in_the_network_input(keypoint_case, found, predictor) -> None:
    assert moved_share(found.keypoints, keypoint_case.expected["final/0/keypoints"]) <= MOVED_SHARE
    in_input = found.restored_to(predictor.preprocess.resize.scaled_size(found.size))
    assert moved_share(in_input.keypoints, keypoint_case.expected["roi/0/keypoints"]) <= MOVED_SHARE


def test_heights_of_the_heat_maps_agree(keypoint_case, found) -> None:
    recorded = torch.from_numpy(keypoint_case.expected["final/0/keypoints_scores"])
    assert ((found.keypoints[..., 2] - recorded).abs() / recorded.abs().clamp(min=1)).max() < HEIGHTS


def test_results_hold_the_keypoints_as_they_are(keypoint_case, found) -> None:
    entry = found.to_coco(1)[0]
    assert entry["keypoints"] == found.keypoints[0].flatten().tolist()
    assert np.shape(entry["keypoints"]) == (51,)


def test_losses_agree(keypoint_case, predictor) -> None:
    target = keypoint_case.training["targets"][0]
    annotations = [
        {
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "category_id": label,
            "segmentation": rle,
            "keypoints": np.ravel(points).tolist(),
        }
        for (x1, y1, x2, y2), label, rle, points in zip(
            *(target[key] for key in ("boxes", "labels", "masks_rle", "keypoints")), strict=True
        )
    ]
    size = tuple(target["masks_rle"][0]["size"])
    truth = mw.Targets.from_coco(annotations, size, predictor.categories)
    losses = mw.losses(predictor, [keypoint_case.image], [truth])
    assert losses == {
        LOSS_NAMES[name]: pytest.approx(value, rel=LOSSES) for name, value in keypoint_case.training["losses"].items()
    }

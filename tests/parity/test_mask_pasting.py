"""Recorded mask probabilities and boxes give the recorded final masks; no network is needed for that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from maskwright.structures import RoiMasks

# the manner of each family whose cases are recorded in the same form
MANNERS = {"torchvision": "bordered", "detectron2": "centres", "simple_maskrcnn": "exclusive"}
CASES = [
    "torchvision/maskrcnn_resnet50_fpn",
    "torchvision/maskrcnn_resnet50_fpn_v2",
    "detectron2/mask_rcnn_R_50_FPN_3x",
    "detectron2/mask_rcnn_R_50_FPN_3x_dconv_c3-c5",
    "detectron2/mask_rcnn_R_50_C4_3x",
    "detectron2/panoptic_fpn_R_50_3x",
    "simple_maskrcnn/resnet50_stride32",
]


def arrays(folder: Path) -> dict[str, Any]:
    with np.load(folder / "expected.npz") as recorded:
        return dict(recorded)


def agree(masks: RoiMasks, rles: list[dict[str, Any]]) -> None:
    """All masks are equal, but for pixels whose value is the threshold to the last digit or two."""
    recorded = coco_mask.decode(rles).transpose(2, 0, 1).astype(bool)
    differing = (masks.bitmaps() ^ recorded).sum(axis=(1, 2))
    assert differing.max() <= 2
    assert (differing > 0).mean() <= 0.03


@pytest.mark.parametrize("case", CASES)
def test_pasted_masks_are_the_recorded_ones(shared: Path, case: str) -> None:
    folder = shared / "parity" / case
    expected, rles = arrays(folder), json.loads((folder / "masks.json").read_text())["0"]
    prefix = {"simple_maskrcnn": ("0/roi", "0/final")}.get(case.partition("/")[0], ("roi/0", "final/0"))
    masks = RoiMasks(
        tuple(rles[0]["size"]),
        torch.from_numpy(expected[f"{prefix[0]}/mask_probs"]),
        torch.from_numpy(expected[f"{prefix[1]}/boxes"]),
        threshold=0.5,
        pasting=MANNERS[case.partition("/")[0]],
    )
    agree(masks, rles)


@pytest.mark.parametrize("run", ["", "plain_nms."])
def test_matterports_masks_are_the_recorded_ones(shared: Path, run: str) -> None:
    expected = arrays(shared / "parity" / "matterport" / "resnet101_coco")
    # those without area were dropped after their masks had been made
    scores = torch.from_numpy(expected[f"{run}detections"][:, 5])
    indices = (torch.from_numpy(expected[f"{run}final.scores"])[:, None] - scores).abs().argmin(dim=1)
    height, width = expected[f"{run}final.mask_size"].tolist()
    masks = RoiMasks(
        (height, width),
        torch.from_numpy(expected[f"{run}mask_28_of_detected_class"])[indices],
        torch.from_numpy(expected[f"{run}final.rois"][:, [1, 0, 3, 2]]),
        threshold=0.5,
        pasting="bytes",
        stretches_range=True,
    )
    recorded = [{"size": [height, width], "counts": bytes(counts)} for counts in expected[f"{run}final.mask_rle"]]
    agree(masks, recorded)

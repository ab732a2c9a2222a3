"""Settings of a two-stage recipe that cannot stand together are refused, and the message gives the way out."""

from __future__ import annotations

from typing import Any

import pytest

from maskwright.config import load_recipe
from maskwright.errors import ConfigError

C4 = {"neck": "c4", "anchors.sizes_px": [[32, 64]], "box_head.num_fcs": 0}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"neck": "c4"}, "anchors.sizes_px has 5 rows, but the neck 'c4' gives one level"),
        ({**C4, "backbone": {"kind": "darknet53"}}, "neck: c4 takes res5 of a ResNet"),
        ({**C4, "keypoint_head.is_on": True}, "neck: c4 has boxes and masks only"),
        ({**C4, "box_head.num_fcs": 2}, "set box_head.num_fcs=0"),
        ({**C4, "mask_head.pool_px": 7}, "mask_head.pool_px even"),
        ({**C4, "cascade.is_on": True, "box_head.is_class_agnostic": True}, "c4 has a single box head"),
        ({"cascade.is_on": True}, "set box_head.is_class_agnostic=true"),
        (
            {"cascade.is_on": True, "box_head.is_class_agnostic": True, "roi.refines_for_heads": True},
            "roi.refines_for_heads is of a single box head",
        ),
        ({"cascade.ious": [0.6]}, "cascade.ious and cascade.box_weights: give one of each"),
        ({"mask_head.is_softmax": True, "mask_head.is_class_agnostic": True}, "switch off is_class_agnostic"),
        (
            {"mask_head.kind": "point", "neck": "c5", "anchors.sizes_px": [[32]]},
            "mask_head.kind: point looks at the fine",
        ),
        (
            {"mask_head.kind": "point", "mask_head.pool_px": 7},
            "mask_head: kind point halves the pooled square; make pool_px even, not 7",
        ),
        ({"mask_head.kind": "point", "mask_head.is_softmax": True}, "switch off is_softmax"),
        ({"mask_head.points.subdivisions": 9}, "gives masks of 3584 pixels a side"),
        ({"backbone.res4_dilation": 2}, "needs backbone.res5_dilation 4"),
        ({"backbone.res5_dilation": 4}, "needs backbone.res4_dilation 2"),
        ({"rpn.negative_iou": 0.8}, "rpn.negative_iou is above rpn.positive_iou"),
    ],
)
def test_what_does_not_go_together_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        load_recipe("torchvision/mask_rcnn_r50_fpn", changes)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_masks_of_points_double_the_coarse_mask() -> None:
    changes = {"mask_head.kind": "point", "mask_head.points.coarse_px": 5, "mask_head.points.subdivisions": 3}
    assert load_recipe("mask_rcnn", changes).mask_px == 40


@pytest.mark.parametrize(("neck", "pool_px", "mask_px"), [("fpn", 14, 28), ("c4", 14, 14), ("c5", 14, 28)])
def test_masks_are_twice_as_large_as_what_their_head_gets(neck: str, pool_px: int, mask_px: int) -> None:
    single = {} if neck == "fpn" else {"anchors.sizes_px": [[32]], "box_head.num_fcs": 0}
    assert load_recipe("mask_rcnn", {"neck": neck, "mask_head.pool_px": pool_px, **single}).mask_px == mask_px

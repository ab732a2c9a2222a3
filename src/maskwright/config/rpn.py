"""The first stage's tables: anchors, and the network that proposes boxes from them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from maskwright.config.base import MOST_CHANNELS, MOST_LAYERS, StrictModel

BoxWeights = tuple[float, float, float, float]


class AnchorConfig(StrictModel):
    """Reference boxes of the RPN: one size per pyramid level (FPN, section 4.1), or several on a single level."""

    sizes_px: tuple[tuple[float, ...], ...] = Field(
        ((32,), (64,), (128,), (256,), (512,)), description="square roots of anchor areas, one row per level"
    )
    ratios: tuple[float, ...] = Field((0.5, 1.0, 2.0), description="height ÷ width, the same on every level")
    is_rounded: bool = Field(True, description="anchor corners in whole pixels (torchvision) or exact (detectron2)")
    inner: Literal["sizes", "ratios"] = Field(
        "sizes", description="what varies fastest among a cell's anchors: sizes (torchvision) or ratios (detectron2)"
    )
    spacing: Literal["measured", "nominal"] = Field(
        "measured",
        description="distance of anchors: the input's side divided by the map's, rounded down (torchvision), or the "
        "stride (detectron2); they differ on P6, and where inputs are not padded",
    )


class RpnConfig(StrictModel):
    """Region proposal network: which anchors are trained on, which become proposals."""

    is_on: bool = Field(True, description="objects are proposed; off: there are none, the model is a semantic FPN")
    num_convs: int = Field(
        1, gt=0, le=MOST_LAYERS, description="3×3 convolutions before the two predictors; torchvision v2 has 2"
    )
    channels: int | None = Field(
        None, gt=0, le=MOST_CHANNELS, description="of those; none: as the feature maps; matterport: 512"
    )
    is_softmax: bool = Field(
        False, description="objectness is a softmax of two scores, background and object (matterport), not one sigmoid"
    )
    positive_iou: float = Field(0.7, gt=0, le=1, description="anchor is foreground at or above this IoU")
    negative_iou: float = Field(0.3, ge=0, lt=1, description="anchor is background below this IoU")
    keeps_equals: bool = Field(
        True,
        description="the anchors that overlap an object most are foreground whatever their IoU: where several do so "
        "equally, as around a small object, all of them (torchvision, detectron2) or the first (matterport's port)",
    )
    crowd_iou: float | None = Field(
        None, gt=0, le=1, description="background that overlaps a crowd by this IoU is ignored (matterport); none: not"
    )
    anchors_per_image: int = Field(256, gt=0, description="anchors sampled into the loss")
    positive_share: float = Field(0.5, gt=0, le=1, description="largest foreground share of that sample")
    box_weights: BoxWeights = Field((1.0, 1.0, 1.0, 1.0), description="factors of dx, dy, dw, dh")
    box_beta: float = Field(1 / 9, ge=0, description="where the box loss turns from quadratic to linear; 0: L1")
    normalizer: Literal["sampled_anchors", "anchors_per_image", "box_positives"] = Field(
        "sampled_anchors",
        description="what both losses are divided by: the anchors sampled (torchvision), or anchors_per_image however "
        "many were sampled (detectron2); box_positives: the anchors sampled, but the box loss by 4 × its positives "
        "(matterport)",
    )
    ranks_levels_together: bool = Field(
        False, description="the best-scored are chosen, and suppress each other, over all levels (matterport)"
    )
    train_proposals_before_nms: int = Field(2000, gt=0, description="best-scored per level, in training")
    test_proposals_before_nms: int = Field(1000, gt=0, description="best-scored per level, in testing")
    train_proposals_after_nms: int = Field(2000, gt=0, description="kept per image over all levels, in training")
    test_proposals_after_nms: int = Field(1000, gt=0, description="kept per image over all levels, in testing")
    nms_iou: float = Field(0.7, ge=0, le=1, description="proposals of a level that overlap more suppress each other")
    min_side_px: float = Field(1e-3, ge=0, description="proposals with a shorter side are dropped")
    clips_to_input: bool = Field(
        False, description="proposals may reach into the padding (matterport), or end where the image does"
    )

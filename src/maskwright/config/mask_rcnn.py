"""The tables of the two-stage family; defaults are torchvision's Mask R-CNN R50-FPN, version 1."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from maskwright.config.backbone import BackboneConfig, FpnConfig, NormName, ResNetConfig
from maskwright.config.base import StrictModel
from maskwright.config.detect import DetectConfig
from maskwright.config.images import ShortSideResize
from maskwright.config.run import Recipe

BoxWeights = tuple[float, float, float, float]

_LOSSES = ("rpn_objectness", "rpn_box", "class", "box", "mask")


class AnchorConfig(StrictModel):
    """Reference boxes of the RPN: one size per pyramid level (FPN, section 4.1)."""

    sizes_px: tuple[tuple[float, ...], ...] = Field(
        ((32,), (64,), (128,), (256,), (512,)), description="square roots of anchor areas, per level P2–P6"
    )
    ratios: tuple[float, ...] = Field((0.5, 1.0, 2.0), description="height ÷ width, the same on every level")
    is_rounded: bool = Field(True, description="anchor corners in whole pixels (torchvision) or exact (detectron2)")


class RpnConfig(StrictModel):
    """Region proposal network: which anchors are trained on, which become proposals."""

    num_convs: int = Field(1, gt=0, description="3×3 convolutions before the two predictors; torchvision v2 has 2")
    positive_iou: float = Field(0.7, gt=0, le=1, description="anchor is foreground at or above this IoU")
    negative_iou: float = Field(0.3, ge=0, lt=1, description="anchor is background below this IoU")
    anchors_per_image: int = Field(256, gt=0, description="anchors sampled into the loss")
    positive_share: float = Field(0.5, gt=0, le=1, description="largest foreground share of that sample")
    box_weights: BoxWeights = Field((1.0, 1.0, 1.0, 1.0), description="factors of dx, dy, dw, dh")
    box_beta: float = Field(1 / 9, ge=0, description="where the box loss turns from quadratic to linear")
    train_proposals_before_nms: int = Field(2000, gt=0, description="best-scored per level, in training")
    test_proposals_before_nms: int = Field(1000, gt=0, description="best-scored per level, in testing")
    train_proposals_after_nms: int = Field(2000, gt=0, description="kept per image over all levels, in training")
    test_proposals_after_nms: int = Field(1000, gt=0, description="kept per image over all levels, in testing")
    nms_iou: float = Field(0.7, ge=0, le=1, description="proposals of a level that overlap more suppress each other")
    min_side_px: float = Field(1e-3, ge=0, description="proposals with a shorter side are dropped")


class RoiConfig(StrictModel):
    """Second stage: which proposals are trained on, and from which level each RoI is pooled."""

    positive_iou: float = Field(0.5, gt=0, le=1, description="proposal is foreground at or above this IoU")
    negative_iou: float = Field(0.5, ge=0, le=1, description="proposal is background below this IoU")
    rois_per_image: int = Field(512, gt=0, description="proposals sampled into the losses")
    positive_share: float = Field(0.25, gt=0, le=1, description="largest foreground share of that sample")
    canonical_px: float = Field(224.0, gt=0, description="side of a square RoI that is pooled from the canonical level")
    canonical_level: int = Field(4, ge=2, le=5, description="k0 of FPN eq. (1)")
    samples: int = Field(2, gt=0, description="RoIAlign samples per output cell and axis")


class BoxHeadConfig(StrictModel):
    """Class and box refinement of each RoI: convolutions, then fully connected layers."""

    pool_px: int = Field(7, gt=0, description="side of the pooled square")
    num_convs: int = Field(0, ge=0, description="3×3 convolutions; torchvision v2 has 4")
    conv_channels: int = Field(256, gt=0, description="of those convolutions")
    num_fcs: int = Field(2, gt=0, description="fully connected layers; torchvision v2 has 1")
    fc_channels: int = Field(1024, gt=0, description="of those layers")
    norm: NormName = Field("none", description="normalisation after each convolution")
    norm_eps: float = Field(1e-5, ge=0, description="added to the variance")
    box_weights: BoxWeights = Field((10.0, 10.0, 5.0, 5.0), description="factors of dx, dy, dw, dh")
    box_beta: float = Field(1 / 9, ge=0, description="where the box loss turns from quadratic to linear")


class MaskHeadConfig(StrictModel):
    """A binary mask per class for each RoI: convolutions, a ×2 deconvolution, a 1×1 predictor (Mask R-CNN, fig. 4)."""

    pool_px: int = Field(14, gt=0, description="side of the pooled square; masks are twice as large")
    num_convs: int = Field(4, gt=0, description="3×3 convolutions")
    channels: int = Field(256, gt=0, description="of those convolutions")
    norm: NormName = Field("none", description="normalisation after each convolution")
    norm_eps: float = Field(1e-5, ge=0, description="added to the variance")
    rois_per_image: int | None = Field(
        None, gt=0, description="at most this many positive RoIs enter the mask loss; none: all of them"
    )
    target_samples: int = Field(0, ge=0, description="samples per target cell and axis; 0: as many as the RoI is large")
    threshold: float = Field(0.5, gt=0, lt=1, description="a pixel above this probability belongs to the object")


class MaskRcnnDetectConfig(DetectConfig):
    """From the scores of RoIs to detections."""

    min_side_px: float = Field(1e-2, ge=0, description="detections with a shorter side are dropped")


class MaskRcnnRecipe(Recipe):
    """Everything about one two-stage model: data in, network, training, test settings."""

    family: Literal["mask_rcnn"] = "mask_rcnn"
    resize: ShortSideResize = ShortSideResize()
    backbone: BackboneConfig = ResNetConfig()
    fpn: FpnConfig = FpnConfig()
    anchors: AnchorConfig = AnchorConfig()
    rpn: RpnConfig = RpnConfig()
    roi: RoiConfig = RoiConfig()
    box_head: BoxHeadConfig = BoxHeadConfig()
    mask_head: MaskHeadConfig = MaskHeadConfig()
    detect: MaskRcnnDetectConfig = MaskRcnnDetectConfig()

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        if len(self.anchors.sizes_px) != 5:
            raise ValueError(
                f"anchors.sizes_px has {len(self.anchors.sizes_px)} rows, but the pyramid has the 5 levels P2–P6: "
                "give one row of sizes per level"
            )
        if len({len(sizes) for sizes in self.anchors.sizes_px}) != 1:
            raise ValueError(
                "anchors.sizes_px: every level needs the same number of sizes, since the RPN head is shared"
            )
        for name, table in (("rpn", self.rpn), ("roi", self.roi)):
            if table.negative_iou > table.positive_iou:
                raise ValueError(
                    f"{name}.negative_iou is above {name}.positive_iou: lower the first or raise the second"
                )
        self.refuse_unknown_losses(_LOSSES)
        if self.resize.long_side < self.resize.short_side:
            raise ValueError("resize.long_side is below resize.short_side: raise it to at least the short side")
        return self

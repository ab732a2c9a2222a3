"""The tables of the one-stage family; defaults are YOLACT's base model, ResNet-101 at 550 pixels."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from maskwright.config.anchors import AnchorLayout, AnchorLevel
from maskwright.config.backbone import BackboneConfig, FpnConfig, ResNetConfig
from maskwright.config.base import MOST_CHANNELS, MOST_LAYERS, StrictModel
from maskwright.config.detect import DetectConfig
from maskwright.config.images import PixelsConfig, SquareResize
from maskwright.config.run import Recipe

_LOSSES = ("box", "class", "mask", "semantic", "mask_iou")


class YolactAnchorConfig(StrictModel):
    """Reference boxes: the same on every cell of a pyramid level (YOLACT, section 4.3)."""

    sizes_px: tuple[tuple[float, ...], ...] = Field(
        ((24,), (48,), (96,), (192,), (384,)), description="square roots of anchor areas, per level P3–P7"
    )
    ratios: tuple[float, ...] = Field((1.0, 2.0, 0.5), description="height ÷ width, the same on every level")
    is_square: bool = Field(
        True, description="anchors are as high as wide, as in the released YOLACT models by mistake; ++ has the ratios"
    )


class ProtonetConfig(StrictModel):
    """The branch that gives prototype masks: convolutions, ×2 enlargement, a convolution, 1×1 (YOLACT, fig. 3)."""

    num_convs: int = Field(
        3, gt=0, le=MOST_LAYERS, description="3×3 convolutions before the enlargement; one follows it"
    )
    channels: int = Field(256, gt=0, le=MOST_CHANNELS, description="of those convolutions")
    num_prototypes: int = Field(32, gt=0, le=MOST_CHANNELS, description="k, prototype masks of an image")


class HeadConfig(StrictModel):
    """The head that all levels share: convolutions, then class, box and coefficients of anchors (YOLACT, fig. 4)."""

    num_convs: int = Field(1, ge=0, le=MOST_LAYERS, description="3×3 convolutions before the three predictors")
    channels: int = Field(256, gt=0, le=MOST_CHANNELS, description="of those convolutions")


class RescoringConfig(StrictModel):
    """The mask re-scoring network of YOLACT++ (section 6): from a cropped mask to its IoU with the truth."""

    is_on: bool = Field(False, description="masks get a score of their own: the class score times the predicted IoU")
    channels: tuple[Annotated[int, Field(gt=0, le=MOST_CHANNELS)], ...] = Field(
        (8, 16, 32, 64, 128), description="of the 3×3 convolutions with stride 2"
    )
    min_area: int = Field(25, ge=0, description="true masks of at most this many prototype pixels are not learnt from")


class AnchorMatchingConfig(StrictModel):
    """Which anchors are matched to an object, and which to none."""

    positive_iou: float = Field(0.5, gt=0, le=1, description="an anchor is matched to its best object at or above this")
    negative_iou: float = Field(0.4, ge=0, le=1, description="it is background below this; in between it is ignored")
    crowd_share: float = Field(
        0.7, gt=0, le=1, description="background anchors with more than this share inside a crowd are ignored"
    )


class YolactLossConfig(StrictModel):
    """Factors of the losses, which are part of them as the original reports them, and what enters (YOLACT, 3.1)."""

    box_factor: float = Field(1.5, ge=0, description="of smooth L1 on box deltas")
    class_factor: float = Field(1.0, ge=0, description="of the class cross-entropy")
    mask_factor: float = Field(6.125, ge=0, description="of the mask cross-entropy")
    semantic_factor: float = Field(1.0, ge=0, description="of the semantic segmentation loss on P3")
    mask_iou_factor: float = Field(25.0, ge=0, description="of smooth L1 on the predicted mask IoU, where it is on")
    negatives_per_positive: int = Field(3, gt=0, description="hardest background anchors per positive one (OHEM)")
    masks_per_image: int = Field(100, gt=0, description="positives that enter the mask loss, drawn at random")
    keeps_thin: bool = Field(
        True,
        description="objects that are too thin for the grid of the prototypes keep the cells that they cover most (the "
        "original learns them as empty)",
    )


class YolactDetectConfig(DetectConfig):
    """From anchor scores to detections (YOLACT, section 5)."""

    nms: Literal["fast", "cross_class", "traditional"] = Field(
        "fast",
        description="fast: per class, by matrix; cross_class: fast, over all classes at once; traditional: greedy",
    )
    candidates: int = Field(200, gt=0, description="best-scored boxes per class (over all: cross_class) in fast NMS")
    cuts_cross_class: bool = Field(
        False, description="max_detections also holds for cross_class, whose results the original leaves uncut"
    )
    mask_threshold: float = Field(0.5, gt=0, lt=1, description="a pixel above this probability belongs to the object")


class YolactRecipe(Recipe):
    """Everything about one one-stage model: data in, network, training, test settings."""

    title = "YOLACT"
    coco_sources = ("yolact/r50", "yolact/r101", "detectron2/mask_rcnn_r50_fpn_3x_gn")
    small_recipe = "nuclei/yolact_small"

    family: Literal["yolact"] = "yolact"
    pixels: PixelsConfig = PixelsConfig(divisor=1.0, mean=(123.68, 116.78, 103.94), std=(58.40, 57.12, 57.38))
    resize: SquareResize = SquareResize()
    backbone: BackboneConfig = ResNetConfig(depth=101, norm="batch", frozen_stages=0)
    fpn: FpnConfig = FpnConfig()
    anchors: YolactAnchorConfig = YolactAnchorConfig()
    protonet: ProtonetConfig = ProtonetConfig()
    head: HeadConfig = HeadConfig()
    rescoring: RescoringConfig = RescoringConfig()
    matching: AnchorMatchingConfig = AnchorMatchingConfig()
    losses: YolactLossConfig = YolactLossConfig()
    detect: YolactDetectConfig = YolactDetectConfig()

    @property
    def anchor_layout(self) -> AnchorLayout:
        anchors, strides = self.anchors, list(self.backbone.strides_px[1:])
        while len(strides) < len(anchors.sizes_px):
            strides.append(2 * strides[-1])
        levels = (
            AnchorLevel(
                sizes,
                anchors.ratios,
                is_rounded=False,
                inner="sizes",
                is_square=anchors.is_square,
                stride_px=stride,
                spacing="centred",
            )
            for sizes, stride in zip(anchors.sizes_px, strides, strict=True)
        )
        return AnchorLayout(self.matching.negative_iou, tuple(levels))

    @property
    def architecture(self) -> tuple[str, ...]:
        return (
            f"YOLACT at {self.resize.size} px, {self.backbone.words}",
            f"FPN of {self.fpn.channels} channels",
            f"{len(self.anchors.sizes_px[0]) * len(self.anchors.ratios)} anchors on a cell",
            f"{self.protonet.num_prototypes} prototypes",
            *(("mask re-scoring",) if self.rescoring.is_on else ()),
        )

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        if len(self.anchors.sizes_px) < 3:
            raise ValueError(
                f"anchors.sizes_px has {len(self.anchors.sizes_px)} rows, but the pyramid has at least the 3 levels "
                "P3–P5: give one row of sizes per level"
            )
        if len({len(sizes) for sizes in self.anchors.sizes_px}) != 1:
            raise ValueError("anchors.sizes_px: every level needs the same number of sizes, since the head is shared")
        if self.matching.negative_iou > self.matching.positive_iou:
            raise ValueError(
                "matching.negative_iou is above matching.positive_iou: lower the first or raise the second"
            )
        self.refuse_unknown_losses(_LOSSES)
        return self

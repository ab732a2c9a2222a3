"""The tables of the two-stage family; defaults are torchvision's Mask R-CNN R50-FPN, version 1."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from maskwright.config.anchors import AnchorLayout, AnchorLevel
from maskwright.config.backbone import FpnConfig
from maskwright.config.detect import DetectConfig
from maskwright.config.images import ShortSideResize
from maskwright.config.roi_heads import (
    BoxHeadConfig,
    CascadeConfig,
    KeypointHeadConfig,
    MaskHeadConfig,
    RoiConfig,
    RoiHeadConfig,
)
from maskwright.config.rpn import AnchorConfig, RpnConfig
from maskwright.config.run import Recipe
from maskwright.config.semantic import PanopticConfig, SemanticHeadConfig

# a semantic head doubles P5 to the size of P2, which is exact where the input divides by the stride of P5
_SEMANTIC_PX = 32
# anchor levels of each neck
_LEVELS = {"fpn": 5, "c4": 1, "c5": 1, "c5_conv": 1}


class MaskRcnnDetectConfig(DetectConfig):
    """From the scores of RoIs to detections."""

    min_side_px: float = Field(1e-2, ge=0, description="detections with a shorter side are dropped")
    best_class_only: bool = Field(
        False, description="an RoI is a candidate only for its best class, background included (matterport)"
    )
    rounds_boxes: bool = Field(
        False, description="boxes are rounded to whole pixels of the network input, half to even (matterport)"
    )
    max_per_class: int | None = Field(
        None, gt=0, description="best-scored detections of a class kept per image (Simple Mask R-CNN); none: any"
    )


class MaskRcnnRecipe(Recipe):
    """Everything about one two-stage model: data in, network, training, test settings."""

    title = "Mask R-CNN"
    coco_sources = ("detectron2/mask_rcnn_r50_fpn_3x_gn", "torchvision/mask_rcnn_r50_fpn_v2")
    small_recipe = "nuclei/mask_rcnn_small"

    family: Literal["mask_rcnn"] = "mask_rcnn"
    resize: ShortSideResize = ShortSideResize()
    neck: Literal["fpn", "c4", "c5", "c5_conv"] = Field(
        "fpn",
        description="feature maps of both stages: P2–P6; only res4, with res5 as the RoIs' head (C4); only res5 "
        "(DC5 with backbone.res5_dilation 2); or res5 through 1×1 and 3×3 to fpn.channels (Simple Mask R-CNN)",
    )
    fpn: FpnConfig = FpnConfig()
    anchors: AnchorConfig = AnchorConfig()
    rpn: RpnConfig = RpnConfig()
    roi: RoiConfig = RoiConfig()
    box_head: BoxHeadConfig = BoxHeadConfig()
    cascade: CascadeConfig = CascadeConfig()
    mask_head: MaskHeadConfig = MaskHeadConfig()
    keypoint_head: KeypointHeadConfig = KeypointHeadConfig()
    semantic_head: SemanticHeadConfig = SemanticHeadConfig()
    panoptic: PanopticConfig = PanopticConfig()
    suppression: Literal["plain", "inclusive"] = Field(
        "plain",
        description="of proposals and detections: boxes without an edge of one pixel, overlaps above the threshold go; "
        "or with it, and those at the threshold go too (matterport's compiled routine)",
    )
    detect: MaskRcnnDetectConfig = MaskRcnnDetectConfig()

    @property
    def metric_kinds(self) -> tuple[str, ...]:
        """Those of the parts that are on; nothing without an RPN."""
        return (*(("box",) if self.rpn.is_on else ()), *(head.metric_kind for head in self.roi_heads.values()))

    @property
    def roi_heads(self) -> dict[str, RoiHeadConfig]:
        """The tables of the heads on RoIs that are on, by name."""
        return {name: table for name, table in self if isinstance(table, RoiHeadConfig) and table.is_on}

    @property
    def keypoints(self) -> KeypointHeadConfig | None:
        return self.keypoint_head if self.keypoint_head.is_on else None

    @property
    def semantics(self) -> SemanticHeadConfig | None:
        return self.semantic_head if self.semantic_head.is_on else None

    @property
    def anchor_layout(self) -> AnchorLayout | None:
        if not self.rpn.is_on:
            return None
        anchors, strides = self.anchors, self.backbone.strides_px
        of_neck = {"fpn": (*strides, 2 * strides[-1]), "c4": strides[2:3]}.get(self.neck, strides[-1:])
        levels = (
            AnchorLevel(
                sizes,
                anchors.ratios,
                anchors.is_rounded,
                anchors.inner,
                is_square=False,
                stride_px=stride,
                spacing=anchors.spacing,
            )
            for sizes, stride in zip(anchors.sizes_px, of_neck, strict=True)
        )
        return AnchorLayout(self.rpn.negative_iou, tuple(levels))

    @property
    def architecture(self) -> tuple[str, ...]:
        """The network in words, from pixels to heads; heads that are off are left out."""
        boxes = (self.box_head.words(self.neck),) if self.rpn.is_on else ()
        cascade = (f"{len(self.cascade.ious)} stages more behind it",) if self.cascade.is_on else ()
        heads = [
            head.words(mask_px=self.mask_px, fc_channels=self.box_head.fc_channels) for head in self.roi_heads.values()
        ]
        semantic = (f"semantic head of {self.semantic_head.num_outputs} outputs",) if self.semantics else ()
        return f"{self._kind}, {self.backbone.words}", self._neck_words, *boxes, *cascade, *heads, *semantic

    @property
    def _kind(self) -> str:
        """What such a model is called in the literature."""
        kinds = (
            (not self.rpn.is_on, "Semantic FPN"),
            (self.semantic_head.is_on, "Panoptic FPN"),
            (self.keypoint_head.is_on, "Keypoint R-CNN"),
            (self.cascade.is_on, "Cascade R-CNN"),
            (self.mask_head.is_on, "Mask R-CNN"),
            (True, "Faster R-CNN"),
        )
        return next(name for is_kind, name in kinds if is_kind)

    @property
    def _neck_words(self) -> str:
        is_dilated = self.backbone.strides_px[3] == self.backbone.strides_px[2]
        return {
            "fpn": self.fpn.words,
            "c4": "only the features of res4 (C4)",
            "c5": f"only the features of res5{' (DC5)' if is_dilated else ''}",
            "c5_conv": f"only the features of res5, by convolutions to {self.fpn.channels} channels",
        }[self.neck]

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        rows, wanted = len(self.anchors.sizes_px), _LEVELS[self.neck]
        if rows != wanted:
            levels = "the 5 levels P2–P6" if self.neck == "fpn" else "one level"
            raise ValueError(
                f"anchors.sizes_px has {rows} rows, but the neck {self.neck!r} gives {levels}: "
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
        self._check_heads()
        self._check_semantic_fpn()
        self._check_semantic_head()
        self._check_c4()
        tables = [type(table) for _, table in self if isinstance(table, RoiHeadConfig)]
        own = tuple(name for table in tables for name in table.losses)
        self.refuse_unknown_losses(("rpn_objectness", "rpn_box", "class", "box", *own, "semantic"))
        if self.resize.long_side < self.resize.short_side:
            raise ValueError("resize.long_side is below resize.short_side: raise it to at least the short side")
        return self

    @property
    def mask_px(self) -> int:
        """M, side of the masks on their RoIs, whose pooled features res5 of a C4 model halves first."""
        is_halved = self.neck == "c4" and self.backbone.strides_px[3] > self.backbone.strides_px[2]
        return self.mask_head.side_px(is_halved=is_halved)

    def _check_heads(self) -> None:
        if len(self.cascade.ious) != len(self.cascade.box_weights):
            raise ValueError("cascade.ious and cascade.box_weights: give one of each for every further stage")
        if self.cascade.is_on and not self.box_head.is_class_agnostic:
            raise ValueError("cascade: its stages refine one box for all classes; set box_head.is_class_agnostic=true")
        if self.cascade.is_on and self.roi.refines_for_heads:
            raise ValueError("roi.refines_for_heads is of a single box head; switch it or cascade.is_on off")
        for head in self.roi_heads.values():
            if (reason := head.misfit(self.neck)) is not None:
                raise ValueError(reason)

    def _check_c4(self) -> None:
        if self.neck != "c4":
            return
        if self.backbone.kind != "resnet":
            raise ValueError("neck: c4 takes res5 of a ResNet as the RoIs' head; choose another neck or backbone")
        if self.cascade.is_on:
            raise ValueError("neck: c4 has a single box head; for cascades choose fpn")
        if self.box_head.num_fcs:
            raise ValueError("neck: c4 averages what res5 gives; set box_head.num_fcs=0")

    def _check_semantic_fpn(self) -> None:
        """Without an RPN there is a semantic head, and nothing that needs objects."""
        if self.rpn.is_on:
            return
        if not self.semantic_head.is_on:
            raise ValueError("rpn.is_on=false leaves a semantic FPN; set semantic_head.is_on=true as well")
        heads = (*self.roi_heads, *(("cascade",) if self.cascade.is_on else ()))
        if pointless := [f"{name}.is_on=false" for name in heads]:
            raise ValueError(f"rpn.is_on=false leaves no objects for other heads; set {' and '.join(pointless)}")
        if self.train.patience is not None:
            raise ValueError(
                "train.patience waits for better metrics of objects, which there are none of with rpn.is_on=false; "
                "leave it out"
            )

    def _check_semantic_head(self) -> None:
        if not self.semantic_head.is_on:
            return
        if self.neck != "fpn":
            raise ValueError("semantic_head joins the levels of a pyramid; set neck=fpn")
        if self.resize.is_centred:
            raise ValueError("semantic_head needs images at the top left of the input; set resize.is_centred=false")
        if self.resize.pad_multiple % _SEMANTIC_PX:
            raise ValueError(
                f"semantic_head joins levels that are exact halves of each other; set resize.pad_multiple to a "
                f"multiple of {_SEMANTIC_PX}, not {self.resize.pad_multiple}"
            )

"""The second stage's tables: which RoIs, how they are pooled, and the heads on them."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from maskwright.config.backbone import NormName, norm_words
from maskwright.config.base import MOST_CHANNELS, MOST_LAYERS, MOST_SIDE_PX, StrictModel
from maskwright.config.rpn import BoxWeights

_PAIRS = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
MOST_POINT_MASK_PX, MOST_POINTS = 1792, 2**16
COCO_KEYPOINTS = ("nose", *(f"{side}_{part}" for part in _PAIRS for side in ("left", "right")))


class RoiConfig(StrictModel):
    """Which proposals are trained on, and how each RoI is pooled."""

    positive_iou: float = Field(0.5, gt=0, le=1, description="proposal is foreground at or above this IoU")
    negative_iou: float = Field(0.5, ge=0, le=1, description="proposal is background below this IoU")
    crowd_iou: float | None = Field(
        None, gt=0, le=1, description="background that overlaps a crowd by this IoU is ignored (matterport); none: not"
    )
    rois_per_image: int = Field(512, gt=0, description="proposals sampled into the losses")
    positive_share: float = Field(0.25, gt=0, le=1, description="largest foreground share of that sample")
    adds_true_boxes: bool = Field(True, description="true boxes are proposals too, in training")
    balances_negatives: bool = Field(
        False, description="negatives are at most as many as the positives taken make up for (matterport)"
    )
    refines_for_heads: bool = Field(
        False,
        description="masks and keypoints learn on the boxes that box_head makes of the RoIs for their object's class "
        "(detectron2's PointRend), or on the RoIs",
    )
    canonical_px: float = Field(224.0, gt=0, description="side of a square RoI that is pooled from the canonical level")
    canonical_level: int = Field(4, ge=2, le=5, description="k0 of FPN eq. (1)")
    level_rounding: Literal["floor_after", "floor_inside", "nearest"] = Field(
        "floor_after",
        description="of FPN eq. (1): down, with 1e-6 added after the logarithm (torchvision) or 1e-8 inside of it "
        "(detectron2), or to the nearest level (matterport)",
    )
    pooling: Literal["align", "align_max", "pool", "crop_and_resize"] = Field(
        "align",
        description="RoIAlign with the average or the maximum of its samples, RoIPool (Fast R-CNN), or one bilinear "
        "sample per cell with corners on corners (matterport)",
    )
    samples: int = Field(
        2, ge=0, le=MOST_LAYERS, description="RoIAlign samples per output cell and axis; 0: as many as pixels"
    )
    is_aligned: bool = Field(
        False, description="pixels are taken at their centres, half a pixel from their corners (detectron2)"
    )


class BoxHeadConfig(StrictModel):
    """Class and box refinement of each RoI: convolutions, then fully connected layers."""

    pool_px: int = Field(7, gt=0, le=MOST_SIDE_PX, description="side of the pooled square")
    num_convs: int = Field(0, ge=0, le=MOST_LAYERS, description="3×3 convolutions; torchvision v2 has 4")
    conv_channels: int = Field(256, gt=0, le=MOST_CHANNELS, description="of those convolutions")
    num_fcs: int = Field(
        2, ge=0, le=MOST_LAYERS, description="fully connected layers; torchvision v2 has 1; 0: cells are averaged (C4)"
    )
    fc_channels: int = Field(1024, gt=0, le=MOST_CHANNELS, description="of those layers")
    norm: NormName = Field("none", description="normalisation after each convolution")
    fc_norm: Literal["none", "batch"] = Field("none", description="normalisation after each of those layers")
    norm_eps: float = Field(1e-5, ge=0, description="added to the variance")
    has_biases: bool = Field(False, description="convolutions have biases in front of their norms")
    is_class_agnostic: bool = Field(False, description="one box for all classes, or one for each")
    box_weights: BoxWeights = Field((10.0, 10.0, 5.0, 5.0), description="factors of dx, dy, dw, dh")
    box_beta: float = Field(1 / 9, ge=0, description="where the box loss turns from quadratic to linear; 0: L1")
    box_normalizer: Literal["sampled_rois", "positive_rois"] = Field(
        "sampled_rois",
        description="what the box loss is divided by: the RoIs sampled, or 4 × the positive ones (matterport)",
    )

    def words(self, neck: str) -> str:
        """The head in words; behind the neck `c4` its layers are those of res5."""
        shared = ", class-agnostic" if self.is_class_agnostic else ""
        if neck == "c4":
            return f"box head of res5{shared}"
        layers = f"{self.num_convs} convolutions and {self.num_fcs} × {self.fc_channels} linear"
        return f"box head of {layers}{norm_words(self.norm if self.norm != 'none' else self.fc_norm)}{shared}"


class CascadeConfig(StrictModel):
    """Box heads behind each other, each on the boxes of the one before (Cai & Vasconcelos 2018)."""

    is_on: bool = Field(False, description="the first stage is roi and box_head; stages follow as listed here")
    ious: tuple[float, ...] = Field((0.6, 0.7), description="IoU at which a box is foreground in each further stage")
    box_weights: tuple[BoxWeights, ...] = Field(
        ((20.0, 20.0, 10.0, 10.0), (30.0, 30.0, 15.0, 15.0)), description="factors of dx, dy, dw, dh in each"
    )


class PointMaskConfig(StrictModel):
    """A coarse mask, doubled again and again and computed anew where it is least certain (Kirillov et al. 2020)."""

    coarse_px: int = Field(7, gt=0, le=MOST_POINT_MASK_PX, description="side of the coarse mask")
    num_coarse_fcs: int = Field(2, ge=0, le=MOST_LAYERS, description="fully connected layers of the coarse mask")
    coarse_fc_channels: int = Field(1024, gt=0, le=MOST_CHANNELS, description="of those layers")
    num_fcs: int = Field(3, ge=0, le=MOST_LAYERS, description="layers that each point goes through")
    fc_channels: int = Field(256, gt=0, le=MOST_CHANNELS, description="of those layers")
    points_per_roi: int = Field(196, gt=0, le=MOST_POINTS, description="points of each RoI that enter the loss")
    oversampling: float = Field(
        3.0, ge=1, le=64, description="points drawn for each of those, to choose the least certain from (k)"
    )
    uncertain_share: float = Field(
        0.75, ge=0, le=1, description="share of the points that are the least certain; the others lie anywhere (β)"
    )
    subdivisions: int = Field(5, ge=0, le=10, description="how often the coarse mask's side is doubled: 7 becomes 224")
    points_per_step: int = Field(
        784, gt=0, le=MOST_POINTS, description="least certain points that are computed anew after each doubling (N)"
    )

    @property
    def mask_px(self) -> int:
        """M, side of the masks."""
        return self.coarse_px << self.subdivisions

    @model_validator(mode="after")
    def _check_side(self) -> Self:
        if self.mask_px > MOST_POINT_MASK_PX:
            raise ValueError(
                f"coarse_px={self.coarse_px} doubled {self.subdivisions} times gives masks of {self.mask_px} pixels a "
                f"side, of which each detection keeps one; lower either, to {MOST_POINT_MASK_PX} at most"
            )
        return self


class RoiHeadConfig(StrictModel):
    """What the tables of all heads on RoIs say.

    Attributes:
        losses: names of the head's losses.
        metric_kind: the table of metrics.json that its results fill.
    """

    losses: ClassVar[tuple[str, ...]]
    metric_kind: ClassVar[str]

    is_on: bool

    @abstractmethod
    def words(self, *, mask_px: int, fc_channels: int) -> str:
        """The head in words; `mask_px` and `fc_channels` are those of the model, which some heads depend on."""

    def misfit(self, neck: str) -> str | None:  # noqa: ARG002 - any will do, unless a head says otherwise
        """Why the head cannot stand on a neck, with the way out; None where it can."""
        return None


class MaskHeadConfig(RoiHeadConfig):
    """A binary mask per class for each RoI: convolutions, a ×2 deconvolution, a 1×1 predictor (Mask R-CNN, fig. 4)."""

    losses = ("mask", "mask_point")
    metric_kind = "mask"

    is_on: bool = Field(True, description="masks are predicted; off: Faster R-CNN")
    kind: Literal["fcn", "mlp", "point"] = Field(
        "fcn",
        description="fully convolutional; two fully connected layers of box_head.fc_channels (table 2e); or fine "
        "masks, point by point, as mask_head.points says (PointRend)",
    )
    points: PointMaskConfig = PointMaskConfig()
    pool_px: int = Field(
        14,
        gt=0,
        le=MOST_SIDE_PX,
        description="side of the pooled square; masks are twice as large, but not those of points",
    )
    num_convs: int = Field(4, ge=0, le=MOST_LAYERS, description="3×3 convolutions; kind point has one 2×2 instead")
    channels: int = Field(256, gt=0, le=MOST_CHANNELS, description="of those convolutions")
    norm: NormName = Field("none", description="normalisation after each convolution")
    norm_eps: float = Field(1e-5, ge=0, description="added to the variance")
    has_biases: bool = Field(False, description="convolutions have biases in front of their norms")
    is_class_agnostic: bool = Field(False, description="one mask for all classes, or one for each (table 2b)")
    is_softmax: bool = Field(
        False, description="classes compete for pixels in a softmax with background, or each has its sigmoid (table 2b)"
    )
    rois_per_image: int | None = Field(
        None, gt=0, description="at most this many positive RoIs enter the mask loss; none: all of them"
    )
    targets: Literal["aligned", "polygons", "bitmaps", "cropped"] = Field(
        "aligned",
        description="true masks on the RoI's grid: by RoIAlign of bitmaps (torchvision), by drawing polygons where "
        "there are some (detectron2), by RoIAlign and rounding (its bitmaps, as PointRend has them), or by "
        "crop-and-resize and rounding (matterport)",
    )
    target_samples: int = Field(
        0, ge=0, le=MOST_LAYERS, description="samples per target cell and axis; 0: as many as the RoI is large"
    )
    mini_mask_px: int | None = Field(
        None,
        gt=0,
        le=MOST_SIDE_PX,
        description="true masks are first shrunk to squares of this side on their boxes (matterport: 56)",
    )
    pasting: Literal["bordered", "exclusive", "centres", "bytes"] = Field(
        "bordered",
        description="onto the image: grown by a zero border, over whole pixels with both ends (torchvision) or without "
        "the last (Simple Mask R-CNN); sampled at pixel centres (detectron2); or in 8 bits (matterport)",
    )
    stretches_range: bool = Field(
        False,
        description="before a mask is resized in 8 bits, its own range is stretched to 0–1: the threshold is then "
        "relative to it, and a mini mask that fills its box becomes empty; matterport does so by mistake",
    )
    threshold: float = Field(0.5, gt=0, lt=1, description="a pixel above this probability belongs to the object")

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        if self.is_class_agnostic and self.is_softmax:
            raise ValueError("a softmax needs a mask of each class; switch off is_class_agnostic")
        if self.kind == "point" and self.is_softmax:
            raise ValueError("kind point has a sigmoid for each class; switch off is_softmax")
        if self.kind == "point" and self.pool_px % 2:
            raise ValueError(f"kind point halves the pooled square; make pool_px even, not {self.pool_px}")
        return self

    def side_px(self, *, is_halved: bool) -> int:
        """M, side of the masks; with `is_halved`, pooled features reach the head at half their side."""
        if self.kind == "point":
            return self.points.mask_px
        return self.pool_px * (1 if is_halved else 2)

    def misfit(self, neck: str) -> str | None:
        if self.kind == "point" and neck != "fpn":
            return "mask_head.kind: point looks at the fine maps of a pyramid; set neck=fpn"
        if neck == "c4" and self.pool_px % 2:
            return "neck: c4 halves the pooled square; make mask_head.pool_px even"
        return None

    def words(self, *, mask_px: int, fc_channels: int) -> str:
        shared = ", class-agnostic" if self.is_class_agnostic else ""
        if self.kind == "mlp":
            return f"mask head of 2 × {fc_channels} linear to {mask_px} px{shared}"
        if self.kind == "point":
            return f"mask head of points to {mask_px} px (PointRend){shared}"
        layers = f"{self.num_convs} × {self.channels} convolutions to {mask_px} px"
        return f"mask head of {layers}{norm_words(self.norm)}{shared}"


class KeypointHeadConfig(RoiHeadConfig):
    """One heat map per keypoint and RoI, its best cell the keypoint (Mask R-CNN, section 5)."""

    losses = ("keypoint",)
    metric_kind = "keypoints"

    is_on: bool = Field(False, description="keypoints are predicted")
    names: tuple[str, ...] = Field(
        COCO_KEYPOINTS,
        min_length=1,
        description="in the order of annotation files; a mirrored image exchanges left_… and right_…",
    )
    pool_px: int = Field(
        14, gt=0, le=MOST_SIDE_PX, description="side of the pooled square; heat maps are four times as large"
    )
    num_convs: int = Field(8, ge=0, le=MOST_LAYERS, description="3×3 convolutions")
    channels: int = Field(512, gt=0, le=MOST_CHANNELS, description="of those convolutions")
    score: Literal["logit", "share"] = Field(
        "logit",
        description="a keypoint's score is the heat map's value there (torchvision), or its share of the sum of "
        "exponentials on the map before enlarging (detectron2)",
    )
    adds_half_pixel: bool = Field(
        False,
        description="annotated keypoints name pixels, whose centres lie half a pixel further on; results files have "
        "pixels again (detectron2), or keypoints are points as they stand (torchvision)",
    )
    normalizer: Literal["visible_keypoints", "possible_keypoints"] = Field(
        "visible_keypoints",
        description="what the loss is divided by: the visible keypoints (torchvision; detectron2's model zoo), or all "
        "keypoints of as many RoIs as may be positive (detectron2, NORMALIZE_LOSS_BY_VISIBLE_KEYPOINTS off)",
    )
    min_keypoints: int = Field(
        1,
        ge=0,
        description="images whose objects have fewer labelled keypoints, all counted, are not trained on (detectron2 "
        "1, torchvision 10)",
    )

    def misfit(self, neck: str) -> str | None:
        return "neck: c4 has boxes and masks only; for keypoints choose fpn" if neck == "c4" else None

    def words(self, *, mask_px: int, fc_channels: int) -> str:  # noqa: ARG002 - of other heads
        return f"{len(self.names)} keypoints"

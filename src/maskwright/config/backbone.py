"""The network from pixels to a feature pyramid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator
from typing_extensions import Self

from maskwright.config.base import MOST_CHANNELS, StrictModel

NormName = Literal["none", "batch", "frozen_batch", "group"]


def norm_words(norm: str) -> str:
    """A normalisation as it follows the layers that it belongs to; empty without one."""
    return "" if norm == "none" else f" (norm {norm})"


class _StagesConfig(StrictModel):
    """What all backbones have: feature maps C2–C5."""

    @property
    def strides_px(self) -> tuple[int, int, int, int]:
        """Of C2–C5, in pixels of the network input."""
        return 4, 8, 16, 32


class ResNetConfig(_StagesConfig):
    """ResNet (He et al. 2016) and what was made of it, giving C2–C5, at strides 4, 8, 16 and 32 without dilation."""

    kind: Literal["resnet"] = Field("resnet", description="which network: resnet, darknet53 or timm")
    depth: Literal[18, 34, 50, 101, 152] = Field(
        50, description="layers; 18 and 34 have basic blocks, the others bottlenecks"
    )
    width: int = Field(
        64,
        gt=0,
        le=MOST_CHANNELS,
        multiple_of=8,
        description="channels of a basic stem, and unit of the stages' widths",
    )
    groups: int = Field(1, gt=0, le=MOST_CHANNELS, description="of the 3×3 convolutions in bottlenecks (ResNeXt: 32)")
    width_per_group: int | None = Field(
        None,
        gt=0,
        le=MOST_CHANNELS,
        description="channels of each group in res2 (ResNeXt-101-32x8d: 8); none: width ÷ groups",
    )
    norm: NormName = Field("frozen_batch", description="normalisation after each convolution")
    norm_eps: float = Field(1e-5, ge=0, description="added to the variance; torchvision's COCO v1 weights need 0")
    has_biases: bool = Field(False, description="convolutions have biases in front of their norms (Keras, matterport)")
    frozen_stages: int = Field(2, ge=0, le=5, description="stages kept fixed in training, counted from the stem")
    stem: Literal["basic", "deep"] = Field(
        "basic", description="one 7×7 convolution, or three 3×3 of half the channels and then all (DeepLab)"
    )
    stem_channels: int | None = Field(
        None, gt=0, le=MOST_CHANNELS, description="that the stem gives; none: width; DeepLab: 128"
    )
    stem_pool_padding: Literal["both", "end"] = Field(
        "both", description="where the 3×3 max pooling after the stem pads: all sides, or right and below (Keras)"
    )
    stride_in_1x1: bool = Field(
        False, description="stride in a bottleneck's first 1×1 (MSRA, Caffe) or its 3×3 (torch)"
    )
    res4_dilation: Literal[1, 2] = Field(1, description="2 keeps the stride of res4 at 8 (DeepLab)")
    res5_dilation: Literal[1, 2, 4] = Field(
        1, description="2 keeps the stride of res5 at 16 (DC5), 4 at 8 together with res4_dilation 2"
    )
    res5_multi_grid: tuple[int, int, int] | None = Field(
        None, description="factors of res5's dilation in its three blocks (DeepLab v3); none: all 1"
    )
    deformable_from: int | None = Field(
        None, ge=2, le=5, description="stage from which 3×3 convolutions are deformable; 3 is c3, none: nowhere"
    )
    deformable_every: int = Field(1, gt=0, description="only every so many blocks of such a stage, from its first")
    is_modulated: bool = Field(True, description="deformable taps are weighted too (DCN v2), or only moved (v1)")
    deformable_biases: bool = Field(
        True, description="deformable convolutions have biases (YOLACT++), or not (detectron2)"
    )

    @property
    def strides_px(self) -> tuple[int, int, int, int]:
        """Of C2–C5, in pixels of the network input; a dilated stage keeps the stride of the one before."""
        res4 = 16 // self.res4_dilation
        return 4, 8, res4, res4 * (2 if self.res5_dilation == 1 else 1)

    @property
    def words(self) -> str:
        """The network in words."""
        details = [f"width {self.width}", f"norm {self.norm}"]
        if self.groups > 1:
            details.append(f"{self.groups} groups of {self.width_per_group or self.width // self.groups}")
        details += ["deep stem"] if self.stem == "deep" else []
        if self.deformable_from is not None:
            details.append("deformable" if self.is_modulated else "deformable, unmodulated")
        return f"{'ResNeXt' if self.groups > 1 else 'ResNet'}-{self.depth} ({', '.join(details)})"

    @model_validator(mode="after")
    def _check_dilations(self) -> Self:
        if self.res4_dilation == 2 and self.res5_dilation != 4:
            raise ValueError("backbone.res4_dilation 2 needs backbone.res5_dilation 4: res5 keeps the stride of res4")
        if self.res4_dilation == 1 and self.res5_dilation == 4:
            raise ValueError("backbone.res5_dilation 4 needs backbone.res4_dilation 2; for only res5 set it to 2")
        return self


class DarkNetConfig(_StagesConfig):
    """DarkNet-53 (Redmon & Farhadi 2018), giving C2–C5 at strides 4, 8, 16 and 32."""

    kind: Literal["darknet53"] = Field(description="which network: resnet, darknet53 or timm")
    width: int = Field(32, gt=0, le=MOST_CHANNELS, multiple_of=8, description="channels of the stem; 32 is the paper's")
    norm: NormName = Field("batch", description="normalisation after each convolution")
    norm_eps: float = Field(1e-5, ge=0, description="added to the variance")
    frozen_stages: int = Field(0, ge=0, le=6, description="stages kept fixed in training, counted from the stem")

    @property
    def words(self) -> str:
        """The network in words."""
        return f"DarkNet-53 (width {self.width}, norm {self.norm})"


class TimmConfig(_StagesConfig):
    """Any network of the library timm that gives features at strides 4, 8, 16 and 32."""

    kind: Literal["timm"] = Field(description="which network: resnet, darknet53 or timm")
    name: str = Field(min_length=1, description="what timm calls it, for example convnext_tiny")
    frozen_stages: int = Field(0, ge=0, le=1, description="1 keeps all of it fixed in training")

    @property
    def words(self) -> str:
        """The network in words."""
        return f"{self.name} of timm"


def _kind(table: Any) -> str:
    return str(table.get("kind", BACKBONE_KINDS[0]) if isinstance(table, Mapping) else table.kind)


BackboneConfig = Annotated[
    Annotated[ResNetConfig, Tag("resnet")]
    | Annotated[DarkNetConfig, Tag("darknet53")]
    | Annotated[TimmConfig, Tag("timm")],
    Discriminator(_kind),
]
# the first is that of a table that names none
BACKBONE_KINDS = ("resnet", "darknet53", "timm")


class FpnConfig(StrictModel):
    """Feature pyramid (Lin et al. 2017)."""

    channels: int = Field(256, gt=0, le=MOST_CHANNELS, description="of every pyramid level")
    norm: NormName = Field("none", description="normalisation after each lateral and output convolution")
    norm_eps: float = Field(1e-5, ge=0, description="added to the variance")

    @property
    def words(self) -> str:
        """The pyramid in words."""
        return f"FPN of {self.channels} channels{norm_words(self.norm)}"

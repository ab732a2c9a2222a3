"""The network from pixels to a feature pyramid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from maskwright.config.base import StrictModel

NormName = Literal["none", "batch", "frozen_batch", "group"]


class ResNetConfig(StrictModel):
    """ResNet (He et al. 2016), giving C2–C5 at strides 4, 8, 16 and 32."""

    kind: Literal["resnet"] = Field("resnet", description="which network: resnet, darknet53 or timm")
    depth: Literal[18, 34, 50, 101] = Field(
        50, description="layers; 18 and 34 have basic blocks, the others bottlenecks"
    )
    width: int = Field(64, gt=0, multiple_of=8, description="channels of the stem; 64 is the paper's")
    norm: NormName = Field("frozen_batch", description="normalisation after each convolution")
    norm_eps: float = Field(1e-5, ge=0, description="added to the variance; torchvision's COCO v1 weights need 0")
    frozen_stages: int = Field(2, ge=0, le=5, description="stages kept fixed in training, counted from the stem")
    stride_in_1x1: bool = Field(
        False, description="stride in a bottleneck's first 1×1 (MSRA, Caffe) or its 3×3 (torch)"
    )
    deformable_from: int | None = Field(
        None, ge=2, le=5, description="stage from which 3×3 convolutions are deformable; 3 is c3, none: nowhere"
    )
    deformable_every: int = Field(1, gt=0, description="only every so many blocks of such a stage, from its first")


class DarkNetConfig(StrictModel):
    """DarkNet-53 (Redmon & Farhadi 2018), giving C2–C5 at strides 4, 8, 16 and 32."""

    kind: Literal["darknet53"] = Field(description="which network: resnet, darknet53 or timm")
    width: int = Field(32, gt=0, multiple_of=8, description="channels of the stem; 32 is the paper's")
    norm: NormName = Field("batch", description="normalisation after each convolution")
    norm_eps: float = Field(1e-5, ge=0, description="added to the variance")
    frozen_stages: int = Field(0, ge=0, le=6, description="stages kept fixed in training, counted from the stem")


class TimmConfig(StrictModel):
    """Any network of the library timm that gives features at strides 4, 8, 16 and 32."""

    kind: Literal["timm"] = Field(description="which network: resnet, darknet53 or timm")
    name: str = Field(min_length=1, description="what timm calls it, for example convnext_tiny")
    frozen_stages: int = Field(0, ge=0, le=1, description="1 keeps all of it fixed in training")


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

    channels: int = Field(256, gt=0, description="of every pyramid level")
    norm: NormName = Field("none", description="normalisation after each lateral and output convolution")
    norm_eps: float = Field(1e-5, ge=0, description="added to the variance")

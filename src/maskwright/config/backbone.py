"""The network from pixels to a feature pyramid."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from maskwright.config.base import StrictModel

NormName = Literal["none", "batch", "frozen_batch", "group"]


class BackboneConfig(StrictModel):
    """ResNet (He et al. 2016), giving C2–C5 at strides 4, 8, 16 and 32."""

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


class FpnConfig(StrictModel):
    """Feature pyramid (Lin et al. 2017): P2–P5 from C2–C5, and P6 = every second pixel of P5."""

    channels: int = Field(256, gt=0, description="of every pyramid level")
    norm: NormName = Field("none", description="normalisation after each lateral and output convolution")
    norm_eps: float = Field(1e-5, ge=0, description="added to the variance")

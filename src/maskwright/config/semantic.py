"""Semantic segmentation beside the RoIs, and how both become one panoptic map (Kirillov et al. 2019)."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator
from typing_extensions import Self

from maskwright.config.backbone import NormName
from maskwright.config.base import MOST_CHANNELS, StrictModel
from maskwright.config.categories import CategoryConfig, read_categories

MOST_OUTPUTS = 255


class SemanticHeadConfig(StrictModel):
    """A class for every pixel, from the levels P2–P5 joined at one stride (Panoptic FPN, section 3.1)."""

    is_on: bool = Field(False, description="semantic classes are predicted; with rpn.is_on off, nothing else is")
    categories: Annotated[tuple[CategoryConfig, ...], BeforeValidator(read_categories)] = Field(
        (),
        description="stuff classes, in the order of the network's outputs; empty: taken from the panoptic annotations. "
        "In panoptic maps their ids count on from those of the things where they would be the same",
    )
    has_things: bool = Field(True, description="a first output is for all things (Panoptic FPN)")
    channels: int = Field(128, gt=0, le=MOST_CHANNELS, description="of its 3×3 convolutions")
    norm: NormName = Field("group", description="normalisation after each convolution")
    norm_eps: float = Field(1e-5, ge=0, description="added to the variance")
    loss_weight: float = Field(0.5, gt=0, description="factor of its loss, part of the loss as reported")

    @property
    def num_outputs(self) -> int:
        """Classes that a pixel can have."""
        return len(self.categories) + self.has_things

    @model_validator(mode="after")
    def _check_outputs(self) -> Self:
        if self.num_outputs > MOST_OUTPUTS:
            raise ValueError(
                f"semantic_head.categories: {len(self.categories)} are too many; the class of a pixel is one byte, of "
                f"which 255 means unknown, so at most {MOST_OUTPUTS} outputs are possible"
            )
        return self


class PanopticConfig(StrictModel):
    """How instances and semantic classes share the pixels of one map (Panoptic FPN, section 3.2; detectron2)."""

    score_threshold: float = Field(0.5, ge=0, le=1, description="instances enter the map from this score on")
    overlap_share: float = Field(
        0.5, ge=0, le=1, description="an instance is dropped when better ones took more than this share of its pixels"
    )
    min_stuff_px: int = Field(4096, ge=0, description="stuff segments of fewer pixels are dropped")

"""Which images and annotations are used, and how they are varied in training."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from maskwright.config.base import StrictModel


class DatasetConfig(StrictModel):
    """One split of a dataset."""

    images: str | None = Field(None, description="folder with the images")
    annotations: str | None = Field(None, description="annotation file")
    format: Literal["coco"] = Field("coco", description="how the annotations are written")
    skip_bad: bool = Field(False, description="leave out what cannot be used, instead of refusing the dataset")


class AugmentConfig(StrictModel):
    """Random variation of training images; boxes and masks move along."""

    scale_jitter: tuple[float, float] = Field(
        (1.0, 1.0), description="factor on the resize policy's scale, log-uniform"
    )
    crop_px: tuple[int, int] | None = Field(None, description="random window (height, width) of the network input")
    horizontal_flip: float = Field(0.5, ge=0, le=1, description="probability of mirroring left and right")
    vertical_flip: float = Field(0.0, ge=0, le=1, description="probability of mirroring top and bottom")
    transpose: float = Field(0.0, ge=0, le=1, description="probability of exchanging rows and columns")
    colour: float = Field(0.0, ge=0, le=1, description="probability of photometric distortion (SSD's)")
    invert: float = Field(
        0.0, ge=0, le=1, description="probability of inverting brightness (fluorescence ↔ bright field)"
    )
    min_side_px: float = Field(1.0, ge=0, description="objects cut down to a shorter side are dropped")


class DataConfig(StrictModel):
    """The datasets and their loading."""

    train: DatasetConfig = DatasetConfig()
    val: DatasetConfig = DatasetConfig()
    augment: AugmentConfig = AugmentConfig()
    workers: int = Field(2, ge=0, description="loader processes; the result does not depend on it")
    groups_by_aspect: bool = Field(
        True, description="batches of only landscape or only portrait images, for less padding"
    )
    uses_empty_images: bool = Field(True, description="images without objects are trained on, as negatives")

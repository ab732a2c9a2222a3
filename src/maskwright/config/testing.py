"""How a model is used and evaluated once it is trained: several views of an image, tiles, and the results to expect."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator
from typing_extensions import Self

from maskwright.config.base import MOST_SIDE_PX, StrictModel

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_EXPECTED = re.compile(rf"\s*({_NUMBER})\s*(?:±|\+-|\+/-)\s*({_NUMBER})\s*")

_SidePx = Annotated[int, Field(gt=0, le=MOST_SIDE_PX)]


class AugmentedConfig(StrictModel):
    """Test-time augmentation as detectron2 has it: an image is seen in several sizes, also mirrored."""

    short_sides: Annotated[tuple[_SidePx, ...], Field(min_length=1)] | None = Field(
        None,
        description="short side of each view, or side of the square for models that take squares; none: from half to "
        "one and a half times the recipe's own in steps of an eighth (detectron2: 400, 500 … 1200 for 800)",
    )
    long_side: int = Field(
        4000, gt=0, le=MOST_SIDE_PX, description="unless the longer side would exceed this many pixels"
    )
    flips: bool = Field(True, description="each view is seen mirrored, too")
    views_at_once: int = Field(3, gt=0, description="views that go through the network together, padded to one size")


class TilesConfig(StrictModel):
    """Windows of an image that is too large for one pass."""

    size_px: int | None = Field(
        None,
        gt=0,
        description="side of a window in pixels of the image; none: the recipe's short side, so nothing is resized",
    )
    overlap_px: int | None = Field(
        None,
        ge=0,
        description="pixels that neighbouring windows share; objects up to this size are seen whole by one of them; "
        "none: a quarter of the window",
    )
    joins_from: float = Field(
        0.5,
        gt=0,
        le=1,
        description="two windows found the same object where their masks have this IoU in the pixels that both see",
    )
    tiles_at_once: int = Field(4, gt=0, description="windows that go through the network together")

    @model_validator(mode="after")
    def _check_overlap(self) -> Self:
        if self.size_px is not None and self.overlap_px is not None and self.overlap_px >= self.size_px:
            raise ValueError(
                f"tiles.overlap_px {self.overlap_px} must be smaller than tiles.size_px {self.size_px}, or windows do "
                "not get on"
            )
        return self


def _read_expected(given: Any) -> Any:
    """`0.36 ± 0.02` (or +- for ±) as a table."""
    if isinstance(given, Mapping) and not given.keys() & ExpectedResult.model_fields.keys():
        raise ValueError("a metric has its whole name in one, as in mask.AP: 0.36 ± 0.02")
    if isinstance(given, Mapping | ExpectedResult):
        return given
    found = _EXPECTED.fullmatch(str(given))
    if found is None:
        raise ValueError("this is no expected result; write it with its tolerance: 0.36 ± 0.02 (or 0.36 +- 0.02)")
    return {"value": float(found[1]), "tolerance": float(found[2])}


class ExpectedResult(StrictModel):
    """What a metric should be, and how far off it may be."""

    value: float = Field(allow_inf_nan=False, description="of the metric")
    tolerance: float = Field(ge=0, allow_inf_nan=False, description="largest difference, either way")


Expected = Annotated[ExpectedResult, BeforeValidator(_read_expected)]

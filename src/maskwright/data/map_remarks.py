"""What an id map shows that its owner should know: a background that is no 0, and edges that were smoothed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from maskwright.data.binary_maps import WHITES
from maskwright.data.checks import Problem

# a background covers more of a picture; objects seldom do
_BACKGROUND_SHARE = 0.5
# greys between black and white, of smoothed edges, and white among all that is not black
_FEWEST_GREYS, _WHITE_SHARE = 3, 0.25


def map_remarks(ids: npt.NDArray[np.int32]) -> Iterator[Problem]:
    """What is to be said of the ids of a picture (H, W), of a kind and in words."""
    corner, share = int(ids[0, 0]), float((ids == ids[0, 0]).mean())
    if corner and share > _BACKGROUND_SHARE and (ids[[0, -1, -1], [-1, 0, -1]] == corner).all():
        message = (
            f"value {corner} is in all four corners and on {share:.0%} of the picture, and is read as an object; "
            "if it is the background, make it 0"
        )
        yield Problem("background-id", message)
    white = int(ids.max(initial=0))
    if white in WHITES and (ids == white).sum() > _WHITE_SHARE * (ids > 0).sum():
        num_greys = len(np.unique(ids)) - 2
        if num_greys >= _FEWEST_GREYS:
            message = (
                f"much of it is white ({white}), and {num_greys} other values are read as objects; if they are edges "
                "that were smoothed, export the picture without smoothing"
            )
            yield Problem("smoothed-map", message)

"""Maps of classes move as the image does, whose pixels here are the classes themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from maskwright.structures.label_map import IGNORED, LabelMap

SIDES = st.integers(1, 40)


def numbered(height: int, width: int) -> LabelMap:
    return LabelMap(torch.arange(height * width).reshape(height, width).remainder(251).to(torch.uint8))


@given(SIDES, SIDES, SIDES, SIDES)
def test_a_new_pixel_takes_the_old_one_under_its_centre(
    height: int, width: int, new_height: int, new_width: int
) -> None:
    resized = numbered(height, width).resized((new_height, new_width))
    # in halves of a new pixel, so that the rule is exact; where the centre lies on an edge either side may be taken
    rows, columns = ((2 * np.arange(new) + 1) * old for new, old in ((new_height, height), (new_width, width)))
    sources = np.ix_(rows // (2 * new_height), columns // (2 * new_width))
    is_on_edge = (rows % (2 * new_height) == 0)[:, None] | (columns % (2 * new_width) == 0)[None, :]
    assert resized.size == (new_height, new_width)
    assert ((resized.labels.numpy() == numbered(height, width).labels.numpy()[sources]) | is_on_edge).all()


@given(SIDES, SIDES)
def test_mirroring_and_transposing_twice_change_nothing(height: int, width: int) -> None:
    start = numbered(height, width)
    for moved in (
        start.flipped_horizontally().flipped_horizontally(),
        start.flipped_vertically().flipped_vertically(),
        start.transposed().transposed(),
        start.resized(start.size),
        start.cut(-3, -2, height + 5, width + 4).cut(3, 2, height, width),
    ):
        assert torch.equal(moved.labels, start.labels)


@pytest.mark.parametrize(("top", "left"), [(-1, 0), (0, -1), (5, 0), (0, 7)])
def test_nobody_knows_what_is_outside_the_image(top: int, left: int) -> None:
    cut = numbered(5, 7).cut(top, left, 5, 7)
    assert (cut.labels == IGNORED).sum() == 35 - (5 - abs(top)) * (7 - abs(left))

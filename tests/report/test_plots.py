"""Places of curves and bars in a drawing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from maskwright.report.plots import LOW, counting_histogram, curve_path, logarithmic_histogram, packed_curve

CURVES = hnp.arrays(np.float64, 101, elements=st.floats(0, 1))


@given(CURVES)
def test_curves_stay_inside_their_axes(curve) -> None:
    numbers = [float(number) for pair in curve_path(curve)[1:].split("L") if pair for number in pair.split()]
    assert all(38 <= x <= 344 for x in numbers[0::2])
    assert all(12 <= y <= 220 for y in numbers[1::2])


@given(CURVES)
def test_packed_curves_are_unpacked_to_half_a_step(curve) -> None:
    codes = np.frombuffer(bytes.fromhex(packed_curve(curve)), dtype=np.uint8)
    unpacked = np.pad(codes / 255, (0, 101 - len(codes)))
    assert np.abs(unpacked - curve).max() <= 0.5 / 255 + 1e-9


def test_a_curve_of_nothing_is_no_path() -> None:
    assert curve_path(np.zeros(101)) == ""
    assert packed_curve(np.zeros(101)) == ""


@given(st.lists(st.integers(0, 10_000), max_size=50))
def test_every_number_is_counted_once(values) -> None:
    plot = counting_histogram(values, "title", "caption")
    assert sum(int(bar.title.rpartition(" ")[2]) for bar in plot.bars) == len(values)
    assert len(plot.bars) <= 24


@given(st.lists(st.floats(0.01, 1e5), max_size=50))
def test_every_size_is_counted_once(values) -> None:
    plot = logarithmic_histogram(np.array(values), "title", "caption")
    assert sum(int(bar.title.rpartition(" ")[2]) for bar in plot.bars) == len(values)
    assert all(bar.y + bar.height == pytest.approx(LOW.y(0), abs=0.11) for bar in plot.bars)


def test_one_value_alone_has_a_bar() -> None:
    assert len(logarithmic_histogram(np.array([32.0]), "title", "caption").bars) == 1
    assert [bar.title for bar in counting_histogram([3, 3], "title", "caption").bars] == ["3: 2"]

"""The geometry of the plots: numbers become positions in a drawing of fixed size, which the templates write as SVG."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PlotArea:
    """Where the axes of a plot lie in its drawing; x grows to the right, y grows upwards in data, downwards in SVG."""

    width: float = 360.0
    height: float = 260.0
    left: float = 38.0
    right: float = 16.0
    top: float = 12.0
    bottom: float = 40.0

    @property
    def inner_width(self) -> float:
        """Length of the x axis."""
        return self.width - self.left - self.right

    @property
    def inner_height(self) -> float:
        """Length of the y axis."""
        return self.height - self.top - self.bottom

    def x(self, unit: float) -> float:
        """The position of a share, 0 to 1, of the x axis."""
        return round(self.left + unit * self.inner_width, 1)

    def y(self, unit: float) -> float:
        """The position of a share, 0 to 1, of the y axis."""
        return round(self.top + (1 - unit) * self.inner_height, 1)


SQUARE = PlotArea()
LOW = PlotArea(height=190.0)


@dataclass(frozen=True)
class Bar:
    """A bar of a histogram, in the drawing, and what it says when it is pointed at."""

    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True)
class Histogram:
    """Bars with their axes.

    Attributes:
        title: above the plot.
        caption: below the x axis, with the unit.
        frame: of the drawing.
        bars: left to right.
        ticks: (x, text) below the axis.
        most: the height of the highest bar.
    """

    title: str
    caption: str
    frame: PlotArea
    bars: tuple[Bar, ...]
    ticks: tuple[tuple[float, str], ...]
    most: int


def curve_path(precision: Numbers, frame: PlotArea = SQUARE) -> str:
    """A precision-recall curve as the `d` of an SVG path: (R,) precision at R equal steps of recall from 0 to 1.

    It ends with a drop to the axis where recall ends.

    >>> curve_path(np.array([1.0, 0.5, 0.0]))
    'M38 12L191 116L191 220'
    """
    reached = np.flatnonzero(precision > 0)
    if not len(reached):
        return ""
    last = int(reached[-1])
    units = np.linspace(0, 1, len(precision))
    points = [(frame.x(units[index]), frame.y(float(precision[index]))) for index in range(last + 1)]
    if last + 1 < len(precision):
        points.append((points[-1][0], frame.y(0)))
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points)


def packed_curve(precision: Numbers) -> str:
    """(R,) precision as two hexadecimal digits each, without the zeros at the end, for the page's script.

    >>> packed_curve(np.array([1.0, 0.5, 0.0]))
    'ff80'
    """
    codes = np.rint(np.clip(np.trim_zeros(precision, "b"), 0, 1) * 255).astype(np.uint8)
    return codes.tobytes().hex()


def logarithmic_histogram(values: Numbers, title: str, caption: str, bins_per_octave: int = 2) -> Histogram:
    """How often values above 0 occur, in bins between powers of two, with a tick at every whole power."""
    octaves = np.log2(values) if len(values) else np.zeros(1)
    low = floor(octaves.min())
    high = max(ceil(octaves.max()), low + 1)
    edges = np.linspace(low, high, (high - low) * bins_per_octave + 1)
    counts, _ = np.histogram(octaves if len(values) else [], edges)
    step = max(1, (high - low) // 6)
    ticks = [((power - low) / (high - low), _power(power)) for power in range(low, high + 1, step)]
    spans = [f"{2**a:.3g} to {2**b:.3g}" for a, b in zip(edges[:-1], edges[1:], strict=True)]
    return _histogram(title, caption, counts.tolist(), spans, ticks)


def counting_histogram(values: Sequence[int], title: str, caption: str, most_bins: int = 24) -> Histogram:
    """How often whole numbers from 0 up occur, neighbours together where there are many different ones."""
    top = max(values, default=0) + 1
    width = _round_width(top / most_bins)
    num_bins = ceil(top / width)
    per_bin = Counter(value // width for value in values)
    counts = [per_bin[index] for index in range(num_bins)]
    firsts = [index * width for index in range(num_bins)]
    spans = [f"{first}" if width == 1 else f"{first} to {first + width - 1}" for first in firsts]
    step = max(1, ceil(num_bins / 6))
    shift = 0.5 if width == 1 else 0.0
    ticks = [((index + shift) / num_bins, f"{firsts[index]}") for index in range(0, num_bins, step)]
    return _histogram(title, caption, counts, spans, ticks)


def _histogram(
    title: str, caption: str, counts: Sequence[int], spans: Sequence[str], ticks: Iterable[tuple[float, str]]
) -> Histogram:
    frame, most = LOW, max(counts, default=0)
    width = frame.inner_width / len(counts)
    bars = []
    for index, (number, span) in enumerate(zip(counts, spans, strict=True)):
        height = frame.inner_height * number / most if most else 0.0
        if number:
            height = max(height, 1.0)  # what occurs at all is seen
            x, y = frame.left + index * width, frame.top + frame.inner_height - height
            bars.append(
                Bar(round(x + 0.5, 1), round(y, 1), round(max(width - 1, 1), 1), round(height, 1), f"{span}: {number}")
            )
    placed = tuple((frame.x(unit), text) for unit, text in ticks)
    return Histogram(title, caption, frame, tuple(bars), placed, most)


def _round_width(least: float) -> int:
    """1, 2, 5, 10, 20, 50 …, at least `least`."""
    if least <= 1:
        return 1
    power = 10 ** floor(log10(least))
    return int(next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least))


def _power(exponent: int) -> str:
    return f"{2**exponent}" if exponent >= 0 else f"1/{2**-exponent}"

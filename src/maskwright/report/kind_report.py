"""All that the report shows of one kind: boxes, masks or keypoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from maskwright.evaluation.comparison import Comparison
from maskwright.evaluation.curves import ALL, IOU_50, IOU_75, Curves
from maskwright.evaluation.errors import Fates, ImageCounts, analyse_errors
from maskwright.evaluation.tide import ErrorBreakdown
from maskwright.report.html_tables import Table, category_table
from maskwright.report.plots import SQUARE, curve_path, packed_curve

EXPLANATIONS = {
    "class": "well placed, but of another class",
    "location": "right class, but overlap with an object only between 0.1 and 0.5",
    "both": "of another class, and overlap only between 0.1 and 0.5",
    "duplicate": "of an object that a better detection has found already",
    "background": "overlap with no object above 0.1",
    "missed": "objects that no detection comes near",
}


@dataclass(frozen=True)
class Line:
    """A precision-recall curve: what it is called, its style, its average precision and its path."""

    name: str
    style: str
    ap: float
    path: str


@dataclass(frozen=True)
class ErrorRow:
    """A kind of error, what it means, how often it occurs and what it costs, also as a share of the costliest."""

    name: str
    explanation: str
    count: int
    lost_ap: float
    length: float


@dataclass(frozen=True)
class Dot:
    """A bin of the calibration plot, in its drawing."""

    x: float
    y: float
    radius: float
    title: str


@dataclass(frozen=True, eq=False)
class KindReport:
    """All that the report shows of one kind.

    Attributes:
        kind: `box`, `mask` or `keypoints`.
        lines: precision-recall curves, mean over categories.
        category_curves: for the page's script: name, three AP and three packed curves of each category with objects.
        errors: costliest last; none for keypoints.
        ap50: from which errors take.
        dots: of the calibration plot.
        threshold: the score from which on F1 is highest.
        fates: of all detections.
        counted: of the detections from `threshold` on.
        categories: sortable table.
    """

    kind: str
    lines: tuple[Line, ...]
    category_curves: tuple[tuple[Any, ...], ...]
    errors: tuple[ErrorRow, ...]
    ap50: float
    dots: tuple[Dot, ...]
    threshold: float
    fates: Fates
    counted: Fates
    categories: Table

    @property
    def counts(self) -> ImageCounts:
        """Of all images, from the threshold on."""
        return self.counted.counts()


def report_kind(kind: str, comparison: Comparison) -> KindReport:
    """Everything about one kind of a comparison."""
    analysis, curves = analyse_errors(comparison, kind), comparison.curves[kind]
    fates = analysis.fates
    threshold = fates.best_threshold()
    counted = fates.above(threshold)
    precision = curves.precision[..., ALL]
    names = {category["id"]: category["name"] for category in comparison.dataset["categories"]}
    ordered = [names[id_] for id_ in sorted(names)]
    breakdown = analysis.breakdown
    return KindReport(
        kind=kind,
        lines=_lines(precision),
        category_curves=_category_curves(precision, ordered),
        errors=() if breakdown is None else _error_rows(breakdown),
        ap50=float("nan") if breakdown is None else breakdown.ap50,
        dots=_dots(fates),
        threshold=threshold,
        fates=fates,
        counted=counted,
        categories=_categories(curves, sorted(names), ordered, counted),
    )


def _three(precision: npt.NDArray[np.float64]) -> list[npt.NDArray[np.float64]]:
    """(101,) curves at IoU .5, .75 and their mean over all thresholds, of (10, 101) precision."""
    return [precision[IOU_50], precision[IOU_75], precision.mean(axis=0)]


def _lines(precision: npt.NDArray[np.float64]) -> tuple[Line, ...]:
    """Of (10, 101, C) precision, the mean over the classes with objects."""
    known = precision[..., (precision > -1).all(axis=(0, 1))]
    curves = _three(known.mean(axis=-1)) if known.shape[-1] else [np.zeros(precision.shape[1])] * 3
    means = [float(curve.mean()) if known.shape[-1] else float("nan") for curve in curves]
    styles = (("IoU 0.50", "loose"), ("IoU 0.75", "tight"), ("mean of 0.50 … 0.95", "mean"))
    return tuple(
        Line(name, style, ap, curve_path(curve)) for (name, style), ap, curve in zip(styles, means, curves, strict=True)
    )


def _category_curves(precision: npt.NDArray[np.float64], names: Sequence[str]) -> tuple[tuple[Any, ...], ...]:
    if len(names) == 1:
        return ()
    curves = [(name, _three(precision[..., index])) for index, name in enumerate(names) if precision[0, 0, index] > -1]
    return tuple((name, *(f"{c.mean():.3f}" for c in three), *map(packed_curve, three)) for name, three in curves)


def _error_rows(breakdown: ErrorBreakdown) -> tuple[ErrorRow, ...]:
    most = max(*breakdown.lost_ap.values(), 1e-9)
    return tuple(
        ErrorRow(name, EXPLANATIONS[name], breakdown.counts[name], lost, round(100 * max(lost, 0) / most, 1))
        for name, lost in breakdown.lost_ap.items()
    )


def _dots(fates: Fates) -> tuple[Dot, ...]:
    bins = fates.calibration()
    most = max((number for _, _, number in bins), default=1)
    return tuple(
        Dot(
            SQUARE.x(min(score, 1.0)),
            SQUARE.y(correct),
            round(2.5 + 6 * (number / most) ** 0.5, 1),
            f"{number} detections with mean score {score:.2f}: {correct:.0%} correct",
        )
        for score, correct, number in bins
    )


def _categories(curves: Curves, ids: Sequence[int], names: Sequence[str], counted: Fates) -> Table:
    precision, recall = (np.where(values > -1, values, np.nan) for values in (curves.precision, curves.recall))
    by_id, nothing = counted.by_category(), ImageCounts(0, 0, 0)
    counts = [by_id.get(id_, nothing) for id_ in ids]
    return category_table(
        names,
        {
            "objects": [one.correct + one.missed for one in counts],
            "found": [one.correct for one in counts],
            "missed": [one.missed for one in counts],
            "false": [one.false for one in counts],
            "AP": precision[..., ALL].mean(axis=(0, 1)).tolist(),
            "AP50": precision[IOU_50, ..., ALL].mean(axis=0).tolist(),
            "AP75": precision[IOU_75, ..., ALL].mean(axis=0).tolist(),
            "AR": recall[..., ALL].mean(axis=0).tolist(),
        },
    )

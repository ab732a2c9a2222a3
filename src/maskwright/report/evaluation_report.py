"""`report.html`: an evaluation to look at; how good, how sure, wrong in which way, and where."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from maskwright.data.record import Dataset
from maskwright.evaluation.comparison import Comparison
from maskwright.evaluation.metrics import Metrics
from maskwright.evaluation.table import KINDS
from maskwright.report.gallery import choose_sections
from maskwright.report.html_tables import headline_table, other_facts, other_tables
from maskwright.report.kind_report import KindReport, report_kind
from maskwright.report.page import count, percent, share, write_page
from maskwright.report.plots import SQUARE

# the kind by which images are rated: the first of these that was measured
_PREFERRED = ("mask", "keypoints", "box")
# of measures of pixels the group, the number and what it means
_PIXEL_TILES = (
    ("panoptic", "PQ", "quality of things and stuff in one map"),
    ("semantic", "mIoU", "mean over classes of pixels"),
)


def write_report(
    path: Path,
    dataset: Dataset,
    comparison: Comparison | None,
    metrics: Metrics,
    *,
    title: str,
) -> None:
    """Write an evaluation as one HTML file that loads nothing, for a phone as for a desktop.

    Of the images only some two dozen are opened. One that cannot be used is named instead of shown.

    Args:
        path: the file to write; its folder is made.
        dataset: what was evaluated on.
        comparison: of the results with it; None where no objects were to be found.
        metrics: of the comparison. Groups beside COCO's become tables.
        title: of the page: which model on which data.

    Raises:
        OutputError: the file cannot be written.
    """
    reports = [] if comparison is None else _kind_reports(comparison, metrics)
    sections = choose_sections(reports[0], dataset, comparison.results) if comparison and reports else []
    write_page(
        path,
        "report.html",
        title=title,
        facts=_facts(dataset, metrics, comparison),
        tiles=_tiles(metrics, reports),
        headline=headline_table(metrics),
        is_federated="federated" in metrics,
        tables=other_tables(metrics),
        reports=reports,
        sections=sections,
        frame=SQUARE,
    )


def _kind_reports(comparison: Comparison, metrics: Metrics) -> list[KindReport]:
    kinds = [kind for kind in _PREFERRED if kind in metrics and kind in comparison.kinds]
    return [report_kind(kind, comparison) for kind in kinds]


def _facts(dataset: Dataset, metrics: Metrics, comparison: Comparison | None) -> list[tuple[str, str]]:
    num_objects = sum(len(record.annotations) for record in dataset.records)
    facts = [
        ("annotations", dataset.source),
        ("images", count(len(dataset.records))),
        ("categories", count(len(dataset.categories))),
        ("objects", count(num_objects)),
    ]
    if comparison is not None and any(kind in metrics for kind in KINDS):
        of_class = "" if "federated" in metrics else " of a class"
        limit = f"at most {count(comparison.max_detections)}{of_class} counted in an image"
        facts.append(("detections", f"{count(len(comparison.results))}, {limit}"))
    if truncated := metrics.get("truncated_images"):
        facts.append(("images with more", f"{count(truncated)}; a higher limit would count more"))
    if "seconds" in metrics:
        facts.append(("seconds", f"{metrics['seconds']:.1f}"))
    if dataset.defects:
        facts.append(("left out", f"{count(len(dataset.defects))} defects of the dataset"))
    return facts + other_facts(metrics)


def _tiles(metrics: Metrics, reports: Sequence[KindReport]) -> list[tuple[str, str, str]]:
    """The few numbers that a reader looks for first: value, name, what it means."""
    tiles = []
    for first in reports[:1]:
        group, counts = metrics[first.kind], first.counts
        recall, precision = _ratio(counts.correct, counts.missed), _ratio(counts.correct, counts.false)
        threshold = f"{first.threshold:.2f}"
        tiles = [
            (share(group["AP"]), f"{first.kind} AP", "mean over IoU 0.50 … 0.95"),
            (share(group["AP50"]), f"{first.kind} AP50", "IoU 0.50 is enough"),
            (percent(recall), "of the objects found", f"{count(counts.missed)} missed at score ≥ {threshold}"),
            (percent(precision), "of the detections correct", f"{count(counts.false)} false at the same score"),
        ]
    return tiles + [
        (share(metrics[group][number]), number, meaning)
        for group, number, meaning in _PIXEL_TILES
        if number in metrics.get(group, ())
    ]


def _ratio(part: int, rest: int) -> float:
    return part / (part + rest) if part + rest else float("nan")

"""Metrics as a table for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isnan
from typing import TYPE_CHECKING

from maskwright.evaluation.metrics import Metrics

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

KINDS = ("box", "mask", "keypoints")
COLUMNS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR")


def metrics_table(metrics: Metrics) -> Table | Group:
    """COCO's table, and below it that of YOLACT's evaluation where the metrics have it."""
    from rich.console import Group  # imported late: only a terminal needs it

    coco = _coco_table(metrics)
    return Group(coco, _yolact_table(metrics["yolact_table"])) if "yolact_table" in metrics else coco


def _coco_table(metrics: Metrics) -> Table:
    """One row for boxes and one for masks; then, where there are several categories, the same rows of each."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(caption=_caption(metrics), caption_justify="left")
    table.add_column("category")
    table.add_column("of")
    for column in COLUMNS:
        table.add_column(column, justify="right")
    groups = {"all": metrics}
    if len(metrics.get("per_category", ())) > 1:
        groups |= {escape(name): group for name, group in metrics["per_category"].items()}
    for name, group in groups.items():
        for kind in [kind for kind in KINDS if kind in group]:
            table.add_row(name, kind, *_cells(group[kind]))
        table.add_section()
    return table


def _yolact_table(groups: Mapping[str, Mapping[str, float]]) -> Table:
    """AP at each IoU threshold."""
    from rich.table import Table

    table = Table(caption="AP by YOLACT's rules, at IoU above .50 to .95", caption_justify="left")
    table.add_column("of")
    columns = list(next(iter(groups.values())))
    for column in columns:
        table.add_column(column, justify="right")
    for kind, group in groups.items():
        table.add_row(kind, *_cells(group, columns))
    return table


def _cells(group: Mapping[str, float], columns: Iterable[str] = COLUMNS) -> list[str]:
    numbers = [group.get(column, float("nan")) for column in columns]
    return ["–" if isnan(number) else f"{number:.3f}" for number in numbers]


def _caption(metrics: Metrics) -> str:
    parts = []
    if "images" in metrics:
        parts.append(f"{metrics['images']} images")
    if "max_detections" in metrics:
        parts.append(f"at most {metrics['max_detections']} detections of a class in each")
    if "seconds" in metrics:
        parts.append(f"{metrics['seconds']:.1f} s")
    caption = ", ".join(parts)
    if truncated := metrics.get("truncated_images"):
        caption += f"\n{truncated} images have more detections than that; a higher limit would count them"
    return caption

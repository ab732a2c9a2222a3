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
# the groups of metrics.json that the main measures fill; others are of tables that were asked for
MEASURED = (*KINDS, "semantic", "panoptic")
COLUMNS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR")
_CAPTIONS = {
    "augmented": "with test-time augmentation",
    "boundary": "masks and their boundaries (Boundary AP)",
    "cityscapes": "by Cityscapes' rule",
    "panoptic": "panoptic quality",
    "semantic": "a class for every pixel",
    "voc": "by Pascal VOC's rule",
    "yolact": "AP by YOLACT's rules, at IoU above .50 to .95",
}


_OF_MAIN_TABLE = (*KINDS, "per_category")
_OF_CAPTION = ("images", "seconds", "max_detections", "truncated_images", "federated")


def metrics_table(metrics: Metrics) -> Table | Group:
    """The table of boxes, masks and keypoints, and below it one for each other group that the metrics have."""
    from rich.console import Group  # imported late: only a terminal needs it

    others = [name for name, group in metrics.items() if isinstance(group, Metrics) and name not in _OF_MAIN_TABLE]
    tables = [_group_table(name, metrics[name]) for name in others]
    if any(kind in metrics for kind in KINDS) or not tables:
        tables.insert(0, _coco_table(metrics))
    return Group(*tables) if len(tables) > 1 else tables[0]


def _coco_table(metrics: Metrics) -> Table:
    """One row for boxes and one for masks; then, where there are several categories, the same rows of each.

    Beside COCO's columns stand what else the metrics have, such as LVIS's AP of rare classes.
    """
    from rich.markup import escape
    from rich.table import Table

    table = Table(caption=_caption(metrics), caption_justify="left")
    table.add_column("category")
    table.add_column("of")
    columns = list(dict.fromkeys(column for kind in KINDS for column in metrics.get(kind, ()))) or list(COLUMNS)
    for column in columns:
        table.add_column(column, justify="right")
    groups = {"all": metrics}
    if len(metrics.get("per_category", ())) > 1:
        groups |= {escape(name): group for name, group in metrics["per_category"].items()}
    for name, group in groups.items():
        for kind in [kind for kind in KINDS if kind in group]:
            table.add_row(name, kind, *_cells(group[kind], columns))
        table.add_section()
    return table


def _group_table(name: str, group: Metrics) -> Table:
    """A row for each kind of the group, or one where it has no kinds; means over the categories only."""
    from rich.markup import escape
    from rich.table import Table

    kinds = {kind: numbers for kind, numbers in group.items() if kind in KINDS} or {"all": group}
    table = Table(caption=_CAPTIONS.get(name, escape(name)), caption_justify="left")
    table.add_column("of")
    columns = [
        column
        for column in dict.fromkeys(column for numbers in kinds.values() for column in numbers)
        if not isinstance(group.get(column), Metrics) and column not in _OF_CAPTION
    ]
    for column in columns:
        table.add_column(column, justify="right")
    for kind, numbers in kinds.items():
        table.add_row(kind, *_cells(numbers, columns))
    return table


def _cells(group: Mapping[str, float], columns: Iterable[str]) -> list[str]:
    numbers = [group.get(column, float("nan")) for column in columns]
    return ["–" if isnan(number) else f"{number:.3f}" for number in numbers]


def _caption(metrics: Metrics) -> str:
    parts = []
    if "images" in metrics:
        parts.append(f"{metrics['images']} images")
    if "max_detections" in metrics:
        of_class = "" if metrics.get("federated") else " of a class"
        parts.append(f"at most {metrics['max_detections']} detections{of_class} in each")
    if "seconds" in metrics:
        parts.append(f"{metrics['seconds']:.1f} s")
    caption = ", ".join(parts)
    if truncated := metrics.get("truncated_images"):
        caption += f"\n{truncated} images have more detections than that; a higher limit would count them"
    return caption

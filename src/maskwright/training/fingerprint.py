"""A fingerprint of the data of a run: a resumed run must have the same data."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from maskwright.data.record import ImageRecord

Fingerprint = dict[str, Any]


def fingerprint(records: Sequence[ImageRecord]) -> Fingerprint:
    """`images` and `objects`, how many there are, and `digest` of everything that training and evaluation use of them.

    Polygons enter as sums, which takes a hundredth of the time and shows every change that people make.
    """
    digest = hashlib.sha256()
    for record in records:
        digest.update(repr((record.id, record.path.name, record.size, record.repeats)).encode())
        for annotation in record.annotations:
            digest.update(repr(_seen(annotation)).encode())
    num_objects = sum(len(record.annotations) for record in records)
    return {"images": len(records), "objects": num_objects, "digest": digest.hexdigest()[:16]}


def explain_change(part: str, before: Mapping[str, Any], now: Fingerprint) -> str:
    """How the data of a part (`train` or `val`) differ."""
    counts = [f"{found.get('images')} images with {found.get('objects')} objects" for found in (before, now)]
    what = "as many, but other ones" if counts[0] == counts[1] else f"{counts[1]} now"
    return f"data.{part} has changed since the run began: {counts[0]} then, {what}"


def _seen(annotation: Mapping[str, Any]) -> tuple[Any, ...]:
    keys = ("category_id", "bbox", "iscrowd", "keypoints")
    return (*(annotation.get(key) for key in keys), _summary(annotation.get("segmentation")))


def _summary(segmentation: Any) -> Any:
    if isinstance(segmentation, Mapping):
        return segmentation.get("size"), segmentation.get("counts")
    if isinstance(segmentation, list):
        return [(len(polygon), sum(polygon)) for polygon in segmentation]
    return type(segmentation).__name__  # a picture, whose path is in the recipe

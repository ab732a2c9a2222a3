"""What a format cannot hold, counted, so that a conversion can report what was lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from maskwright.data.record import Dataset, ImageRecord

Held = Literal["crowds", "keypoints", "difficult", "boxes", "segments", "federated", "other"]

# keys of an annotation that every format writes in its own way
_COMMON_KEYS = {"id", "image_id", "category_id", "bbox", "segmentation", "area", "iscrowd"}


@dataclass(frozen=True)
class LeftOut:
    """How often something could not be written as it was.

    Attributes:
        counts: what, in words that follow a number → how often.
    """

    counts: Counter[str] = field(default_factory=Counter)

    def add(self, what: str, number: int = 1) -> None:
        """Count something that is lost."""
        if number:
            self.counts[what] += number

    def lines(self) -> list[str]:
        """One line for each kind of loss, the commonest first."""
        return [f"{number} {what}" for what, number in self.counts.most_common()]

    @staticmethod
    def of(dataset: Dataset, *held: Held) -> LeftOut:
        """What a format loses of a dataset that holds boxes and masks of objects, and beside them only what is `held`.

        `boxes`: objects that have only a box. `other`: any further key of an annotation.
        """
        left_out = LeftOut()
        for record in dataset.records:
            for kind, what in _specials(record):
                if kind not in held:
                    left_out.add(what)
        return left_out


def _specials(record: ImageRecord) -> Iterator[tuple[Held, str]]:
    """Everything in an image that is more than a box with a mask: its kind, and what is said of its loss."""
    if record.segments is not None:
        yield "segments", "images' pictures of stuff and things, left out"
    if record.federated is not None:
        yield "federated", "images' lists of classes that were not searched for, left out"
    for annotation in record.annotations:
        if annotation.get("iscrowd"):
            yield "crowds", "crowds, left out"
            continue
        if not annotation.get("segmentation"):
            yield "boxes", "objects without a mask, left out"
        yield from _details(annotation)


def _details(annotation: Mapping[str, Any]) -> Iterator[tuple[Held, str]]:
    if any(annotation.get("keypoints") or ()):
        yield "keypoints", "objects' keypoints, left out"
    if annotation.get("difficult"):
        yield "difficult", "marks of difficult objects, left out"
    for key in sorted(set(annotation) - _COMMON_KEYS - {"keypoints", "num_keypoints", "difficult"}):
        if annotation[key]:
            yield "other", f"objects' {key!r}, left out"

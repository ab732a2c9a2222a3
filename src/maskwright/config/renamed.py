"""Keys that had other names in earlier recipes: checkpoints and runs keep them, and an error names the new one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Renaming:
    """A key with its old name, its new one, and the new words for its values."""

    table: str
    old: str
    new: str
    values: Mapping[str, str]

    def hint(self, value: Any) -> str:
        """The new key, with the new word for a value."""
        return f"{self.table}.{self.new}={self.values.get(str(value), value)}"


RENAMED = (
    Renaming(
        "rpn",
        "loss_divisor",
        "normalizer",
        {"sampled": "sampled_anchors", "planned": "anchors_per_image", "own": "box_positives"},
    ),
    Renaming("box_head", "box_divisor", "box_normalizer", {"sampled": "sampled_rois", "positives": "positive_rois"}),
    Renaming(
        "keypoint_head",
        "loss_divisor",
        "normalizer",
        {"visible": "visible_keypoints", "planned": "possible_keypoints"},
    ),
)


def with_new_names(table: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's table as an earlier version wrote it, with the names of today; others stay as they are.

    >>> with_new_names({"rpn": {"loss_divisor": "planned", "num_convs": 1}})
    {'rpn': {'num_convs': 1, 'normalizer': 'anchors_per_image'}}
    """
    renamed = dict(table)
    for one in RENAMED:
        inner = renamed.get(one.table)
        if isinstance(inner, Mapping) and one.old in inner:
            value = inner[one.old]
            others = {key: other for key, other in inner.items() if key != one.old}
            renamed[one.table] = {**others, one.new: one.values.get(str(value), value)}
    return renamed


def renaming_of(key: str) -> Renaming | None:
    """What became of a dotted key; None of one that no recipe ever had, or that has its name still."""
    return next((one for one in RENAMED if key == f"{one.table}.{one.old}"), None)

"""Panoptic quality: how many segments of an image were found, and how well, things and stuff by one rule.

A true and a found segment of one class match if their IoU is above one half, so that none can match twice.
SQ is the mean IoU of the matches, RQ their F1 score, and PQ the product.

Source: Kirillov et al., "Panoptic Segmentation", CVPR 2019, and cocodataset/panopticapi, whose rule for what need not
be found is this: pixels of true id 0 (void) do not count in the union; a crowd matches nothing; and a found segment
without a match is forgiven if more than half of it is void or crowd of its own class. Of several crowds of a class in
an image panopticapi sees only the last, and so do we.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import hotcoco.metrics
import numpy as np
import numpy.typing as npt

from maskwright.errors import DataError
from maskwright.evaluation.metrics import Metrics, distinct_names

SegmentIds = npt.NDArray[np.integer[Any]]
# pixels by (true id, found id)
Overlaps = dict[tuple[int, int], int]

VOID = 0
# columns of the table of a tally
IOU, TRUE_POSITIVES, FALSE_POSITIVES, FALSE_NEGATIVES = range(4)


class PanopticTally:
    """Matches counted by class: four numbers each, whatever the number of images.

    A tally can be pickled, and the tallies of several processes merge to that of all their images.

    Attributes:
        names: category id → what the class is called in the metrics.
        things: category ids of the classes of objects; the others are stuff.
        counts: category id → (4,) float64: the sum of the matches' IoUs, how many they are, how many found segments are
            false and how many true ones were missed.
        num_images: how many were added.

    >>> tally = PanopticTally([{"id": 1, "name": "cat", "isthing": 1}, {"id": 7, "name": "sky", "isthing": 0}])
    >>> true, found = np.array([[5, 5, 5, 6]]), np.array([[1, 1, 2, 2]])
    >>> tally.add(true, {5: (1, False), 6: (7, False)}, found, {1: 1, 2: 7})
    >>> round(tally.metrics()["PQ_things"], 3), tally.metrics()["PQ_stuff"]
    (0.667, 0.0)
    """

    def __init__(self, categories: Sequence[Mapping[str, Any]]) -> None:
        """`categories` is the list of a COCO panoptic file: `id`, `name` and `isthing` of each class."""
        for entry in categories:
            if not isinstance(entry.get("id"), int) or "name" not in entry or entry.get("isthing") not in (0, 1):
                raise DataError(f"category {dict(entry)} needs an integer 'id', a 'name' and 'isthing' of 0 or 1")
        ids = Counter(entry["id"] for entry in categories)
        if repeated := [id_ for id_, count in ids.items() if count > 1]:
            raise DataError(f"categories: id {repeated[0]} occurs twice; every category needs an id of its own")
        self.names: dict[int, str] = distinct_names({entry["id"]: str(entry["name"]) for entry in categories})
        self.things = frozenset(entry["id"] for entry in categories if entry["isthing"])
        self.counts = {id_: np.zeros(4) for id_ in self.names}
        self.num_images = 0

    def add(
        self,
        true_ids: SegmentIds,
        true_segments: Mapping[int, tuple[int, bool]],
        found_ids: SegmentIds,
        found_segments: Mapping[int, int],
    ) -> None:
        """Match the segments of an image.

        Args:
            true_ids: (H, W) id of the true segment at each pixel, 0 where it is unknown. Pixels of an id that is not
                listed belong to no segment and are not void either, as in panopticapi.
            true_segments: id → (category id, whether it is a crowd).
            found_ids: (H, W) id of the found segment at each pixel, 0 where there is none.
            found_segments: id → category id.

        Raises:
            DataError: two sizes, an unknown category, or found segments that are only in the map or only in the list;
                nothing is counted then.
        """
        if true_ids.shape != found_ids.shape or true_ids.ndim != 2:
            raise DataError(
                f"the true map is of shape {true_ids.shape}, the found one {found_ids.shape}; give two (H, W)"
            )
        overlaps = _overlaps(true_ids, found_ids)
        true_areas, found_areas = _areas(overlaps)
        self._check(true_segments, found_segments, set(found_areas))
        matches = _matches(overlaps, true_segments, found_segments, true_areas, found_areas)
        for (_, found), iou in matches.items():
            self.counts[found_segments[found]][[IOU, TRUE_POSITIVES]] += iou, 1
        is_matched = {true for true, _ in matches}
        for true, (category_id, is_crowd) in true_segments.items():
            self.counts[category_id][FALSE_NEGATIVES] += true not in is_matched and not is_crowd
        crowds = {category_id: true for true, (category_id, is_crowd) in true_segments.items() if is_crowd}
        for found in found_segments.keys() - {found for _, found in matches}:
            category_id = found_segments[found]
            num_forgiven = overlaps.get((VOID, found), 0)
            if category_id in crowds:
                num_forgiven += overlaps.get((crowds[category_id], found), 0)
            self.counts[category_id][FALSE_POSITIVES] += num_forgiven / found_areas[found] <= 0.5
        self.num_images += 1

    def merge(self, other: PanopticTally) -> None:
        """Add what another process counted.

        Raises:
            DataError: it counted other classes.
        """
        if (self.names, self.things) != (other.names, other.things):
            raise DataError(f"tallies of {len(self.names)} and of {len(other.names)} other classes cannot be merged")
        for id_, counts in other.counts.items():
            self.counts[id_] += counts
        self.num_images += other.num_images

    def metrics(self) -> Metrics:
        """What was counted, as fractions of one.

        Returns:
            PQ, SQ and RQ, the means over the classes that were there or were found; the same of the things alone
            (`PQ_things`, …) and of the stuff (`PQ_stuff`, …); `per_category` with the three by name; `images`. NaN
            where there is nothing to average.
        """
        qualities = {id_: _qualities(counts) for id_, counts in self.counts.items()}
        stuff = self.names.keys() - self.things
        groups = {"": self.names.keys(), "_things": self.things, "_stuff": stuff}
        means: dict[str, Any] = {}
        for suffix, ids in groups.items():
            known = [list(qualities[id_].values()) for id_ in sorted(ids) if self.counts[id_][TRUE_POSITIVES:].any()]
            numbers = np.mean(known, axis=0).tolist() if known else [float("nan")] * 3
            means |= {f"{name}{suffix}": number for name, number in zip(("PQ", "SQ", "RQ"), numbers, strict=True)}
        per_category = {name: qualities[id_] for id_, name in self.names.items()}
        return Metrics({**means, "per_category": per_category, "images": self.num_images})

    def _check(
        self, true_segments: Mapping[int, tuple[int, bool]], found_segments: Mapping[int, int], in_map: set[int]
    ) -> None:
        if unlisted := sorted(in_map - found_segments.keys() - {VOID}):
            raise DataError(f"the found map shows segment {unlisted[0]}, which is not in the list of found segments")
        if unseen := sorted(found_segments.keys() - in_map):
            raise DataError(f"found segment {unseen[0]} is in the list, but no pixel of the map belongs to it")
        used = [("true", id_, category) for id_, (category, _) in true_segments.items()]
        used += [("found", id_, category) for id_, category in found_segments.items()]
        for side, id_, category_id in used:
            if category_id not in self.names:
                known = ", ".join(map(str, sorted(self.names)[:10])) + (", …" if len(self.names) > 10 else "")
                raise DataError(f"{side} segment {id_} is of the unknown category {category_id}; there are {known}")


def _overlaps(true_ids: SegmentIds, found_ids: SegmentIds) -> Overlaps:
    """Segments are large, so that runs of equal pixels are counted instead of pixels."""
    true, found = true_ids.ravel(), found_ids.ravel()
    is_first = np.ones(len(true), dtype=bool)
    is_first[1:] = (true[1:] != true[:-1]) | (found[1:] != found[:-1])
    starts = np.flatnonzero(is_first)
    lengths = np.diff(starts, append=len(true))
    pairs, index = np.unique(np.stack([true[starts], found[starts]]), axis=1, return_inverse=True)
    pixels = np.bincount(index.ravel(), weights=lengths, minlength=pairs.shape[1]).astype(np.int64)
    return dict(zip(zip(*pairs.tolist(), strict=True), pixels.tolist(), strict=True))


def _areas(overlaps: Overlaps) -> tuple[Counter[int], Counter[int]]:
    """Pixels of every id of the true and of the found map."""
    areas: tuple[Counter[int], Counter[int]] = Counter(), Counter()
    for ids, pixels in overlaps.items():
        for area, id_ in zip(areas, ids, strict=True):
            area[id_] += pixels
    return areas


def _matches(
    overlaps: Overlaps,
    true_segments: Mapping[int, tuple[int, bool]],
    found_segments: Mapping[int, int],
    true_areas: Mapping[int, int],
    found_areas: Mapping[int, int],
) -> dict[tuple[int, int], float]:
    """IoU of every (true, found) pair of segments that match."""
    matches = {}
    for (true, found), num_common in overlaps.items():
        if true not in true_segments or true_segments[true] != (found_segments.get(found), False):
            continue
        num_void = overlaps.get((VOID, found), 0)
        iou = num_common / (true_areas[true] + found_areas[found] - num_common - num_void)
        if iou > 0.5:
            matches[true, found] = iou
    return matches


def _qualities(counts: npt.NDArray[np.float64]) -> dict[str, float]:
    """PQ, SQ and RQ of a class; NaN where it was neither there nor found."""
    _, true_positives, false_positives, false_negatives = map(int, counts)
    numbers = hotcoco.metrics.panoptic_quality(float(counts[IOU]), true_positives, false_positives, false_negatives)
    return {
        name: number if hotcoco.metrics.is_computed(number) else float("nan")
        for name, number in zip(("PQ", "SQ", "RQ"), numbers, strict=True)
    }

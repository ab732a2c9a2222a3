"""Which detections of overlapping windows are one object, and what it looks like.

1. An object that its window cuts off is dropped where another window sees all of that piece without cutting it: that
   one has seen the object whole, and scored it better.
2. Two detections of a class are the same object where their masks agree in the pixels that both windows see, the best
   agreement first. What one window saw apart stays apart, unless it cuts both off: those may be arms of one object.
3. A window cuts an object off where its detection reaches the window's border, or where a detection of the same object
   goes on beyond it: networks often stop short of a border. Of the detections of an object, the best one that no
   window cuts is it; where all are cut, it is larger than the overlap, and they are put together.
4. What is left and lies for the most part in an object that its own windows could not see whole is a piece of that,
   unless one window saw both; and of two objects whose masks agree after all the better one stays.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import box_iou

from maskwright.predict.sightings import Sighting, Window, agreement, shared_area
from maskwright.structures.masks.crop import Crop


@dataclass(frozen=True, eq=False)
class _Found:
    """An object, and the windows that saw it."""

    thing: Sighting
    windows: frozenset[Window]


def join_sightings(
    sightings: Sequence[Sighting], windows: Sequence[Window], size: tuple[int, int], joins_from: float
) -> list[Sighting]:
    """Every object once, in no order.

    Args:
        sightings: what all windows saw.
        windows: of the image.
        size: (height, width) of the image.
        joins_from: IoU of two masks, in the pixels that both windows see, from which on they are one object's.
    """
    if not sightings:
        return []
    boxes = torch.stack([thing.box for thing in sightings])
    is_cut, is_seen_whole = _cut(sightings, boxes, windows, size)
    indices = [index for index in range(len(sightings)) if not (is_cut[index] and is_seen_whole[index])]
    groups = _Groups([thing.window for thing in sightings], is_cut)
    agreeing = sorted(_agreeing(sightings, boxes, indices, joins_from), key=lambda pair: -pair[0])
    for _, one, other in agreeing:
        groups.join(one, other)
    objects = [
        _object([sightings[index] for index in members], [is_cut[index] for index in members])
        for members in groups.of(indices)
    ]
    return _once(objects, joins_from)


def _cut(
    sightings: Sequence[Sighting], boxes: Tensor, windows: Sequence[Window], size: tuple[int, int]
) -> tuple[list[bool], list[bool]]:
    """Of each sighting: whether its own window cuts it off, and whether some window sees all of it without doing so."""
    insides = {window: torch.tensor(window.inside(size)) for window in windows}
    own = torch.stack([insides[thing.window] for thing in sightings])
    is_cut = ~_within(boxes, own)
    cut, is_seen_whole = torch.nonzero(is_cut).flatten(), torch.zeros(len(boxes), dtype=torch.bool)
    for inside in insides.values():
        is_seen_whole[cut] |= _within(boxes[cut], inside)
    return is_cut.tolist(), is_seen_whole.tolist()


def _within(boxes: Tensor, insides: Tensor) -> Tensor:
    """(N,) bool whether each box (N, 4) lies in its region, (4,) or (N, 4)."""
    return ((boxes[:, :2] >= insides[..., :2]) & (boxes[:, 2:] <= insides[..., 2:])).all(dim=1)


def _agreeing(
    sightings: Sequence[Sighting], boxes: Tensor, indices: Iterable[int], joins_from: float
) -> Iterator[tuple[float, int, int]]:
    """How well two agree, and their indices, for all that agree well enough to be the same object.

    Networks often stop short of the border of a window, each on its own side, so that two pieces of a long object may
    agree in the middle of what both see and nowhere else; then that counts.
    """
    by_window: dict[Window, list[int]] = defaultdict(list)
    for index in indices:
        by_window[sightings[index].window].append(index)
    own_boxes = {window: boxes[own] for window, own in by_window.items()}
    for one, other, shared in _neighbours(list(by_window)):
        firsts, seconds = by_window[one], by_window[other]
        ious = box_iou(shared.clipped(own_boxes[one]), shared.clipped(own_boxes[other]))
        for first, second in torch.nonzero(ious > 0).tolist():
            a, b = sightings[firsts[first]], sightings[seconds[second]]
            if a.label == b.label:
                zones = (shared, shared.inner())
                shares = (agreement(a, b, zone, float(ious[first, second])) for zone in zones)
                if share := next((share for share in shares if share >= joins_from), 0.0):
                    yield share, firsts[first], seconds[second]


def _neighbours(windows: Sequence[Window]) -> Iterator[tuple[Window, Window, Window]]:
    """Pairs of windows that overlap, and what both see."""
    corners = np.array([(w.top, w.left, w.bottom, w.right) for w in windows]).reshape(-1, 4)
    for index, window in enumerate(windows):
        later = corners[index + 1 :]
        is_near = (later[:, :2] < (window.bottom, window.right)).all(1) & (
            later[:, 2:] > (window.top, window.left)
        ).all(1)
        for step in np.flatnonzero(is_near):
            other = windows[index + 1 + int(step)]
            yield window, other, window.shared_with(other)


def _object(sightings: Sequence[Sighting], is_cut: Sequence[bool]) -> _Found:
    """The best of those that are whole, or all pieces together with the score of the best."""
    windows = frozenset(thing.window for thing in sightings)
    if len(sightings) == 1:
        return _Found(sightings[0], windows)
    whole = [
        thing
        for thing, cut in zip(sightings, is_cut, strict=True)
        if not cut and all(thing.window.holds(other.box) for other in sightings)
    ]
    best = max(whole or sightings, key=lambda thing: thing.score)
    if whole:
        return _Found(best, windows)
    boxes = torch.stack([thing.box for thing in sightings])
    box = torch.cat([boxes[:, :2].amin(dim=0), boxes[:, 2:].amax(dim=0)])
    crops = [thing.crop for thing in sightings if thing.crop is not None]
    return _Found(replace(best, box=box, crop=Crop.united(crops) if crops else None), windows)


def _once(objects: Sequence[_Found], joins_from: float) -> list[Sighting]:
    """Without pieces of others and without what is there twice."""
    is_left = [True] * len(objects)
    for one, other in sorted(_meeting(objects), key=lambda pair: -max(objects[index].thing.score for index in pair)):
        if is_left[one] and is_left[other]:
            loser = _loser(objects[one], objects[other], joins_from)
            if loser is not None:
                is_left[one if loser is objects[one] else other] = False
    return [found.thing for found, stays in zip(objects, is_left, strict=True) if stays]


def _meeting(objects: Sequence[_Found]) -> Iterator[tuple[int, int]]:
    """Indices of two objects of a class whose boxes overlap; memory does not grow with the square of their number."""
    boxes = np.stack([found.thing.box.numpy() for found in objects])
    labels = np.array([found.thing.label for found in objects])
    order = np.argsort(boxes[:, 1], kind="stable")
    boxes, labels = boxes[order], labels[order]
    ends = np.searchsorted(boxes[:, 1], boxes[:, 3])  # those from there on begin below it
    for index, end in enumerate(ends.tolist()):
        own, later = boxes[index], boxes[index + 1 : end]
        is_met = (later[:, 0] < own[2]) & (later[:, 2] > own[0]) & (later[:, 3] > own[1])
        is_met &= labels[index + 1 : end] == labels[index]
        for step in np.flatnonzero(is_met).tolist():
            yield int(order[index]), int(order[index + 1 + step])


def _loser(one: _Found, other: _Found, joins_from: float) -> _Found | None:
    """Which of two is a piece of the other, or the same but worse; None where they are two."""
    are_apart = bool(one.windows & other.windows)
    if are_apart and one.thing.crop is None:
        return None
    areas, common = shared_area(one.thing, other.thing)
    pieces = [
        (area, index)
        for index, (small, big, area) in enumerate(((one, other, areas[0]), (other, one, areas[1])))
        if not are_apart
        and common >= joins_from * area
        and not any(window.holds(big.thing.box) for window in small.windows)
    ]
    if pieces:
        return (one, other)[min(pieces)[1]]
    if common >= joins_from * (sum(areas) - common):
        return min(one, other, key=lambda found: found.thing.score)
    return None


class _Groups:
    """Which sightings are one object (a disjoint-set forest), but never two that one window saw apart.

    Args:
        windows: of each sighting.
        is_cut: whether its window cuts it off; two that theirs cuts off may be one object all the same.
    """

    def __init__(self, windows: Sequence[Window], is_cut: Sequence[bool]) -> None:
        self._parents = list(range(len(windows)))
        self._windows = [{window} for window in windows]
        self._whole_in = [set() if cut else {window} for window, cut in zip(windows, is_cut, strict=True)]

    def join(self, one: int, other: int) -> None:
        one, other = self._root(one), self._root(other)
        if one == other:
            return
        if self._whole_in[one] & self._windows[other] or self._whole_in[other] & self._windows[one]:
            return
        self._parents[one] = other
        self._windows[other] |= self._windows[one]
        self._whole_in[other] |= self._whole_in[one]

    def _root(self, index: int) -> int:
        while self._parents[index] != index:
            self._parents[index] = self._parents[self._parents[index]]
            index = self._parents[index]
        return index

    def of(self, indices: Iterable[int]) -> list[list[int]]:
        """The groups of some of the things, each in the order given."""
        members: dict[int, list[int]] = defaultdict(list)
        for index in indices:
            members[self._root(index)].append(index)
        return list(members.values())

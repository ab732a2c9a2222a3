"""Which detections of overlapping windows are one object, and what it looks like.

1. An object that its window cuts off is dropped where another window sees all of that piece without cutting it: that
   one has seen the object whole, and judged it better.
2. Two detections of a class are the same object where their masks agree in the pixels that both windows see.
3. Of the detections of an object, the best one that no window cuts is it; where all are cut, it is larger than the
   overlap, and they are put together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import box_iou

from maskwright.ops.boxes import clip_to_windows
from maskwright.structures.rle import Crop

# a box that ends this near to the border of its window may go on beyond it
_BORDER_PX = 2.0


class Window(NamedTuple):
    """A part of an image in pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def bottom(self) -> int:
        return self.top + self.height

    @property
    def right(self) -> int:
        return self.left + self.width

    def cut(self, image: Tensor) -> Tensor:
        """Its pixels of an image (C, H, W)."""
        return image[:, self.top : self.bottom, self.left : self.right].contiguous()

    def in_image(self, crop: Crop) -> Crop:
        """A crop of the window as a crop of the image."""
        return Crop(crop.pixels, crop.top + self.top, crop.left + self.left)

    def shared_with(self, other: Window) -> Window:
        """What both windows see; no pixel where they do not meet."""
        top, left = max(self.top, other.top), max(self.left, other.left)
        bottom, right = min(self.bottom, other.bottom), min(self.right, other.right)
        return Window(top, left, max(0, bottom - top), max(0, right - left))

    def clipped(self, boxes: Tensor) -> Tensor:
        """What the window sees of boxes (N, 4) of the image; no area of those outside."""
        return clip_to_windows(boxes, boxes.new_tensor([self.left, self.top, self.right, self.bottom]))

    def inside(self, size: tuple[int, int]) -> tuple[float, float, float, float]:
        """x1 y1 x2 y2 of where no box is cut: as far as a step from those borders that are not the image's own."""
        return (
            self.left + _BORDER_PX if self.left > 0 else -np.inf,
            self.top + _BORDER_PX if self.top > 0 else -np.inf,
            self.right - _BORDER_PX if self.right < size[1] else np.inf,
            self.bottom - _BORDER_PX if self.bottom < size[0] else np.inf,
        )


@dataclass(frozen=True, eq=False)
class Sighting:
    """An object as one window saw it, in pixels of the whole image.

    Attributes:
        window: where it was seen.
        box: (4,) x1 y1 x2 y2.
        label: index of its class.
        score: of the detection.
        crop: its mask, None where the model has none.
        mask_score: of the mask, where it is judged apart.
        keypoints: (K, 3), where the model finds any.
    """

    window: Window
    box: Tensor
    label: int
    score: float
    crop: Crop | None = None
    mask_score: float | None = None
    keypoints: Tensor | None = None


def join_sightings(
    sightings: Sequence[Sighting], windows: Sequence[Window], size: tuple[int, int], joins_from: float
) -> list[Sighting]:
    """Every object once.

    Args:
        sightings: what all windows saw.
        windows: of the image.
        size: (height, width) of the image.
        joins_from: IoU of two masks, in the pixels that both windows see, from which on they are one object's.
    """
    is_cut, is_seen_whole = _cut(sightings, windows, size)
    places = [place for place in range(len(sightings)) if not (is_cut[place] and is_seen_whole[place])]
    groups = _Groups(len(sightings))
    for one, other in _agreeing(sightings, places, windows, joins_from):
        groups.join(one, other)
    return [
        _object([sightings[place] for place in members], [is_cut[place] for place in members])
        for members in groups.of(places)
    ]


def _cut(
    sightings: Sequence[Sighting], windows: Sequence[Window], size: tuple[int, int]
) -> tuple[list[bool], list[bool]]:
    """Of each sighting: whether its own window cuts it off, and whether some window sees all of it without doing so."""
    if not sightings:
        return [], []
    insides = {window: torch.tensor(window.inside(size)) for window in windows}
    boxes = torch.stack([thing.box for thing in sightings])
    own = torch.stack([insides[thing.window] for thing in sightings])
    is_seen_whole = torch.zeros(len(boxes), dtype=torch.bool)
    for inside in insides.values():
        is_seen_whole |= _within(boxes, inside)
    return (~_within(boxes, own)).tolist(), is_seen_whole.tolist()


def _within(boxes: Tensor, insides: Tensor) -> Tensor:
    """(N,) bool whether each box (N, 4) lies in its region, (4,) or (N, 4)."""
    return ((boxes[:, :2] >= insides[..., :2]) & (boxes[:, 2:] <= insides[..., 2:])).all(dim=1)


def _agreeing(
    sightings: Sequence[Sighting], places: Iterable[int], windows: Sequence[Window], joins_from: float
) -> Iterator[tuple[int, int]]:
    """Places of pairs that are the same object."""
    by_window: dict[Window, list[int]] = defaultdict(list)
    for place in places:
        by_window[sightings[place].window].append(place)
    for one, other, shared in _neighbours([window for window in windows if by_window[window]]):
        firsts, seconds = by_window[one], by_window[other]
        boxes = [shared.clipped(torch.stack([sightings[place].box for place in side])) for side in (firsts, seconds)]
        ious = box_iou(*boxes)
        for first, second in torch.nonzero(ious > 0).tolist():
            a, b = sightings[firsts[first]], sightings[seconds[second]]
            if a.label == b.label and _agreement(a, b, shared, float(ious[first, second])) >= joins_from:
                yield firsts[first], seconds[second]


def _neighbours(windows: Sequence[Window]) -> Iterator[tuple[Window, Window, Window]]:
    """Pairs of windows that overlap, and what both see."""
    corners = np.array([(w.top, w.left, w.bottom, w.right) for w in windows]).reshape(-1, 4)
    for place, window in enumerate(windows):
        later = corners[place + 1 :]
        is_near = (later[:, :2] < (window.bottom, window.right)).all(1) & (
            later[:, 2:] > (window.top, window.left)
        ).all(1)
        for step in np.flatnonzero(is_near):
            other = windows[place + 1 + int(step)]
            yield window, other, window.shared_with(other)


def _agreement(one: Sighting, other: Sighting, shared: Window, box_iou: float) -> float:
    """IoU in the pixels that both windows see: of the masks, or of the boxes where there are none."""
    if one.crop is None or other.crop is None:
        return box_iou
    first, second = _part(one.crop, shared), _part(other.crop, shared)
    common = Window(first.top, first.left, *first.pixels.shape).shared_with(
        Window(second.top, second.left, *second.pixels.shape)
    )
    overlap = int((_part(first, common).pixels & _part(second, common).pixels).sum())
    union = int(first.pixels.sum()) + int(second.pixels.sum()) - overlap
    return overlap / union if union else 0.0


def _part(crop: Crop, window: Window) -> Crop:
    """What of a crop lies in a window; perhaps nothing."""
    seen = Window(crop.top, crop.left, *crop.pixels.shape).shared_with(window)
    rows = slice(seen.top - crop.top, seen.bottom - crop.top)
    return Crop(crop.pixels[rows, seen.left - crop.left : seen.right - crop.left], seen.top, seen.left)


def _object(sightings: Sequence[Sighting], is_cut: Sequence[bool]) -> Sighting:
    """The best of those that are whole, or all pieces together with the score of the best."""
    whole = [thing for thing, cut in zip(sightings, is_cut, strict=True) if not cut]
    best = max(whole or sightings, key=lambda thing: thing.score)
    if whole or len(sightings) == 1:
        return best
    boxes = torch.stack([thing.box for thing in sightings])
    box = torch.cat([boxes[:, :2].amin(dim=0), boxes[:, 2:].amax(dim=0)])
    crops = [thing.crop for thing in sightings if thing.crop is not None]
    return replace(best, box=box, crop=_united(crops) if crops else None)


def _united(crops: Sequence[Crop]) -> Crop:
    """All pixels of some crops."""
    top, left = min(crop.top for crop in crops), min(crop.left for crop in crops)
    bottom = max(crop.top + crop.pixels.shape[0] for crop in crops)
    right = max(crop.left + crop.pixels.shape[1] for crop in crops)
    pixels = np.zeros((bottom - top, right - left), dtype=bool)
    for crop in crops:
        height, width = crop.pixels.shape
        pixels[crop.top - top : crop.top - top + height, crop.left - left : crop.left - left + width] |= crop.pixels
    return Crop(pixels, top, left)


class _Groups:
    """Which of `count` things are one (a disjoint-set forest)."""

    def __init__(self, count: int) -> None:
        self._parents = list(range(count))

    def join(self, one: int, other: int) -> None:
        self._parents[self._root(one)] = self._root(other)

    def _root(self, place: int) -> int:
        while self._parents[place] != place:
            self._parents[place] = self._parents[self._parents[place]]
            place = self._parents[place]
        return place

    def of(self, places: Iterable[int]) -> list[list[int]]:
        """The groups of some of the things, each in the order given."""
        members: dict[int, list[int]] = defaultdict(list)
        for place in places:
            members[self._root(place)].append(place)
        return list(members.values())

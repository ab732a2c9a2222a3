"""Images too large for one pass: windows with overlap go through the network, and what they show is joined.

Memory grows with a window and with the objects, not with the image (whose own pixels are there once, in 8 bits). An
object that is not larger than the overlap is seen whole by some window, and that one's mask is taken; a larger one is
put together from the pieces that the windows saw. See `tile_joining` for who is who.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice, product

import torch
from torch import Tensor

from maskwright.config.run import Recipe
from maskwright.errors import ConfigError
from maskwright.predict.sightings import Sighting, Window
from maskwright.predict.tile_joining import join_sightings
from maskwright.predict.whole import Detector
from maskwright.structures import CropMasks, Instances
from maskwright.structures.masks.crop import Crop

# of a window that neighbours share, unless the recipe or the caller says otherwise
_OVERLAP_SHARE = 0.25


class Tiles:
    """A detector that cuts images into windows; those that fit into one window are left whole.

    Args:
        inner: what looks at each window.
        recipe: its table `tiles`.
        size_px: side of a window; None: as the recipe says.
        overlap_px: that neighbours share; None: as the recipe says.

    Raises:
        ConfigError: the overlap is not smaller than the window, or the model finds no objects.
    """

    def __init__(self, inner: Detector, recipe: Recipe, size_px: int | None, overlap_px: int | None) -> None:
        if not recipe.finds_objects:
            raise ConfigError(f"recipe {recipe.name} finds no objects, and only objects are joined over tiles")
        config = recipe.tiles
        self.inner = inner
        self.size_px = size_px or config.size_px or recipe.resize.side_px
        given = overlap_px if overlap_px is not None else config.overlap_px
        self.overlap_px = round(_OVERLAP_SHARE * self.size_px) if given is None else given
        if not 0 <= self.overlap_px < self.size_px:
            raise ConfigError(
                f"tiles of {self.size_px} px cannot overlap by {self.overlap_px} px; give an overlap from 0 to less "
                "than the tile"
            )
        self.joins_from, self.tiles_at_once = config.joins_from, config.tiles_at_once

    def detect(
        self, images: Sequence[Tensor], score_threshold: float | None, max_detections: int | None
    ) -> list[Instances]:
        """See `predict.whole.Detector`. The recipe's own limit on detections holds for each window.

        Of an image that was cut there is no semantic map.
        """
        return [self._detect(image, score_threshold, max_detections) for image in images]

    def windows(self, size: tuple[int, int]) -> list[Window]:
        """The windows of an image of (height, width), row by row; the last ones end where the image does."""
        height, width = (min(side, self.size_px) for side in size)
        tops, lefts = (_starts(side, self.size_px, self.overlap_px) for side in size)
        return [Window(top, left, height, width) for top, left in product(tops, lefts)]

    def _detect(self, image: Tensor, score_threshold: float | None, max_detections: int | None) -> Instances:
        size = (image.shape[-2], image.shape[-1])
        windows = self.windows(size)
        if len(windows) == 1:
            return self.inner.detect([image], score_threshold, max_detections)[0]
        sightings: list[Sighting] = []
        waiting = iter(windows)
        while group := list(islice(waiting, self.tiles_at_once)):
            tiles = [window.cut(image) for window in group]
            for window, found in zip(group, self.inner.detect(tiles, score_threshold, None), strict=True):
                empty = replace(found[:0], size=size)
                sightings += _sightings(found, window)
        joined = join_sightings(sightings, windows, size, self.joins_from)
        return self._best(joined, empty, max_detections)

    def _best(self, joined: Sequence[Sighting], empty: Instances, max_detections: int | None) -> Instances:
        """The objects as `Instances` of the whole image, best first."""
        best = sorted(joined, key=lambda thing: -thing.score)[:max_detections]
        if not best:
            return replace(empty, masks=_packed([], empty), semantic=None)
        crops = [thing.crop for thing in best if thing.crop is not None]
        mask_scores = [thing.mask_score for thing in best if thing.mask_score is not None]
        keypoints = [thing.keypoints for thing in best if thing.keypoints is not None]
        return replace(
            empty,
            boxes=torch.stack([thing.box for thing in best]),
            labels=torch.tensor([thing.label for thing in best]),
            scores=torch.tensor([thing.score for thing in best]),
            masks=_packed(crops, empty),
            keypoints=torch.stack(keypoints) if keypoints else empty.keypoints,
            mask_scores=torch.tensor(mask_scores) if mask_scores else empty.mask_scores,
            semantic=None,
        )


def _packed(crops: Sequence[Crop], empty: Instances) -> CropMasks | None:
    return None if empty.masks is None else CropMasks.from_crops(crops, empty.size)


def _starts(length: int, size_px: int, overlap_px: int) -> list[int]:
    """Where windows begin along a side; neighbours share the overlap, the last two perhaps more.

    >>> _starts(10, 4, 1), _starts(11, 4, 1), _starts(3, 4, 1)
    ([0, 3, 6], [0, 3, 6, 7], [0])
    """
    last = max(0, length - size_px)
    return [*range(0, last, size_px - overlap_px), last]


def _sightings(found: Instances, window: Window) -> list[Sighting]:
    """The objects of a window, in pixels of the whole image."""
    shift = found.boxes.new_tensor([window.left, window.top, window.left, window.top])
    point_shift = found.boxes.new_tensor([window.left, window.top, 0])
    things = zip(
        found.boxes + shift,
        found.labels.tolist(),
        found.scores.tolist(),
        [None] * len(found)
        if found.masks is None
        else [crop.moved(window.top, window.left) for crop in found.masks.crops()],
        [None] * len(found) if found.mask_scores is None else found.mask_scores.tolist(),
        [None] * len(found) if found.keypoints is None else found.keypoints + point_shift,
        strict=True,
    )
    return [Sighting(window, *thing) for thing in things]

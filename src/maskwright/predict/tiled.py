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
from maskwright.models.segmenter import Limits
from maskwright.predict.sightings import Sighting, Window
from maskwright.predict.tile_joining import join_sightings
from maskwright.predict.whole import Detector
from maskwright.structures import CropMasks, Instances, Masks

# of a window that neighbours share, unless the recipe or the caller says otherwise
_OVERLAP_SHARE = 0.25


class Tiles:
    """A detector that cuts images into windows; those that fit into one window are left whole.

    Args:
        inner: what predicts each window.
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

    def detect(self, images: Sequence[Tensor], limits: Limits) -> list[Instances]:
        """See `predict.whole.Detector`. The recipe's own limit on detections holds for each window.

        Of an image that was cut there is no semantic map.
        """
        return [self._detect(image, limits) for image in images]

    def windows(self, size: tuple[int, int]) -> list[Window]:
        """The windows of an image of (height, width), row by row; the last ones end where the image does."""
        height, width = (min(side, self.size_px) for side in size)
        tops, lefts = (_starts(side, self.size_px, self.overlap_px) for side in size)
        return [Window(top, left, height, width) for top, left in product(tops, lefts)]

    def _detect(self, image: Tensor, limits: Limits) -> Instances:
        size = (image.shape[-2], image.shape[-1])
        windows = self.windows(size)
        if len(windows) == 1:
            return self.inner.detect([image], limits)[0]
        sightings, parts = list[Sighting](), list[Instances]()
        waiting = iter(windows)
        while group := list(islice(waiting, self.tiles_at_once)):
            tiles = [window.cut(image) for window in group]
            for window, found in zip(group, self.inner.detect(tiles, Limits(limits.score)), strict=True):
                part = _in_image(found, window, size)
                sightings += _sightings(part, found.masks, window, first=sum(map(len, parts)))
                parts.append(part)
        joined = join_sightings(sightings, windows, size, self.joins_from)
        best = sorted(joined, key=lambda thing: -thing.score)[: limits.count]
        return _of_sightings(best, Instances.joined(parts), has_masks=found.masks is not None)


def _of_sightings(best: Sequence[Sighting], every: Instances, *, has_masks: bool) -> Instances:
    """Joined objects, with what else was found of the best sighting of each among `every` detection."""
    crops = [thing.crop for thing in best if thing.crop is not None]
    return replace(
        every[torch.tensor([thing.index for thing in best], dtype=torch.int64)],
        boxes=torch.stack([thing.box for thing in best]) if best else every.boxes[:0],
        masks=CropMasks.from_crops(crops, every.size) if has_masks else None,
    )


def _starts(length: int, size_px: int, overlap_px: int) -> list[int]:
    """Where windows begin along a side; neighbours share the overlap, the last two perhaps more.

    >>> _starts(10, 4, 1), _starts(11, 4, 1), _starts(3, 4, 1)
    ([0, 3, 6], [0, 3, 6, 7], [0])
    """
    last = max(0, length - size_px)
    return [*range(0, last, size_px - overlap_px), last]


def _in_image(found: Instances, window: Window, size: tuple[int, int]) -> Instances:
    """The objects of a window without their masks, in an image of (height, width); there is no semantic map of that."""
    shift = found.boxes.new_tensor([window.left, window.top, window.left, window.top])
    return replace(
        found,
        size=size,
        boxes=found.boxes + shift,
        masks=None,
        keypoints=None if found.keypoints is None else found.keypoints + shift.new_tensor([*shift[:2], 0]),
        semantic=None,
    )


def _sightings(part: Instances, masks: Masks | None, window: Window, first: int) -> list[Sighting]:
    """The objects of a window, in pixels of the whole image, counted from `first`."""
    crops = [None] * len(part) if masks is None else [crop.moved(window.top, window.left) for crop in masks.crops()]
    things = zip(part.boxes, part.labels.tolist(), part.scores.tolist(), crops, strict=True)
    return [Sighting(window, *thing, first + at) for at, thing in enumerate(things)]

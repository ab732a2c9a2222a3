"""The keypoints of an image's objects, as annotated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from maskwright.errors import DataError
from maskwright.ops.keypoints import scale_keypoints


@dataclass(frozen=True, eq=False)
class Keypoints:
    """Keypoints that move with their image, as `CropMasks` do.

    Attributes:
        size: (height, width) of the image in pixels.
        points: (G, K, 3) float32 x y in pixels and visibility: 0 not labelled, 1 hidden, 2 visible. Those not labelled
            are zero throughout.
        mirror_order: which keypoint has each of the K indices in a mirrored image, where left is right.
    """

    size: tuple[int, int]
    points: Tensor
    mirror_order: tuple[int, ...]

    def resized(self, size: tuple[int, int]) -> Keypoints:
        """The keypoints of the image resized to (height, width)."""
        return replace(self, size=size, points=scale_keypoints(self.points, self.size, size))

    def cut(self, top: int, left: int, height: int, width: int) -> Keypoints:
        """The keypoints as seen through a window of the image; those outside are not labelled any more."""
        x, y, visibility = (self.points - self.points.new_tensor([left, top, 0])).unbind(dim=-1)
        is_inside = (x >= 0) & (y >= 0) & (x <= width) & (y <= height)
        return self._with((height, width), x, y, visibility * is_inside)

    def flipped_horizontally(self) -> Keypoints:
        """The keypoints of the mirrored image, left and right exchanged."""
        x, y, visibility = self._mirrored().unbind(dim=-1)
        return self._with(self.size, self.size[1] - x, y, visibility)

    def flipped_vertically(self) -> Keypoints:
        """The keypoints of the image upside down: a mirror image too, so left and right are exchanged."""
        x, y, visibility = self._mirrored().unbind(dim=-1)
        return self._with(self.size, x, self.size[0] - y, visibility)

    def transposed(self) -> Keypoints:
        """The keypoints of the image with rows and columns exchanged: a mirror image too."""
        x, y, visibility = self._mirrored().unbind(dim=-1)
        return self._with((self.size[1], self.size[0]), y, x, visibility)

    def _mirrored(self) -> Tensor:
        return self.points[:, list(self.mirror_order)]

    def _with(self, size: tuple[int, int], x: Tensor, y: Tensor, visibility: Tensor) -> Keypoints:
        points = torch.stack([x, y, visibility], dim=-1)
        return replace(self, size=size, points=torch.where(visibility[..., None] > 0, points, 0))


def mirror_order(names: Sequence[str]) -> tuple[int, ...]:
    """Which keypoint has each index in a mirrored image: left_… and right_… are exchanged.

    >>> mirror_order(["nose", "left_eye", "right_eye"])
    (0, 2, 1)
    """
    index_of = {name: index for index, name in enumerate(names)}
    return tuple(index_of.get(_other_side(name), index) for index, name in enumerate(names))


def _other_side(name: str) -> str:
    for side, other in (("left", "right"), ("right", "left")):
        if name.startswith(side):
            return other + name.removeprefix(side)
    return name


def keypoints_from_coco(annotations: Iterable[Mapping[str, Any]]) -> Tensor | None:
    """(G, K, 3) float32 x y visibility of COCO annotation dicts; zeros where an object has none, or fewer than others.

    Returns:
        None where no object has any.

    Raises:
        DataError: `keypoints` that do not come in threes.
    """
    rows = [list(annotation.get("keypoints") or ()) for annotation in annotations]
    longest = max(map(len, rows), default=0)
    if longest == 0:
        return None
    if odd := [len(row) for row in rows if len(row) % 3]:
        raise DataError(f"'keypoints' of an object has {odd[0]} numbers; give x, y and visibility of each keypoint")
    points = torch.tensor([row + [0] * (longest - len(row)) for row in rows], dtype=torch.float32)
    points = points.reshape(len(rows), -1, 3)
    return torch.where(points[..., 2:] > 0, points, 0)


def moved_to_centres(points: Tensor) -> Tensor:
    """Keypoints (..., 3) that name pixels, half a pixel further on: at the centres of these pixels.

    >>> moved_to_centres(torch.tensor([[3.0, 4.0, 2.0], [0.0, 0.0, 0.0]])).tolist()
    [[3.5, 4.5, 2.0], [0.0, 0.0, 0.0]]
    """
    return torch.where(points[..., 2:] > 0, points + points.new_tensor([0.5, 0.5, 0.0]), points)

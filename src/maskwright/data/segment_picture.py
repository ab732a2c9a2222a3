"""A picture whose values or colours are ids of segments, and what each of these segments is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from maskwright.errors import ConfigError, DataError
from maskwright.images.ids import read_ids
from maskwright.images.orientation import UPRIGHT, upright
from maskwright.structures import Categories

if TYPE_CHECKING:
    from torch import Tensor

# torch comes with the functions that need it: a check of a dataset does not


class SegmentLabel(NamedTuple):
    """What a segment is; a crowd stands for many objects."""

    category_id: int
    is_crowd: bool = False


@dataclass(frozen=True)
class SegmentClasses:
    """What segments of a dataset can be; the ids of things and stuff differ.

    Attributes:
        things: classes of objects, with the ids that the dataset's annotations have for them.
        stuff: classes of everything else.
    """

    things: Categories
    stuff: Categories

    def outputs(self, stuff: Categories, has_things: bool, source: str) -> dict[int, int]:
        """Category id → output of a semantic head that has the classes `stuff`, known by their names.

        Args:
            stuff: of the head, in the order of its outputs.
            has_things: output 0 stands for all things, so that stuff begins with output 1.
            source: of the annotations, named in the error.

        Returns:
            255 for things where the head has no output for them.

        Raises:
            ConfigError: the data has stuff that the head has not.
        """
        if unknown := [name for name in self.stuff if name not in stuff.names]:
            raise ConfigError(
                f"{source} has stuff that semantic_head.categories has not: {', '.join(unknown[:5])}; set "
                "semantic_head.categories=[] to take the classes of the training annotations"
            )
        from maskwright.structures.label_map import IGNORED

        own = {name: output for output, name in enumerate(stuff, start=int(has_things))}
        things = {id_: 0 if has_things else own.get(name, IGNORED) for name, id_ in _pairs(self.things)}
        return {**things, **{id_: own[name] for name, id_ in _pairs(self.stuff)}}

    def to_coco(self) -> list[dict[str, object]]:
        """The `categories` list of a COCO panoptic file."""
        return [*self.things.to_coco(isthing=1), *self.stuff.to_coco(isthing=0)]


@dataclass(frozen=True)
class SegmentPicture:
    """Where every segment of an image lies; no pixels before `ids`.

    Attributes:
        path: of a PNG file.
        segments: id → what it is. Other ids in the picture are unknown.
        encoding: an id is red + 256 × green + 65536 × blue (`colours`: COCO's panoptic pictures), or the pixel's one
            value of 8 or 16 bits, which stands for a class (`values`: Cityscapes).
        orientation: by which the picture is turned to be upright, as its image is (1 to 8, as in EXIF).
    """

    path: Path
    segments: Mapping[int, SegmentLabel]
    encoding: Literal["colours", "values"] = "colours"
    orientation: int = UPRIGHT

    @property
    def separates_objects(self) -> bool:
        """Whether every object is a segment of its own; pictures of `values` show one for each class."""
        return self.encoding == "colours"

    def ids(self, size: tuple[int, int]) -> npt.NDArray[np.int32]:
        """(H, W) id of a segment at each pixel of the image of (height, width).

        Raises:
            DataError: the file is missing or broken, has another size, or shows none of the segments.
        """
        ids = upright(read_ids(self.path, self.encoding), self.orientation)
        if ids.shape != tuple(size):
            raise DataError(
                f"segment picture {self.path} is {ids.shape[0]} × {ids.shape[1]} pixels (height × width), its image "
                f"{size[0]} × {size[1]}; give the pictures of these very images"
            )
        if self.segments and not np.isin(ids, list(self.segments)).any():
            raise DataError(
                f"segment picture {self.path} shows no segment of its annotation, for example {min(self.segments)}; "
                "is it the picture that the annotation was written for?"
            )
        return ids

    def semantic(self, size: tuple[int, int], outputs: Mapping[int, int]) -> Tensor:
        """(H, W) uint8 output of a semantic head at each pixel, 255 where there is no segment.

        Args:
            size: (height, width) of the image.
            outputs: category id → output; see `SegmentClasses.outputs`.

        Raises:
            DataError: see `ids`.
        """
        import torch

        return torch.from_numpy(self.outputs_at(self.ids(size), outputs))

    def outputs_at(self, ids: npt.NDArray[np.int32], outputs: Mapping[int, int]) -> npt.NDArray[np.uint8]:
        """`semantic` from ids that were read before, for those who need both."""
        from maskwright.structures.label_map import IGNORED

        if not self.segments:
            return np.full(ids.shape, IGNORED, dtype=np.uint8)
        known = np.array(sorted(self.segments), dtype=ids.dtype)
        values = np.array([outputs[self.segments[id_].category_id] for id_ in known.tolist()], dtype=np.uint8)
        indices = np.searchsorted(known, ids).clip(max=len(known) - 1)
        return np.asarray(np.where(known[indices] == ids, values[indices], np.uint8(IGNORED)))


def _pairs(categories: Categories) -> list[tuple[str, int]]:
    return list(zip(categories.names, categories.ids, strict=True))

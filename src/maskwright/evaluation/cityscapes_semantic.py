"""How well the label of every pixel was found, by the rule of Cityscapes' own evaluation.

- The IoU of a class leaves out the pixels whose true label is ignored; a pixel that was found to be of an ignored label
  is missed all the same.
- The iIoU of a class with objects counts every true pixel with the mean area of the class's objects over the area of
  its own object, so that each object weighs the same. Pixels of groups, and of an object's missed or found parts beyond
  its own, are not weighted.
- Categories (flat, human, vehicle …) are measured like classes, whose mix-ups within a category are no errors.

Where a class neither occurs nor is found it has no number, and the means leave it out.

Source: cityscapesscripts 2.3, evalPixelLevelSemanticLabeling.py.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import isnan
from statistics import fmean
from typing import TypeVar

import hotcoco.metrics
import numpy as np
import numpy.typing as npt

from maskwright.config.cityscapes_labels import INSTANCES_PER_CLASS, LABELS, THINGS
from maskwright.errors import DataError
from maskwright.evaluation.cityscapes import Floats, Ints, Path, label_of, read_id_picture
from maskwright.evaluation.metrics import Metrics

T = TypeVar("T")

CATEGORIES: dict[str, tuple[int, ...]] = {
    "flat": (7, 8, 9, 10),
    "construction": (11, 12, 13, 14, 15, 16),
    "object": (17, 18, 19, 20),
    "nature": (21, 22),
    "sky": (23,),
    "human": (24, 25),
    "vehicle": (26, 27, 28, 29, 30, 31, 32, 33),
}

# those of whose labels every one has objects; ignored labels are among them
THING_CATEGORIES = ("human", "vehicle")

# mean area of a class's objects in pixels, as the official scripts have it
MEAN_AREAS_PX = {
    24: 3462.4756337644,
    25: 3930.4788056518,
    26: 12794.0202738185,
    27: 27855.1264367816,
    28: 35732.1511111111,
    31: 67583.7075812274,
    32: 6298.7200839748,
    33: 4672.3249222261,
}

_EVALUATED = {label.name: [label.id] for label in LABELS if not label.ignored_in_evaluation}
_EVALUATED_IDS = [id_ for ids in _EVALUATED.values() for id_ in ids]
_NUM_IDS = max(label.id for label in LABELS) + 1


class CityscapesTally:
    """Pixels counted by true and found label: two small tables, whatever the number of images.

    A tally can be pickled, and the tallies of several processes merge to that of all their images.

    Attributes:
        counts: (L, L) int64 pixels of each true label (row) that were found to be of each label (column).
        weighted: (L, L) float64 the same of objects alone, where each has the mean area of its class's objects.
        num_images: how many were added.
        num_with_objects: of these, in how many objects were separated.

    >>> tally = CityscapesTally()
    >>> tally.add(np.array([[7, 7, 23, 0]]), np.array([[7, 23, 23, 23]]))
    >>> tally.metrics()["mIoU"], tally.metrics().lookup("per_supercategory.flat.IoU")
    (0.5, 0.5)
    """

    def __init__(self) -> None:
        self.counts: Ints = np.zeros((_NUM_IDS, _NUM_IDS), dtype=np.int64)
        self.weighted: Floats = np.zeros((_NUM_IDS, _NUM_IDS))
        self.num_images = 0
        self.num_with_objects = 0

    def add(
        self,
        true: npt.NDArray[np.integer],
        found: npt.NDArray[np.integer],
        objects: npt.NDArray[np.integer] | None = None,
    ) -> None:
        """Count the pixels of an image.

        Args:
            true: (H, W) id of the label of each pixel (7 road … 33 bicycle; not the train id).
            found: (H, W) the same, as found.
            objects: (H, W) as in Cityscapes' pictures of instances: 1000 times the label's id, plus the object's
                number, where a pixel is of an object.

        Raises:
            DataError: several sizes, or a value of no label; nothing is counted then.
        """
        for what, values in (("found labels", found), ("objects", objects)):
            if values is not None and values.shape != true.shape:
                raise DataError(
                    f"the true labels are {list(true.shape)} pixels (height, width), the {what} {list(values.shape)}; "
                    "both must have the size of the image"
                )
        true, found = _labels(true, "true"), _labels(found, "found")
        weighted = None if objects is None else _weigh_objects(objects, found)
        self.counts += hotcoco.metrics.pixel_confusion(true, found, _NUM_IDS).astype(np.int64)
        self.num_images += 1
        if weighted is not None:
            self.weighted += weighted
            self.num_with_objects += 1

    def merge(self, other: CityscapesTally) -> None:
        """Add what another process counted."""
        self.counts += other.counts
        self.weighted += other.weighted
        self.num_images += other.num_images
        self.num_with_objects += other.num_with_objects

    def metrics(self) -> Metrics:
        """What was counted, as fractions of one.

        Returns:
            `mIoU` and `iIoU`, the means over classes; `category_mIoU` and `category_iIoU`, over Cityscapes' categories;
            IoU (and iIoU, of what has objects) by name in `per_category`, which are the classes, and in
            `per_supercategory`, which are the categories; `images`. NaN where there is nothing to measure. Without iIoU
            where objects were not separated in all images.
        """
        has_objects = self.num_with_objects == self.num_images
        classes = self._table(_EVALUATED, {label.name for label in THINGS} if has_objects else ())
        categories = self._table(CATEGORIES, THING_CATEGORIES if has_objects else ())
        means = {"mIoU": _mean(classes, "IoU"), "category_mIoU": _mean(categories, "IoU")}
        if has_objects:
            means |= {"iIoU": _mean(classes, "iIoU"), "category_iIoU": _mean(categories, "iIoU")}
        return Metrics({**means, "per_category": classes, "per_supercategory": categories, "images": self.num_images})

    def _table(self, groups: Mapping[str, Sequence[int]], with_objects: Collection[str]) -> dict[str, dict[str, float]]:
        """IoU, and for the groups named iIoU, of each group of labels."""
        return {
            name: {"IoU": self._iou(ids), **({"iIoU": self._instance_iou(ids)} if name in with_objects else {})}
            for name, ids in groups.items()
        }

    def _iou(self, ids: Sequence[int]) -> float:
        own = [id_ for id_ in ids if id_ in _EVALUATED_IDS]
        return _share(self.counts[np.ix_(own, own)].sum(), self.counts[own].sum() + self._num_false(own))

    def _instance_iou(self, ids: Sequence[int]) -> float:
        own = self.weighted[list(ids)]
        return _share(own[:, list(ids)].sum(), own.sum() + self._num_false(ids))

    def _num_false(self, ids: Sequence[int]) -> int:
        """Pixels of other evaluated labels that were found to be of these."""
        others = [id_ for id_ in _EVALUATED_IDS if id_ not in ids]
        return int(self.counts[np.ix_(others, ids)].sum())


def evaluate_cityscapes_semantic(
    label_maps: Mapping[int, npt.NDArray[np.integer] | Path],
    label_pictures: Mapping[int, Path],
    instance_pictures: Mapping[int, Path] | None = None,
) -> Metrics:
    """Compare found labels with Cityscapes' pictures of labels by Cityscapes' rule; see above.

    Args:
        label_maps: image id → (H, W) id of the label of each pixel (7 road … 33 bicycle; not the train id), or a
            picture of that. Read one at a time.
        label_pictures: image id → its `…_gtFine_labelIds.png`. These images are evaluated.
        instance_pictures: image id → its `…_gtFine_instanceIds.png`, for iIoU; without them it is left out.

    Returns:
        What `CityscapesTally.metrics` gives.

    Raises:
        DataError: an image without a map, a picture that cannot be read, another size, or a value of no class.
    """
    tally = CityscapesTally()
    for image_id, path in label_pictures.items():
        found = _entry(label_maps, image_id, "map of labels")
        objects = None
        if instance_pictures is not None:
            objects = read_id_picture(_entry(instance_pictures, image_id, "picture of instances"))
        try:
            tally.add(
                read_id_picture(path), found if isinstance(found, np.ndarray) else read_id_picture(found), objects
            )
        except DataError as error:
            raise DataError(f"image {image_id}: {error}") from None
    return tally.metrics()


def _entry(entries: Mapping[int, T], image_id: int, what: str) -> T:
    if image_id not in entries:
        raise DataError(f"image {image_id} has no {what}; every image that is evaluated needs one")
    return entries[image_id]


def _labels(ids: npt.NDArray[np.integer], side: str) -> Ints:
    if ids.dtype.kind not in "ui" or (ids.size and not 0 <= ids.min() <= ids.max() < _NUM_IDS):
        raise DataError(f"the {side} labels have values that are no label; give ids from 0 to {_NUM_IDS - 1}")
    return ids.astype(np.int64)


def _weigh_objects(ids: npt.NDArray[np.integer], found: Ints) -> Floats:
    """(L, L) see `CityscapesTally.weighted`, of one image."""
    if ids.dtype.kind not in "ui" or (ids.size and label_of(ids.max()) >= _NUM_IDS):
        raise DataError(f"the objects have values of no label; give 1000 × label (up to {_NUM_IDS - 1}) + number")
    is_object = ids >= INSTANCES_PER_CLASS
    values, indices = np.unique(ids[is_object], return_inverse=True)
    counts = np.bincount(indices * _NUM_IDS + found[is_object], minlength=len(values) * _NUM_IDS)
    counts = counts.reshape(-1, _NUM_IDS)
    weights = np.array([MEAN_AREAS_PX.get(label, 0.0) for label in label_of(values).tolist()])
    weighted = np.zeros((_NUM_IDS, _NUM_IDS))
    np.add.at(weighted, label_of(values), weights[:, None] * counts / counts.sum(axis=1, keepdims=True))
    return weighted


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")


def _mean(rows: Mapping[str, Mapping[str, float]], name: str) -> float:
    known = [row[name] for row in rows.values() if name in row and not isnan(row[name])]
    return fmean(known) if known else float("nan")

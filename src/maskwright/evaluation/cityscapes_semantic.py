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
from typing import NamedTuple, TypeVar

import hotcoco.metrics
import numpy as np
import numpy.typing as npt

from maskwright.config.cityscapes_labels import INSTANCES_PER_CLASS, LABELS, THINGS
from maskwright.errors import DataError
from maskwright.evaluation.cityscapes import Ints, Path, label_of, read_id_picture
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

_EVALUATED_IDS = [label.id for label in LABELS if not label.ignored_in_evaluation]
_NUM_IDS = max(label.id for label in LABELS) + 1


class Tally(NamedTuple):
    """Pixels of all images, counted.

    Attributes:
        counts: (L, L) of each true label (row) that were found to be of each label (column).
        object_labels: (M,) of all objects.
        object_counts: (M, L) of each object that were found to be of each label.
    """

    counts: Ints
    object_labels: Ints
    object_counts: Ints


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
        `mIoU` and `iIoU`, the means over classes; `category_mIoU` and `category_iIoU`, over Cityscapes' categories; IoU
        (and iIoU, of what has objects) by name in `per_category`, which are the classes, and in `per_supercategory`,
        which are the categories; `images`. NaN where there is nothing to measure.

    Raises:
        DataError: an image without a map, a picture that cannot be read, another size, or a value of no class.
    """
    counts = np.zeros((_NUM_IDS, _NUM_IDS), dtype=np.int64)
    instances = [np.zeros((0, _NUM_IDS), dtype=np.int64)]
    labels = [np.zeros(0, dtype=np.int64)]
    for image_id, path in label_pictures.items():
        true = read_id_picture(path)
        found = _of_size(_labels(label_maps, image_id), true.shape, image_id)
        counts += hotcoco.metrics.pixel_confusion(true, found, _NUM_IDS).astype(np.int64)
        if instance_pictures is not None:
            objects = read_id_picture(_entry(instance_pictures, image_id, "picture of instances"))
            own_labels, own_counts = _count_instances(_of_size(objects, true.shape, image_id), found)
            labels.append(own_labels)
            instances.append(own_counts)
    tally = Tally(counts, np.concatenate(labels), np.concatenate(instances))
    classes = {label.name: [label.id] for label in LABELS if not label.ignored_in_evaluation}
    things = {label.name for label in THINGS} if instance_pictures is not None else set()
    thing_categories = set(THING_CATEGORIES) if instance_pictures is not None else set()
    per_class, per_category = _table(tally, classes, things), _table(tally, CATEGORIES, thing_categories)
    means = {"mIoU": _mean(per_class, "IoU"), "category_mIoU": _mean(per_category, "IoU")}
    if instance_pictures is not None:
        means |= {"iIoU": _mean(per_class, "iIoU"), "category_iIoU": _mean(per_category, "iIoU")}
    return Metrics(
        {
            **means,
            "per_category": per_class,
            "per_supercategory": per_category,
            "images": len(label_pictures),
        }
    )


def _labels(label_maps: Mapping[int, npt.NDArray[np.integer] | Path], image_id: int) -> Ints:
    found = _entry(label_maps, image_id, "map of labels")
    if not isinstance(found, np.ndarray):
        found = read_id_picture(found)
    if found.dtype.kind not in "ui" or (found.size and not 0 <= found.min() <= found.max() < _NUM_IDS):
        raise DataError(f"the map of image {image_id} has values that are no label; give ids from 0 to {_NUM_IDS - 1}")
    return found.astype(np.int64)


def _entry(entries: Mapping[int, T], image_id: int, what: str) -> T:
    if image_id not in entries:
        raise DataError(f"image {image_id} has no {what}; every image that is evaluated needs one")
    return entries[image_id]


def _of_size(ids: Ints, size: tuple[int, ...], image_id: int) -> Ints:
    if ids.shape != size:
        raise DataError(
            f"image {image_id}: {list(ids.shape)} values are compared with a picture of {list(size)} pixels (height, "
            "width); both must have the size of the image"
        )
    return ids


def _count_instances(ids: Ints, found: Ints) -> tuple[Ints, Ints]:
    """(M,) label of each object in a picture of instances, and (M, L) how many of its pixels have each found label."""
    is_object = ids > INSTANCES_PER_CLASS
    values, places = np.unique(ids[is_object], return_inverse=True)
    counts = np.bincount(places * _NUM_IDS + found[is_object], minlength=len(values) * _NUM_IDS)
    return label_of(values), counts.reshape(-1, _NUM_IDS)


def _table(
    tally: Tally, groups: Mapping[str, Sequence[int]], with_instances: Collection[str]
) -> dict[str, dict[str, float]]:
    """IoU, and for the groups named iIoU, of each group of labels."""
    return {
        name: {"IoU": _iou(tally, ids), **({"iIoU": _instance_iou(tally, ids)} if name in with_instances else {})}
        for name, ids in groups.items()
    }


def _iou(tally: Tally, ids: Sequence[int]) -> float:
    own = [id_ for id_ in ids if id_ in _EVALUATED_IDS]
    return _share(tally.counts[np.ix_(own, own)].sum(), tally.counts[own].sum() + _num_false(tally, own))


def _instance_iou(tally: Tally, ids: Sequence[int]) -> float:
    is_own = np.isin(tally.object_labels, [id_ for id_ in ids if id_ in MEAN_AREAS_PX])
    pixels = tally.object_counts[is_own]
    true = np.array([MEAN_AREAS_PX[label] for label in tally.object_labels[is_own].tolist()])
    found = true * pixels[:, list(ids)].sum(axis=1) / pixels.sum(axis=1)
    return _share(found.sum(), true.sum() + _num_false(tally, ids))


def _num_false(tally: Tally, ids: Sequence[int]) -> int:
    """Pixels of other evaluated labels that were found to be of these."""
    others = [id_ for id_ in _EVALUATED_IDS if id_ not in ids]
    return int(tally.counts[np.ix_(others, ids)].sum())


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")


def _mean(rows: Mapping[str, Mapping[str, float]], name: str) -> float:
    known = [row[name] for row in rows.values() if name in row and not isnan(row[name])]
    return fmean(known) if known else float("nan")

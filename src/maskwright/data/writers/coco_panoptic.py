"""Writing COCO panoptic annotations: a JSON file that names segments, and a PNG picture of them for each image."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hotcoco.mask
import numpy as np
import numpy.typing as npt

from maskwright.data.checks import box_around
from maskwright.data.id_pictures import objects_of
from maskwright.data.record import Dataset, ImageRecord
from maskwright.data.segment_picture import SegmentClasses, SegmentLabel
from maskwright.data.writers.contents import Written, crop_of, image_names, paint
from maskwright.data.writers.left_out import LeftOut
from maskwright.images.ids import write_ids
from maskwright.structures import Categories


def write_coco_panoptic(dataset: Dataset, target: Path) -> Written:
    """Write `panoptic.json` and `panoptic/*.png`.

    An image with segments keeps them; of others the objects are drawn, the smallest on top where they overlap.

    Raises:
        DataError: the picture of an image's segments cannot be read.
    """
    left_out = LeftOut.of(dataset, "crowds", "segments")
    files = image_names(dataset)
    classes = dataset.segment_classes or SegmentClasses(dataset.categories, Categories((), ()))
    images, annotations = [], []
    for record in dataset.records:
        name = Path(files[record.id]).with_suffix(".png").as_posix()
        ids, labels = _segments(record, left_out)
        path = target / "panoptic" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_ids(path, ids, "colours")
        images.append({**record.to_coco(), "file_name": files[record.id]})
        infos = _infos(ids, labels, record.size)
        annotations.append({"image_id": record.id, "file_name": name, "segments_info": infos})
    document = {"images": images, "annotations": annotations, "categories": classes.to_coco()}
    (target / "panoptic.json").write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
    return Written("images", "panoptic.json", left_out)


def _segments(record: ImageRecord, left_out: LeftOut) -> tuple[npt.NDArray[np.int32], Mapping[int, SegmentLabel]]:
    """(H, W) id at each pixel, 0 for none, and what the ids are."""
    if record.segments is not None:
        known = record.segments.segments
        ids = record.segments.ids(record.size)
        first = int(0 in known)  # 0 says void in a picture of COCO
        ids = np.where(np.isin(ids, list(known)), ids + first, 0).astype(np.int32)
        return ids, {id_ + first: label for id_, label in known.items()}
    masked = [(one, crop) for one in record.annotations if (crop := crop_of(one, record.size)) is not None]
    painting = paint([crop for _, crop in masked], record.size)
    painting.report(left_out)
    labels = [SegmentLabel(one["category_id"], bool(one.get("iscrowd"))) for one, _ in masked]
    return painting.ids, dict(enumerate(labels, start=1))


def _infos(
    ids: npt.NDArray[np.int32], labels: Mapping[int, SegmentLabel], size: tuple[int, int]
) -> list[dict[str, Any]]:
    """`segments_info` of what the picture shows."""
    return [
        {
            "id": id_,
            "category_id": labels[id_].category_id,
            "area": int(hotcoco.mask.area(mask)),
            "bbox": [int(side) for side in box_around(mask, size)],
            "iscrowd": int(labels[id_].is_crowd),
        }
        for id_, mask in objects_of(ids).items()
    ]

"""Writing YOLO segmentation labels: a text file per image, a line per object, and a data.yaml with the classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from maskwright.data.record import Dataset
from maskwright.data.writers.contents import Written, crop_of, image_names, names_by_id, singles, write_text
from maskwright.data.writers.left_out import LeftOut
from maskwright.structures.masks.outlines import join, trace

# of shares of the image: a thousandth of a pixel in images of up to 10,000
_DECIMALS = 7


def write_yolo(dataset: Dataset, target: Path) -> Written:
    """Write `labels/*.txt` and `data.yaml`.

    An object of several parts, or with holes, is one line all the same: bridges of no width join its outlines, and its
    pixels come back exactly. An image without objects gets no file. An object that has only a box becomes a line of
    four numbers.

    Raises:
        DataError: two categories have the same name.
    """
    names_by_id(dataset)
    files = image_names(dataset)
    for record in dataset.records:
        lines = [
            " ".join([str(dataset.categories.label_of(annotation["category_id"])), *_shares(annotation, record.size)])
            for annotation in singles(record)
        ]
        if lines:
            write_text((target / "labels" / files[record.id]).with_suffix(".txt"), lines)
    (target / "labels").mkdir(exist_ok=True)
    # without `path`, the folders are those beside this file
    content = {"train": "images", "val": "images", "names": dict(enumerate(dataset.categories.names))}
    (target / "data.yaml").write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return Written("images", "data.yaml", LeftOut.of(dataset, "boxes"))


def _shares(annotation: Mapping[str, Any], size: tuple[int, int]) -> list[str]:
    """The numbers of a line: an outline, or a box."""
    height, width = size
    crop = crop_of(annotation, size)
    if crop is None:
        x, y, w, h = annotation["bbox"]
        return _texts([(x + w / 2) / width, (y + h / 2) / height, w / width, h / height])
    outlines = trace(crop)
    path = join([*outlines.outer, *outlines.holes])
    return _texts((path / [width, height]).ravel().tolist())


def _texts(shares: Sequence[float]) -> list[str]:
    return [f"{share:.{_DECIMALS}f}".rstrip("0").rstrip(".") for share in shares]

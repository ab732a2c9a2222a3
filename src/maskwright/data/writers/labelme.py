"""Writing LabelMe files: a JSON file beside each image."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from maskwright.data.record import Dataset, ImageRecord
from maskwright.data.writers.contents import Written, crop_of, image_names, names_by_id, write_text
from maskwright.data.writers.left_out import LeftOut
from maskwright.structures.masks.crop import Crop
from maskwright.structures.masks.outlines import Contour, trace

# the first release of LabelMe whose files have masks
_VERSION = "5.3.0"


def write_labelme(dataset: Dataset, target: Path) -> Written:
    """Write `images/*.json`, beside the images as LabelMe expects them, and `labels.txt` with the classes.

    Objects are polygons along their pixels' edges; parts of one share a `group_id`; one with holes is a mask. Crowds
    and difficult objects carry a flag.

    Raises:
        DataError: two categories have the same name.
    """
    names = names_by_id(dataset)
    files = image_names(dataset)
    left_out = LeftOut.of(dataset, "crowds", "difficult", "boxes")
    for record in dataset.records:
        document: dict[str, Any] = {
            "version": _VERSION,
            "flags": {},
            "shapes": list(_shapes(record, names, left_out)),
            "imagePath": PurePosixPath(files[record.id]).name,
            "imageData": None,
            "imageHeight": record.size[0],
            "imageWidth": record.size[1],
        }
        text = json.dumps(document, ensure_ascii=False)
        write_text((target / "images" / files[record.id]).with_suffix(".json"), [text])
    write_text(target / "labels.txt", ["__ignore__", *dataset.categories.names])
    return Written("images", "images", left_out)


def _shapes(record: ImageRecord, names: Mapping[int, str], left_out: LeftOut) -> Iterator[dict[str, Any]]:
    groups = count(1)
    for annotation in record.annotations:
        flags = {key: True for key in ("iscrowd", "difficult") if annotation.get(key)}
        label = names[annotation["category_id"]]
        crop = crop_of(annotation, record.size)
        if crop is None:
            x, y, w, h = annotation["bbox"]
            left_out.add("objects without a mask, written as rectangles, which are masks when read again")
            yield _shape(label, "rectangle", [[x, y], [x + w, y + h]], flags)
            continue
        outlines = trace(crop)
        if outlines.holes:
            yield _mask(label, crop, flags)
            continue
        group = next(groups) if len(outlines.outer) > 1 else None
        for contour in outlines.outer:
            yield _shape(label, "polygon", _floats(contour), flags, group)


def _floats(contour: Contour) -> list[list[float]]:
    points: list[list[float]] = contour.astype(np.float64).tolist()
    return points


def _mask(label: str, crop: Crop, flags: Mapping[str, bool]) -> dict[str, Any]:
    """A PNG as text, and the first and last pixel of its box."""
    buffer = BytesIO()
    Image.fromarray(crop.pixels.astype(np.uint8) * 255).save(buffer, format="PNG")
    corners = [[crop.left, crop.top], [crop.right - 1, crop.bottom - 1]]
    shape = _shape(label, "mask", corners, flags)
    return {**shape, "mask": base64.b64encode(buffer.getvalue()).decode("ascii")}


def _shape(
    label: str, kind: str, points: Sequence[Sequence[float]], flags: Mapping[str, bool], group: int | None = None
) -> dict[str, Any]:
    return {
        "label": label,
        "points": points,
        "group_id": group,
        "description": "",
        "shape_type": kind,
        "flags": dict(flags),
        "mask": None,
    }

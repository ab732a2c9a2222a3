"""What the tests of readers of other tools' files share: images, the truth, and what was read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import hotcoco.mask
import numpy as np
from PIL import Image

from maskwright.data.record import Dataset
from maskwright.structures.masks.rle import any_to_rle

SIZE = (20, 40)


def write_images(folder: Path, *names: str) -> Path:
    """Grey images, 20 high and 40 wide."""
    for name in names or ("a.png",):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros(SIZE, dtype=np.uint8)).save(folder / name)
    return folder


def write_json(path: Path, document: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def box(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    """The mask of a rectangle, its right and lower border left out."""
    mask = np.zeros(SIZE, dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def masks(dataset: Dataset, index: int = 0) -> list[np.ndarray]:
    """The masks of one record."""
    return [
        hotcoco.mask.decode(any_to_rle(one["segmentation"], SIZE)).astype(bool)
        for one in dataset.records[index].annotations
    ]


def classes(dataset: Dataset, index: int = 0) -> list[str]:
    names = dict(zip(dataset.categories.ids, dataset.categories.names, strict=True))
    return [names[one["category_id"]] for one in dataset.records[index].annotations]


def kinds(dataset: Dataset) -> list[str]:
    return [defect.kind for defect in dataset.defects]

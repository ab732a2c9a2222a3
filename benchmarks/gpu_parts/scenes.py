"""Images and objects for the parts: the photographs of the parity cases, and drawn scenes to train on."""

from __future__ import annotations

import json
from functools import cache
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from gpu_parts.setting import REPOSITORY

_PHOTOGRAPHS = REPOSITORY / "tests" / "parity" / "cases" / "images"


@cache
def photographs() -> list[Tensor]:
    """(3, H, W) uint8 each; the landscape ones, so that a batch pads little."""
    found = []
    for path in sorted(_PHOTOGRAPHS.glob("*.png")):
        pixels = torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1).contiguous()
        if pixels.shape[2] >= pixels.shape[1]:
            found.append(pixels)
    return found


def batch_of(count: int, longest_px: int | None = None) -> list[Tensor]:
    """So many photographs, repeated where they run out; made smaller for a quick run."""
    images = photographs()
    if longest_px is not None:
        step = max(max(image.shape) for image in images) // longest_px
        images = [image[:, ::step, ::step].contiguous() for image in images]
    return list(islice(cycle(images), count))


def objects_in(image: Tensor, category_ids: list[int], count: int = 8) -> list[dict[str, Any]]:
    """COCO annotations of diamonds spread over an image."""
    height, width = image.shape[1:]
    random = np.random.default_rng(height * width)
    annotations = []
    for place in range(count):
        half_h, half_w = random.uniform(0.06, 0.2, 2) * (height, width)
        y, x = random.uniform(half_h, height - half_h), random.uniform(half_w, width - half_w)
        polygon = [x, y - half_h, x + half_w, y, x, y + half_h, x - half_w, y]
        annotations.append(
            {
                "id": place + 1,
                "category_id": category_ids[place % len(category_ids)],
                "bbox": [x - half_w, y - half_h, 2 * half_w, 2 * half_h],
                "segmentation": [[float(number) for number in polygon]],
                "iscrowd": 0,
            }
        )
    return annotations


def write_scenes(folder: Path, count: int, side_px: int) -> dict[str, str]:
    """A dataset of ellipses on noise, as overrides of a recipe whose only class is `nucleus`."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    random, annotations, images = np.random.default_rng(0), [], []
    for image in range(1, count + 1):
        canvas = Image.fromarray(random.integers(0, 60, (side_px, side_px, 3), dtype=np.uint8))
        pen = ImageDraw.Draw(canvas)
        for _ in range(6):
            radius_y, radius_x = random.uniform(0.06, 0.14, 2) * side_px
            y, x = random.uniform(radius_y, side_px - radius_y), random.uniform(radius_x, side_px - radius_x)
            pen.ellipse([x - radius_x, y - radius_y, x + radius_x, y + radius_y], tuple(random.integers(120, 255, 3)))
            turns = np.linspace(0, 2 * np.pi, 20, endpoint=False)
            outline = np.stack([x + radius_x * np.cos(turns), y + radius_y * np.sin(turns)], axis=1)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": 1,
                    "bbox": [x - radius_x, y - radius_y, 2 * radius_x, 2 * radius_y],
                    "area": float(np.pi * radius_x * radius_y),
                    "segmentation": [outline.ravel().tolist()],
                    "iscrowd": 0,
                }
            )
        canvas.save(folder / "images" / f"{image:03}.png")
        images.append({"id": image, "file_name": f"{image:03}.png", "height": side_px, "width": side_px})
    document = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "nucleus"}]}
    (folder / "scenes.json").write_text(json.dumps(document), encoding="utf-8")
    return {"data.train.images": str(folder / "images"), "data.train.annotations": str(folder / "scenes.json")}

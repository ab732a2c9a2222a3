"""Boundary AP: COCO's average precision of masks, asking in addition that their boundaries agree.

In the IoU of two large masks the interior outvotes the outline. Boundary IoU compares only the pixels within d of the
outline, and two masks agree as well as the worse of both numbers says; everything else is COCO's.

Source: Cheng et al., "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation", CVPR 2021, and
bowenc0221/boundary-iou-api. As there, d is a share of the image's diagonal, at least one pixel; what lies outside the
image is background; and detections on a crowd are compared with it only as masks.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import hotcoco.mask
import numpy as np

from maskwright.errors import ConfigError, DataError
from maskwright.evaluation.comparison import Comparison
from maskwright.evaluation.curves import Curves, summaries_by_category, summary_of
from maskwright.evaluation.matching import IOU_THRESHOLDS, Bools, Detections, Floats, Ints, Objects, Pairs, match
from maskwright.evaluation.metrics import Metrics
from maskwright.evaluation.streaming import indices_by_group
from maskwright.structures.masks.crop import Bitmap, Crop
from maskwright.structures.masks.rle import Rle, rle_to_crop


def evaluate_boundary(comparison: Comparison, dilation_share: float = 0.02) -> Metrics:
    """Compare masks, outlines included.

    Args:
        comparison: of results with annotations. Where a result has a `mask_score`, that ranks it.
        dilation_share: how wide a boundary is, as a share of the image's diagonal; the paper takes 0.02 for COCO.

    Returns:
        `boundary` with AP, AP50, AP75, APs, APm, APl and AR; the same in `per_category` by name; `images`,
        `max_detections` and `truncated_images` as in `evaluate_results`.

    Raises:
        DataError: masks are missing on either side, or the annotations are LVIS's, in which not every class was looked
            for in every image.
        ConfigError: `dilation_share` is not above zero.
    """
    if not (dilation_share > 0 and math.isfinite(dilation_share)):
        raise ConfigError(f"dilation_share is {dilation_share}; a boundary needs a width above 0, in the paper 0.02")
    if comparison.is_federated:
        raise DataError(
            f"{comparison.names[1]}: its images have 'neg_category_ids' (LVIS), but Boundary AP follows COCO's rules; "
            "remove them to have every class count in every image"
        )
    comparison.refuse_without("mask", "and boundaries are those of masks ('segmentation')")
    order, ranks = _ranked(comparison)
    is_kept = ranks < comparison.max_detections
    truncated = {comparison.results[index]["image_id"] for index in order[~is_kept]}
    curves = {"boundary": _match(comparison, order[is_kept], ranks[is_kept], dilation_share)}
    return Metrics(
        {
            "boundary": summary_of("boundary", curves["boundary"]),
            "per_category": summaries_by_category(curves, comparison.category_names.values()),
            "images": len(comparison.dataset["images"]),
            "max_detections": comparison.max_detections,
            "truncated_images": len(truncated),
        }
    )


def _ranked(comparison: Comparison) -> tuple[Ints, Ints]:
    """Indices of the D results in COCO's order, and for each how many of its image and class come before it."""
    found = comparison.results
    images = np.array([result["image_id"] for result in found], dtype=np.int64)
    order = np.lexsort((images, -np.array(comparison.scores("mask"))))
    counts: dict[tuple[int, int], int] = defaultdict(int)
    ranks = np.zeros(len(found), dtype=np.int64)
    for rank, result in enumerate(found[index] for index in order):
        group = result["image_id"], result["category_id"]
        ranks[rank] = counts[group]
        counts[group] += 1
    return order, ranks


def _match(comparison: Comparison, kept: Ints, ranks: Ints, dilation_share: float) -> Curves:
    """Curves of the results at the D indices `kept`, whose ranks are `ranks`."""
    dataset = comparison.dataset
    sizes = {image["id"]: (image.get("height", 0), image.get("width", 0)) for image in dataset["images"]}
    sides: Any = [comparison.results[index] for index in kept], dataset["annotations"]
    rles = [comparison.result_masks[index] for index in kept], comparison.object_masks
    groups = [indices_by_group(entries) for entries in sides]
    is_crowd = np.array([bool(annotation.get("iscrowd")) for annotation in dataset["annotations"]], dtype=bool)
    parts = [Pairs(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0))]
    for group in groups[0].keys() & groups[1].keys():
        rows, columns = groups[0][group], groups[1][group]
        few = [rles[0][row] for row in rows], [rles[1][column] for column in columns]
        pairs = _agreeing(*few, is_crowd[columns], boundary_width(sizes[group[0]], dilation_share))
        parts.append(Pairs(rows[pairs.detections], columns[pairs.objects], pairs.ious))
    index_of = {id_: index for index, id_ in enumerate(comparison.category_names)}
    classes = [np.array([index_of[entry["category_id"]] for entry in entries], dtype=np.int64) for entries in sides]
    areas = np.array([annotation.get("area", 0.0) for annotation in dataset["annotations"]], dtype=np.float64)
    return match(
        Detections(classes[0], ranks, np.asarray(hotcoco.mask.area(rles[0]), dtype=np.float64)),
        Objects(classes[1], areas, is_crowd),
        Pairs(*(np.concatenate(part) for part in zip(*parts, strict=True))),
        len(index_of),
    )


def _agreeing(found: list[Rle], objects: list[Rle], is_crowd: Bools, width: int) -> Pairs:
    """Which masks of an image agree enough to match, with the smaller of mask IoU and boundary IoU."""
    mask_ious: Floats = np.asarray(hotcoco.mask.iou(found, objects, is_crowd.tolist()))
    rows, columns = np.nonzero(mask_ious >= IOU_THRESHOLDS[0])  # the smaller of two cannot be more
    ious = mask_ious[rows, columns]
    # two masks without an interior are boundary all over, so that both IoUs are one number
    has_interior = _reach_inside(found, width)[rows] | _reach_inside(objects, width)[columns]
    compared = np.flatnonzero(has_interior & ~is_crowd[columns])
    found_boundaries = {row: boundary_of(rle_to_crop(found[row]), width) for row in set(rows[compared].tolist())}
    boundaries = {
        column: boundary_of(rle_to_crop(objects[column]), width) for column in set(columns[compared].tolist())
    }
    for pair in compared:
        iou = found_boundaries[int(rows[pair])].iou(boundaries[int(columns[pair])])
        ious[pair] = min(ious[pair], iou)
    return Pairs(rows, columns, ious)


def _reach_inside(rles: list[Rle], width: int) -> Bools:
    """(N,) whether a mask is large enough for pixels that are not boundary."""
    boxes = np.asarray(hotcoco.mask.to_bbox(rles)).reshape(-1, 4)
    return np.asarray(boxes[:, 2:].min(axis=1) > 2 * width)


def boundary_width(size: tuple[int, int], dilation_share: float) -> int:
    """How many pixels wide a boundary is in an image of (height, width).

    >>> boundary_width((480, 640), 0.02), boundary_width((20, 20), 0.02)
    (16, 1)
    """
    return max(1, round(dilation_share * math.sqrt(size[0] ** 2 + size[1] ** 2)))


def boundary_of(mask: Crop, width: int) -> Crop:
    """The pixels of a mask that have background, or the image's border, within `width` pixels, diagonals included."""
    if min(mask.pixels.shape) <= 2 * width:
        return mask
    window = 2 * width + 1
    inside = _all_in_windows(_all_in_windows(mask.pixels, window).T, window).T
    pixels = mask.pixels.copy()
    pixels[width:-width, width:-width] &= ~inside
    return mask._replace(pixels=pixels)


def _all_in_windows(pixels: Bitmap, length: int) -> Bitmap:
    """(H − length + 1, W) whether the `length` pixels from each one downwards are all foreground."""
    reached = 1
    while reached < length:
        step = min(reached, length - reached)
        pixels = pixels[:-step] & pixels[step:]
        reached += step
    return pixels

"""Average precision and recall of boxes, masks and keypoints, as the COCO API and the LVIS API define them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from maskwright.evaluation.comparison import AnnotationsSource, Comparison, ResultsSource
from maskwright.evaluation.curves import summaries_by_category, summary_of
from maskwright.evaluation.metrics import Metrics


def evaluate_results(
    results: ResultsSource,
    annotations: AnnotationsSource,
    max_detections: int = 100,
    keypoint_sigmas: Sequence[float] | None = None,
) -> Metrics:
    """Compare a COCO results list with COCO annotations: boxes, masks and keypoints, each where both sides carry them.

    Federated annotations, whose images have `neg_category_ids`, are compared by the rules of LVIS (section 3 and its
    API): a detection counts only if its class was looked for in the image, that is, annotated there or negative; where
    a class is not exhaustively annotated, what matches nothing is no error; nothing is a crowd.

    Args:
        results: a results file, or its list of detections. Where an entry has a `mask_score`, its mask is ranked by
            that and only its box by `score` (YOLACT++ scores masks anew).
        annotations: an annotation file, or its dict.
        max_detections: the highest-scoring detections of each class that count in an image; COCO's own number is 100,
            dense scenes need more. Of keypoints never more than 20 count, as in COCO. Federated: the highest-scoring of
            all classes together, counted or not; LVIS's own number is 300.
        keypoint_sigmas: how far each keypoint may be off, as a share of the square root of the object's area. Without
            them COCO's own serve for its 17 keypoints, and for any other number the mean of these for each.

    Returns:
        `box` and `mask` with AP, AP50, AP75, APs, APm, APl and AR (all at `max_detections`), and `keypoints` with the
        same but for APs; the same in `per_category` by name; `images`, `max_detections`, and `truncated_images`, the
        number of images in which detections were left out because there were more. Where the categories have LVIS's
        `frequency`, also APr, APc and APf of the rare, common and frequent ones; and `federated` where they are.

    Raises:
        DataError: a file that cannot be read or does not fit; see `coco_format`.
        ConfigError: `max_detections` below one, or not as many sigmas as keypoints.
    """
    return coco_metrics(Comparison.of(results, annotations, max_detections, keypoint_sigmas))


def coco_metrics(comparison: Comparison) -> Metrics:
    """The metrics of `evaluate_results`."""
    categories = {category["id"]: category for category in comparison.dataset["categories"]}
    frequencies = [categories[id_].get("frequency") for id_ in comparison.category_names]
    curves = comparison.curves
    return Metrics(
        {
            **{kind: summary_of(kind, curve, frequencies) for kind, curve in curves.items()},
            "per_category": summaries_by_category(curves, comparison.category_names.values()),
            "images": len(comparison.dataset["images"]),
            "max_detections": comparison.max_detections,
            **({"federated": True} if comparison.is_federated else {}),
            "truncated_images": _count_truncated(comparison),
        }
    )


def _count_truncated(comparison: Comparison) -> int:
    """Images with more detections than count: of a class, or in a federated dataset of all classes together."""
    counts = Counter(
        (result["image_id"], None if comparison.is_federated else result["category_id"])
        for result in comparison.results
    )
    return len({image_id for (image_id, _), count in counts.items() if count > comparison.max_detections})

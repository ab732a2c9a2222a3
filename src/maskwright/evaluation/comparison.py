"""Results beside annotations: read and checked once, for every measure that is taken of them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, cast

import hotcoco

from maskwright.errors import ConfigError, DataError
from maskwright.evaluation.coco_format import (
    CocoDict,
    Image,
    Result,
    checked_limit,
    comparable_kinds,
    is_federated,
    name_of,
    num_keypoints,
    read_coco,
    read_results,
    scores_of,
    sizes_of,
)
from maskwright.evaluation.curves import Curves
from maskwright.evaluation.metrics import distinct_names
from maskwright.evaluation.streaming import capped, parts_of
from maskwright.structures.masks.rle import Rle, any_to_rle

ResultsSource = str | os.PathLike[str] | Sequence[Mapping[str, Any]]
AnnotationsSource = str | os.PathLike[str] | Mapping[str, Any]

# hotcoco's words for what is compared
IOU_TYPES = {"box": "bbox", "mask": "segm", "keypoints": "keypoints"}
_PLURALS = {"box": "boxes", "mask": "masks", "keypoints": "keypoints"}

# COCO's limit where keypoints are compared
_KEYPOINT_DETECTIONS = 20

# an object of this area is outside every range, and so ignored in each
_BEYOND_ALL_AREAS = 1e12

# what hotcoco gets of the entries, beside masks; it takes the area of a detection from its box if there is one
_OBJECT_KEYS = {
    "box": ("id", "image_id", "category_id", "area", "iscrowd", "bbox"),
    "mask": ("id", "image_id", "category_id", "area", "iscrowd"),
    "keypoints": ("id", "image_id", "category_id", "area", "iscrowd", "bbox", "keypoints", "num_keypoints"),
}
_RESULT_KEYS = {
    "box": ("image_id", "category_id", "bbox"),
    "mask": ("image_id", "category_id"),
    "keypoints": ("image_id", "category_id", "bbox", "segmentation", "keypoints"),
}


class MatchedPart(NamedTuple):
    """Some images with their objects and detections as hotcoco takes them.

    Attributes:
        images: entries of the dataset.
        objects, detections: in the order of the dataset and of the results.
        object_indices, detection_indices: where these stand in the whole lists.
    """

    images: list[Image]
    objects: list[dict[str, Any]]
    detections: list[dict[str, Any]]
    object_indices: list[int]
    detection_indices: list[int]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Results and the annotations that they are compared with; made by `Comparison.of`.

    What several measures need is computed when it is first used, and kept.

    Attributes:
        dataset: the annotations, with ids from 1 and an area each.
        results: the detections, in the order given.
        kinds: those of `box`, `keypoints` and `mask` that both sides carry.
        max_detections: so many of the highest-scoring detections of each class count in an image.
        names: what messages call the results and the annotations.
        sigmas: how far each keypoint may be off, as a share of the square root of the object's area.
    """

    dataset: CocoDict
    results: list[Result]
    kinds: list[str]
    max_detections: int
    names: tuple[str, str]
    sigmas: list[float]

    @staticmethod
    def of(
        results: ResultsSource,
        annotations: AnnotationsSource,
        max_detections: int = 100,
        keypoint_sigmas: Sequence[float] | None = None,
    ) -> Comparison:
        """Read both sides; the arguments are those of `evaluate_results`.

        Raises:
            DataError: a file that cannot be read or does not fit; see `coco_format`.
            ConfigError: `max_detections` below one, or not as many sigmas as keypoints.
        """
        max_detections = checked_limit(max_detections)
        names = name_of(results, "results"), name_of(annotations, "annotations")
        dataset = read_coco(annotations)
        detections = read_results(results, dataset)
        kinds = comparable_kinds(detections, names[0], dataset, names[1])
        sigmas = _sigmas(keypoint_sigmas, num_keypoints(dataset))
        return Comparison(dataset, detections, kinds, max_detections, names, sigmas)

    def refuse_without(self, kind: str, why: str) -> None:
        """Go on only if both sides carry a kind.

        Raises:
            DataError: one does not; the message ends with `why` it is needed.
        """
        if kind not in self.kinds:
            raise DataError(f"{self.names[0]} or {self.names[1]} have no {_PLURALS[kind]}, {why}")

    @cached_property
    def is_federated(self) -> bool:
        """Whether annotations cover only some of the classes in each image (LVIS)."""
        return is_federated(self.dataset)

    @cached_property
    def category_names(self) -> dict[int, str]:
        """What each category is called in `per_category`, by ascending id; a repeated name is followed by the id."""
        names = {category["id"]: category["name"] for category in self.dataset["categories"]}
        return distinct_names(dict(sorted(names.items())))

    @cached_property
    def object_masks(self) -> list[Rle]:
        """Run lengths of every annotation; empty where it has no mask."""
        return self._masks(self.dataset["annotations"])

    @cached_property
    def result_masks(self) -> list[Rle]:
        """Run lengths of every detection; empty where it has no mask."""
        return self._masks(self.results)

    def shapes(self, kind: str) -> tuple[list[Any], list[Any]]:
        """What IoU compares of every detection and every annotation: boxes x y width height, or run lengths."""
        if kind == "mask":
            return self.result_masks, self.object_masks
        return [entry["bbox"] for entry in self.results], [entry["bbox"] for entry in self.dataset["annotations"]]

    def scores(self, kind: str) -> list[float]:
        """What ranks every detection as a kind: a mask may have a score of its own."""
        return scores_of(self.results, kind)

    def by_lvis(self, kind: str) -> bool:
        """Whether LVIS's rules hold; it knows no keypoints."""
        return self.is_federated and kind != "keypoints"

    def parts(self, kind: str) -> Iterator[MatchedPart]:
        """All images with what is compared of them, few at a time.

        LVIS knows no crowds: each is an object like all others. Unlike COCO it obeys `ignore`.
        """
        scores, by_lvis, masks = self.scores(kind), self.by_lvis(kind), self.shapes(kind) if kind == "mask" else None
        kept = capped(self.results, scores, self.max_detections) if by_lvis else None
        for images, object_indices, detection_indices in parts_of(self.dataset, self.results, kept):
            objects = [_only(self.dataset["annotations"][index], _OBJECT_KEYS[kind]) for index in object_indices]
            detections = [_only(self.results[index], _RESULT_KEYS[kind]) for index in detection_indices]
            for entry, index in zip(detections, detection_indices, strict=True):
                entry["score"] = scores[index]
            if masks is not None:
                _add_masks(detections, detection_indices, masks[0])
                _add_masks(objects, object_indices, masks[1])
            if by_lvis:
                for entry, index in zip(objects, object_indices, strict=True):
                    is_ignored = self.dataset["annotations"][index].get("ignore")
                    entry.update({"iscrowd": 0, **({"area": _BEYOND_ALL_AREAS} if is_ignored else {})})
            yield MatchedPart(images, objects, detections, object_indices, detection_indices)

    @cached_property
    def curves(self) -> dict[str, Curves]:
        """Precision and recall of each kind; classes stand in the order of ascending category id."""
        return {kind: self._curves_of(kind) for kind in self.kinds}

    def _curves_of(self, kind: str) -> Curves:
        params = hotcoco.Params(IOU_TYPES[kind])
        params.max_dets = [self.max_detections]
        if kind == "keypoints":
            params.max_dets = [min(self.max_detections, _KEYPOINT_DETECTIONS)]
            params.kpt_oks_sigmas = self.sigmas
        categories = cast(list[dict[str, Any]], self.dataset["categories"])
        stream = hotcoco.StreamingEval(categories, IOU_TYPES[kind], self.by_lvis(kind), params)
        for part in self.parts(kind):
            stream.update(cast(list[dict[str, Any]], part.images), part.objects, part.detections)
        evaluation = stream.finalize()
        evaluation.accumulate()
        arrays = evaluation.eval
        assert arrays is not None  # it is None only before accumulate
        return Curves(arrays["precision"][..., 0], arrays["recall"][..., 0])

    def _masks(self, entries: Sequence[Mapping[str, Any]]) -> list[Rle]:
        sizes = {id_: (height or 0, width or 0) for id_, (height, width) in sizes_of(self.dataset).items()}
        return [
            any_to_rle(entry["segmentation"], sizes[entry["image_id"]]) if entry.get("segmentation") else {}
            for entry in entries
        ]


def _only(entry: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: entry[key] for key in keys if key in entry}


def _add_masks(entries: Sequence[dict[str, Any]], indices: Sequence[int], masks: Sequence[Rle]) -> None:
    for entry, index in zip(entries, indices, strict=True):
        entry["segmentation"] = masks[index]


def _sigmas(given: Sequence[float] | None, count: int) -> list[float]:
    if given is None:
        of_coco = hotcoco.Params("keypoints").kpt_oks_sigmas
        return of_coco if count == len(of_coco) else [sum(of_coco) / len(of_coco)] * count
    if len(given) != count or min(given, default=1) <= 0:
        raise ConfigError(f"keypoint_sigmas are {list(given)}; the {count} annotated keypoints need one above 0 each")
    return list(given)

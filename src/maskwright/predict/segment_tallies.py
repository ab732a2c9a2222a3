"""What semantic and panoptic measures need of a model's maps, added up image by image."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from maskwright.config.cityscapes_labels import LABELS, STUFF, THINGS
from maskwright.config.run import Recipe
from maskwright.config.semantic import SemanticHeadConfig
from maskwright.data.readers.cityscapes import find_instance_picture
from maskwright.data.record import Dataset, ImageRecord
from maskwright.data.segment_picture import SegmentClasses, SegmentPicture
from maskwright.evaluation import CityscapesTally, PanopticTally, SemanticTally
from maskwright.evaluation.cityscapes import read_id_picture
from maskwright.evaluation.panoptic import VOID
from maskwright.structures import Categories, Instances, PanopticMap
from maskwright.structures.label_map import IGNORED

# Cityscapes' labels of pixels by their names, and the one of all that it does not name
_LABEL_IDS = {label.name: label.id for label in LABELS if label.id >= 0}
_UNLABELED = _LABEL_IDS["unlabeled"]


class SegmentTallies:
    """A tally of semantic maps; of a model that finds objects too, one of panoptic maps; and one by Cityscapes' rule.

    The last is for data with Cityscapes' classes, if the model has a class for the pixels of each. All hold sums only,
    so they are small, go from process to process, and add up.

    Args:
        head: the table of the model's semantic head.
        classes: of the dataset's segments.
        source: of the dataset, for messages.
        is_panoptic: the model finds masks of objects, and the pictures separate the objects of a class.
    """

    def __init__(self, head: SemanticHeadConfig, classes: SegmentClasses, source: str, *, is_panoptic: bool) -> None:
        self._stuff = Categories.of([category.model_dump() for category in head.categories])
        self._outputs = classes.outputs(self._stuff, head.has_things, source)
        self._ids_by_name = {name: id_ for kind in (classes.things, classes.stuff) for name, id_ in _pairs(kind)}
        self.semantic = SemanticTally([*["things"][: head.has_things], *self._stuff])
        self.panoptic = PanopticTally(classes.to_coco()) if is_panoptic else None
        self.cityscapes = CityscapesTally() if _are_cityscapes(classes) and not head.has_things else None
        self._label_ids = np.array([_LABEL_IDS.get(name, _UNLABELED) for name in self._stuff])

    @staticmethod
    def of(recipe: Recipe, dataset: Dataset) -> SegmentTallies | None:
        """Empty tallies; None where the model has no semantic head, or the dataset no segments."""
        head = recipe.semantics
        if head is None or dataset.segment_classes is None:
            return None
        pictures = (record.segments for record in dataset.records)
        has_objects = any(picture is not None and picture.separates_objects for picture in pictures)
        is_panoptic = has_objects and "mask" in recipe.metric_kinds
        return SegmentTallies(head, dataset.segment_classes, dataset.source, is_panoptic=is_panoptic)

    def add(self, record: ImageRecord, found: Instances) -> None:
        """Count what was found in an image against its segments.

        Raises:
            DataError: the picture of its segments cannot be used.
        """
        if record.segments is None or found.semantic is None:
            return
        true, outputs = record.segments.ids(record.size), found.semantic.labels()
        labels = outputs.numpy()
        self.semantic.add(record.segments.outputs_at(true, self._outputs), labels)
        if self.panoptic is not None and record.segments.separates_objects:
            panoptic = found.panoptic(outputs)
            segments = self._known_segments(panoptic)
            ids = np.where(np.isin(panoptic.ids, list(segments)), panoptic.ids, VOID)
            self.panoptic.add(true, record.segments.segments, ids, segments)
        if self.cityscapes is not None:
            picture = find_instance_picture(record)
            objects = None if picture is None else read_id_picture(picture)
            self.cityscapes.add(_true_labels(record.segments, true), self._label_ids[labels], objects)

    def _known_segments(self, panoptic: PanopticMap) -> dict[int, int]:
        """Id of each found segment → the dataset's id of the class of that name; without classes that it has not."""
        names = {True: panoptic.classes.things.names, False: panoptic.classes.stuff.names}
        found = {segment["id"]: names[segment["isthing"]][segment["label"]] for segment in panoptic.segments}
        return {id_: self._ids_by_name[name] for id_, name in found.items() if name in self._ids_by_name}

    def merge(self, others: Iterable[Self]) -> None:
        """Add what other processes counted."""
        for other in others:
            self.semantic.merge(other.semantic)
            if self.panoptic is None:
                self.panoptic = other.panoptic
            elif other.panoptic is not None:
                self.panoptic.merge(other.panoptic)
            if self.cityscapes is not None and other.cityscapes is not None:
                self.cityscapes.merge(other.cityscapes)

    def metrics(self) -> dict[str, Any]:
        """The groups `semantic`, `panoptic` and `cityscapes_semantic` of metrics.json, as far as there are such."""
        groups = {"semantic": self.semantic.metrics()}
        if self.panoptic is not None:
            groups["panoptic"] = self.panoptic.metrics()
        if self.cityscapes is not None:
            groups["cityscapes_semantic"] = self.cityscapes.metrics()
        return groups


def _are_cityscapes(classes: SegmentClasses) -> bool:
    """Whether these are the 19 that Cityscapes evaluates, by names and ids; their order does not matter."""
    kinds = ((classes.things, THINGS), (classes.stuff, STUFF))
    return all(set(_pairs(own)) == {(label.name, label.id) for label in labels} for own, labels in kinds)


def _true_labels(picture: SegmentPicture, ids: npt.NDArray[np.int32]) -> npt.NDArray[np.uint8]:
    """(H, W) id of Cityscapes' label of each pixel; labels that it does not evaluate are one."""
    labels = picture.outputs_at(ids, {label.id: label.id for label in (*THINGS, *STUFF)})
    return np.where(labels == IGNORED, np.uint8(_UNLABELED), labels)


def _pairs(categories: Categories) -> list[tuple[str, int]]:
    return list(zip(categories.names, categories.ids, strict=True))

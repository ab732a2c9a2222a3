"""What semantic and panoptic measures need of a model's maps, added up image by image."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from typing_extensions import Self

from maskwright.config.mask_rcnn import MaskRcnnRecipe
from maskwright.config.run import Recipe
from maskwright.data.record import Dataset, ImageRecord
from maskwright.data.segment_picture import SegmentClasses
from maskwright.evaluation import PanopticTally, SemanticTally
from maskwright.evaluation.panoptic import VOID
from maskwright.structures import Categories, Instances, PanopticMap


class SegmentTallies:
    """A tally of semantic maps and, of a model that finds objects too, one of panoptic maps.

    Both hold sums only, so they are small, go from process to process, and add up.

    Args:
        recipe: of a model with a semantic head.
        classes: of the dataset's segments.
        source: of the dataset, for messages.
    """

    def __init__(self, recipe: MaskRcnnRecipe, classes: SegmentClasses, source: str) -> None:
        head = recipe.semantic_head
        self._stuff = Categories.of([category.model_dump() for category in head.categories])
        self._outputs = classes.outputs(self._stuff, head.has_things, source)
        self._ids_by_name = {name: id_ for kind in (classes.things, classes.stuff) for name, id_ in _pairs(kind)}
        self.semantic = SemanticTally([*["things"][: head.has_things], *self._stuff])
        self.panoptic = PanopticTally(classes.to_coco()) if "mask" in recipe.measured else None

    @staticmethod
    def of(recipe: Recipe, dataset: Dataset) -> SegmentTallies | None:
        """Empty tallies; None where the model has no semantic head, or the dataset no segments."""
        if not isinstance(recipe, MaskRcnnRecipe) or not recipe.semantic_head.is_on or dataset.segment_classes is None:
            return None
        return SegmentTallies(recipe, dataset.segment_classes, dataset.source)

    def add(self, record: ImageRecord, found: Instances) -> None:
        """Count what was found in an image against its segments.

        Raises:
            DataError: the picture of its segments cannot be used.
        """
        if record.segments is None or found.semantic is None:
            return
        labels = found.semantic.labels().numpy()
        self.semantic.add(record.segments.semantic(record.size, self._outputs).numpy(), labels)
        if self.panoptic is not None and record.segments.tells_objects_apart:
            panoptic = found.panoptic()
            segments = self._known_segments(panoptic)
            ids = np.where(np.isin(panoptic.ids, list(segments)), panoptic.ids, VOID)
            self.panoptic.add(record.segments.ids(record.size), record.segments.segments, ids, segments)

    def _known_segments(self, panoptic: PanopticMap) -> dict[int, int]:
        """Id of each found segment → the dataset's id of the class of that name; without classes that it has not."""
        names = {True: panoptic.classes.things.names, False: panoptic.classes.stuff.names}
        found = {segment["id"]: names[segment["isthing"]][segment["label"]] for segment in panoptic.segments}
        return {id_: self._ids_by_name[name] for id_, name in found.items() if name in self._ids_by_name}

    def merge(self, others: Iterable[Self]) -> None:
        """Add what other processes counted."""
        for other in others:
            self.semantic.merge(other.semantic)
            if self.panoptic is not None and other.panoptic is not None:
                self.panoptic.merge(other.panoptic)

    def metrics(self) -> dict[str, Any]:
        """The groups `semantic` and `panoptic` of metrics.json."""
        groups = {"semantic": self.semantic.metrics()}
        if self.panoptic is not None and self.panoptic.num_images:
            groups["panoptic"] = self.panoptic.metrics()
        return groups


def _pairs(categories: Categories) -> list[tuple[str, int]]:
    return list(zip(categories.names, categories.ids, strict=True))

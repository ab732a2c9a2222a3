"""What a predictor found in a dataset, or in one process's share of it, as far as measures need it."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

from maskwright.config.run import Recipe
from maskwright.data.record import Dataset, Defect, ImageRecord
from maskwright.errors import DataError
from maskwright.evaluation import collect_results
from maskwright.files import obey_signals
from maskwright.predict.predictor import Predictor
from maskwright.predict.segment_tallies import SegmentTallies
from maskwright.structures import Instances


@dataclass(frozen=True, eq=False)
class Findings:
    """Detections as run lengths and sums over pixels: no bitmaps, so that processes can exchange it.

    Attributes:
        results: a COCO results list with the dataset's image and category ids.
        segments: sums over semantic and panoptic maps; None where the model or the dataset has none, or images are cut
            into tiles.
        seconds: that prediction took.
        broken: a defect for each image whose pixels turned out broken, where its owner allows to go on without it.
    """

    results: list[dict[str, Any]]
    segments: SegmentTallies | None
    seconds: float
    broken: tuple[Defect, ...] = ()

    def seen_of(self, dataset: Dataset) -> Dataset:
        """The dataset without the images that turned out broken, which are among its defects then."""
        ids = {defect.image_id for defect in self.broken}
        seen = tuple(record for record in dataset.records if record.id not in ids)
        return replace(dataset, records=seen, defects=(*dataset.defects, *self.broken)) if ids else dataset

    @property
    def most_per_image(self) -> int:
        """Detections of the image with the most."""
        return max(Counter(result["image_id"] for result in self.results).values(), default=0)


def find_in(
    predictor: Predictor, dataset: Dataset, max_detections: int | None, progress: Callable[[int], None] | None = None
) -> Findings:
    """Predict all images of a dataset.

    Args:
        predictor: which predicts.
        dataset: whose ids the results have.
        max_detections: per image; None: the recipe's.
        progress: called with the number of images done since the last call.
    """
    start = perf_counter()
    tallies = None if predictor.is_tiled else SegmentTallies.of(predictor.recipe, dataset)
    broken: list[Defect] = []
    stream = _stream(predictor, dataset.records, max_detections, broken)

    def look(found: Sequence[tuple[ImageRecord, Instances]]) -> list[Instances]:
        obey_signals()
        if tallies is not None:
            found = [(record, instances.pasted()) for record, instances in found]
            for record, instances in found:
                tallies.add(record, instances)
        is_of_objects = predictor.recipe.finds_objects
        return [instances if is_of_objects else instances[:0] for _, instances in found]

    images = ([(record.id, (record, instances))] for record, instances in stream)
    results = collect_results(look, images, dataset.categories, progress)
    return Findings(results, tallies, perf_counter() - start, tuple(broken))


def _stream(
    predictor: Predictor, records: Sequence[ImageRecord], max_detections: int | None, broken: list[Defect]
) -> Iterator[tuple[ImageRecord, Instances]]:
    """Each image with what is found in it; images that turn out broken go to `broken`, where that is allowed.

    Raises:
        DataError: one that its owner does not allow to go on without.
    """
    left = deque(records)
    while left:
        stream = predictor.stream([record.path for record in left], max_detections=max_detections)
        try:
            for instances in stream:
                yield left.popleft(), instances
        except DataError as error:
            record = left.popleft()
            if not record.is_skippable:
                raise
            where = f"image {record.id} ({record.path.name!r})"
            broken.append(
                Defect("unreadable-image", where, str(error).removeprefix(f"image {record.path} "), record.id)
            )


def empty_findings(recipe: Recipe, dataset: Dataset) -> Findings:
    """The findings of a model that finds nothing; they show which metrics there are, before any work is done."""
    return Findings([], SegmentTallies.of(recipe, dataset), 0.0)


def joined(shares: Sequence[Findings], dataset: Dataset) -> Findings:
    """What several processes found in their shares of a dataset, as if one had found it; they worked side by side.

    Results are in the order of the dataset's images: where scores are equal, the order of results counts.
    """
    first, *others = shares
    indices = {record.id: index for index, record in enumerate(dataset.records)}
    if first.segments is not None:
        first.segments.merge(share.segments for share in others if share.segments is not None)
    entries = (entry for share in shares for entry in share.results)
    results = sorted(entries, key=lambda entry: indices[entry["image_id"]])
    broken = tuple(defect for share in shares for defect in share.broken)
    return replace(first, results=results, seconds=max(share.seconds for share in shares), broken=broken)

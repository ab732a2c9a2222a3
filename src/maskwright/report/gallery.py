"""The images that a report shows: what was found and what is there, side by side, with what is false and missed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import hotcoco.mask
import numpy as np
import numpy.typing as npt

from maskwright.data.record import Dataset, ImageRecord
from maskwright.errors import DataError
from maskwright.evaluation.errors import Fate, ImageCounts
from maskwright.images.draw import Colour, Picture
from maskwright.report.kind_report import KindReport
from maskwright.report.pictures import (
    Thumbnail,
    as_thumbnail,
    draw_frame,
    draw_objects,
    instances_of_annotations,
    instances_of_results,
    read_small,
)
from maskwright.structures import Categories
from maskwright.structures.masks.rle import any_to_rle

_PER_SECTION = 8
# images that are open at one time
_THREADS = 4
_LONGEST_PX = 640
# distinct for the colour-blind too, and the same as in the style sheet
_RIGHT, _FALSE, _MISSED, _IGNORED = (45, 156, 255), (255, 59, 48), (255, 204, 0), (160, 160, 160)
_OF_DETECTION: dict[Fate, Colour] = {Fate.RIGHT: _RIGHT, Fate.WRONG: _FALSE, Fate.IGNORED: _IGNORED}
_OF_OBJECT: dict[Fate, Colour] = {Fate.RIGHT: _RIGHT, Fate.WRONG: _MISSED, Fate.IGNORED: _IGNORED}


@dataclass(frozen=True)
class Figure:
    """An image with its prediction and its truth.

    Attributes:
        anchor: by which links find it.
        name: of the file.
        counts: of what was found from the threshold on.
        found, truth: pictures; None where the file cannot be used.
        note: about the most confident false detection, or why there is no picture.
    """

    anchor: str
    name: str
    counts: ImageCounts
    found: Thumbnail | None
    truth: Thumbnail | None
    note: str


@dataclass(frozen=True)
class PictureSection:
    """Some images that have something in common; a figure stands in the first section that it belongs to.

    Attributes:
        title, text: what they have in common.
        links: all its figures.
        figures: those that no section before it shows.
    """

    title: str
    text: str
    links: tuple[Figure, ...]
    figures: tuple[Figure, ...]


def choose_sections(
    kind_report: KindReport, dataset: Dataset, results: Sequence[Mapping[str, Any]]
) -> list[PictureSection]:
    """The images with the most confident errors, the worst, and the best; only these are opened."""
    counts = kind_report.counted.by_image()
    false_at = _most_confident_errors(kind_report)
    rated = [image_id for image_id, one in counts.items() if one.f1 == one.f1]
    wrong = sorted(false_at, key=lambda image_id: -kind_report.fates.scores[false_at[image_id]])[:_PER_SECTION]
    worst = sorted(rated, key=lambda image_id: (counts[image_id].f1, -counts[image_id].false - counts[image_id].missed))
    worst = [image_id for image_id in worst if counts[image_id].f1 < 1][:_PER_SECTION]
    best = sorted(rated, key=lambda image_id: (-counts[image_id].f1, -counts[image_id].correct))
    best = [image_id for image_id in best if counts[image_id].correct][:_PER_SECTION]
    chosen = set(wrong) | set(worst) | set(best)
    indices = _indices(results, chosen)
    first_objects = np.cumsum([0, *(len(record.annotations) for record in dataset.records)])
    views = []
    for record, first_object in zip(dataset.records, first_objects, strict=False):
        if record.id in chosen:
            framed = false_at[record.id] if record.id in wrong else None
            own = counts.get(record.id, ImageCounts(0, 0, 0))
            views.append(
                _View(
                    record, dataset.categories, kind_report, results, indices[record.id], int(first_object), framed, own
                )
            )
    with ThreadPoolExecutor(_THREADS) as pool:  # decoders and encoders work outside Python's lock
        figures = {view.record.id: figure for view, figure in zip(views, pool.map(_View.figure, views), strict=True)}
    titles = (
        ("Most confidently wrong", "The false detections with the highest scores, each framed in its image.", wrong),
        ("Worst", "The images with the lowest F1, those with more errors first.", worst),
        ("Best", "The images with the highest F1, those with more objects first.", best),
    )
    return list(_sections(titles, figures))


@dataclass(frozen=True, eq=False)
class _View:
    """One image with all that is needed to show it.

    Attributes:
        record: the image and its objects.
        categories: of the dataset.
        kind_report: what became of detections and objects.
        results: of all images.
        indices: of this image's detections among the results.
        first_object: the index of its first object among all objects.
        framed: the index of its most confident false detection, where that is pointed at.
        counts: of what was found from the threshold on.
    """

    record: ImageRecord
    categories: Categories
    kind_report: KindReport
    results: Sequence[Mapping[str, Any]]
    indices: Sequence[int]
    first_object: int
    framed: int | None
    counts: ImageCounts

    def figure(self) -> Figure:
        """The image with prediction and truth; without pictures where its file cannot be used."""
        note = "" if self.framed is None else self._note(self.framed)
        found = truth = None
        try:
            picture = read_small(self.record, _LONGEST_PX)
            found, truth = as_thumbnail(self._found(picture)), as_thumbnail(self._truth(picture))
        except DataError as error:
            note = f"not shown: {error}"
        return Figure(f"image-{self.record.id}", self.record.path.name, self.counts, found, truth, note)

    def _found(self, picture: Picture) -> Picture:
        """Detections from the threshold on, correct ones and false ones, and the framed one in any case."""
        scores, fates = self.kind_report.fates.scores, self.kind_report.fates.detections
        kept = [index for index in self.indices if scores[index] >= self.kind_report.threshold or index == self.framed]
        kept = sorted(kept, key=lambda index: -scores[index])
        entries = [{**self.results[index], "score": float(scores[index])} for index in kept]
        instances = instances_of_results(entries, self.record.size, self.categories)
        colours = [_OF_DETECTION[Fate(fates[index])] for index in kept]
        drawn = draw_objects(picture, instances, [self._text(index) for index in kept], colours)
        if self.framed is None:
            return drawn
        return draw_frame(drawn, instances.boxes[kept.index(self.framed)].tolist(), self.record.size, _FALSE)

    def _truth(self, picture: Picture) -> Picture:
        """The annotated objects, found ones and missed ones."""
        instances, indices = instances_of_annotations(self.record.annotations, self.record.size, self.categories)
        fates = [Fate(self.kind_report.counted.objects[self.first_object + index]) for index in indices]
        names = [self.categories[label] if len(self.categories) > 1 else "" for label in instances.labels.tolist()]
        return draw_objects(picture, instances, names, [_OF_OBJECT[fate] for fate in fates])

    def _text(self, index: int) -> str:
        """Name and score; where there is one class, only the score of false detections."""
        fates = self.kind_report.fates
        score = f"{fates.scores[index]:.2f}"
        if len(self.categories) > 1:
            return f"{self._name(self.results[index])} {score}"
        return score if fates.detections[index] == Fate.WRONG else ""

    def _name(self, entry: Mapping[str, Any]) -> str:
        return self.categories[self.categories.label_of(entry["category_id"])]

    def _note(self, index: int) -> str:
        entry, score = self.results[index], self.kind_report.fates.scores[index]
        said = f"framed: {self._name(entry)} {score:.2f}"
        if self.kind_report.kind == "keypoints":
            return said
        ious = self._ious(entry)
        if not ious.size or ious.max() == 0:
            return f"{said}, where there is no object"
        nearest = self.record.annotations[int(ious.argmax())]
        return f"{said}, IoU {ious.max():.2f} with the nearest object ({self._name(nearest)})"

    def _ious(self, entry: Mapping[str, Any]) -> npt.NDArray[np.float64]:
        """(G,) of a detection with the objects of the image."""
        if self.kind_report.kind == "mask":
            shapes = [any_to_rle(one["segmentation"], self.record.size) for one in (entry, *self.record.annotations)]
        else:
            shapes = [one["bbox"] for one in (entry, *self.record.annotations)]
        ours, theirs = shapes[:1], shapes[1:]
        ious: npt.NDArray[np.float64] = np.asarray(hotcoco.mask.iou(ours, theirs, [False] * len(theirs)))
        return ious.reshape(-1)


def _sections(titles: Iterable[tuple[str, str, list[int]]], figures: Mapping[int, Figure]) -> Iterable[PictureSection]:
    shown: set[int] = set()
    for title, text, ids in titles:
        if ids:
            new = tuple(figures[id_] for id_ in ids if id_ not in shown)
            yield PictureSection(title, text, tuple(figures[id_] for id_ in ids), new)
            shown |= set(ids)


def _most_confident_errors(kind_report: KindReport) -> dict[int, int]:
    """Image id → the index among the results of its false detection with the highest score."""
    wrong = np.flatnonzero(kind_report.fates.detections == Fate.WRONG)
    ordered = wrong[np.argsort(kind_report.fates.scores[wrong], kind="stable")]  # later ones replace earlier ones
    return dict(zip(kind_report.fates.detection_images[ordered].tolist(), ordered.tolist(), strict=True))


def _indices(results: Sequence[Mapping[str, Any]], image_ids: set[int]) -> Mapping[int, list[int]]:
    """Image id → the indices of its detections among the results."""
    indices: dict[int, list[int]] = defaultdict(list)
    for index, entry in enumerate(results):
        if entry["image_id"] in image_ids:
            indices[entry["image_id"]].append(index)
    return indices

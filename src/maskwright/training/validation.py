"""Metrics and losses on the validation set, with the predictor that users call; shared among the processes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch

from maskwright.config.run import Recipe
from maskwright.data.joining import listed
from maskwright.data.record import Dataset, ImageRecord
from maskwright.errors import DataError, TrainingError
from maskwright.evaluation import Metrics
from maskwright.predict.evaluate import measure
from maskwright.predict.findings import Findings, find_in, joined
from maskwright.predict.losses import loss_sums
from maskwright.predict.predictor import Predictor
from maskwright.structures import Categories
from maskwright.training.distributed import World


@dataclass(frozen=True, eq=False)
class Validation:
    """The validation set and how it is measured.

    Attributes:
        dataset: its images.
        categories: the model's, with the dataset's ids.
        outputs: category id of the dataset → output of the semantic head, where there is one and segments to learn.
        max_detections: per image.
        world: the processes that share the work.
        broken: messages about the images that turned out to be broken in this process and are skipped.
    """

    dataset: Dataset
    categories: Categories
    outputs: Mapping[int, int] | None
    max_detections: int
    world: World
    broken: dict[str, None] = field(default_factory=dict)

    def metrics(self, predictor: Predictor) -> Metrics | None:
        """The metrics of all processes' findings in the main process, None in the others."""
        share = replace(self.dataset, records=self._share())
        own = self.world.together(lambda: find_in(predictor, share, self.max_detections))
        self.broken.update((str(defect), None) for defect in own.broken)
        gathered = self.world.gather(own)
        return self.world.together(lambda: None if gathered is None else self._measured(gathered, predictor.recipe))

    def _measured(self, shares: Sequence[Findings], recipe: Recipe) -> Metrics:
        return measure(joined(shares, self.dataset), recipe, self.dataset, self.max_detections)

    def losses(self, predictor: Predictor) -> dict[str, float]:
        """Mean training losses over the set, not augmented, image by image; the same in every process.

        Raises:
            TrainingError: one is not finite; the message names the images.
        """
        own = self.world.together(lambda: [self._sums(predictor, record) for record in self._share()])
        gathered = self.world.gather(own) or []
        return self.world.in_main(lambda: _means([sums for share in gathered for sums in share]))

    @torch.no_grad()
    def _sums(self, predictor: Predictor, record: ImageRecord) -> ImageLosses:
        targets = record.targets(self.categories, self.outputs)
        try:
            losses = loss_sums(predictor, [record.path], [targets])
        except DataError:
            if not record.is_skippable:
                raise
            return ImageLosses(str(record.path), {})  # it is reported where the metrics are made
        return ImageLosses(
            str(record.path), {name: (loss.total.item(), loss.count.item()) for name, loss in losses.items()}
        )

    def _share(self) -> tuple[ImageRecord, ...]:
        return self.dataset.records[self.world.rank :: self.world.size]


class ImageLosses(NamedTuple):
    """An image's file, and for each loss its sum there and what that is divided by."""

    file: str
    sums: dict[str, tuple[float, float]]


def _means(images: Sequence[ImageLosses]) -> dict[str, float]:
    """Means over images, the same in whatever order these come."""
    means: dict[str, float] = {}
    for name in dict.fromkeys(name for image in images for name in image.sums):
        terms = {image.file: image.sums[name] for image in images if name in image.sums}
        if broken := [file for file, (total, _) in terms.items() if not math.isfinite(total)]:
            raise TrainingError(
                f"validation: loss term {name!r} is {terms[broken[0]][0]} in {listed(broken)}. The last checkpoint is "
                "from before it. A lower train.learning_rate, a longer train.warmup_iterations or a train.clip_norm "
                "usually helps; `maskwright data check` finds broken annotations"
            )
        totals, counts = zip(*terms.values(), strict=True)
        means[name] = math.fsum(totals) / max(math.fsum(counts), 1.0)
    return means

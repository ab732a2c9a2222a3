"""Metrics and losses on the validation set, with the very predictor that users call; shared among the processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from maskwright.data.record import Dataset, ImageRecord
from maskwright.evaluation import Metrics
from maskwright.predict.evaluate import measure
from maskwright.predict.findings import find_in, joined
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
    """

    dataset: Dataset
    categories: Categories
    outputs: Mapping[int, int] | None
    max_detections: int
    world: World

    def metrics(self, predictor: Predictor) -> Metrics | None:
        """The metrics of all processes' findings in the main process, None in the others."""
        share = replace(self.dataset, records=self._share())
        gathered = self.world.gather(find_in(predictor, share, self.max_detections))
        if gathered is None:
            return None
        return measure(joined(gathered), predictor.recipe, self.dataset, self.max_detections)

    @torch.no_grad()
    def losses(self, predictor: Predictor) -> dict[str, float]:
        """Mean training losses over the set, not augmented, image by image; the same in every process."""
        sums: dict[str, tuple[float, float]] = {}
        for record in self._share():
            targets = record.targets(self.categories, self.outputs)
            for name, loss in loss_sums(predictor, [record.path], [targets]).items():
                total, count = sums.get(name, (0.0, 0.0))
                sums[name] = (total + loss.total.item(), count + loss.count.item())
        return self._joined(sums)

    def _joined(self, sums: dict[str, tuple[float, float]]) -> dict[str, float]:
        """Means over all processes; one without images of its own knows no names, so the main one answers for all."""
        means: dict[str, float] = {}
        shares = self.world.gather(sums) or []
        for name in dict.fromkeys(name for share in shares for name in share):
            totals, counts = zip(*(share[name] for share in shares if name in share), strict=True)
            means[name] = sum(totals) / max(sum(counts), 1.0)
        return self.world.from_main(means)

    def _share(self) -> tuple[ImageRecord, ...]:
        return self.dataset.records[self.world.rank :: self.world.size]

"""What every family's network can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor, nn

from maskwright.ops.losses import LossSum
from maskwright.structures import Categories, ImageBatch, Instances, Masks, Targets


@dataclass(frozen=True)
class Limits:
    """Which detections are wanted; None: as the recipe says.

    Attributes:
        score: detections must score above it.
        count: at most so many detections of an image.
    """

    score: float | None = None
    count: int | None = None

    def score_or(self, recipes: float) -> float:
        """The threshold, or that of the recipe."""
        return recipes if self.score is None else self.score

    def count_or(self, recipes: int | None) -> int | None:
        """The largest number of detections, or that of the recipe, where None means all."""
        return recipes if self.count is None else self.count


AS_RECIPE = Limits()


class Segmenter(nn.Module, ABC):
    """A whole network: `losses` trains it, `detect` uses it.

    Attributes:
        categories: names and ids of the classes.
    """

    categories: Categories

    @abstractmethod
    def losses(self, batch: ImageBatch, targets: Sequence[Targets]) -> dict[str, LossSum]:
        """The losses of a batch, by name."""

    @abstractmethod
    def detect(self, batch: ImageBatch, limits: Limits = AS_RECIPE) -> list[Instances]:
        """What is in each image, in pixels of the image at network size."""

    def forward(
        self, batch: ImageBatch, targets: Sequence[Targets] | None = None
    ) -> dict[str, LossSum] | list[Instances]:
        """`losses` where targets are given, else `detect`."""
        return self.detect(batch) if targets is None else self.losses(batch, targets)


class Selected(NamedTuple):
    """N detections, best first: boxes (N, 4) in pixels of the network input, labels (N,), scores (N,)."""

    boxes: Tensor
    labels: Tensor
    scores: Tensor


@runtime_checkable
class TwoStage(Protocol):
    """A network that finds boxes first, and then says the rest of any boxes: its own, or some from elsewhere."""

    def encode(self, batch: ImageBatch) -> list[Tensor]:
        """The feature maps of a batch, which the other methods work on."""
        ...

    def find(self, levels: Sequence[Tensor], batch: ImageBatch, limits: Limits = AS_RECIPE) -> list[Selected]:
        """The boxes of each image."""
        ...

    def segment(
        self, levels: Sequence[Tensor], batch: ImageBatch, selected: Sequence[Selected]
    ) -> Sequence[Masks | None]:
        """The masks of boxes in each image; None of a model without masks."""
        ...

    def complete(self, levels: Sequence[Tensor], batch: ImageBatch, selected: Sequence[Selected]) -> list[Instances]:
        """Boxes in each image with all that the model says of them."""
        ...

"""Images through the network, each in one piece; what every other way of looking at an image is made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, Protocol

import torch
from torch import Tensor

from maskwright.images.preprocess import Preprocess
from maskwright.models.segmenter import Segmenter
from maskwright.structures import Instances

Precision = Literal["fp32", "bf16"]


class Detector(Protocol):
    """A way of finding the objects of images: whole, in several views, or tile by tile."""

    def detect(
        self, images: Sequence[Tensor], score_threshold: float | None, max_detections: int | None
    ) -> list[Instances]:
        """The objects of each image, best first.

        Args:
            images: (C, H, W) each, as `Preprocess.read` gives them.
            score_threshold: detections must score above it; None: the recipe's.
            max_detections: per image; None: the recipe's.

        Returns:
            `Instances` in pixels of the image, on the CPU.
        """
        ...


class WholeImages:
    """All images of a call go through the network together, padded to one size.

    Attributes:
        model: the network, in evaluation mode.
        preprocess: from images to network input and back.
        device: where the network runs.
        precision: of its arithmetic; weights stay fp32.
    """

    def __init__(self, model: Segmenter, preprocess: Preprocess, device: torch.device, precision: Precision) -> None:
        self.model, self.preprocess, self.device, self.precision = model, preprocess, device, precision

    def detect(
        self, images: Sequence[Tensor], score_threshold: float | None, max_detections: int | None
    ) -> list[Instances]:
        """See `Detector`."""
        if not images:
            return []
        with self.running():
            batch = self.preprocess.batch([image.to(self.device) for image in images])
            found = self.model.detect(batch, score_threshold, max_detections)
            return [
                self.preprocess.restore(instances, (image.shape[-2], image.shape[-1])).to("cpu")
                for instances, image in zip(found, images, strict=True)
            ]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Inside, nothing is kept for gradients, and arithmetic has the chosen precision."""
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            yield

"""Images through the network, each in one piece; what every other way of looking at an image is made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn

from maskwright.images.preprocess import Preprocess
from maskwright.models.segmenter import Limits, Segmenter
from maskwright.predict.precision import Precision
from maskwright.structures import Instances


class Detector(Protocol):
    """A way of finding the objects of images: whole, in several views, or tile by tile."""

    def detect(self, images: Sequence[Tensor], limits: Limits) -> list[Instances]:
        """The objects of each image, best first.

        Args:
            images: (C, H, W) each, as `Preprocess.read` gives them.
            limits: which detections are wanted.

        Returns:
            `Instances` in pixels of the image, on the CPU.
        """
        ...


class WholeImages:
    """Images of equal network size go through the network together; all of a call where `resize.pads_batches` says so.

    Attributes:
        model: the network, in evaluation mode.
        preprocess: from images to network input and back.
        precision: of its arithmetic; weights stay fp32.
    """

    def __init__(self, model: Segmenter, preprocess: Preprocess, precision: Precision) -> None:
        self.model, self.preprocess, self.precision = model, preprocess, precision

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return device_of(self.model)

    def detect(self, images: Sequence[Tensor], limits: Limits) -> list[Instances]:
        """See `Detector`."""
        found: dict[int, Instances] = {}
        for indices in self._batches(images):
            batch = [images[index] for index in indices]
            found |= zip(indices, self._detect_together(batch, limits), strict=True)
        return [found[index] for index in range(len(images))]

    def _batches(self, images: Sequence[Tensor]) -> Iterable[list[int]]:
        """Indices of the images that go through the network together."""
        resize, batches = self.preprocess.resize, dict[object, list[int]]()
        for index, image in enumerate(images):
            key = None if resize.pads_batches else resize.scaled_size(_size(image))
            batches.setdefault(key, []).append(index)
        return batches.values()

    def _detect_together(self, images: Sequence[Tensor], limits: Limits) -> list[Instances]:
        with self.running():
            batch = self.preprocess.batch([image.to(self.device) for image in images])
            found = self.model.detect(batch, limits)
            return [
                self.preprocess.restore(instances, _size(image)).to("cpu")
                for instances, image in zip(found, images, strict=True)
            ]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Inside, nothing is kept for gradients, and arithmetic has the chosen precision."""
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            yield


def device_of(model: nn.Module) -> torch.device:
    """Where a network computes: where its weights are."""
    return next(model.parameters()).device


def _size(image: Tensor) -> tuple[int, int]:
    return image.shape[-2], image.shape[-1]

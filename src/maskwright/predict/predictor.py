"""The model as people use it: images in, instances out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice, takewhile
from typing import Any, cast, overload

import torch
from torch import Tensor

from maskwright.config.run import Recipe
from maskwright.errors import ConfigError, DataError, out_of_memory_errors
from maskwright.images.decode import allow_large_images
from maskwright.images.preprocess import Preprocess
from maskwright.images.read import ImageSource, read_ahead
from maskwright.models.segmenter import Limits, Segmenter
from maskwright.predict.augmented import AugmentedViews
from maskwright.predict.device import choose_device
from maskwright.predict.precision import PrecisionName, choose_precision
from maskwright.predict.tiled import Tiles
from maskwright.predict.whole import Detector, WholeImages, device_of
from maskwright.structures import Categories, Instances

# images of a list in one batch; bounds the memory of a long list
_TOGETHER = 4


class Predictor:
    """A network with the recipe it was built from.

    Attributes:
        model: the `nn.Module`, in evaluation mode.
        recipe: the resolved recipe.
        categories: names of the classes, where a label is an index; `.ids` are those of annotation files.
        preprocess: from images to network input and back.
        precision: of its arithmetic; weights stay fp32.
        detector: how it sees images: whole, unless it came from `augmented` or `tiled`.
    """

    def __init__(
        self,
        model: Segmenter,
        recipe: Recipe,
        device: torch.device,
        precision: PrecisionName = "fp32",
        detector: Detector | None = None,
    ) -> None:
        self.precision = choose_precision(precision, device).precision
        self.model = model.to(device).eval()
        self.recipe = recipe
        self.preprocess = Preprocess.of(recipe)
        self.detector = detector or WholeImages(self.model, self.preprocess, self.precision)

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return device_of(self.model)

    def to(self, device: str | torch.device) -> Predictor:
        """Move the network to another device, as torch's modules do: in place.

        Predictors made from this one by `augmented` and `tiled` share the network and move with it.

        Returns:
            This predictor.

        Raises:
            ConfigError: torch does not know the device, or this machine does not have it.
        """
        self.model.to(choose_device(device))
        return self

    @property
    def is_augmented(self) -> bool:
        """Whether it sees an image, or each tile of it, in several views."""
        inner = self.detector.inner if isinstance(self.detector, Tiles) else self.detector
        return isinstance(inner, AugmentedViews)

    @property
    def is_tiled(self) -> bool:
        """Whether it cuts images that are larger than a tile, of which there is then no semantic map."""
        return isinstance(self.detector, Tiles)

    def augmented(self) -> Predictor:
        """The same model with test-time augmentation, as the recipe's table `augmented` says.

        Raises:
            ConfigError: it finds keypoints or no objects, for which views cannot be joined; or it works on tiles: ask
                for `augmented().tiled()`.
        """
        if not isinstance(self.detector, WholeImages):
            raise ConfigError("images are cut or augmented already; for both write predictor.augmented().tiled()")
        return self._with(AugmentedViews(self.detector, self.recipe))

    def tiled(self, size_px: int | None = None, overlap_px: int | None = None) -> Predictor:
        """The same model for images too large for one pass: windows with overlap, their objects joined.

        Pillow's guard against images above 179 million pixels is lifted for this process.

        Args:
            size_px: side of a window; by default as the recipe's table `tiles` says.
            overlap_px: that neighbouring windows share; likewise.

        Raises:
            ConfigError: the overlap is not smaller than the window, or the model finds no objects.
        """
        allow_large_images()
        return self._with(Tiles(self.detector, self.recipe, size_px, overlap_px))

    def _with(self, detector: Detector) -> Predictor:
        return Predictor(self.model, self.recipe, self.device, self.precision, detector)

    @property
    def categories(self) -> Categories:
        return self.model.categories

    @property
    def max_detections(self) -> int:
        """Detections per image unless asked otherwise."""
        return self.recipe.detect.max_detections

    @overload
    def __call__(
        self,
        images: list[Any] | tuple[Any, ...],
        score_threshold: float | None = None,
        max_detections: int | None = None,
    ) -> list[Instances]: ...
    @overload
    def __call__(
        self, images: ImageSource, score_threshold: float | None = None, max_detections: int | None = None
    ) -> Instances: ...
    def __call__(
        self,
        images: ImageSource | list[Any] | tuple[Any, ...],
        score_threshold: float | None = None,
        max_detections: int | None = None,
    ) -> Instances | list[Instances]:
        """Find the objects in one image, or in each of a list.

        Images of a list whose network sizes are equal go through the network together, a few at a time. Others would be
        padded to one size, and their borders would see padding, which changes scores: they go apart, so that an answer
        does not depend on its neighbours. `resize.pads_batches` pads them together, as the original systems do.

        Args:
            images: a path, bytes, a PIL image, a (H, W, 3) uint8 RGB array or a (3, H, W) uint8 tensor; or a list.
            score_threshold: detections must score above it; by default the recipe's.
            max_detections: per image; by default the recipe's.

        Returns:
            `Instances` in pixels of the image as given, on the CPU, best first; a list for a list.

        Raises:
            DataError: an image cannot be read.
            ConfigError: a threshold that is no share of one, or a limit below 1.
        """
        if isinstance(images, list | tuple):
            together = 1 if self.recipe.resize.counts_padding else _TOGETHER  # Simple Mask R-CNN takes single images
            return list(self.stream(images, score_threshold, max_detections, together))
        return self._detect([self.preprocess.read(images)], _limits(score_threshold, max_detections))[0]

    def stream(
        self,
        images: Iterable[ImageSource],
        score_threshold: float | None = None,
        max_detections: int | None = None,
        batch_size: int = 1,
    ) -> Iterator[Instances]:
        """As calling with a list, one result after the other in constant memory; the next images are read meanwhile.

        Of `batch_size` images, those of equal network size go through the network together, which is meant for a GPU.
        """
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}; give at least 1")
        limits = _limits(score_threshold, max_detections)
        with closing(read_ahead(images, self.preprocess.read)) as waiting:
            while group := list(islice(waiting, batch_size)):
                pixels = list(takewhile(lambda image: not isinstance(image, DataError), group))
                yield from self._detect(cast(list[Tensor], pixels), limits)
                if len(pixels) < len(group):
                    raise cast(DataError, group[len(pixels)])

    def _detect(self, images: Sequence[Tensor], limits: Limits) -> list[Instances]:
        with out_of_memory_errors(_named(images), less_memory(self)):
            return self.detector.detect(images, limits)


def _named(images: Sequence[Tensor]) -> str:
    sizes = sorted({(image.shape[-2], image.shape[-1]) for image in images})
    number = "an image" if len(images) == 1 else f"{len(images)} images"
    return f"{number} of {', '.join(f'{height} × {width}' for height, width in sizes)} pixels (height × width)"


def less_memory(predictor: Predictor) -> str:
    """What needs less memory than a predictor does, as options of the command line."""
    resize, remedies = predictor.recipe.resize, []
    if not predictor.is_tiled and predictor.recipe.finds_objects:
        remedies.append("--tile 1024, which predicts large images piece by piece")
    side = "short_side" if hasattr(resize, "short_side") else "size"
    remedies.append(f"--set resize.{side}=…, now {getattr(resize, side)}")
    if predictor.precision == "fp32":
        remedies.append("--precision bf16")
    if predictor.device.type != "cpu":
        remedies.append("--device cpu")
    return "; ".join(remedies)


def _limits(score_threshold: float | None, max_detections: int | None) -> Limits:
    if score_threshold is not None and not 0 <= score_threshold <= 1:
        raise ConfigError(f"score_threshold is {score_threshold}; give a number from 0 to 1")
    if max_detections is not None and max_detections < 1:
        raise ConfigError(f"max_detections is {max_detections}; give at least 1")
    return Limits(score_threshold, max_detections)

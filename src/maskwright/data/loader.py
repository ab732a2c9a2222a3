"""Training samples, read and varied by worker processes."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from maskwright.config.data import AugmentConfig
from maskwright.config.roi_heads import KeypointHeadConfig
from maskwright.data.augment import augment, build_augmentation
from maskwright.data.record import ImageRecord
from maskwright.data.samplers import SampleRequest
from maskwright.errors import DataError, MaskwrightError
from maskwright.files import uninterrupted
from maskwright.images.preprocess import Preprocess
from maskwright.ops.randomness import random_key
from maskwright.structures import Categories, Targets

# images that are tried instead of a broken one; where so many are broken, something else is wrong
_MOST_STAND_INS = 20


@dataclass(frozen=True, eq=False)
class TrainingSample:
    """The network input of one varied image.

    Attributes:
        image: (C, h, w) float32, normalised, padding apart.
        targets: its objects in pixels of `image`.
        key: of every further random draw for this image.
        path: where it came from, for messages.
        stands_in_for: why another image, which turned out broken, is not here; empty: this one was asked for.
    """

    image: Tensor
    targets: Targets
    key: int
    path: Path
    stands_in_for: str = ""


class TrainingSet(Dataset[TrainingSample]):
    """Records as training samples; an item is asked for by `SampleRequest`.

    Args:
        records: the images.
        categories: of the model.
        config: how images are varied.
        preprocess: from images to network input, as in testing.
        keypoints: of the model; without them, those of the data are left behind.
        outputs: category id → output of the model's semantic head, where it has one.
    """

    def __init__(
        self,
        records: Sequence[ImageRecord],
        categories: Categories,
        config: AugmentConfig,
        preprocess: Preprocess,
        *,
        keypoints: KeypointHeadConfig | None = None,
        outputs: Mapping[int, int] | None = None,
    ) -> None:
        self.records, self.categories, self.config = records, categories, config
        self.preprocess, self.keypoints, self.outputs = preprocess, keypoints, outputs
        self.chain = build_augmentation(config, preprocess)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, request: SampleRequest) -> TrainingSample:
        record = self.records[request.image]
        image = self.preprocess.read(record.path)
        _check_size(image, record)
        targets, names = self._targets(record), self.keypoints.names if self.keypoints is not None else ()
        targets = self.preprocess.with_points(targets)
        image, targets = augment(image, targets, self.chain, self.config, request.key, names)
        return TrainingSample(image, self.preprocess.with_boxes(targets), request.key, record.path)

    def _targets(self, record: ImageRecord) -> Targets:
        targets = record.targets(self.categories, self.outputs)
        if self.keypoints is None or targets.keypoints is None:
            return targets
        found, expected = targets.keypoints.shape[1], len(self.keypoints.names)
        if found != expected:
            raise DataError(
                f"image {record.path}: its objects have {found} keypoints, the model {expected}; name those of the "
                "data in keypoint_head.names"
            )
        return targets


class _Answers(Dataset[TrainingSample | MaskwrightError]):
    """A training set whose errors are values: raised in a worker, torch would bury their message in a traceback.

    Where an image is broken and `skip_bad` is set, another image replaces it. The choice depends only on the request,
    so that a resumed run sees the same image.
    """

    def __init__(self, samples: TrainingSet) -> None:
        self.samples = samples

    def __getitem__(self, request: SampleRequest) -> TrainingSample | MaskwrightError:
        first, index = "", request.image
        for turn in range(1 + _MOST_STAND_INS):
            try:
                sample = self.samples[SampleRequest(index, request.key)]
            except DataError as error:
                if not self.samples.records[index].is_skippable:
                    return error
                first, index = first or str(error), random_key(request.key, "stand-in", turn) % len(self.samples)
            except MaskwrightError as error:
                return error
            else:
                return replace(sample, stands_in_for=first)
        return DataError(
            f"{first}; and {_MOST_STAND_INS} others that were tried instead are broken too: check the image folder"
        )


def load_samples(
    dataset: TrainingSet, requests: Iterable[list[SampleRequest]], workers: int
) -> Iterator[list[TrainingSample]]:
    """The samples of each list of requests, in order, read ahead by `workers` processes (0: in this one).

    Raises:
        DataError: an image that cannot be read and is not to be skipped, or an annotation that cannot be used; when its
            turn comes.
    """
    loader = DataLoader(
        _Answers(dataset),
        batch_sampler=requests,
        collate_fn=_without_errors,
        num_workers=workers,
        persistent_workers=False,
        prefetch_factor=2 if workers else None,
        worker_init_fn=_leave_stopping_to_the_main_process if workers else None,
    )
    with uninterrupted():  # an interrupt would leave torch's iterator, and perhaps its workers, half made
        answers = iter(loader)
    for answer in answers:
        if isinstance(answer, MaskwrightError):
            raise answer
        yield answer


def _leave_stopping_to_the_main_process(_worker: int) -> None:
    """Schedulers send SIGTERM to all processes of a group; the main process ends its workers when it is ready."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _without_errors(answers: list[TrainingSample | MaskwrightError]) -> list[TrainingSample] | MaskwrightError:
    """All samples, or the first error."""
    samples = []
    for answer in answers:
        if isinstance(answer, MaskwrightError):
            return answer
        samples.append(answer)
    return samples


def _check_size(image: Tensor, record: ImageRecord) -> None:
    """Refuse an image that has changed since the dataset was read."""
    size = (image.shape[-2], image.shape[-1])
    if size != record.size:
        raise DataError(
            f"image {record.path} is {size[0]} × {size[1]} pixels (height × width), but its annotations are for "
            f"{record.size[0]} × {record.size[1]}; give the image that was labelled"
        )

"""What a head on RoIs does, so that the network can hold any number of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import nn

from maskwright.models.mask_rcnn.object_matching import TrueObjects
from maskwright.models.mask_rcnn.proposal_targets import RoiSample
from maskwright.models.mask_rcnn.roi_features import RoiFeatures
from maskwright.models.segmenter import Selected
from maskwright.ops.losses import LossSum
from maskwright.structures import ImageBatch

# name of a field of `Instances` → its value for each image
Columns = dict[str, Sequence[Any]]


class RoiHead(nn.Module, ABC):
    """A head that learns from the sampled RoIs and completes the detections; see "A new RoI head" in CONTRIBUTING.

    It chooses its RoIs and pools them itself: `RoiFeatures.pool` gives features of a fixed size, and
    `RoiFeatures.levels` the feature maps.
    """

    @abstractmethod
    def losses(
        self,
        features: RoiFeatures,
        samples: Sequence[RoiSample],
        truth: Sequence[TrueObjects],
        keys: Sequence[int],
    ) -> dict[str, LossSum]:
        """The losses of a batch, by name.

        Args:
            features: of B images.
            samples: the RoIs of each image, positives first.
            truth: the objects of each image, in pixels of the network input.
            keys: the random key of each image.
        """

    @abstractmethod
    def detect(self, features: RoiFeatures, selected: Sequence[Selected], batch: ImageBatch) -> Columns:
        """What the head says of the detections of each image.

        Args:
            features: of B images.
            selected: the detections of each image, in pixels of the network input.
            batch: the images.

        Returns:
            Fields of `Instances`, each with a value for every image; boxes and the like in pixels of the image, which
            lies at `batch.corners` within the network input.
        """

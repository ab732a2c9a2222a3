"""ImageNet classifiers as backbones: torchvision's ResNets, and the files that YOLACT's authors train from."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from maskwright.checkpoints.torchvision import from_torchvision
from maskwright.checkpoints.yolact import from_yolact


def is_torchvision_backbone(keys: set[str]) -> bool:
    """Whether the keys are those of a torchvision ResNet; YOLACT's `resnet101_reducedfc.pth` has them too."""
    return {"conv1.weight", "bn1.weight", "layer1.0.conv1.weight"} <= keys


def from_torchvision_backbone(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename to our keys; the classifier is left out."""
    return from_torchvision(
        {f"backbone.body.{key}": value for key, value in state.items() if not key.startswith("fc.")}
    )


def is_yolact_backbone(keys: set[str]) -> bool:
    """Whether the keys are those of a backbone of YOLACT's authors, like their `darknet53.pth`."""
    return "layers.0.0.conv1.weight" in keys or "_preconv.0.weight" in keys


def from_yolact_backbone(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename to our keys."""
    return from_yolact({f"backbone.{key}": value for key, value in state.items()})

"""How near the device's numbers are to recorded ones: detections that are the same, and losses."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import maskwright as mw
from gpu_parts.setting import Setting, relative

# of recorded detections, how much ours must overlap one to be the same
_SAME_IOU = 0.9


def predictor_of(setting: Setting, case: Any, overrides: dict[str, Any]) -> mw.Predictor:
    """The case's model on the device, from a file as the reference would write it."""
    path = setting.folder / "reference.pth"
    torch.save(case.weights(), path)
    return mw.load(case.recipe, path, device=str(setting.device), overrides=overrides)


def share_without_twin(wanted: Tensor, found: Tensor) -> float:
    """Of the wanted boxes, the share that no found one overlaps almost wholly."""
    from torchvision.ops import box_iou

    if not len(wanted):
        return float(len(found) > 0)
    best = box_iou(wanted, found).amax(dim=1) if len(found) else torch.zeros(len(wanted))
    return float((best < _SAME_IOU).double().mean())


def twins(wanted: Tensor, labels: Tensor, found: mw.Instances) -> tuple[Tensor, Tensor]:
    """Indices of wanted detections and of those of ours that are the same: class and place."""
    from torchvision.ops import box_iou

    if not len(wanted) or not len(found):
        nothing = torch.zeros(0, dtype=torch.int64)
        return nothing, nothing
    overlaps = box_iou(wanted, found.boxes) * (labels[:, None] == found.labels[None])
    best, places = overlaps.max(dim=1)
    has_twin = best >= _SAME_IOU
    return torch.nonzero(has_twin).flatten(), places[has_twin]


def check_losses(setting: Setting, ours: dict[str, Any], wanted: dict[str, float]) -> None:
    """Every loss beside its recorded value."""
    for name, value in wanted.items():
        setting.check(f"loss {name}", "losses (relative)", relative(float(ours[name]), value))

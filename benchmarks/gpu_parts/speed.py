"""Prediction and training steps: ours beside torchvision with the same weights, and YOLACT.

An image is there as uint8 on the CPU when a clock starts. `instances` ends with boxes, classes and scores on the CPU
and masks in the form that the system gives them in: torchvision's are pasted on the image then, ours are not yet.
`run lengths` ends with COCO run lengths, which is what a user gets in the end; both encode with the same library.
Systems and precisions are measured one after the other in one process, so that ratios are of one card at one time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from itertools import cycle, islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import maskwright as mw
from gpu_parts.agreement import share_without_twin, twins
from gpu_parts.clock import timed
from gpu_parts.parity import weights_file
from gpu_parts.scenes import batch_of, objects_in
from gpu_parts.setting import ARITHMETICS, Arithmetic, Setting, arithmetic, furthest
from maskwright.predict.losses import loss_sums

_CASE = "torchvision/maskrcnn_resnet50_fpn"
# all anchors are candidates, so that suppression and masks have full work although the weights are random
_ALL = {"detect.score_threshold": 0.0}
# of a quick run: our settings and torchvision's
_TINY_PX = 128
_TINY = {
    "resize.short_side": 64,
    "resize.long_side": _TINY_PX,
    "rpn.test_proposals_after_nms": 60,
    "rpn.train_proposals_after_nms": 60,
    "detect.max_detections": 10,
    "rpn.anchors_per_image": 32,
    "roi.rois_per_image": 32,
}
_THEIR_TINY = {
    "min_size": 64,
    "max_size": _TINY_PX,
    "rpn_post_nms_top_n_test": 60,
    "rpn_post_nms_top_n_train": 60,
    "box_detections_per_img": 10,
    "rpn_batch_size_per_image": 32,
    "box_batch_size_per_image": 32,
}
_TINY_YOLACT = {"resize.size": 138, "detect.max_detections": 10}


def speed_mask_rcnn(setting: Setting) -> None:
    """Mask R-CNN R50-FPN, ours and torchvision's, with the weights of a parity case, which finds 100 objects."""
    weights = weights_file(setting, _CASE)
    overrides = _TINY if setting.is_quick else {}
    theirs = _torchvision(torch.load(weights, weights_only=True), setting)
    for kind in _kinds(setting):
        with setting.attempt(f"maskwright {kind}"), arithmetic(kind):
            ours = mw.load(
                "torchvision/mask_rcnn_r50_fpn",
                weights,
                device=str(setting.device),
                overrides=overrides,
                precision=_precision(kind),
            )
            if kind == "fp32":
                _check_same_answers(setting, ours, theirs)
            _time_ours(setting, "maskwright Mask R-CNN R50-FPN", ours, kind)
            _time_our_step(setting, "maskwright Mask R-CNN R50-FPN", ours, kind)
            del ours
        with setting.attempt(f"torchvision {kind}"), arithmetic(kind):
            _time_torchvision(setting, theirs, kind)
            _time_torchvision_step(setting, theirs, kind)


def speed_yolact(setting: Setting, recipe: str) -> None:
    """A YOLACT of random weights, all of whose anchors are candidates."""
    overrides = {**_ALL, **(_TINY_YOLACT if setting.is_quick else {})}
    for kind in _kinds(setting):
        with setting.attempt(f"{recipe} {kind}"), arithmetic(kind):
            ours = mw.load(
                recipe, "random", device=str(setting.device), overrides=overrides, precision=_precision(kind)
            )
            _time_ours(setting, f"maskwright {recipe}", ours, kind)
            _time_our_step(setting, f"maskwright {recipe}", ours, kind)
            del ours


def _kinds(setting: Setting) -> Sequence[Arithmetic]:
    return ("fp32", "bf16") if setting.is_quick else ARITHMETICS


def _precision(kind: Arithmetic) -> Any:
    return "bf16" if kind == "bf16" else "fp32"


def _batches(setting: Setting) -> list[tuple[int, list[Tensor]]]:
    sizes = (1, 2) if setting.is_quick else (1, 8)
    return [(size, batch_of(size, _TINY_PX if setting.is_quick else None)) for size in sizes]


def _record(setting: Setting, system: str, kind: str, work: str, batch: int, call: Callable[[], object]) -> None:
    timing = timed(setting, call)
    setting.record("time", system=system, arithmetic=kind, work=work, batch=batch, **asdict(timing))


def _time_ours(setting: Setting, system: str, predictor: mw.Predictor, kind: str) -> None:
    for size, images in _batches(setting):

        def instances(images: list[Tensor] = images, size: int = size) -> list[mw.Instances]:
            return list(predictor.stream(images, batch_size=size))

        def run_lengths(find: Callable[[], list[mw.Instances]] = instances) -> list[Any]:
            return [found.masks.rle() for found in find() if found.masks is not None]

        _record(setting, system, kind, "instances", size, instances)
        _record(setting, system, kind, "run lengths", size, run_lengths)


def _time_our_step(setting: Setting, system: str, predictor: mw.Predictor, kind: str) -> None:
    images = batch_of(2 if setting.is_quick else 4, _TINY_PX if setting.is_quick else None)
    targets = _targets(images, predictor)
    model = predictor.model.train()
    optimiser = _optimiser(setting, model)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        losses = loss_sums(predictor, images, targets)
        torch.stack([loss.mean() for loss in losses.values()]).sum().backward()
        optimiser.step()

    _record(setting, system, kind, "training step", len(images), step)
    model.eval()


def _targets(images: Sequence[Tensor], predictor: mw.Predictor) -> list[mw.Targets]:
    ids = list(islice(cycle(predictor.categories.ids), 8))
    return [
        mw.Targets.from_coco(objects_in(image, ids), (image.shape[1], image.shape[2]), predictor.categories)
        for image in images
    ]


def _optimiser(setting: Setting, model: nn.Module) -> torch.optim.Optimizer:
    """A rate so small that weights stay what they are: every step costs the same."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.SGD(trainable, lr=1e-12, momentum=0.9, fused=setting.is_cuda)


def _torchvision(state: dict[str, Tensor], setting: Setting) -> nn.Module:
    """torchvision's own model, frozen norms and their epsilon as its published weights have them."""
    from torchvision.models.detection import MaskRCNN
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
    from torchvision.ops.misc import FrozenBatchNorm2d

    backbone = resnet_fpn_backbone(
        backbone_name="resnet50", weights=None, norm_layer=FrozenBatchNorm2d, trainable_layers=3
    )
    model = MaskRCNN(backbone, num_classes=91, **(_THEIR_TINY if setting.is_quick else {}))
    model.load_state_dict(state)
    for module in model.modules():
        if isinstance(module, FrozenBatchNorm2d):
            module.eps = 0.0
    placed: nn.Module = model.to(setting.device).eval()
    return placed


def _their_pixels(setting: Setting, images: Sequence[Tensor]) -> list[Tensor]:
    return [image.to(setting.device).float() / 255 for image in images]


def _autocast(setting: Setting, kind: str) -> Any:
    return torch.autocast(setting.device.type, torch.bfloat16) if kind == "bf16" else nullcontext()


@torch.inference_mode()
def _find_theirs(setting: Setting, model: nn.Module, images: Sequence[Tensor], kind: str) -> list[dict[str, Tensor]]:
    with _autocast(setting, kind):
        found = model(_their_pixels(setting, images))
    for one in found:
        one.update({name: one[name].cpu() for name in ("boxes", "labels", "scores")})
    return list(found)


def _encode_theirs(found: Sequence[dict[str, Tensor]]) -> list[Any]:
    import hotcoco.mask

    bitmaps = [(one["masks"][:, 0] > 0.5).to(torch.uint8).permute(1, 2, 0).cpu().numpy() for one in found]
    return [hotcoco.mask.encode(np.asfortranarray(bitmap)) for bitmap in bitmaps]


def _time_torchvision(setting: Setting, model: nn.Module, kind: str) -> None:
    name = "torchvision Mask R-CNN R50-FPN"
    for size, images in _batches(setting):

        def instances(images: list[Tensor] = images) -> list[dict[str, Tensor]]:
            return _find_theirs(setting, model, images, kind)

        def run_lengths(find: Callable[[], list[dict[str, Tensor]]] = instances) -> list[Any]:
            return _encode_theirs(find())

        _record(setting, name, kind, "instances", size, instances)
        _record(setting, name, kind, "run lengths", size, run_lengths)


def _time_torchvision_step(setting: Setting, model: nn.Module, kind: str) -> None:
    images = batch_of(2 if setting.is_quick else 4, _TINY_PX if setting.is_quick else None)
    targets = []
    for image in images:
        annotations = objects_in(image, list(range(1, 9)))
        ours = mw.Targets.from_coco(annotations, (image.shape[1], image.shape[2]), [str(i) for i in range(8)])
        theirs = {"boxes": ours.boxes.float(), "labels": ours.labels + 1}
        targets.append({**theirs, "masks": torch.from_numpy(ours.masks.bitmaps().astype(np.uint8))})
    model.train()
    optimiser = _optimiser(setting, model)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        placed = [{name: value.to(setting.device) for name, value in target.items()} for target in targets]
        with _autocast(setting, kind):
            losses = model(_their_pixels(setting, images), placed)
        sum(losses.values()).backward()
        optimiser.step()

    _record(setting, "torchvision Mask R-CNN R50-FPN", kind, "training step", len(images), step)
    model.eval()


def _check_same_answers(setting: Setting, ours: mw.Predictor, theirs: nn.Module) -> None:
    """Both systems find the same in the image of the case; else their times are of different work."""
    (image,) = batch_of(1, _TINY_PX if setting.is_quick else None)
    (found,) = _find_theirs(setting, theirs, [image], "fp32")
    mine = ours(image)
    others = share_without_twin(found["boxes"], mine.boxes)
    of_theirs, of_ours = twins(found["boxes"], found["labels"] - 1, mine)
    setting.record("objects found", maskwright=len(mine), torchvision=len(found["boxes"]))
    setting.check("ours beside torchvision", "share of other detections", others)
    apart = furthest(mine.boxes[of_ours], found["boxes"][of_theirs])
    setting.check("ours beside torchvision", "boxes (px)", apart)

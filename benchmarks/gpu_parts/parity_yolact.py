"""YOLACT on the device: beside the numbers of its authors' code, and beside itself on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

import maskwright as mw
from gpu_parts.agreement import check_losses, predictor_of, twins
from gpu_parts.scenes import photographs
from gpu_parts.setting import Setting, arithmetic, furthest
from maskwright.checkpoints.yolact import from_yolact
from maskwright.predict.losses import loss_sums

_PARTS = ("backbone", "fpn", "protonet", "head")


@contextmanager
def _remembered(model: Any) -> Iterator[dict[str, Any]]:
    """What goes by inside the network."""
    seen: dict[str, Any] = {}
    hooks = [
        getattr(model, name).register_forward_hook(
            lambda _module, _inputs, output, name=name: seen.__setitem__(name, output)
        )
        for name in _PARTS
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def yolact_case(setting: Setting, case: Any) -> None:
    """Compare a recorded case."""
    limit = case.training["config"]["masks_to_train"]
    predictor = predictor_of(setting, case, {"losses.masks_per_image": limit})
    with setting.attempt("prediction"), _remembered(predictor.model) as seen:
        found = predictor(case.image)
        _check_parts(setting, case, seen)
        wanted, labels = (torch.from_numpy(case.expected[f"final.{name}"]) for name in ("box", "class"))
        of_wanted, _ = twins(wanted.float(), labels, found)
        others = (len(wanted) - len(of_wanted)) / max(len(wanted), 1)
        setting.check("detections", "share of other detections", others)
    with setting.attempt("training"):
        _check_training(setting, case, predictor)


def _check_parts(setting: Setting, case: Any, seen: dict[str, Any]) -> None:
    maps = {f"backbone.{place}": map_ for place, map_ in enumerate(seen["backbone"])}
    maps |= {f"fpn.{place}": map_ for place, map_ in enumerate(seen["fpn"])}
    apart = max(case.difference(key, map_.float().cpu()) for key, map_ in maps.items())
    setting.check("backbone and pyramid", "feature maps", apart)
    prototypes = seen["protonet"][0].permute(1, 2, 0).float().cpu()
    setting.check("protonet", "prototypes", case.difference("proto_hwc", prototypes))
    head = seen["head"]
    setting.check("head", "deltas", case.difference("raw.loc", head.deltas.cpu()))
    logits = head.logits.roll(1, dims=-1).cpu()
    setting.check("head", "class logits", case.difference("raw.conf_logits", logits))
    setting.check("head", "coefficients", case.difference("raw.mask_tanh", head.coefficients.cpu()))


def _check_training(setting: Setting, case: Any, predictor: mw.Predictor) -> None:
    names = {"B": "box", "C": "class", "M": "mask", "S": "semantic", "I": "mask_iou"}
    images = case.training["images"]
    targets = [
        mw.Targets.from_coco(image["annotations"], tuple(image["original_size_hw"]), predictor.categories)
        for image in images
    ]
    sums = loss_sums(predictor, [case.images / image["file"] for image in images], targets)
    losses = {name: loss.mean() for name, loss in sums.items()}
    check_losses(setting, losses, {names[name]: value for name, value in case.training["losses"].items()})
    torch.stack(list(losses.values())).sum().backward()
    gradients = {name: parameter.grad for name, parameter in predictor.model.named_parameters()}
    apart = {}
    for theirs, recorded in case.training["grad_l2"].items():
        (ours,) = from_yolact({theirs: torch.zeros(1)})
        norm = gradients[ours].double().norm().item()
        apart[ours] = abs(norm - recorded["l2"]) / max(recorded["l2"], 1e-9)
    worst = max(apart, key=apart.__getitem__)
    is_plus = "mask_iou" in losses
    limit = "gradient norms of ++ (relative)" if is_plus else "gradient norms (relative)"
    setting.check(f"gradients, worst {worst}", limit, apart[worst])


def both_devices(setting: Setting, recipe: str) -> None:
    """The same drawn weights on the CPU and on the device, on a photograph, part by part."""
    overrides: dict[str, Any] = {"detect.score_threshold": 0.0}
    if setting.is_quick:
        overrides |= {"resize.size": 138}
    image = photographs()[0]
    outputs = []
    with arithmetic("fp32"):
        for device in ("cpu", str(setting.device)):
            predictor = mw.load(recipe, "random", device=device, overrides=overrides)
            with _remembered(predictor.model) as seen:
                outputs.append((seen, predictor(image)))
    (theirs, wanted), (ours, found) = outputs
    apart = max(furthest(*pair) for name in ("backbone", "fpn") for pair in zip(ours[name], theirs[name], strict=True))
    scale = max(float(map_.abs().max()) for name in ("backbone", "fpn") for map_ in theirs[name])
    setting.check("backbone and pyramid, share of the largest value", "feature maps", apart / max(scale, 1.0))
    scale = float(theirs["protonet"].abs().max())
    setting.check(
        "protonet, share of the largest value",
        "prototypes",
        furthest(ours["protonet"], theirs["protonet"]) / max(scale, 1.0),
    )
    setting.check("head", "class logits", furthest(ours["head"].logits, theirs["head"].logits))
    setting.check("head", "deltas", furthest(ours["head"].deltas, theirs["head"].deltas))
    setting.check("head", "coefficients", furthest(ours["head"].coefficients, theirs["head"].coefficients))
    setting.record("detections", on_cpu=len(wanted), here=len(found), pixels=int(found.masks.areas().sum()))

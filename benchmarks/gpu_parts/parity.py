"""The recorded cases of `tests/parity` on the device: the references' numbers, computed on a CPU in fp32.

Two-stage cases that ship with the repository, and those of YOLACT's authors where `../shared/parity` is beside it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import maskwright as mw
from gpu_parts.agreement import check_losses, predictor_of, share_without_twin, twins
from gpu_parts.parity_yolact import yolact_case
from gpu_parts.setting import REPOSITORY, Setting, arithmetic, furthest
from maskwright.predict.losses import loss_sums

sys.path.insert(0, str(REPOSITORY / "tests" / "parity"))

from recorded import LOSS_NAMES, MASK_RCNN_RECIPES, SHIPPED, YOLACT_RECIPES, Case, DottedCase
from tracing import trace_of

_SHARED = REPOSITORY.parent / "shared" / "parity"


def case_names() -> list[str]:
    """The cases that are at hand, shipped ones first."""
    found = [name for name in MASK_RCNN_RECIPES if (SHIPPED / name).is_dir()]
    others = [*MASK_RCNN_RECIPES, *(f"yolact/{name}" for name in YOLACT_RECIPES)]
    return found + [name for name in others if name not in found and (_SHARED / name).is_dir()]


def parity(setting: Setting, name: str) -> None:
    """Compare a case, step by step."""
    with arithmetic("fp32"):
        if name.startswith("yolact/"):
            yolact_case(setting, DottedCase(_SHARED / name))
        else:
            root = SHIPPED if (SHIPPED / name).is_dir() else _SHARED
            _two_stage_case(setting, Case(root / name, root / "images"))


def _two_stage_case(setting: Setting, case: Case) -> None:
    predictor = predictor_of(setting, case, case.overrides)
    with setting.attempt("prediction"):
        _check_prediction(setting, case, predictor)
    if case.has_training and not setting.is_quick:
        with setting.attempt("training"):
            _check_training(setting, case, predictor)


def _check_prediction(setting: Setting, case: Case, predictor: mw.Predictor) -> None:
    trace = trace_of(predictor, case.image)
    setting.check("network input", "input", case.largest_difference("input", trace.batch.pixels.cpu()))
    stages, levels = ([map_.float().cpu() for map_ in maps] for maps in (trace.stages, trace.levels))
    setting.check("backbone and pyramid", "feature maps", max(case.map_differences(stages, levels).values()))
    _check_proposal_maps(setting, case, trace, levels)
    model = predictor.model
    with torch.inference_mode():
        (proposals,) = model.rpn.propose(trace.rpn, trace.batch, model.test_proposals)
    others = share_without_twin(case.tensor("proposals/0/boxes"), proposals.cpu())
    setting.check("proposals", "share of other proposals", others)
    found = trace.in_image
    wanted, labels = case.tensor("final/0/boxes"), case.labels("final/0/labels")
    _check_detections(setting, found, wanted, labels, case.tensor("final/0/scores"))
    _check_masks(setting, case, found, wanted, labels)


def _check_proposal_maps(setting: Setting, case: Case, trace: Any, levels: list[Tensor]) -> None:
    logits, deltas = (
        whole.cpu().split(trace.rpn.level_counts, dim=1) for whole in (trace.rpn.logits, trace.rpn.deltas)
    )
    apart: dict[str, float] = {"proposal logits": 0.0, "proposal deltas": 0.0}
    for level, features in enumerate(levels):
        grid = features.shape[-2:]
        objectness = logits[level].unflatten(1, (*grid, -1)).permute(0, 3, 1, 2)
        offsets = deltas[level].reshape(1, *grid, -1).permute(0, 3, 1, 2)
        for name, key, map_ in (
            ("proposal logits", "objectness", objectness),
            ("proposal deltas", "deltas", offsets),
        ):
            apart[name] = max(apart[name], case.largest_difference(f"rpn/level{level}/{key}", map_))
    for name, value in apart.items():
        setting.check("region proposal network", name, value)


def _check_detections(setting: Setting, found: mw.Instances, wanted: Tensor, labels: Tensor, scores: Tensor) -> None:
    of_wanted, of_found = twins(wanted, labels, found)
    more = max(len(found) - len(wanted), 0)
    others = (len(wanted) - len(of_wanted) + more) / max(len(wanted), 1)
    setting.check("detections", "share of other detections", others)
    setting.check("detections", "boxes (px)", furthest(found.boxes[of_found], wanted[of_wanted]))
    setting.check("detections", "scores", furthest(found.scores[of_found], scores[of_wanted]))


def _check_masks(setting: Setting, case: Case, found: mw.Instances, wanted: Tensor, labels: Tensor) -> None:
    import hotcoco.mask

    of_wanted, of_found = twins(wanted, labels, found)
    assert found.masks is not None
    num_other = num_all = 0
    ours = found.masks[of_found].rle()
    for place, rle in zip(of_wanted.tolist(), ours, strict=True):
        theirs, mine = (hotcoco.mask.decode(one).astype(bool) for one in (case.mask_rles[place], rle))
        num_other, num_all = num_other + int((theirs ^ mine).sum()), num_all + int((theirs | mine).sum())
    setting.check("masks", "share of other mask pixels", num_other / max(num_all, 1))


def _check_training(setting: Setting, case: Case, predictor: mw.Predictor) -> None:
    sums = loss_sums(predictor, [case.image], [case.targets(predictor.categories)])
    losses = {name: loss.mean() for name, loss in sums.items()}
    check_losses(setting, losses, {LOSS_NAMES[name]: value for name, value in case.training["losses"].items()})
    torch.stack(list(losses.values())).sum().backward()
    ours = {name: one.grad.float().cpu() for name, one in predictor.model.named_parameters() if one.grad is not None}
    gradients = case.in_their_order(ours)
    norms = case.training["grad_norms"]
    # a gradient that is zero but for rounding is compared with the whole one
    floor = 1e-6 * case.training["total_grad_norm"]
    apart = {
        name: abs(gradients[name].double().norm().item() - recorded["l2"]) / max(recorded["l2"], floor)
        for name, recorded in norms.items()
    }
    worst = max(apart, key=apart.__getitem__)
    setting.check(f"gradients, worst {worst}", "gradient norms (relative)", apart[worst])


def weights_file(setting: Setting, name: str) -> Path:
    """A file with the weights of a shipped case, without the counters that frozen norms have not."""
    path = setting.folder / "weights.pth"
    state = Case(SHIPPED / name, SHIPPED / "images").weights()
    torch.save({key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}, path)
    return path

"""Trainings on drawn scenes: the CPU beside the device, a process group of one, and a run that is taken up again."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

import maskwright as mw
from gpu_parts.scenes import write_scenes
from gpu_parts.setting import Setting, arithmetic, furthest, relative
from maskwright.checkpoints.native import read_native
from maskwright.config import load_recipe
from maskwright.training.distributed import World
from maskwright.training.fit import fit
from maskwright.training.setup import prepare_run

FAMILIES = {"mask_rcnn": "nuclei/mask_rcnn_small", "yolact": "nuclei/yolact_small"}


def training(setting: Setting, family: str) -> None:
    """20 steps from the same weights on the same images, in fp32 and in bf16, on the CPU and on the device."""
    steps = 3 if setting.is_quick else 20
    for precision in ("fp32", "bf16"):
        with setting.attempt(f"{steps} steps in {precision}"), arithmetic("fp32"):
            overrides = _overrides(setting, steps, precision)
            theirs = _losses(FAMILIES[family], overrides, setting.folder / f"cpu_{precision}", "cpu")
            ours = _losses(FAMILIES[family], overrides, setting.folder / f"device_{precision}", str(setting.device))
            setting.record(f"{steps} steps in {precision}", on_cpu=theirs, here=ours)
            setting.check(precision, f"first step {precision} (relative)", relative(ours[0], theirs[0]))
            tail = max(1, steps // 4)
            means = [sum(losses[-tail:]) / tail for losses in (ours, theirs)]
            setting.check(precision, f"last steps {precision} (relative)", relative(*means))


def group_of_one(setting: Setting) -> None:
    """Training through a process group with one member: NCCL on a card, gloo elsewhere; beside one without a group."""
    import torch.distributed

    backend = "nccl" if setting.is_cuda else "gloo"
    steps = 2 if setting.is_quick else 5
    overrides = _overrides(setting, steps, "fp32")
    with arithmetic("fp32"):
        alone = _losses(FAMILIES["mask_rcnn"], overrides, setting.folder / "alone", str(setting.device))
        if setting.is_cuda:
            torch.cuda.set_device(0)
        store = torch.distributed.FileStore(str(setting.folder / "store"), 1)
        torch.distributed.init_process_group(backend, store=store, rank=0, world_size=1)
        world = World(0, 1, 0, has_group=True)
        try:
            _check_messages(setting, world)
            recipe = load_recipe(FAMILIES["mask_rcnn"], overrides)
            run = prepare_run(recipe, setting.folder / "group", world, setting.device, resume=False)
            joined: list[float] = []
            fit(run, lambda _step, numbers, part: _remember(joined, numbers, part))
            if run.logbook is not None:
                run.logbook.close()
        finally:
            torch.distributed.destroy_process_group()
    setting.record(f"{steps} steps with {backend}", alone=alone, joined=joined)
    setting.check(backend, "first step of a group of one (relative)", relative(joined[0], alone[0]))


def _check_messages(setting: Setting, world: World) -> None:
    values = torch.arange(4, dtype=torch.float32, device=setting.device)
    setting.check("all_reduce", "sums of a group of one", furthest(world.sum(values), values))
    answers = {
        "largest": world.largest((3, 5)) == (3, 5),
        "broadcast": world.from_main("text") == "text",
        "gather": world.gather([1, 2]) == [[1, 2]],
        "together": world.together(lambda: 7) == 7,
    }
    setting.record("messages", **answers, is_within=all(answers.values()))


def resume(setting: Setting) -> None:
    """A run that ends in the middle and is taken up again, beside one that never stopped, and beside its repetition.

    A card does not add up in the same order twice, so two equal runs differ as well; their difference is the measure.
    """
    steps, stop, every = (4, 3, 2) if setting.is_quick else (12, 8, 6)
    overrides = {**_overrides(setting, steps, "fp32"), "train.checkpoint_every": every}
    with arithmetic("fp32"):
        whole, again = (
            _losses(FAMILIES["mask_rcnn"], overrides, setting.folder / name, str(setting.device))
            for name in ("whole", "again")
        )
        broken = setting.folder / "broken"
        before = _losses(FAMILIES["mask_rcnn"], overrides, broken, str(setting.device), stop=stop)
        after = _losses(FAMILIES["mask_rcnn"], overrides, broken, str(setting.device), is_resumed=True)
    setting.record("losses", whole=whole, again=again, before=before, after=after)
    setting.record(
        "largest difference of the last weights",
        resumed=_apart(setting.folder / "whole", broken),
        repeated=_apart(setting.folder / "whole", setting.folder / "again"),
    )
    setting.record("steps after resuming", found=len(after), is_within=len(after) == steps - every)
    first = relative(after[0], whole[every])
    setting.check("resumed", "loss at the first step after resuming (relative)", first)
    setting.check("resumed", "loss after resuming (relative)", relative(after[-1], whole[-1]))


def _overrides(setting: Setting, steps: int, precision: str) -> dict[str, Any]:
    side_px = 64 if setting.is_quick else 192
    scenes = write_scenes(setting.folder / "scenes", 8, side_px)
    size = {"data.augment.crop_px": [side_px, side_px], "data.workers": 0}
    return {
        **scenes,
        **size,
        "train.iterations": steps,
        "train.batch_size": 2 if setting.is_quick else 4,
        "train.warmup_iterations": 0,
        "train.learning_rate": 1e-4,
        "train.precision": precision,
        "train.log_every": 1,
        "train.checkpoint_every": steps,
    }


class _StoppedError(Exception):
    """In place of a power cut."""


def _losses(
    recipe: str,
    overrides: Mapping[str, Any],
    output: Path,
    device: str,
    *,
    stop: int | None = None,
    is_resumed: bool = False,
) -> list[float]:
    """The loss of every step; those up to `stop`, where the run is ended from within."""
    losses: list[float] = []

    def report(step: int, numbers: Mapping[str, Any], part: str) -> None:
        _remember(losses, numbers, part)
        if step == stop:
            raise _StoppedError

    with suppress(_StoppedError):
        mw.train(recipe, overrides, output, resume=is_resumed, device=device, report=report)
    return losses


def _remember(losses: list[float], numbers: Mapping[str, Any], part: str) -> None:
    if part == "train":
        losses.append(float(numbers["loss"]))


def _apart(first: Path, second: Path) -> float:
    one, other = (read_native(run / "checkpoints" / "last.safetensors").weights for run in (first, second))
    return max(furthest(value, other[name]) for name, value in one.items())

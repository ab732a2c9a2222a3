"""What every part gets and how it reports: records, one JSON line each, so that nothing is lost when a part dies."""

from __future__ import annotations

import json
import math
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

REPOSITORY = Path(__file__).resolve().parents[2]

Arithmetic = Literal["fp32", "tf32", "bf16"]
ARITHMETICS: tuple[Arithmetic, ...] = ("fp32", "tf32", "bf16")

# Largest differences that a part may find; the reference numbers and the other side were computed on a CPU in fp32
# unless the name says otherwise, and TF32 is off. Limits are some five times those of the tests on the CPU, because a
# GPU sums in another order; those of 20 steps are wide, since a training amplifies the last digit.
LIMITS = {
    "input": 1e-4,
    "feature maps": 1e-3,
    "proposal logits": 1e-3,
    "proposal deltas": 1e-3,
    "share of other proposals": 0.02,
    "share of other detections": 0.03,
    "boxes (px)": 0.2,
    "scores": 1e-3,
    "share of other mask pixels": 0.02,
    "losses (relative)": 1e-3,
    "gradient norms (relative)": 2e-2,
    "gradient norms of ++ (relative)": 2e-1,
    "prototypes": 1e-3,
    "class logits": 2e-3,
    "deltas": 1e-3,
    "coefficients": 5e-3,
    "first step fp32 (relative)": 1e-3,
    "last steps fp32 (relative)": 0.1,
    "first step bf16 (relative)": 0.05,
    "last steps bf16 (relative)": 0.2,
    "first step of a group of one (relative)": 1e-3,
    "sums of a group of one": 0.0,
    "loss after resuming (relative)": 0.05,
    "loss at the first step after resuming (relative)": 1e-2,
}


@dataclass(frozen=True)
class Setting:
    """What a part is told.

    Attributes:
        device: `cuda`, or `cpu` to try the script itself.
        is_quick: everything tiny.
        results: file of JSON lines.
        folder: for files that nobody needs afterwards.
    """

    device: torch.device
    is_quick: bool
    results: Path
    folder: Path

    @property
    def is_cuda(self) -> bool:
        """Whether there are a card's clocks and counters."""
        return self.device.type == "cuda"

    def record(self, what: str, **facts: Any) -> None:
        """Append one record; NaN and infinity become text, which JSON can hold."""
        line = {"what": what, **{name: _plain(value) for name, value in facts.items()}}
        with self.results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def check(self, what: str, name: str, value: float) -> None:
        """Record a difference beside its limit; `name` is one of `LIMITS`."""
        self.record(what, check=name, value=value, limit=LIMITS[name], is_within=bool(value <= LIMITS[name]))

    @contextmanager
    def attempt(self, what: str, **facts: Any) -> Iterator[None]:
        """Record an error of what is tried, and go on. A broken CUDA context fails what follows as well."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is belongs to the result
            last = traceback.extract_tb(error.__traceback__)[-1]
            reason = f"{type(error).__name__}: {error}"[:600]
            self.record(what, **facts, error=reason, at=f"{Path(last.filename).name}:{last.lineno}")


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


@contextmanager
def arithmetic(kind: Arithmetic) -> Iterator[None]:
    """Inside, matrix products and convolutions in fp32 use TF32 with `tf32` alone."""
    torch.backends.cuda.matmul.allow_tf32 = kind == "tf32"
    torch.backends.cudnn.allow_tf32 = kind == "tf32"
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False


def relative(value: float, wanted: float) -> float:
    """|value − wanted| ÷ |wanted|; that of two zeros is zero."""
    return abs(value - wanted) / max(abs(wanted), 1e-12)


def furthest(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference of two tensors of one shape, wherever they are; 0 without elements."""
    if ours.shape != theirs.shape:
        raise ValueError(f"shapes {tuple(ours.shape)} and {tuple(theirs.shape)} differ")
    apart = (ours.detach().double().cpu() - theirs.detach().double().cpu()).abs()
    return float(apart.max()) if apart.numel() else 0.0

"""Where a network computes: the device that a user names, or a short reason why not there."""

from __future__ import annotations

import os
import re

import torch

from maskwright.errors import ConfigError

_GPU_WORDS = {"gpu", "cuda", "nvidia", "rocm", "hip"}
_LONGEST = 40
_NAMES = "names are auto, cpu, cuda, cuda:0, mps"


def choose_device(name: str | torch.device) -> torch.device:
    """`auto` is the GPU that torch can use, CUDA's (AMD's has that name too) before Apple's, or else the CPU.

    Raises:
        ConfigError: a device that torch does not know or this machine does not have.
    """
    text = str(name).strip()
    if text == "auto":
        return torch.device(_best_kind())
    reason = _reason_against(text)
    if reason is None:
        try:
            device = torch.device(text)
            torch.zeros(1, device=device).item()
            return device
        except (RuntimeError, AssertionError, ImportError, NotImplementedError, OverflowError) as error:
            reason = f"torch: {str(error).splitlines()[0]}"[: 3 * _LONGEST]
    raise ConfigError(f"device {text[:_LONGEST]!r} cannot be used ({reason}); try auto or cpu")


def _best_kind() -> str:
    if torch.cuda.is_available():
        return "cuda"
    shares_work = int(os.environ.get("WORLD_SIZE", "1")) > 1  # torchrun's processes exchange no tensors of Apple's GPU
    return "mps" if torch.backends.mps.is_available() and not shares_work else "cpu"


def _reason_against(text: str) -> str | None:
    """Why a device of this name is none; None where torch may have it."""
    if text.isdecimal():
        return f"a GPU is named cuda:{int(text[:4])}"
    kind = text.partition(":")[0]
    if text.lower() in _GPU_WORDS and kind != "cuda":
        return "a GPU of NVIDIA or AMD is named cuda or cuda:0, one of Apple mps"
    if not re.fullmatch(r"[a-z]+(:\d{1,4})?", text) or not _is_kind_of_device(kind):
        return _NAMES
    if kind == "cuda":
        return _reason_against_cuda(int(text.partition(":")[2] or 0))
    if kind == "mps" and not torch.backends.mps.is_available():
        is_built = torch.backends.mps.is_built()
        return "this machine has no GPU of Apple's" if is_built else "this torch has no support for GPUs of Apple"
    return None


def _is_kind_of_device(kind: str) -> bool:
    """Whether torch knows devices of this kind, on whatever machine."""
    try:
        torch.device(kind)
    except RuntimeError:
        return False
    return True


def _reason_against_cuda(index: int) -> str | None:
    count = torch.cuda.device_count()
    if not torch.cuda.is_available() or count == 0:
        is_built = torch.version.cuda is not None or torch.version.hip is not None
        return "torch sees no GPU here" if is_built else "this torch has no support for GPUs; install one that has"
    if index >= count:
        return f"this machine has {count}: cuda:0" + (f" to cuda:{count - 1}" if count > 1 else "")
    return None

"""Which precision a device computes fast: bf16 where its arithmetic is built in, fp32 elsewhere."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch

from maskwright.errors import ConfigError

Precision = Literal["fp32", "bf16"]
PrecisionName = Literal["fp32", "bf16", "auto"]
PRECISIONS: tuple[PrecisionName, ...] = ("fp32", "bf16", "auto")


class Choice(NamedTuple):
    """A precision, and why it was taken; no reason where it was asked for."""

    precision: Precision
    reason: str = ""


def choose_precision(name: str, device: torch.device) -> Choice:
    """The precision that a name means on a device: itself, or for `auto` what the hardware is fast in.

    Raises:
        ConfigError: no precision is called so.
    """
    if name not in PRECISIONS:
        raise ConfigError(f"no precision called {name!r}; choose one of {', '.join(PRECISIONS)}")
    if name != "auto":
        return Choice("bf16" if name == "bf16" else "fp32")
    what = "processor" if device.type == "cpu" else "device"
    if has_native_bf16(device):
        return Choice("bf16", f"this {what} computes it natively")
    return Choice("fp32", f"bf16 is slower on this {what}, which lacks it")


def has_native_bf16(device: torch.device) -> bool:
    """Whether the device has instructions for bf16, with which it is faster than fp32; without them it is slower."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    # named with an underscore in every release that has them
    queries = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(query is not None and query() for query in queries)

"""Times and memory of a call on the device."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import torch

from gpu_parts.setting import Setting


@dataclass(frozen=True)
class Timing:
    """How long a call takes, and what it needs.

    Attributes:
        ms: median of the calls.
        ms_fast, ms_slow: a tenth of the calls are faster, a tenth slower.
        calls: that were measured.
        peak_mib: of the card's memory, the model included; None on a CPU.
        extra_mib: of which the call's own.
    """

    ms: float
    ms_fast: float
    ms_slow: float
    calls: int
    peak_mib: float | None
    extra_mib: float | None


def timed(setting: Setting, call: Callable[[], object], seconds: float = 2.0, warm_up: int = 4) -> Timing:
    """The call, warmed up, again and again for some seconds; on a card by its events, each call waited for."""
    fewest = 3
    if setting.is_quick:
        seconds, warm_up, fewest = 0.0, 0, 1
    for _ in range(warm_up):
        call()
    before = 0
    if setting.is_cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    times, begin = [], perf_counter()
    while len(times) < fewest or (perf_counter() - begin < seconds and len(times) < 100):
        times.append(_once(setting, call))
    tenths = statistics.quantiles(times, n=10, method="inclusive") if len(times) > 1 else times
    peak = torch.cuda.max_memory_allocated() if setting.is_cuda else None
    return Timing(
        ms=statistics.median(times),
        ms_fast=tenths[0],
        ms_slow=tenths[-1],
        calls=len(times),
        peak_mib=None if peak is None else peak / 2**20,
        extra_mib=None if peak is None else (peak - before) / 2**20,
    )


def _once(setting: Setting, call: Callable[[], object]) -> float:
    """Milliseconds of one call."""
    if not setting.is_cuda:
        begin = perf_counter()
        call()
        return (perf_counter() - begin) * 1000
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    call()
    end.record()
    end.synchronize()
    return start.elapsed_time(end)

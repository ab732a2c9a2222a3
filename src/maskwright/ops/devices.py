"""What kinds of devices cannot do."""

from __future__ import annotations

import torch


def knows_float64(device: torch.device | str) -> bool:
    """Whether tensors of float64 can be on a device; Apple's GPU refuses them.

    >>> knows_float64("cpu"), knows_float64("mps")
    (True, False)
    """
    return torch.device(device).type != "mps"

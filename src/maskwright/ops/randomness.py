"""Random numbers as a function of (seed, step, index), never of what ran before."""

from __future__ import annotations

import hashlib

import torch


def random_key(*parts: int | str) -> int:
    """A 63-bit number that is a function only of `parts`: the seed of one independent stream.

    >>> random_key(0, 1) == random_key(0, 1) and random_key(0, 1) != random_key(1, 0)
    True
    """
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def random_generator(*parts: int | str) -> torch.Generator:
    """A CPU generator seeded with `random_key(*parts)`; the CPU's, so that every device draws the same."""
    return torch.Generator().manual_seed(random_key(*parts))

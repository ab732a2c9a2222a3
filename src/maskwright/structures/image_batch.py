"""Images of one step, normalised and padded to a common size."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class ImageBatch:
    """B images as the network sees them.

    Attributes:
        pixels: (B, 3, H, W) float, zero in the padding at the right and below.
        sizes: (height, width) of each image within `pixels`.
        keys: a random key per image, a function of (seed, step, index); samplers draw from it.
    """

    pixels: Tensor
    sizes: tuple[tuple[int, int], ...]
    keys: tuple[int, ...]

    @property
    def padded_size(self) -> tuple[int, int]:
        """(H, W) of `pixels`."""
        return self.pixels.shape[-2], self.pixels.shape[-1]

    def __len__(self) -> int:
        return len(self.sizes)

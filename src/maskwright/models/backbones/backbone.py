"""What every backbone gives to the necks above it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from maskwright.models.backbones.norms import freeze_batch_norms


class Backbone(nn.Module, ABC):
    """From pixels (B, C, H, W) to the feature maps C2, C3, C4, C5; `forward` gives them in this order.

    Each is (B, C, ⌈H / stride⌉, ⌈W / stride⌉), for images of any size.

    Attributes:
        channels: of C2, C3, C4 and C5; a ResNet may end before.
        strides_px: of the same; a dilated stage of a ResNet keeps the stride of the one before.
    """

    channels: tuple[int, ...]
    strides_px: tuple[int, ...] = (4, 8, 16, 32)

    @abstractmethod
    def parts(self) -> Sequence[nn.Module]:
        """The stem and the stages, in the order in which pixels pass them."""

    def freeze(self, num_parts: int) -> None:
        """Keep the first `num_parts` of the parts fixed in training, statistics included."""
        for part in self.parts()[:num_parts]:
            freeze_part(part)

    @abstractmethod
    def forward(self, pixels: Tensor) -> list[Tensor]: ...


def freeze_part(part: nn.Module) -> None:
    """Keep a part fixed in training, statistics included."""
    part.requires_grad_(False)
    freeze_batch_norms(part)

"""Networks of the library timm as backbones."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskwright.errors import ConfigError, MissingDependency
from maskwright.models.backbones.backbone import Backbone

_PROBE_PX = (96, 160)  # 3 and 5 cells at stride 32: a size that no network was made for
_REFUSALS = (AssertionError, IndexError, RuntimeError, TypeError, ValueError)  # what timm's networks answer with


class TimmFeatures(Backbone):
    """Any network of timm with feature maps at strides 4, 8, 16 and 32 for images of any size.

    Its batch norms, if it has some, take their training statistics over the images of one process.

    Args:
        name: what timm calls it. Its weights are drawn from torch's global generator; nothing is downloaded.
        in_channels: of the images.

    Raises:
        MissingDependency: timm is not installed.
        ConfigError: timm has no such network, or it gives no such feature maps.
    """

    def __init__(self, *, name: str, in_channels: int) -> None:
        super().__init__()
        timm = _timm()
        self.network = _create(timm, name, in_channels, out_indices=_indices(timm, name, in_channels))
        self.channels = tuple(self.network.feature_info.channels())

    def parts(self) -> Sequence[nn.Module]:
        """The whole network: what its stem is only timm knows."""
        return [self.network]

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """(B, C, H, W) → C2, C3, C4, C5 at strides 4, 8, 16, 32, each (B, channels, ⌈H / stride⌉, ⌈W / stride⌉)."""
        height, width = pixels.shape[-2:]
        coarsest = self.strides_px[-1]
        # where the last cell is not full, networks of patches and windows would round down, or refuse
        stages = _channels_first(self.network, F.pad(pixels, (0, -width % coarsest, 0, -height % coarsest)))
        return [
            stage[..., : -(-height // stride), : -(-width // stride)]
            for stage, stride in zip(stages, self.strides_px, strict=True)
        ]


def _timm() -> ModuleType:
    try:
        import timm
    except ImportError as error:
        raise MissingDependency("timm", "timm") from error
    return timm


def _create(timm: ModuleType, name: str, in_channels: int, **settings: Any) -> Any:
    """The network without its classifier, of any image size where it can be.

    Raises:
        ValueError: timm says that it is made for one size.
    """
    settings = {"pretrained": False, "features_only": True, "in_chans": in_channels, **settings}
    try:
        return timm.create_model(name, strict_img_size=False, **settings)  # frees Swin from its one size
    except TypeError:  # the others do not know the setting
        network = timm.create_model(name, **settings)
    if network.pretrained_cfg.get("fixed_input_size"):
        raise ValueError("timm says that it is made for one size")
    return network


def _channels_first(network: Any, pixels: Tensor) -> list[Tensor]:
    stages: list[Tensor] = network(pixels)
    is_channels_last = getattr(network, "output_fmt", "NCHW") == "NHWC"
    return [stage.permute(0, 3, 1, 2) for stage in stages] if is_channels_last else stages


def _indices(timm: ModuleType, name: str, in_channels: int) -> tuple[int, ...]:
    """Which of a network's feature maps are C2–C5: the last at each stride."""
    if not timm.is_model(name):
        near = ", ".join(difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0))
        raise ConfigError(f"backbone.name: timm {timm.__version__} has no network called {name!r}; near it are {near}")
    info, sizes = _probe(timm, name, in_channels)
    indices = {stride: index for index, stride in enumerate(info.reduction())}
    wanted = {stride: (_PROBE_PX[0] // stride, _PROBE_PX[1] // stride) for stride in Backbone.strides_px}
    if any(stride not in indices or sizes[indices[stride]] != size for stride, size in wanted.items()):
        raise ConfigError(
            f"backbone.name: timm's {name!r} makes feature maps of {_text(sizes)} from an image of "
            f"{_text([_PROBE_PX])}, where strides 4, 8, 16 and 32 have {_text(wanted.values())}; "
            "choose another, for example convnext_tiny"
        )
    return tuple(info.out_indices[indices[stride]] for stride in Backbone.strides_px)


def _probe(timm: ModuleType, name: str, in_channels: int) -> tuple[Any, list[tuple[int, ...]]]:
    """What timm says of a network's feature maps, and their sizes for an image of `_PROBE_PX`.

    On torch's `meta` device, which knows shapes and computes nothing.
    """
    try:
        with torch.device("meta"), torch.no_grad():
            network = _create(timm, name, in_channels).eval()
            stages = _channels_first(network, torch.empty((1, in_channels, *_PROBE_PX)))
    except _REFUSALS as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ConfigError(
            f"backbone.name: timm's {name!r} does not give feature maps for images of any size: {reason}; "
            "choose another, for example convnext_tiny"
        ) from error
    return network.feature_info, [tuple(stage.shape[2:]) for stage in stages]


def _text(sizes: Iterable[tuple[int, ...]]) -> str:
    return ", ".join(" × ".join(map(str, size)) for size in sizes)

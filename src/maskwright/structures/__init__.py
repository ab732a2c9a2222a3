"""Values that flow through the program: images, ground truth, detections and their masks.

Each is imported when it is first used, since most bring torch, which takes seconds, and classes and run lengths do not.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from maskwright.structures.categories import Categories as Categories
    from maskwright.structures.image_batch import ImageBatch as ImageBatch
    from maskwright.structures.instances import Instances as Instances
    from maskwright.structures.masks.interface import Masks as Masks
    from maskwright.structures.masks.packed import CropMasks as CropMasks
    from maskwright.structures.masks.prototype import PrototypeMasks as PrototypeMasks
    from maskwright.structures.masks.roi import RoiMasks as RoiMasks
    from maskwright.structures.panoptic_map import PanopticMap as PanopticMap
    from maskwright.structures.semantic_map import SemanticMap as SemanticMap
    from maskwright.structures.targets import Targets as Targets

_HOMES = {
    "Categories": "categories",
    "CropMasks": "masks.packed",
    "ImageBatch": "image_batch",
    "Instances": "instances",
    "Masks": "masks.interface",
    "PanopticMap": "panoptic_map",
    "PrototypeMasks": "masks.prototype",
    "RoiMasks": "masks.roi",
    "SemanticMap": "semantic_map",
    "Targets": "targets",
}

__all__ = [*_HOMES]  # noqa: PLE0604 - the names are strings


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)

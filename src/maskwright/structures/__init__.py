"""Values that flow through the program: images, ground truth, detections and their masks."""

from maskwright.structures.categories import Categories
from maskwright.structures.crop_masks import CropMasks
from maskwright.structures.image_batch import ImageBatch
from maskwright.structures.instances import Instances
from maskwright.structures.masks import Masks, RoiMasks
from maskwright.structures.prototype_masks import PrototypeMasks
from maskwright.structures.targets import Targets

__all__ = [
    "Categories",
    "CropMasks",
    "ImageBatch",
    "Instances",
    "Masks",
    "PrototypeMasks",
    "RoiMasks",
    "Targets",
]

"""What the owner of a dataset decides about its reading, the same for every format."""

from __future__ import annotations

from dataclasses import dataclass

from maskwright.config.data import BinaryMaps, DatasetConfig, FrameName


@dataclass(frozen=True)
class ReadOptions:
    """Choices that a format leaves open; a reader passes over those that make no difference to it.

    Attributes:
        needs_masks: an object without a mask is a defect; Faster and Keypoint R-CNN need none.
        exif: whether the labels of photographs that are stored on their side are drawn on the upright image or on the
            stored one; None: as the sizes in the annotations say.
        class_attribute: attribute of regions that holds their class (VIA); None: the only one, or the likeliest.
        has_crowds: annotations marked as crowds are groups of objects; otherwise each is one object.
        boxes_as_masks: the box of an object without a mask is used as its mask.
        only_present: listed images that are not in the folder are left out, and are no defects.
        binary_maps: what an object is in black and white id maps; None: those with several parts are refused.
    """

    needs_masks: bool = True
    exif: FrameName | None = None
    class_attribute: str | None = None
    has_crowds: bool = True
    boxes_as_masks: bool = False
    only_present: bool = False
    binary_maps: BinaryMaps | None = None

    @staticmethod
    def of(config: DatasetConfig, *, needs_masks: bool) -> ReadOptions:
        """As the table of a dataset says."""
        return ReadOptions(
            needs_masks=needs_masks,
            exif=config.exif,
            class_attribute=config.class_attribute,
            has_crowds=config.crowds == "ignored",
            boxes_as_masks=config.boxes_as_masks,
            only_present=config.only_present,
            binary_maps=config.binary_maps,
        )


# every object needs a mask, and sizes show the frame of the labels
DEFAULT_OPTIONS = ReadOptions()

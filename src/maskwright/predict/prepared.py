"""What was found in an image, with all that files, pictures and panoptic maps are made of computed once."""

from __future__ import annotations

from typing import NamedTuple

from maskwright.structures import Instances, PanopticMap


class Prepared(NamedTuple):
    """Results on their way to the disk.

    Attributes:
        instances: their masks are on the image already.
        panoptic: the map of objects and stuff, None where the model gives none.
    """

    instances: Instances
    panoptic: PanopticMap | None

    @staticmethod
    def of(found: Instances) -> Prepared:
        """Paste the masks, and let objects and stuff share the pixels."""
        pasted = found.pasted()
        has_panoptic = found.semantic is not None and found.masks is not None
        return Prepared(pasted, pasted.panoptic() if has_panoptic else None)

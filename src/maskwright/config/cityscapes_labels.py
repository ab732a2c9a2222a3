"""The classes of Cityscapes: what the values of its pictures and the names in its polygon files mean.

The table is that of the official scripts (cityscapesscripts 2.3, helpers/labels.py), in their order.
"""

from __future__ import annotations

from typing import NamedTuple


class CityscapesLabel(NamedTuple):
    """A class of Cityscapes.

    Attributes:
        name: in polygon files; with `group` behind it, a region of several objects that are not separated.
        id: value of its pixels in pictures; -1: it is never drawn.
        train_id: index among the 19 classes that are evaluated; 255 (or -1 where it is never drawn): none.
        has_instances: its objects are separated.
        ignored_in_evaluation: its pixels count neither as right nor as wrong.
    """

    name: str
    id: int
    train_id: int
    has_instances: bool
    ignored_in_evaluation: bool


LABELS: tuple[CityscapesLabel, ...] = (
    CityscapesLabel("unlabeled", 0, 255, False, True),
    CityscapesLabel("ego vehicle", 1, 255, False, True),
    CityscapesLabel("rectification border", 2, 255, False, True),
    CityscapesLabel("out of roi", 3, 255, False, True),
    CityscapesLabel("static", 4, 255, False, True),
    CityscapesLabel("dynamic", 5, 255, False, True),
    CityscapesLabel("ground", 6, 255, False, True),
    CityscapesLabel("road", 7, 0, False, False),
    CityscapesLabel("sidewalk", 8, 1, False, False),
    CityscapesLabel("parking", 9, 255, False, True),
    CityscapesLabel("rail track", 10, 255, False, True),
    CityscapesLabel("building", 11, 2, False, False),
    CityscapesLabel("wall", 12, 3, False, False),
    CityscapesLabel("fence", 13, 4, False, False),
    CityscapesLabel("guard rail", 14, 255, False, True),
    CityscapesLabel("bridge", 15, 255, False, True),
    CityscapesLabel("tunnel", 16, 255, False, True),
    CityscapesLabel("pole", 17, 5, False, False),
    CityscapesLabel("polegroup", 18, 255, False, True),
    CityscapesLabel("traffic light", 19, 6, False, False),
    CityscapesLabel("traffic sign", 20, 7, False, False),
    CityscapesLabel("vegetation", 21, 8, False, False),
    CityscapesLabel("terrain", 22, 9, False, False),
    CityscapesLabel("sky", 23, 10, False, False),
    CityscapesLabel("person", 24, 11, True, False),
    CityscapesLabel("rider", 25, 12, True, False),
    CityscapesLabel("car", 26, 13, True, False),
    CityscapesLabel("truck", 27, 14, True, False),
    CityscapesLabel("bus", 28, 15, True, False),
    CityscapesLabel("caravan", 29, 255, True, True),
    CityscapesLabel("trailer", 30, 255, True, True),
    CityscapesLabel("train", 31, 16, True, False),
    CityscapesLabel("motorcycle", 32, 17, True, False),
    CityscapesLabel("bicycle", 33, 18, True, False),
    CityscapesLabel("license plate", -1, -1, False, True),
)

# the 8 classes of objects and the 11 others that are evaluated
THINGS = tuple(label for label in LABELS if label.has_instances and not label.ignored_in_evaluation)
STUFF = tuple(label for label in LABELS if not label.has_instances and not label.ignored_in_evaluation)

# a pixel of an object has this times the id of its class, plus the object's number, in pictures of instances
INSTANCES_PER_CLASS = 1000

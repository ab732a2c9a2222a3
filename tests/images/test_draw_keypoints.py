"""Keypoints are drawn where they are, in the colour of their object."""

from __future__ import annotations

import numpy as np
import torch

from maskwright.images.draw import colour_of, draw_instances
from maskwright.structures import Categories, Instances

BLACK = np.zeros((80, 120, 3), np.uint8)


def with_keypoints(points: list[list[float]]) -> Instances:
    """One object with these x y."""
    keypoints = torch.tensor([[[x, y, 1.0] for x, y in points]])
    boxes, one = torch.tensor([[10.0, 10.0, 110.0, 70.0]]), torch.ones(1)
    return Instances((80, 120), boxes, torch.zeros(1, dtype=torch.int64), one, None, Categories.of(["a"]), keypoints)


def drawn(instances: Instances) -> np.ndarray:
    return draw_instances(BLACK, instances, has_boxes=False, has_labels=False)


def test_a_dot_marks_each_keypoint() -> None:
    picture = drawn(with_keypoints([[30, 40], [90, 20]]))
    assert tuple(picture[40, 30]) == tuple(picture[20, 90]) == colour_of(0)
    assert 10 < (picture.any(axis=2)).sum() < 60  # no limbs: no body of two keypoints is known


def test_limbs_join_the_keypoints_of_a_person() -> None:
    standing = [[60.0, 10.0]] * 13 + [[40.0, 40.0], [80.0, 40.0], [40.0, 70.0], [80.0, 70.0]]
    picture = drawn(with_keypoints(standing))
    assert tuple(picture[55, 40]) == tuple(picture[55, 80]) == colour_of(0)  # lower legs


def test_keypoints_outside_the_picture_are_no_error() -> None:
    assert drawn(with_keypoints([[-30.0, 4e6]] * 17)).shape == BLACK.shape


def test_no_objects_draw_nothing() -> None:
    assert not drawn(with_keypoints([[30, 40]])[:0]).any()

"""A picture of ids becomes the run lengths of its objects."""

from __future__ import annotations

from time import perf_counter

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco_mask

from maskwright.data.id_pictures import objects_of

PICTURES = arrays(
    st.sampled_from([np.uint8, np.uint16, np.int32, np.int64]),
    array_shapes(min_dims=2, max_dims=2, max_side=9),
    elements=st.integers(0, 4),
)


@given(PICTURES)
def test_every_object_is_what_comparing_each_pixel_with_its_id_gives(ids: np.ndarray) -> None:
    found = objects_of(ids)
    assert list(found) == sorted(set(ids.ravel().tolist()) - {0})
    for id_, rle in found.items():
        expected = coco_mask.encode(np.asfortranarray(ids == id_, dtype=np.uint8))
        assert rle == {"size": list(ids.shape), "counts": expected["counts"].decode()}


@given(PICTURES)
def test_neither_memory_order_nor_contiguity_matters(ids: np.ndarray) -> None:
    spread = np.zeros((2 * ids.shape[0], 3 * ids.shape[1]), dtype=ids.dtype)
    spread[::2, ::3] = ids
    assert objects_of(np.asfortranarray(ids)) == objects_of(spread[::2, ::3]) == objects_of(ids)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0), (3, 4)])
def test_nothing_but_background_has_no_objects(shape: tuple[int, int]) -> None:
    assert objects_of(np.zeros(shape, dtype=np.int32)) == {}


def test_an_object_that_is_the_whole_picture_is_one_run() -> None:
    assert objects_of(np.full((3, 4), 9)) == {9: {"size": [3, 4], "counts": "0<"}}


def test_ids_of_24_bits_keep_their_value() -> None:
    assert list(objects_of(np.array([[0xFFFFFF, 70_000]], dtype=np.int32))) == [70_000, 0xFFFFFF]


def test_many_objects_cost_no_more_than_the_picture() -> None:
    rows, columns = np.indices((1200, 1200)) // 12
    many = (rows * 100 + columns + 1).astype(np.int32)  # 10,000 squares of 12 × 12
    started = perf_counter()
    assert len(objects_of(many)) == 10_000
    assert perf_counter() - started < 10  # a bitmap for each would be 14 gigabytes

"""What packed run lengths cover is counted without unpacking them one by one."""

from __future__ import annotations

import hotcoco.mask
from hypothesis import given
from hypothesis import strategies as st

from maskwright.structures.masks.rle import packed_lengths

runs = st.lists(st.integers(0, 5000), min_size=1, max_size=40)


@given(st.lists(runs, max_size=8))
def test_the_length_of_all_runs_is_their_sum(masks):
    texts = []
    for counts in masks:
        text = hotcoco.mask.frPyObjects({"size": [1, sum(counts)], "counts": counts}, 1, sum(counts))["counts"]
        texts.append(text.decode() if isinstance(text, bytes) else text)
    assert packed_lengths(texts).tolist() == [sum(counts) for counts in masks]

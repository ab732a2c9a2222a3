"""Too little memory is told in one line with what needs less, and other images go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import maskwright as mw
from maskwright.errors import OutOfMemory, is_out_of_memory, out_of_memory_errors
from maskwright.predict.writing import predict_files

FAILURES = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    MemoryError(),
    MemoryError("Unable to allocate 2.00 TiB for an array"),
]


@pytest.fixture(scope="module")
def small() -> mw.Predictor:
    return mw.load("nuclei/mask_rcnn_small", weights="random", device="cpu")


class FailingOnLarge:
    """Finds objects in small images, and has no memory for others."""

    def __init__(self, inner: Any, failure: Exception) -> None:
        self.inner, self.failure = inner, failure

    def detect(self, images: Any, *limits: Any) -> Any:
        if max(images[0].shape) > 100:
            raise self.failure
        return self.inner.detect(images, *limits)


@pytest.mark.parametrize("failure", FAILURES, ids=range(len(FAILURES)))
def test_every_way_in_which_memory_ends_is_one(failure: Exception) -> None:
    assert is_out_of_memory(failure)
    expected = r"a step needs more memory than there is.*; what needs less: less"
    with pytest.raises(OutOfMemory, match=expected) as caught, out_of_memory_errors("a step", "less"):
        raise failure
    assert "\n" not in str(caught.value)


def test_other_errors_are_left_alone() -> None:
    with pytest.raises(RuntimeError, match="shapes"), out_of_memory_errors("a step", "less"):
        raise RuntimeError("shapes do not fit")


@pytest.mark.parametrize("failure", FAILURES[:2], ids=range(2))
def test_an_image_too_large_for_memory_is_named_with_the_ways_out(
    failure: Exception, small: mw.Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, side in (("a", 40), ("b", 200), ("c", 40)):
        Image.fromarray(np.zeros((side, 40, 3), dtype=np.uint8)).save(tmp_path / f"{name}.png")
    monkeypatch.setattr(small, "detector", FailingOnLarge(small.detector, failure))
    (tmp_path / "out").mkdir()
    outcomes = list(predict_files(small, sorted(tmp_path.glob("*.png")), tmp_path / "out", has_overlays=False))
    assert [outcome.error is None for outcome in outcomes] == [True, False, True]
    message = str(outcomes[1].error)
    for words in ("b.png", "200 × 40 pixels", "--tile", "resize.short_side=", "--precision bf16"):
        assert words in message
    assert "--device" not in message

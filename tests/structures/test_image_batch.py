"""Images of one step."""

from __future__ import annotations

import torch

from maskwright.structures import ImageBatch


def test_batch_knows_its_images_and_its_padded_size() -> None:
    batch = ImageBatch(torch.zeros((2, 3, 64, 96)), ((60, 90), (64, 80)), (11, 12))
    assert len(batch) == 2
    assert batch.padded_size == (64, 96)

"""The mask head computes only the classes asked for, and they come out as if all had been computed."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def test_logits_of_the_asked_class_are_those_of_the_whole_convolution(build) -> None:
    head = build().mask_head
    pooled = torch.randn((5, 16, 14, 14), generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([2, 0, 1, 1, 2])
    features = pooled
    for conv in head.convs:
        features = conv(features).relu()
    all_logits = F.conv2d(head.upsample(features).relu(), head.logits.weight, head.logits.bias)
    assert all_logits.shape == (5, 3, 28, 28)
    assert torch.allclose(head(pooled, labels), all_logits[range(5), labels], atol=1e-5)


def test_masks_of_no_object_are_no_masks(build) -> None:
    head = build().mask_head
    assert head(torch.zeros((0, 16, 14, 14)), torch.zeros(0, dtype=torch.int64)).shape == (0, 28, 28)

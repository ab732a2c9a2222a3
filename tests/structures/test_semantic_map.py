"""Maps of classes stay small until pixels are needed, and are then what enlarging all logits would give."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from maskwright.structures import Categories, SemanticMap
from maskwright.structures.semantic_map import PanopticRule

RULE = PanopticRule(score_threshold=0.5, overlap_share=0.5, min_stuff_px=0)


def make(
    size: tuple[int, int] = (37, 50), num_outputs: int = 20, input_size: tuple[int, int] = (61, 82)
) -> SemanticMap:
    cells = [-(-side // 4) + 1 for side in input_size]
    grid = torch.randn((num_outputs, *cells), generator=torch.Generator().manual_seed(5))
    stuff = Categories.of([f"stuff {index}" for index in range(num_outputs - 1)])
    return SemanticMap(size, grid, input_size, 4, stuff, True, RULE)


@pytest.mark.parametrize("num_outputs", [1, 2, 8, 9, 20])
def test_labels_are_the_largest_logits_though_few_classes_are_enlarged_at_once(num_outputs: int) -> None:
    semantic = make(num_outputs=num_outputs)
    assert semantic.labels().dtype == torch.uint8
    assert torch.equal(semantic.labels().long(), semantic.logits().argmax(dim=0))


def test_of_equal_logits_the_first_is_taken() -> None:
    semantic = make()
    semantic.grid.zero_()
    assert (semantic.labels() == 0).all()


def test_logits_have_the_size_that_the_image_was_restored_to() -> None:
    restored = make().restored((120, 33))
    assert restored.logits().shape == (20, 120, 33)
    assert restored.labels().shape == (120, 33)


def test_cells_that_only_cover_padding_change_nothing() -> None:
    semantic = make()
    padded = F.pad(semantic.grid, (0, 6, 0, 9), value=1e6)
    wide = SemanticMap(semantic.size, padded, semantic.input_size, 4, semantic.stuff, True, RULE)
    assert torch.allclose(wide.logits(), semantic.logits(), atol=1e-5)

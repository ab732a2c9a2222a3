"""The first convolution of a checkpoint fits images with another number of channels, and answers them as before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from maskwright.checkpoints.fitting import inflate_stem, put_weights
from maskwright.checkpoints.native import NativeCheckpoint, write_native
from maskwright.checkpoints.reading import read_weights
from maskwright.checkpoints.writing import write_foreign
from maskwright.config import recipe_from_table
from maskwright.errors import CheckpointError
from maskwright.models.build import build_model
from maskwright.predict.loading import load
from maskwright.training.initial import InitialWeights

BACKBONES: dict[str, dict[str, Any]] = {
    "basic": {"depth": 18, "width": 8, "norm": "batch", "frozen_stages": 0},
    "deep": {"depth": 50, "width": 8, "stem": "deep", "stem_channels": 16, "norm": "batch", "frozen_stages": 0},
    "darknet53": {"kind": "darknet53", "width": 8},
    "timm": {"kind": "timm", "name": "test_resnet"},
}


def network(channels: int, backbone: str = "basic", seed: int = 1, **pixels: Any) -> nn.Module:
    statistics = {"mean": [0.0] * channels, "std": [1.0] * channels}
    table = {
        "family": "yolact",
        "categories": ["cell"],
        "pixels": {"channels": channels, **statistics, **pixels},
        "backbone": BACKBONES[backbone],
        "fpn": {"channels": 8},
        "train": {"seed": seed},
    }
    return build_model(recipe_from_table(table, "tiny"))


def inflated(old: nn.Module, new: nn.Module, channels: int, *, is_bgr: bool = False) -> str | None:
    weights, told = inflate_stem(old.state_dict(), new, channels, is_bgr)
    put_weights(weights, new, "old")
    return told


@pytest.mark.parametrize("backbone", list(BACKBONES))
@pytest.mark.parametrize("channels", [1, 2, 4, 5, 7])
def test_equal_channels_get_the_same_response_as_before(backbone: str, channels: int) -> None:
    old, new = network(3, backbone).eval().double(), network(channels, backbone, seed=2).eval().double()
    assert inflated(old, new, channels) == f"inflated from 3 to {channels} channels"
    grey = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        before = old.backbone(grey.expand(-1, 3, -1, -1))
        after = new.backbone(grey.expand(-1, channels, -1, -1))
    for some, others in zip(before, after, strict=True):
        torch.testing.assert_close(some, others, rtol=1e-6, atol=1e-6)


def test_new_channels_repeat_the_old_ones_in_turn() -> None:
    old, new = network(3), network(5)
    inflated(old, new, 5)
    kernels, given = (model.state_dict()["backbone.stem.conv.weight"] for model in (new, old))
    for place, (source, repeats) in enumerate([(0, 2), (1, 2), (2, 1), (0, 2), (1, 2)]):
        assert torch.equal(kernels[:, place], given[:, source] / repeats)


def test_grey_has_the_sum_and_many_channels_fold_back_to_fewer() -> None:
    old, grey, back = network(5), network(1), network(3)
    inflated(old, grey, 1)
    given = old.state_dict()["backbone.stem.conv.weight"]
    torch.testing.assert_close(grey.state_dict()["backbone.stem.conv.weight"], given.sum(1, keepdim=True))
    inflated(old, back, 3)
    torch.testing.assert_close(back.state_dict()["backbone.stem.conv.weight"][:, 0], given[:, 0] + given[:, 3])


def test_networks_that_see_blue_first_give_the_files_first_channel_the_kernels_of_red() -> None:
    old, new = network(3, channel_order="bgr"), network(6, channel_order="bgr")
    inflated(old, new, 6, is_bgr=True)
    kernels, given = (model.state_dict()["backbone.stem.conv.weight"] for model in (new, old))
    assert torch.equal(kernels[:, :3], given.flip(1) / 2) and torch.equal(kernels[:, 3:], given.flip(1) / 2)


def test_as_many_channels_as_before_change_nothing() -> None:
    old, new = network(4), network(4, seed=2)
    assert inflated(old, new, 4) is None
    assert all(torch.equal(value, new.state_dict()[name]) for name, value in old.state_dict().items())


def test_a_start_from_other_channels_reports_what_was_inflated_and_whether_it_can_learn(tmp_path: Path) -> None:
    path = tmp_path / "old.safetensors"
    write_native(path, NativeCheckpoint(dict(network(3).state_dict()), {}, {}, {}))
    new = network(5)
    told = InitialWeights(path, read_weights(path), 5).put_into(new)
    assert told["taken"] == "model" and told["stem"] == "inflated from 3 to 5 channels"
    new.backbone.freeze(1)
    told = InitialWeights(path, read_weights(path), 5).put_into(new)
    assert told["stem"].endswith("kept so by backbone.frozen_stages: 0 lets it learn")


def test_predicting_with_other_channels_than_trained_on_says_which_to_set() -> None:
    with pytest.raises(
        CheckpointError, match=r"images with 5 channels, the recipe has pixels\.channels=3; set that to 5"
    ):
        put_weights(network(5).state_dict(), network(3), "old")


def test_foreign_formats_keep_many_channels(tmp_path: Path) -> None:
    pixels = {"pixels.channels": 5, "pixels.mean": [0.0] * 5, "pixels.std": [1.0] * 5}
    first = load(
        "mask_rcnn", "random", "cpu", {"categories": ["cell"], "backbone.depth": 18, "backbone.width": 8, **pixels}
    )
    for lineage in ("torchvision", "detectron2"):
        path = tmp_path / f"{lineage}.pth"
        write_foreign(path, first.model.state_dict(), lineage)
        read = read_weights(path).weights
        name = "backbone.stem.conv.weight"
        assert torch.equal(read[name], first.model.state_dict()[name]) and read[name].shape[1] == 5

"""Our own checkpoint: what is written comes back, and nothing in a file is trusted."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch

from maskwright.checkpoints.native import FORMAT, NativeCheckpoint, read_native, write_native
from maskwright.checkpoints.reading import read_weights
from maskwright.config import load_recipe, recipe_from_table
from maskwright.errors import CheckpointError, MaskwrightError, OutputError
from maskwright.predict.loading import load

WEIGHTS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.count": torch.tensor(7)}
TRAINING = {"optimiser/a.weight": torch.ones(2, 3), "step": torch.tensor([3])}


def checkpoint(**changes: Any) -> NativeCheckpoint:
    recipe = load_recipe("mask_rcnn", {"categories": ["cell"], "rpn.nms_iou": 0.6}).model_dump(mode="json")
    contents = {"weights": WEIGHTS, "recipe": recipe, "training": TRAINING, "progress": {"step": 3, "best": 0.25}}
    return NativeCheckpoint(**{**contents, **changes})


def assert_equal(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], value) and found[name].dtype == value.dtype for name, value in wanted.items())


def write_raw(path: Path, header: object) -> Path:
    """A safetensors file without tensors, whose maskwright header is any text, or any JSON."""
    text = header if isinstance(header, str) else json.dumps(header)
    data = json.dumps({"__metadata__": {"maskwright": text}}).encode()
    path.write_bytes(struct.pack("<Q", len(data)) + data)
    return path


def test_everything_comes_back(tmp_path) -> None:
    path = tmp_path / "last.safetensors"
    write_native(path, checkpoint())
    found = read_native(path, with_training=True)
    assert_equal(found.weights, WEIGHTS)
    assert_equal(found.training, TRAINING)
    assert found.progress == {"step": 3, "best": 0.25}
    assert found.recipe == checkpoint().recipe


def test_the_state_of_the_run_is_read_only_when_asked_for(tmp_path) -> None:
    path = tmp_path / "last.safetensors"
    write_native(path, checkpoint())
    found = read_native(path)
    assert_equal(found.weights, WEIGHTS)
    assert found.training == {}


def test_weights_of_any_memory_layout_come_back(tmp_path) -> None:
    path = tmp_path / "last.safetensors"
    weights = {
        "channels_last": torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        "transposed": torch.randn(3, 4).T,
        "half": torch.randn(3).bfloat16(),
        "trained": torch.nn.Parameter(torch.randn(2)),
        "empty": torch.zeros(0, 4),
    }
    write_native(path, checkpoint(weights=weights, training={}))
    assert_equal(read_native(path).weights, weights)


def test_the_recipe_in_the_header_resolves_to_itself(tmp_path) -> None:
    path = tmp_path / "last.safetensors"
    write_native(path, checkpoint())
    found = read_weights(path)
    assert (found.lineage, found.recipe_name) == ("maskwright", None)
    recipe = recipe_from_table(found.recipe, "last.safetensors")
    assert recipe == load_recipe("mask_rcnn", {"categories": ["cell"], "rpn.nms_iou": 0.6})


def test_writing_replaces_the_old_file_and_leaves_nothing_beside_it(tmp_path) -> None:
    path = tmp_path / "last.safetensors"
    write_native(path, checkpoint())
    write_native(path, checkpoint(progress={"step": 4}))
    assert read_native(path).progress == {"step": 4}
    assert [file.name for file in tmp_path.iterdir()] == ["last.safetensors"]


def test_a_folder_that_cannot_be_written_to_is_an_output_error(tmp_path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        write_native(tmp_path / "nowhere" / "last.safetensors", checkpoint())


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_file_cut_off_anywhere_is_refused(tmp_path, share) -> None:
    path = tmp_path / "last.safetensors"
    write_native(path, checkpoint())
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    for read in (read_native, read_weights):
        with pytest.raises(CheckpointError, match=r"last\.safetensors (cannot be read .* cut off|is empty)"):
            read(path)


def test_a_newer_format_asks_for_an_update(tmp_path) -> None:
    path = write_raw(tmp_path / "new.safetensors", {"format": FORMAT + 1, "recipe": {}, "progress": {}})
    with pytest.raises(CheckpointError, match=r"has format 2, this maskwright reads 1: update maskwright"):
        read_native(path)


@pytest.mark.parametrize(
    "header",
    [
        "hello",
        "",
        "1",
        "null",
        "[]",
        "[" * 100_000,
        '{"format": ' + "1" * 5000 + "}",
        {"format": 1},
        {"format": 1, "recipe": {}},
        {"recipe": {}, "progress": {}},
        {"format": 1, "recipe": [], "progress": {}},
        {"format": 1, "recipe": {}, "progress": 3},
    ],
    ids=lambda header: str(header)[:40],
)
def test_a_header_of_another_form_is_refused(tmp_path, header) -> None:
    with pytest.raises(CheckpointError, match="not a maskwright file") as raised:
        read_native(write_raw(tmp_path / "odd.safetensors", header))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"rpnn": {}}, r"odd\.safetensors: unknown key 'rpnn'; did you mean rpn\?"),
        ({"family": "yolo"}, r"odd\.safetensors: no family called 'yolo'"),
        ({"family": ["mask_rcnn"]}, r"odd\.safetensors: no family called"),
        ({"rpn": 3}, r"odd\.safetensors: rpn: "),
        ({"categories": "cocoa"}, r"odd\.safetensors: categories: no class list called 'cocoa'"),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}, "id 1 occurs twice"),
        ({}, "has no categories"),
        ({"categories": ["a"]}, r"odd\.safetensors does not fit the recipe: \d+ missing"),
        ({"categories": ["a"], "fpn": {"norm": "group", "channels": 100}}, "100 channels"),
        # more memory than any machine has: refused by the shapes, before anything is allocated
        ({"categories": ["a"], "box_head": {"fc_channels": 65_536}}, r"\d+ missing"),
        ({"categories": ["a"], "backbone": {"width": 65_536}}, r"\d+ missing|too large for this machine"),
        ({"categories": ["a"], "box_head": {"fc_channels": 800_000_000}}, "box_head.fc_channels: .* less than"),
        ({"categories": ["a"], "rpn": {"num_convs": 100_000_000}}, "rpn.num_convs: .* less than"),
    ],
    ids=str,
)
def test_a_recipe_in_the_header_is_checked_like_any_other(tmp_path, recipe, message) -> None:
    path = write_raw(tmp_path / "odd.safetensors", {"format": FORMAT, "recipe": recipe, "progress": {}})
    with pytest.raises(MaskwrightError, match=message) as raised:
        load(path, device="cpu")
    assert "\n" not in str(raised.value)

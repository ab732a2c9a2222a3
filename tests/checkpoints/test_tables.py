"""Weights are found behind whatever keys and prefixes training scripts put around them."""

from __future__ import annotations

import argparse
import itertools
from collections import OrderedDict, defaultdict
from datetime import datetime, timezone
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from maskwright.checkpoints.reading import ForeignWeights, read_weights
from maskwright.checkpoints.tables import weight_tables
from maskwright.errors import CheckpointError

# as much of a torchvision state dict as is needed to recognise it
STATE = {
    "backbone.body.conv1.weight": torch.randn(4, 3, 7, 7),
    **{f"backbone.body.layer3.{block}.conv1.weight": torch.zeros(1) for block in range(6)},
    "backbone.body.layer1.0.conv3.weight": torch.zeros(1),
    "rpn.head.cls_logits.weight": torch.zeros(3, 4, 1, 1),
    "roi_heads.box_predictor.cls_score.bias": torch.arange(3.0),
    "roi_heads.mask_predictor.mask_fcn_logits.weight": torch.zeros(3, 4, 1, 1),
}
OTHER = {key: value + 1 for key, value in STATE.items()}
OPTIMISER = {"state": {0: {"exp_avg": torch.zeros(3), "step": 4}}, "param_groups": [{"lr": 0.1, "params": [0]}]}


def read(tmp_path: Path, content: Any, *, is_zip: bool = True) -> ForeignWeights:
    torch.save(content, tmp_path / "model.pth", _use_new_zipfile_serialization=is_zip)
    return read_weights(tmp_path / "model.pth")


def prefixed(prefix: str, state: dict[str, Any] = STATE) -> dict[str, Any]:
    return {prefix + key: value for key, value in state.items()}


def assert_is(found: ForeignWeights, state: dict[str, Tensor]) -> None:
    assert (found.lineage, len(found.weights)) == ("torchvision", len(STATE))
    assert torch.equal(found.weights["backbone.stem.conv.weight"], state["backbone.body.conv1.weight"])


KEYS = ["model", "state_dict", "model_state_dict", "net", "weights", "ema", "model_ema", "ema_state_dict", "my own"]
PREFIXES = [
    "",
    "module.",
    "model.",
    "net.",
    "_orig_mod.",
    "module.model.",
    "module.module.",
    "model._orig_mod.",
    "a.b.c.",
]


@pytest.mark.parametrize(("key", "prefix"), list(itertools.product(["", *KEYS], PREFIXES)))
def test_a_key_and_a_prefix_are_taken_off(key, prefix) -> None:
    state = prefixed(prefix)
    table = weight_tables({key: state, "epoch": 3, "optimizer": OPTIMISER} if key else state)
    assert any(part.weights.keys() == STATE.keys() for part in table)


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"model": {"state_dict": state}, "optimizer": OPTIMISER},
        lambda state: {"ema": {"module": prefixed("module.", state), "decay": 0.9}},
        lambda state: {"state_dict": prefixed("model.", state) | {"criterion.weight": torch.ones(4)}},
        lambda state: {key.replace("backbone.", "backbone._orig_mod."): value for key, value in state.items()},
        lambda state: {key.replace("rpn.", "rpn.module."): value for key, value in state.items()},
        lambda state: [state, 3],
        lambda state: (3, OrderedDict(state)),
        lambda state: defaultdict(list, model=defaultdict(int, state)),
        lambda state: {"model": {key: value.numpy() for key, value in state.items()}},
        lambda state: {"model": {key: torch.nn.Parameter(value) for key, value in state.items()}},
        lambda state: {"optimizer": OPTIMISER, "epoch": np.int64(3), "net": state},
        lambda state: {"state_dict": state | {"a._extra_state": None, "b.version": 3}},
        lambda state: {**nested(state), "epoch": 3},
        lambda state: {"model": nested(state), "lr": 0.1},
    ],
)
def test_weights_are_found_however_they_are_wrapped(tmp_path, wrap, is_zip) -> None:
    assert_is(read(tmp_path, wrap(STATE), is_zip=is_zip), STATE)


def nested(state: dict[str, Tensor]) -> dict[str, Any]:
    """A table for each module."""
    tables: dict[str, Any] = {}
    for name, value in state.items():
        *path, last = name.split(".")
        table = tables
        for key in path:
            table = table.setdefault(key, {})
        table[last] = value
    return tables


class Colour(Enum):
    RED = 1


class Table(OrderedDict):
    """As configuration libraries have them."""


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "legacy"])
def test_objects_beside_the_weights_are_left_out(tmp_path, is_zip) -> None:
    beside = {
        "args": argparse.Namespace(lr=0.1, device=torch.device("cpu"), path=PurePosixPath("a")),
        "when": datetime(2020, 1, 2, tzinfo=timezone.utc),
        "best": np.float64(0.5),
        "rng": np.random.default_rng(0).bit_generator.state,
        "colour": Colour.RED,
        "function": torch.relu,
        "config": Table(a=1),
        "version": torch.__version__,
        "dtype": torch.float16,
        "size": torch.Size([2]),
    }
    found = read(tmp_path, {"model": Table(STATE), **beside}, is_zip=is_zip)
    assert_is(found, STATE)
    assert {"argparse.Namespace", "datetime.datetime"} <= set(found.left_out)


def test_plain_weights_come_before_averaged_ones_which_are_reported(tmp_path) -> None:
    found = read(tmp_path, {"model_ema": {"module": OTHER}, "model": STATE, "swa_state": dict(OTHER)})
    assert_is(found, STATE)
    assert found.found_in == "model."
    assert found.others == ("model_ema.", "swa_state.")
    assert_is(read(tmp_path, {"ema": OTHER, "epoch": 3}), OTHER)


def test_a_backbone_is_found_behind_a_prefix_where_little_else_is_there(tmp_path) -> None:
    backbone = {
        "conv1.weight": torch.ones(4, 3, 7, 7),
        "bn1.weight": torch.ones(4),
        "layer1.0.conv1.weight": torch.ones(9),
    }
    found = read(tmp_path, {"state_dict": {**prefixed("backbone.", backbone), "head.weight": torch.ones(2)}})
    assert (found.is_backbone, found.lineage, len(found.weights)) == (True, "torchvision", 3)
    others = {f"decoder.{n}.weight": torch.ones(2) for n in range(40)}
    with pytest.raises(CheckpointError, match="of no format known here"):
        read(tmp_path, {"state_dict": {**prefixed("backbone.", backbone), **others}})


@pytest.mark.parametrize(
    "value", [torch.eye(2).to_sparse(), torch.zeros(2, device="meta"), torch.zeros(1).expand(10**12)]
)
def test_a_weight_without_all_of_its_values_is_refused_by_name(tmp_path, value) -> None:
    with pytest.raises(CheckpointError, match=r"model\.pth: its rpn\.x is a tensor .*; save it dense"):
        read(tmp_path, {"model": {**STATE, "rpn.x": value}})
    assert_is(read(tmp_path, {"model": STATE, "other": value}), STATE)


def test_weights_that_layers_share_may_be_named_several_times_but_not_without_end(tmp_path) -> None:
    large = torch.zeros(1000, 1000)
    shared = {f"rpn.shared.{n}": large for n in range(4)}
    assert len(read(tmp_path, STATE | shared).weights) == len(STATE) + 4
    with pytest.raises(CheckpointError, match="more than its bytes can hold"):
        read(tmp_path, STATE | {f"rpn.shared.{n}": large for n in range(40)})

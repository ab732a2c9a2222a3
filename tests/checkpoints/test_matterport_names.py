"""matterport's files, the port's and Keras's: names, axes, order of channels."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from maskwright.checkpoints.fitting import compare_weights
from maskwright.checkpoints.keras import read_keras
from maskwright.checkpoints.matterport import (
    MATTERPORT,
    from_matterport,
    is_matterport,
    is_matterport_backbone,
)
from maskwright.checkpoints.reading import read_weights
from maskwright.config import load_recipe
from maskwright.errors import CheckpointError
from maskwright.models.build import build_model


def recognise(state: dict[str, torch.Tensor]) -> tuple[str, dict[str, Any]]:
    """The recipe that keys and shapes prove, and the overrides."""
    recipe, implied, _ = MATTERPORT.read(state)
    assert recipe is not None
    return recipe, implied


def test_the_recorded_model_is_recognised_and_fills_the_network(recorded) -> None:
    state = recorded("matterport/resnet101_coco")
    assert is_matterport(set(state))
    recipe = load_recipe(*recognise(state))
    assert recipe == load_recipe("matterport/mask_rcnn_r101")
    weights = from_matterport(state)
    assert len(weights) == len(state)
    with torch.device("meta"):
        assert compare_weights(weights, build_model(recipe)).is_exact


def test_deltas_are_put_into_the_order_x_y_w_h_and_background_last() -> None:
    state = {
        "rpn.conv_bbox.bias": torch.arange(8.0),
        "rpn.conv_bbox.weight": torch.arange(8.0)[:, None, None, None].expand(-1, 2, 1, 1),
        "rpn.conv_class.bias": torch.arange(4.0),
        "classifier.linear_bbox.bias": torch.arange(12.0),
        "classifier.linear_class.bias": torch.arange(3.0),
        "mask.conv5.bias": torch.arange(3.0),
    }
    named = from_matterport(state)
    assert named["rpn.head.deltas.bias"].tolist() == [1, 0, 3, 2, 5, 4, 7, 6]
    assert named["rpn.head.deltas.weight"][:, 1, 0, 0].tolist() == [1, 0, 3, 2, 5, 4, 7, 6]
    assert named["rpn.head.objectness.bias"].tolist() == [0, 1, 2, 3]
    assert named["box_head.deltas.bias"].tolist() == [5, 4, 7, 6, 9, 8, 11, 10]
    assert named["box_head.class_logits.bias"].tolist() == [1, 2, 0]
    assert named["mask_head.logits.bias"].tolist() == [1, 2]


def test_convolutions_over_a_whole_roi_become_linear_layers() -> None:
    weight = torch.randn(4, 3, 7, 7)
    linear = from_matterport({"classifier.conv1.weight": weight})["box_head.fcs.0.linear.weight"]
    rois = torch.randn(2, 3, 7, 7)
    wanted = torch.nn.functional.conv2d(rois, weight)[:, :, 0, 0]
    assert torch.allclose(torch.nn.functional.linear(rois.flatten(1), linear), wanted, atol=1e-4)


def test_a_key_without_a_rule_keeps_its_name() -> None:
    assert list(from_matterport({"fpn.C6.0.se.weight": torch.zeros(1)})) == ["fpn.C6.0.se.weight"]


h5py = pytest.importorskip("h5py")


@pytest.fixture
def keras_file(shared) -> Path:
    return shared / "parity" / "matterport" / "keras_h5" / "reduced.h5"


def assert_expected(found: dict[str, Tensor], shared: Path) -> None:
    table = shared / "parity" / "matterport" / "keras_h5" / "reduced_expected.json"
    expected = json.loads(table.read_text(encoding="utf-8"))["keys"]
    assert set(found) == {key for key in expected if not key.endswith("num_batches_tracked")}
    for key, value in found.items():
        rule = expected[key]
        assert list(value.shape) == rule["shape"], key
        samples = torch.tensor(rule["sample_value"])
        assert torch.equal(value.flatten()[rule["sample_flat_index"]], samples), key
        assert value.double().sum().item() == pytest.approx(rule["sum"], abs=1e-4)


def test_a_keras_file_gets_the_names_and_axes_of_the_port(keras_file, shared) -> None:
    assert_expected(read_keras(keras_file), shared)


def test_a_whole_model_file_of_keras_holds_the_same(keras_file, shared, tmp_path) -> None:
    with h5py.File(keras_file) as source, h5py.File(tmp_path / "whole.h5", "w") as target:
        target.attrs["model_config"] = '{"class_name": "Lambda"}'
        for name in source:
            source.copy(name, target.require_group("model_weights"))
    assert_expected(read_keras(tmp_path / "whole.h5"), shared)


def test_a_keras_file_is_recognised_by_its_parts(keras_file) -> None:
    found = read_weights(keras_file)
    assert (found.lineage, found.recipe_name) == ("matterport", "matterport/mask_rcnn_r101")
    assert found.implied["categories"] == ["class 1", "class 2", "class 3", "class 4"]
    with torch.device("meta"):  # the file has a sixteenth of the channels
        model = build_model(load_recipe(found.recipe_name))
    report = compare_weights(found.weights, model)
    assert not (report.missing or report.unexpected)


def test_every_recorded_pair_of_names_is_known(shared) -> None:
    from maskwright.checkpoints.keras import _name

    rows = json.loads((shared / "parity/matterport/keras_h5/name_map.json").read_text(encoding="utf-8"))["rows"]
    assert len(rows) == 690
    for row in rows:
        layer, part = row["h5_path"].split("/")[-2:]
        assert _name(layer, part) == row["pytorch_key"]


def test_an_imagenet_file_is_a_backbone(keras_file, tmp_path) -> None:
    with h5py.File(keras_file) as source, h5py.File(tmp_path / "imagenet.h5", "w") as target:
        for name in source:
            if name.startswith(("conv1", "bn_conv1", "res", "bn2", "bn3", "bn4", "bn5")):
                source.copy(name, target)
    assert is_matterport_backbone(set(read_keras(tmp_path / "imagenet.h5")))
    assert read_weights(tmp_path / "imagenet.h5").is_backbone


def test_links_to_other_files_are_not_followed(tmp_path) -> None:
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["conv1/kernel:0"] = [1.0]
    with h5py.File(tmp_path / "model.h5", "w") as file:
        file["fc/bias:0"] = [2.0]
        file["conv1"] = h5py.ExternalLink("secret.h5", "/conv1")
        file["again"] = h5py.SoftLink("/again")
        file["model_weights"] = h5py.ExternalLink("secret.h5", "/")
    assert list(read_keras(tmp_path / "model.h5")) == ["fc.bias"]


def test_an_array_where_a_whole_models_weights_are_expected_is_refused(tmp_path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["model_weights"] = [1.0]
        file["float"] = file["model_weights"].dtype  # a named type, which is neither group nor array
    with pytest.raises(CheckpointError, match=r"x\.h5: its keys \(\.model_weights, …\) are of no format known"):
        read_weights(tmp_path / "x.h5")


@pytest.mark.parametrize("kind", ["text", "half", "huge", "texts"])
def test_broken_keras_files_are_refused_in_one_line(keras_file, tmp_path, kind) -> None:
    path = tmp_path / "x.h5"
    shutil.copy(keras_file, path)
    if kind == "text":
        path.write_text("no weights")
    elif kind == "half":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        with h5py.File(path, "w") as file:
            if kind == "huge":
                file.create_dataset("conv1/kernel:0", (10**6, 10**6), "f4", chunks=(1000, 1000))
            else:
                file["conv1/kernel:0"] = ["a"]
    with pytest.raises(CheckpointError, match=r"x\.h5 cannot be read \(") as raised:
        read_weights(path)
    assert "\n" not in str(raised.value)

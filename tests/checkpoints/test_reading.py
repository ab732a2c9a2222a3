"""Checkpoint files of all kinds, whole, broken and hostile: read, or refused in one line, and never executed."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from maskwright.checkpoints.reading import read_weights
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


class Attack:
    """Unpickling it runs a command that leaves a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.marker}'",)


def with_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"module.{key}": value for key, value in state.items()}


@pytest.mark.parametrize(
    "wrap",
    [
        dict,
        OrderedDict,
        with_prefix,
        lambda state: {"model": state, "epoch": 3},
        lambda state: {"state_dict": state, "optimizer": {"lr": [0.1]}},
        lambda state: {"model": with_prefix(state)},
        lambda state: {key: torch.nn.Parameter(value) for key, value in state.items()},
    ],
    ids=["plain", "ordered", "module", "model", "state_dict", "model and module", "parameters"],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_state_dicts_are_found_however_they_are_wrapped(tmp_path, wrap: Callable[..., Any], zipped: bool) -> None:
    path = tmp_path / "model.pth"
    torch.save(wrap(STATE), path, _use_new_zipfile_serialization=zipped)
    found = read_weights(path)
    assert (found.lineage, found.recipe_name) == ("torchvision", "torchvision/mask_rcnn_r50_fpn")
    assert found.implied["backbone.depth"] == 50
    assert found.implied["categories"] == ["class 1", "class 2"]
    assert torch.equal(found.weights["backbone.stem.conv.weight"], STATE["backbone.body.conv1.weight"])
    assert found.weights["box_head.class_logits.bias"].tolist() == [1, 2, 0]
    assert len(found.weights) == len(STATE)


def test_foreign_weights_may_come_as_safetensors(tmp_path) -> None:
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(STATE, path)
    assert read_weights(path).lineage == "torchvision"


@pytest.mark.parametrize("name", ["model.ckpt", "model.bin", "model.pth.tar", "model.pkl", "model", "model.weights"])
@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors", "pickle"])
def test_a_file_is_read_by_its_content_whatever_its_name(tmp_path, name, form) -> None:
    path = tmp_path / name
    if form == "safetensors":
        safetensors.torch.save_file(STATE, path)
    elif form == "pickle":
        path.write_bytes(pickle.dumps({"model": STATE}))
    else:
        torch.save(STATE, path, _use_new_zipfile_serialization=form == "zip")
    found = read_weights(path)
    assert (found.lineage, len(found.weights)) == ("torchvision", len(STATE))
    assert torch.equal(found.weights["backbone.stem.conv.weight"], STATE["backbone.body.conv1.weight"])


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("is_hidden", [True, False], ids=["among weights", "alone"])
def test_a_pickle_that_would_run_a_command_is_refused_and_does_not_run(tmp_path, zipped, is_hidden) -> None:
    marker, path = tmp_path / "marker", tmp_path / "model.pth"
    attack = Attack(marker)
    torch.save({**STATE, "extra": attack} if is_hidden else attack, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"model\.pth is refused: .* could run code"):
        read_weights(path)
    assert not marker.exists()


def test_a_bare_pickle_that_would_run_a_command_does_not_run(tmp_path) -> None:
    marker, path = tmp_path / "marker", tmp_path / "model.pt"
    path.write_bytes(pickle.dumps(Attack(marker)))
    with pytest.raises(CheckpointError, match="refused"):
        read_weights(path)
    assert not marker.exists()
    pickle.loads(path.read_bytes())
    assert marker.exists()  # the attack is a real one


def test_a_pickled_module_is_refused(tmp_path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match=r"save only the state dict, with torch\.save"):
        read_weights(tmp_path / "model.pth")


def cut(path: Path, share: float, zipped: bool) -> None:
    torch.save(STATE, path, _use_new_zipfile_serialization=zipped)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def zip_of_nothing(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/readme", "no weights")


BROKEN: dict[str, Callable[[Path], object]] = {
    "text.pth": lambda path: path.write_text("epoch 1, loss 0.3\n" * 20),
    "json.pth": lambda path: path.write_text("{}"),
    "empty.pth": lambda path: path.write_bytes(b""),
    "zeros.pth": lambda path: path.write_bytes(bytes(1000)),
    "zip.pth": zip_of_nothing,
    "half.pth": lambda path: cut(path, 0.5, zipped=True),
    "nearly.pth": lambda path: cut(path, 0.98, zipped=True),
    "half_legacy.pth": lambda path: cut(path, 0.5, zipped=False),
    "start_legacy.pth": lambda path: cut(path, 0.02, zipped=False),
    "list.pth": lambda path: torch.save([1, 2], path),
    "number.pth": lambda path: torch.save(3, path),
    "nested.pth": lambda path: torch.save({"model": {"a": {"b": torch.zeros(1)}}}, path),
    "numbered.pth": lambda path: torch.save({0: torch.zeros(1)}, path),
    "sparse.pth": lambda path: torch.save({"a": torch.eye(2).to_sparse()}, path),
    "meta.pth": lambda path: torch.save({"a": torch.zeros(2, device="meta")}, path),
    "posing.pth": lambda path: torch.save({**STATE, "rpn.x": torch.zeros(1).expand(10**12)}, path),
    "nothing.pth": lambda path: torch.save({}, path),
    "text.safetensors": lambda path: path.write_text("epoch 1, loss 0.3\n" * 20),
    "empty.safetensors": lambda path: path.write_bytes(b""),
    "pickle.safetensors": lambda path: torch.save(STATE, path),
    "long.safetensors": lambda path: path.write_bytes(b"\xff" * 7 + b"\x7f{}"),
    "folder.pth": lambda path: path.mkdir(),
    "folder.safetensors": lambda path: path.mkdir(),
    "missing.pth": lambda path: None,
    "weights.h5": lambda path: path.write_bytes(b"\x89HDF"),
    "no_suffix": lambda path: path.write_bytes(b"?"),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.filterwarnings("error")
def test_what_is_no_checkpoint_is_refused_in_one_line_that_names_it(tmp_path, name) -> None:
    path = tmp_path / name
    BROKEN[name](path)
    with pytest.raises(CheckpointError) as raised:
        read_weights(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_bytes_that_flipped_are_refused_or_harmless(tmp_path, zipped) -> None:
    path, generator = tmp_path / "model.pth", torch.Generator().manual_seed(1)
    torch.save(STATE, path, _use_new_zipfile_serialization=zipped)
    data = path.read_bytes()
    for _ in range(150):
        broken = bytearray(data)
        for place in torch.randint(0, min(len(data), 3000), (3,), generator=generator).tolist():
            broken[place] = int(torch.randint(0, 256, (1,), generator=generator))
        path.write_bytes(broken)
        with suppress(CheckpointError):
            read_weights(path)


def test_unknown_keys_are_named(tmp_path) -> None:
    torch.save({"encoder.weight": torch.zeros(1), "decoder.weight": torch.zeros(1)}, tmp_path / "other.pth")
    message = r"keys \(decoder\.weight, encoder\.weight, …\) .* known are maskwright, torchvision, detectron2, .*"
    with pytest.raises(CheckpointError, match=message):
        read_weights(tmp_path / "other.pth")


def test_a_backbone_that_is_no_resnet_is_refused_by_its_path(tmp_path) -> None:
    state = {key: value for key, value in STATE.items() if "layer3" not in key}
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"other\.pth: a backbone of 0 blocks .* is no ResNet"):
        read_weights(tmp_path / "other.pth")


def test_a_torchvision_model_without_masks_is_a_faster_rcnn(tmp_path) -> None:
    torch.save({key: value for key, value in STATE.items() if "mask" not in key}, tmp_path / "boxes.pth")
    assert read_weights(tmp_path / "boxes.pth").recipe_name == "torchvision/faster_rcnn_r50_fpn"


DETECTRON2 = {
    "proposal_generator.rpn_head.objectness_logits.weight": torch.zeros(3, 4, 1, 1),
    "backbone.bottom_up.stem.conv1.weight": torch.randn(4, 3, 7, 7),
    "backbone.bottom_up.res2.0.conv3.weight": torch.zeros(1),
    **{f"backbone.bottom_up.res4.{block}.conv1.weight": torch.zeros(1) for block in range(6)},
    "backbone.fpn_lateral2.weight": torch.zeros(1),
    "roi_heads.box_predictor.cls_score.bias": torch.arange(3.0),
}


@pytest.mark.parametrize("suffix", [".pth", ".pkl"])
def test_files_of_detectron2_are_read_with_what_its_trainings_add(tmp_path, suffix) -> None:
    path = tmp_path / f"model{suffix}"
    if suffix == ".pkl":
        arrays = {key: value.numpy() for key, value in DETECTRON2.items()}
        path.write_bytes(pickle.dumps({"model": arrays, "__author__": "Detectron2 Model Zoo"}, protocol=2))
    else:
        torch.save({"model": DETECTRON2, "iteration": 9, "optimizer": {}, "best_metric": np.float64(0.5)}, path)
    found = read_weights(path)
    assert (found.lineage, found.recipe_name) == ("detectron2", "detectron2/faster_rcnn_r50_fpn")
    stem = found.weights["backbone.stem.conv.weight"]
    assert torch.equal(stem, DETECTRON2["backbone.bottom_up.stem.conv1.weight"])


def test_msras_imagenet_files_are_backbones(tmp_path) -> None:
    blobs = {"conv1_w": np.ones((4, 3, 7, 7), "f4"), "res_conv1_bn_s": np.ones(4, "f4"), "fc1000_w": np.ones(2, "f4")}
    blobs |= {"res2_0_branch2a_w": np.ones((4, 4, 1, 1), "f4")}
    for content in (blobs, {"blobs": blobs}):
        (tmp_path / "R-50.pkl").write_bytes(pickle.dumps(content, protocol=2))
        found = read_weights(tmp_path / "R-50.pkl")
        assert (found.lineage, found.is_backbone) == ("caffe2", True)
        assert set(found.weights) == {
            "backbone.stem.conv.weight",
            "backbone.stages.0.0.conv1.conv.weight",
            *(f"backbone.stem.norm.{part}" for part in ("weight", "running_mean", "running_var")),
        }


def test_a_yolact_without_anchors_is_refused_by_its_path(tmp_path) -> None:
    state = {"proto_net.0.weight": torch.zeros(1), "prediction_layers.0.conf_layer.weight": torch.zeros(1)}
    torch.save(state, tmp_path / "half.pth")
    with pytest.raises(CheckpointError, match=r"half\.pth: .*bbox_layer\.bias is no list"):
        read_weights(tmp_path / "half.pth")


@pytest.mark.parametrize(
    ("lineage", "state"),
    [
        ("torchvision", {"conv1.weight": 4, "bn1.weight": 4, "layer1.0.conv1.weight": 4, "fc.weight": 9}),
        ("yolact", {"_preconv.0.weight": 4, "layers.0.1.conv1.0.weight": 4}),
    ],
)
def test_a_file_with_only_a_backbone_is_known_as_one(tmp_path, lineage, state) -> None:
    torch.save({key: torch.zeros(length) for key, length in state.items()}, tmp_path / "backbone.pth")
    found = read_weights(tmp_path / "backbone.pth")
    assert (found.lineage, found.is_backbone, found.recipe_name) == (lineage, True, None)
    assert all(name.startswith("backbone.st") for name in found.weights)


def test_a_model_is_no_backbone(tmp_path) -> None:
    torch.save(STATE, tmp_path / "model.pth")
    assert not read_weights(tmp_path / "model.pth").is_backbone


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".h5", ".npz", ""])
def test_an_empty_file_is_called_empty(suffix, tmp_path):
    (tmp_path / f"model{suffix}").touch()
    with pytest.raises(CheckpointError, match=r"is empty \(0 bytes\)"):
        read_weights(tmp_path / f"model{suffix}")


def test_a_tensor_without_a_name_is_no_state_dict(tmp_path):
    torch.save(torch.zeros(3), tmp_path / "tensor.pth")
    with pytest.raises(CheckpointError, match="holds no state dict"):
        read_weights(tmp_path / "tensor.pth")

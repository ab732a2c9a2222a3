"""Files of other programs: each is told what it is, and the way out."""

from __future__ import annotations

import argparse
import json
import sys
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from maskwright.checkpoints.reading import read_weights
from maskwright.errors import CheckpointError

ONE = torch.zeros(1)


def saved(content: Any) -> Callable[[Path], object]:
    return lambda path: torch.save(content, path)


def of_class(name: str) -> Callable[[Path], None]:
    """Saves a table with a module whose class says that it is a program's."""
    place, _, last = name.rpartition(".")
    kind = type(last, (torch.nn.Sequential,), {"__module__": place})

    def write(path: Path) -> None:
        names = [".".join(place.split(".")[: count + 1]) for count in range(place.count(".") + 1)]
        with pytest.MonkeyPatch.context() as patched:
            for inner in names:
                patched.setitem(sys.modules, inner, types.ModuleType(inner))
            setattr(sys.modules[place], last, kind)
            torch.save({"model": kind(torch.nn.Linear(2, 2)), "ema": None}, path)

    return write


def scripted(path: Path) -> None:
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), path)


def zipped(*names: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, "x")

    return write


MMDETECTION = {f"{part}.weight": ONE for part in ("backbone.conv1", "backbone.bn1", "backbone.layer1.0.conv1")}
MMDETECTION |= {"neck.lateral_convs.0.conv.weight": ONE, "roi_head.bbox_head.fc_cls.weight": ONE}
FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "yolo11n-seg.pt": (
        of_class("ultralytics.nn.tasks.SegmentationModel"),
        "is a YOLO model of Ultralytics, .*; predict with ultralytics, or train yolact on the same labels",
    ),
    "yolo_state.pth": (saved({"model.0.conv.weight": ONE, "model.22.cv2.0.0.conv.weight": ONE}), "of Ultralytics"),
    "epoch_12.pth": (
        saved({"meta": {"CLASSES": ["a"]}, "state_dict": MMDETECTION}),
        "is a model of mmdetection, .*; predict with mmdetection, or train",
    ),
    "one_stage.pth": (saved({"state_dict": {"bbox_head.fcos_cls.weight": ONE}}), "of mmdetection"),
    "rf-detr.pth": (
        saved({"model": {"refpoint_embed.weight": ONE, "transformer.x": ONE}, "args": argparse.Namespace(a=1)}),
        "is a model of RF-DETR, .*; predict with rfdetr, or train",
    ),
    "scripted.pt": (scripted, r"is a TorchScript program, .* torch\.save\(torch\.jit\.load\(FILE\)\.state_dict\(\)"),
    "whole.pth": (saved(torch.nn.Sequential(torch.nn.Linear(2, 2))), r"holds a whole pickled model \(torch\.nn\..*"),
    "whole_in_table.pth": (
        saved({"model": torch.nn.Linear(2, 2), "epoch": 3}),
        r"whole pickled model .* save only the state dict, with torch\.save\(model\.state_dict\(\)",
    ),
    "model.onnx": (
        lambda path: path.write_bytes(b"\x08\x08\x12\x07pytorch\x1a\x052.1.0:\x80\x01" + bytes(50)),
        "is an ONNX model, .*; give the .pth or .safetensors file of the weights that it was made from",
    ),
    "model.engine": (lambda path: path.write_bytes(b"ptrt" + bytes(60)), "is a TensorRT engine, .*; give the .pth"),
    "model.tflite": (lambda path: path.write_bytes(b"\x1c\0\0\0TFL3" + bytes(60)), "is a TensorFlow Lite model"),
    "model.keras": (zipped("metadata.json", "config.json", "model.weights.h5"), "is a Keras 3 archive; .* as .h5"),
    "weights.zip": (zipped("run/model.pth"), r"is an archive; unpack it and give the file inside \(run/model\.pth\)"),
    "pointer.pth": (
        lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
        "is a pointer of Git LFS, not the file itself; fetch that with git lfs pull",
    ),
    "page.pth": (lambda path: path.write_text("<!DOCTYPE html><html></html>"), "is a web page, not the file"),
    "model.tar.gz": (lambda path: path.write_bytes(b"\x1f\x8b\x08\0" + bytes(60)), "is a compressed archive; unpack"),
    "config.json": (lambda path: path.write_text("{}"), "is a JSON file without weights"),
    "mask2former.safetensors": (
        lambda path: safetensors.torch.save_file({"model.pixel_level_module.encoder.a": ONE}, path),
        "of the DETR kind .* predict with its program",
    ),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.filterwarnings("ignore")
def test_a_file_of_another_program_is_named_with_the_way_out(tmp_path, name) -> None:
    write, message = FILES[name]
    write(tmp_path / name)
    with pytest.raises(CheckpointError, match=f"checkpoint .*{name} .*{message}") as raised:
        read_weights(tmp_path / name)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["config.json", "model.safetensors"], "is a model folder of Hugging Face's transformers"),
        (["config.json", "pytorch_model.bin"], "is a model folder of Hugging Face's transformers"),
        (
            ["checkpoints/best.safetensors", "log.jsonl"],
            "is the folder of a run; give its checkpoints/best.safetensors",
        ),
        (["saved_model.pb"], "is a TensorFlow SavedModel"),
        (["last_checkpoint", "model_final.pth"], "is the folder of a detectron2 run; give its model_final.pth"),
        (["model.pth"], "is a folder; give the checkpoint file in it"),
        ([], "is a folder"),
    ],
)
def test_an_error_says_what_a_folder_is(tmp_path, files, message) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps({}))
    with pytest.raises(CheckpointError, match=message):
        read_weights(tmp_path)

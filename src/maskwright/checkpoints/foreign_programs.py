"""Checkpoints and model files of programs with networks that maskwright does not have: their names, and the way out."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskwright.checkpoints.pickle_machine import ForeignObject

_TRAIN = "train one of the networks here on your labels, with maskwright train"
_ASK = "give the .pth or .safetensors file of the weights that it was made from"
_SAVE = "save only the state dict, with torch.save(model.state_dict(), …)"

# the first bytes of a file → what it is and the way out
_STARTS: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"ptrt|ftrt"), f"is a TensorRT engine, compiled for one GPU, and holds no weights by name; {_ASK}"),
    (re.compile(rb"....TFL3", re.DOTALL), f"is a TensorFlow Lite model, a fixed program; {_ASK}"),
    (
        re.compile(rb"\x08[\x01-\x20](?:\x12|\x1a|:|B)"),
        f"is an ONNX model, a fixed program without named layers; {_ASK}",
    ),
    (re.compile(rb"GGUF"), f"is a GGUF file of a language model; {_ASK}"),
    (
        re.compile(rb"version https://git-lfs"),
        "is a pointer of Git LFS, not the file itself; fetch that with git lfs pull, or download it with a browser",
    ),
    (re.compile(rb"\s*<(?:!doctype|html)", re.IGNORECASE), "is a web page, not the file; download it with a browser"),
    (
        re.compile(rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|Rar!"),
        "is a compressed archive; unpack it and give the file inside",
    ),
    (re.compile(rb".{257}ustar", re.DOTALL), "is a tar archive; unpack it and give the file inside"),
)
# files of a folder → what it is and the way out
_FOLDERS: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("checkpoints/best.safetensors", "checkpoints/last.safetensors"),
        "is the folder of a run; give its checkpoints/best.safetensors or checkpoints/last.safetensors",
    ),
    (
        ("config.json", "model.safetensors", "pytorch_model.bin", "model.safetensors.index.json"),
        "is a model folder of Hugging Face's transformers, which maskwright does not have; "
        "predict with transformers, or " + _TRAIN,
    ),
    (("saved_model.pb",), f"is a TensorFlow SavedModel, a fixed program; {_ASK}"),
    ((".metadata",), "is a sharded checkpoint of torch.distributed; join it with dcp_to_torch_save of torch"),
    (("Manifest.json",), f"is a Core ML package, a fixed program; {_ASK}"),
    (("last_checkpoint",), "is the folder of a detectron2 run; give its model_final.pth"),
)


def describe_folder(folder: Path) -> str:
    """What a folder given as a checkpoint is, and which file to give instead."""
    for names, description in _FOLDERS:
        if any((folder / name).exists() for name in names):
            return description
    return "is a folder; give the checkpoint file in it"


def describe_start(start: bytes) -> str | None:
    """What a file with these first bytes is, and the way out; None where they are unknown."""
    return next((description for pattern, description in _STARTS if pattern.match(start)), None)


def describe_zip(path: Path) -> str | None:
    """What a zip file that torch.save did not write is, and the way out; None where it may be torch's."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return None
    lasts = {name.rpartition("/")[2] for name in names}
    if "constants.pkl" in lasts:
        return (
            "is a TorchScript program, which cannot be read without running it; where you trust it, "
            'torch.save(torch.jit.load(FILE).state_dict(), "weights.pth") leaves its weights'
        )
    if "model.weights.h5" in lasts:
        return "is a Keras 3 archive; save only the weights there, with model.save_weights, as .h5"
    if "data.pkl" in lasts:
        return None
    if any("archive_format" in name or name.endswith("serialized_exported_program.json") for name in names):
        return f"is a program of torch.export; {_ASK}"
    inner = [name for name in names if name.endswith((".pth", ".pt", ".pkl", ".h5", ".ckpt", ".safetensors"))]
    return f"is an archive; unpack it and give the file inside{f' ({inner[0]})' if inner else ''}"


def describe_json(path: Path) -> str | None:
    """What a small JSON file given as a checkpoint is; None where it is none."""
    try:
        table = json.loads(path.read_bytes()) if path.stat().st_size < 1 << 20 else None
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(table, dict):
        return None
    return "is a JSON file without weights; give the .safetensors, .pth or .bin file that belongs to it"


@dataclass(frozen=True)
class _Program:
    """A program by patterns of its classes, of its weights' names, and what to say."""

    classes: str
    names: str
    description: str


_PROGRAMS = (
    _Program(
        classes=r"^ultralytics\.|^models\.(yolo|common)\.",
        names=r"(^|\.)model\.\d+\.(conv|cv\d|m|bn)\.",
        description="is a YOLO model of Ultralytics, which maskwright does not have; predict with ultralytics, or "
        "train yolact on the same labels: maskwright train yolact data.train.format=yolo",
    ),
    _Program(
        classes=r"^rfdetr\.",
        names=r"(^|\.)refpoint_embed\.weight$|(^|\.)enc_out_class_embed\.",
        description=f"is a model of RF-DETR, which maskwright does not have; predict with rfdetr, or {_TRAIN}",
    ),
    _Program(
        classes=r"^mmdet\.",
        names=r"(^|\.)(roi_head\.(\w*bbox|\w*mask)_head|bbox_head|rpn_head\.rpn_(cls|reg|conv))\.",
        description=f"is a model of mmdetection, which maskwright does not read; predict with mmdetection, or {_TRAIN}",
    ),
    _Program(
        classes=r"^segment_anything\.|^sam2\.",
        names=r"(^|\.)(image_encoder|sam_mask_decoder|mask_decoder)\.",
        description="is a Segment Anything model, which maskwright does not have; predict with its program, or "
        + _TRAIN,
    ),
    _Program(
        classes=r"^(transformers|mask2former)\.",
        names=r"(^|\.)(pixel_level_module|pixel_decoder|transformer\.decoder|transformer_module|query_embed\w*)\.",
        description="is a model of the DETR kind (DETR, MaskFormer, Mask2Former), which maskwright does not have; "
        f"predict with its program, or {_TRAIN}",
    ),
    _Program(
        classes=r"^(cellpose|stardist|csbdeep)\.",
        names=r"(^|\.)downsample\.down\.res_down_\d",
        description=f"is a model of Cellpose, which maskwright does not have; predict with cellpose, or {_TRAIN}",
    ),
    _Program(
        classes=r"^detectron\.",
        names=r"(^|\.)(conv_rpn|rpn_cls_logits|fpn_inner)\w*_w$",
        description="is a whole model of Detectron on Caffe2, which maskwright does not read; the model zoo of "
        "detectron2 has the same models as .pkl files that are",
    ),
)


def describe_program(classes: Iterable[str], names: Iterable[str], content: Any = None) -> str | None:
    """Whose model a file with pickled `classes` and weights of these `names` is, and the way out.

    Returns:
        A sentence without its subject; None of a model that is not known here either.
    """
    classes, names = tuple(classes), tuple(names)
    for program in _PROGRAMS:
        if _any_match(program.classes, classes) or _any_match(program.names, names):
            return program.description
    module = _module_in(content)
    if module is None:
        return None
    return f"holds a whole pickled model ({module}), which cannot be read without running its code; {_SAVE}"


def _any_match(pattern: str, texts: Iterable[str]) -> bool:
    return any(re.search(pattern, text) for text in texts)


def _module_in(content: Any) -> str | None:
    """The class of a pickled torch module, by itself or in a table."""
    values = [content, *(content.values() if isinstance(content, dict) else ())]
    for value in values:
        if isinstance(value, ForeignObject) and isinstance(value.state, dict) and "_modules" in value.state:
            return value.name
    return None

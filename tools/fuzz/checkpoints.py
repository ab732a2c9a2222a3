"""Cases of checkpoints: files of every format, damaged, read as `load` and `inspect` read them; and made-up attacks."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import struct
import tempfile
from collections import OrderedDict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import torch
from mutations import ESCAPES, damaged, mutated
from trial import Case, message_flaw

import maskwright as mw
from maskwright.checkpoints.native import FORMAT, NativeCheckpoint, write_native
from maskwright.checkpoints.torchvision import to_torchvision
from maskwright.cli.inspect import inspect
from maskwright.predict.loading import load

_CASES_PER_FORMAT = 90
_TINY = {
    "categories": ["brick", "egg"],
    "backbone.depth": 18,
    "backbone.width": 8,
    "backbone.frozen_stages": 0,
    "fpn.channels": 4,
    "box_head.fc_channels": 4,
    "mask_head.num_convs": 1,
    "mask_head.channels": 4,
}
_OPCODES = bytes(code[0] for name, code in vars(pickle).items() if name.isupper() and isinstance(code, bytes) and code)


def cases(seed: int) -> Iterator[Case]:
    """Damaged files of each format by turns, and then the attacks."""
    with tempfile.TemporaryDirectory() as place:
        sound = {path.name: path.read_bytes() for path in _write_sound(Path(place))}
    for number in range(_CASES_PER_FORMAT * len(sound)):
        name = f"checkpoints {seed}:{number}"
        file = list(sound)[number % len(sound)]
        yield f"{name} {file}", partial(_run_damaged, name, file, sound[file])
    for attack, data in _attacks():
        yield f"checkpoints {attack}", partial(_run, attack, data)


def _write_sound(root: Path) -> list[Path]:
    """One small whole model in each format."""
    predictor = mw.load("mask_rcnn", "random", "cpu", _TINY)
    weights = dict(predictor.model.state_dict())
    recipe = predictor.recipe.model_dump(mode="json")
    progress = {"step": 3, "best": 0.25, "stale": 1}
    theirs = to_torchvision(weights)
    wrapped = {"model": OrderedDict(theirs), "epoch": 3, "optimizer": {"state": {0: {"step": torch.ones(1)}}}}
    arrays = {"model": {key: value.numpy() for key, value in theirs.items()}, "__author__": "x"}
    paths = [
        root / name for name in ("ours.safetensors", "theirs.safetensors", "zip.pth", "legacy.pth", "a.pkl", "b.pkl")
    ]
    write_native(paths[0], NativeCheckpoint(weights, recipe, {"step": torch.ones(1)}, progress))
    paths[1].write_bytes(_safetensors(theirs))
    torch.save(wrapped, paths[2])
    torch.save(wrapped, paths[3], _use_new_zipfile_serialization=False)
    paths[4].write_bytes(pickle.dumps(arrays, protocol=2))
    paths[5].write_bytes(pickle.dumps(arrays, protocol=5))
    return [*paths, *_write_keras(root / "keras.h5")]


def _safetensors(state: dict[str, torch.Tensor]) -> bytes:
    import safetensors.torch

    return safetensors.torch.save({key: value.contiguous() for key, value in state.items()})


def _write_keras(path: Path) -> list[Path]:
    try:
        import h5py
    except ImportError:
        return []
    with h5py.File(path, "w") as file:
        for layer, shape in (("conv1", (7, 7, 3, 4)), ("rpn_class_raw", (1, 1, 4, 6)), ("mrcnn_class_logits", (4, 3))):
            file[f"{layer}/{layer}/kernel:0"] = torch.zeros(shape).numpy()
            file[f"{layer}/{layer}/bias:0"] = torch.zeros(shape[-1]).numpy()
    return [path]


def _run_damaged(name: str, file: str, sound: bytes) -> None:
    rng = Random(name)  # noqa: S311 - reproducible, not secret
    ways = [damaged, _flip_start]
    if file.endswith(".safetensors"):
        ways = [_other_header, _other_header, *ways]
    elif file.endswith((".pth", ".pkl")):
        ways = [_other_steps, _other_steps, *ways]
    _run(file, rng.choice(ways)(sound, rng))


def _run(file: str, data: bytes) -> None:
    """As the command and the function of Python read it."""
    said = io.StringIO()
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / file
        path.write_bytes(data)
        try:
            with contextlib.redirect_stdout(said):
                inspect(path)
        finally:
            if flaws := [flaw for line in said.getvalue().splitlines() if (flaw := message_flaw(line))]:
                raise AssertionError(flaws[0])
        load(path, device="cpu")


def _flip_start(data: bytes, rng: Random) -> bytes:
    """Bits near the start, where the structure of a file is."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 2, 5))):
        changed[rng.randrange(min(len(changed), 3000))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _other_steps(data: bytes, rng: Random) -> bytes:
    """Steps of a pickle in place of others."""
    changed = bytearray(data)
    start = max(0, data.find(b"\x80"))
    for _ in range(rng.choice((1, 3, 10))):
        changed[rng.randrange(start, min(len(changed), start + 20_000))] = rng.choice(_OPCODES)
    return bytes(changed)


def _other_header(data: bytes, rng: Random) -> bytes:
    """The table of tensors, or the recipe and the progress in it, damaged as tables."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    ours = header.get("__metadata__", {}).get("maskwright")
    if ours is not None and rng.random() < 0.8:
        header["__metadata__"]["maskwright"] = json.dumps(mutated(json.loads(ours), rng))
    else:
        header = mutated(header, rng)
    return _with_header(header) + data[8 + length :]


def _with_header(header: Any) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text


def _ours(recipe: Any, progress: Any = None) -> bytes:
    told = {"format": FORMAT, "recipe": recipe, "progress": progress or {}}
    return _with_header({"__metadata__": {"maskwright": json.dumps(told)}})


def _attacks() -> Iterator[tuple[str, bytes]]:
    """Files that expand, hang or lie, each small."""
    for kind, twice in (("tuples", b"r<0j<j<\x86"), ("lists", b"r<0](j<j<e"), ("tables", b"r<0}(K\x01j<K\x02j<u")):
        steps = b"".join(twice.replace(b"<", struct.pack("<I", n)) for n in range(200))
        yield f"{kind}.pkl", b"\x80\x02)" + steps + b"."
        yield f"{kind}_as_key.pkl", b"\x80\x02})" + steps + b"K\x01s."
    yield "nested.pkl", b"\x80\x02" + b"]" * 15_000_000 + b"a" * 14_999_999 + b"."
    yield "many.pth", b"\x80\x02" + b"}" * 30_000_000
    yield (
        "integer.pkl",
        b"\x80\x02\x8b\x00\x00\x00\x01" + b"\x7f" * (1 << 24) + b"q\x00}" + b"(h\x00h\x00u" * 10_000 + b".",
    )
    yield "text.pkl", b"\x80\x02X\x00\x00\x00\x7fabc."
    for key, value in (("rpn.num_convs", 10**8), ("box_head.num_fcs", 10**30), ("backbone.width", 10**12)):
        table, _, last = key.partition(".")
        yield f"{last}.safetensors", _ours({"categories": ["a"], table: {last: value}})
    yield "anchors.safetensors", _ours({"categories": ["a"], "anchors": {"sizes_px": [[8] * 10**6] * 5}})
    yield "categories.safetensors", _ours({"categories": [f"c{n}" for n in range(300_000)]})
    yield "escapes.safetensors", _ours({"categories": [ESCAPES]})
    yield "long.safetensors", _ours({"name": "x" * 5000, "categories": ["y" * 5000]})
    yield "deep.safetensors", _with_header({"__metadata__": {"maskwright": "[" * 10**6}})
    yield "lists.safetensors", _with_header({"__metadata__": {"maskwright": "[" + "[]," * 10**7 + "[]]"}})
    for progress in ({"step": "x"}, {"best": "x"}, {"best": [1]}, {"step": 1, "best": 10**400}, {"step": {}}):
        yield f"progress {progress!s:.20}.safetensors", _ours({"categories": ["a"]}, progress)
    yield from _many_names()
    yield from _lattice_of_groups()


def _many_names() -> Iterator[tuple[str, bytes]]:
    state = {f"model.{'a.' * 60}{n}.rpn.head.cls_logits.weight": torch.zeros(0) for n in range(30_000)}
    file = io.BytesIO()
    torch.save(state, file, _use_new_zipfile_serialization=False)
    yield "names.pth", file.getvalue()
    classes = {
        "rpn.head.cls_logits.weight": torch.zeros(1),
        "roi_heads.box_predictor.cls_score.bias": torch.zeros(10**7),
    }
    classes |= {f"backbone.body.layer3.{n}.conv1.weight": torch.zeros(1) for n in range(6)}
    classes |= {"backbone.body.layer1.0.conv3.weight": torch.zeros(1), "backbone.body.layer9" * 20: torch.zeros(1)}
    file = io.BytesIO()
    torch.save(classes, file)
    yield "classes.pth", file.getvalue()


def _lattice_of_groups() -> Iterator[tuple[str, bytes]]:
    """Groups that hold the next one twice; and arrays that are large and nowhere."""
    try:
        import h5py
    except ImportError:
        return
    for name, fill in (("lattice", _fill_lattice), ("huge", _fill_huge)):
        file = io.BytesIO()
        with h5py.File(file, "w") as target:
            fill(target)
        yield f"{name}.h5", file.getvalue()


def _fill_lattice(file: Any) -> None:
    group = file
    for _ in range(40):
        inner = group.create_group("a")
        group["b"] = inner
        group = inner
    group["kernel:0"] = [1.0]
    group["up"] = file["a"]


def _fill_huge(file: Any) -> None:
    for n in range(100):
        file.create_dataset(f"conv{n}/kernel:0", (30_000, 30_000), "f4", chunks=(1000, 1000), compression="gzip")

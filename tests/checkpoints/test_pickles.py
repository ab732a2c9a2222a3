"""Pickles are read as data: arrays arrive, and whatever would run something is refused and does not run."""

from __future__ import annotations

import argparse
import builtins
import os
import pickle
import struct
from collections import Counter, OrderedDict, defaultdict
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from time import perf_counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from maskwright.checkpoints.pickle_machine import ForeignObject, Named
from maskwright.checkpoints.pickles import StoredArray
from maskwright.checkpoints.reading import read_weights
from maskwright.checkpoints.torch_files import read_bare_pickle
from maskwright.errors import CheckpointError

DTYPES = ["float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool", ">f4", ">i8"]


def reread(tmp_path: Path, content: Any, protocol: int) -> Any:
    (tmp_path / "file.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    return plain(read_bare_pickle(tmp_path / "file.pkl").content)


def plain(content: Any) -> Any:
    """Arrays as tensors."""
    if isinstance(content, dict):
        return {key: plain(value) for key, value in content.items()}
    return content.tensor if isinstance(content, StoredArray) else content


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0), (2, 3, 4)])
def test_arrays_arrive_as_they_were(tmp_path, protocol, dtype, shape) -> None:
    array = np.asarray(np.arange(np.prod(shape, dtype=int)).reshape(shape) % 2, dtype=dtype)
    found = reread(tmp_path, {"a": array}, protocol)["a"]
    wanted = torch.from_numpy(np.asarray(array.astype(array.dtype.newbyteorder("="))))
    assert torch.equal(found, wanted)
    assert found.dtype == wanted.dtype


@pytest.mark.parametrize("protocol", [2, 5])
def test_arrays_in_fortrans_order_keep_their_values(tmp_path, protocol) -> None:
    array = np.asfortranarray(np.arange(24.0).reshape(2, 3, 4))
    assert torch.equal(reread(tmp_path, array, protocol), torch.arange(24.0, dtype=torch.float64).view(2, 3, 4))


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_tables_texts_and_numbers_are_data_too(tmp_path, protocol) -> None:
    content = OrderedDict(model={"n": np.zeros(2)}, author="me", best=np.float64(0.5), steps=[1, (2, None)], tags={"a"})
    found = reread(tmp_path, content, protocol)
    assert found["model"]["n"].tolist() == [0, 0]
    assert (found["author"], found["best"], found["steps"], found["tags"]) == ("me", 0.5, [1, (2, None)], ["a"])


def python_2_pickle(values: np.ndarray) -> bytes:
    """What Python 2 and an old numpy wrote at protocol 2: bytes as texts of one byte each."""

    def text(data: bytes) -> bytes:
        return b"T" + struct.pack("<i", len(data)) + data

    dtype = (
        b"cnumpy\ndtype\nq\x01"
        + text(b"f4")
        + b"K\x00K\x01\x87R(K\x03"
        + text(b"<")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
    state = b"(K\x01K" + bytes([len(values)]) + b"\x85" + dtype + b"\x89" + text(values.tobytes()) + b"tb"
    return b"\x80\x02}" + text(b"conv1_w") + array + state + b"s."


def test_files_of_python_2_are_read(tmp_path) -> None:
    values = np.array([1.5, -2.25, 3e8], dtype="<f4")
    (tmp_path / "R-50.pkl").write_bytes(python_2_pickle(values))
    assert plain(read_bare_pickle(tmp_path / "R-50.pkl").content)["conv1_w"].tolist() == values.tolist()


class Call:
    """Unpickling it calls a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def attacks(marker: Path) -> dict[str, Any]:
    touch = f"touch '{marker}'"
    code = f"open({str(marker)!r}, 'w')"
    return {
        "system": Call(os.system, touch),
        "eval": Call(builtins.eval, code),
        "nested": {"model": {"a": np.zeros(2), "b": [Call(os.system, touch)]}},
        "objects": np.array([Call(os.system, touch)], dtype=object),
        "objects of none": np.array([None, 1], dtype=object),
        "texts": np.array(["a", "b"]),
        "record": np.zeros(2, dtype=[("a", "f4")]),
        "complex": np.zeros(2, dtype=complex),
        "memory": Call(bytes, 10**12),
        "tensor": torch.zeros(2),
        "path": marker,
        "load": Call(pickle.loads, pickle.dumps(Call(os.system, touch))),
        "numpy load": Call(np.load, str(marker)),
    }


@pytest.mark.parametrize("name", list(attacks(Path())))
@pytest.mark.parametrize("protocol", [2, 5])
def test_what_would_run_something_is_refused_and_does_not_run(tmp_path, name, protocol) -> None:
    marker, path = tmp_path / "marker", tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(attacks(marker)[name], protocol=protocol))
    with pytest.raises(CheckpointError) as raised:
        read_weights(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("name", "asked"), [("system", "posix.system"), ("eval", "builtins.eval"), ("load", "_pickle.loads")]
)
@pytest.mark.skipif(os.name != "posix", reason="functions of other systems have other names")
def test_a_refusal_names_what_was_asked_for(tmp_path, name, asked) -> None:
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(attacks(tmp_path / "marker")[name]))
    with pytest.raises(CheckpointError, match=f"is refused: it asks for .*{asked}, which could run code, and nothing"):
        read_weights(tmp_path / "model.pkl")


def test_the_attacks_here_are_real_ones(tmp_path) -> None:
    for name in ("system", "eval", "nested", "objects", "load"):
        marker = tmp_path / name
        pickle.loads(pickle.dumps(attacks(marker)[name]))
        assert marker.exists()


def test_a_file_cannot_change_how_the_next_is_read(tmp_path) -> None:
    # BUILD with a state of two parts sets attributes, here on the answer to `_codecs.encode`
    poisoned = b"\x80\x02c_codecs\nencode\n(N}X\x0c\x00\x00\x00__defaults__)stb."
    (tmp_path / "poison.pkl").write_bytes(poisoned)
    with pytest.raises(CheckpointError):
        read_weights(tmp_path / "poison.pkl")
    assert reread(tmp_path, {"a": np.ones(2)}, 2)["a"].tolist() == [1, 1]


@pytest.mark.parametrize("data", [b"{}", b"\x80\x04", bytes(100), b"\x80\x05\x95\xff\xff\xff\xff\xff\xff\xff\x7f"])
def test_what_is_no_pickle_is_reported_in_one_line(tmp_path, data) -> None:
    (tmp_path / "x.pkl").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"x\.pkl cannot be read \("):
        read_weights(tmp_path / "x.pkl")


@given(places=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4))
def test_bytes_that_flipped_are_refused_or_harmless(tmp_path_factory, places) -> None:
    data = bytearray(pickle.dumps({"model": {"a": np.arange(6.0), "b": np.ones((2, 3), "f4")}}, protocol=2))
    for place, value in places:
        data[place % len(data)] = value
    path = tmp_path_factory.getbasetemp() / "flipped.pkl"
    path.write_bytes(data)
    with suppress(CheckpointError):
        read_weights(path)


def test_a_shape_that_its_bytes_do_not_fill_is_refused(tmp_path) -> None:
    data = pickle.dumps(np.arange(6.0), protocol=2)
    assert b"K\x06\x85" in data
    (tmp_path / "x.pkl").write_bytes(data.replace(b"K\x06\x85", b"K\x07\x85"))
    with pytest.raises(CheckpointError, match=r"an array of shape \(7,\) has 48 bytes"):
        read_weights(tmp_path / "x.pkl")


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_objects_are_noted_and_not_built(tmp_path, protocol) -> None:
    content = {
        "args": argparse.Namespace(lr=0.1, names=["a"]),
        "path": PurePosixPath("a/b"),
        "when": datetime(2020, 1, 2, tzinfo=timezone.utc),
        "counts": Counter("abc"),
        "range": range(3),
        "texts": np.array(["a", "b"]),
        "when in numpy": np.datetime64("2020-01-02"),
        "class": argparse.Namespace,
        "table": defaultdict(dict, {"n": np.zeros(2)}),
    }
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    found = read_bare_pickle(tmp_path / "x.pkl")
    assert list(found.content) == list(content)
    assert found.content["args"] == IsForeign("argparse.Namespace", {"lr": 0.1, "names": ["a"]})
    assert found.content["class"] == Named("argparse.Namespace")
    assert found.content["table"].items["n"].tensor.tolist() == [0, 0]
    assert {"argparse.Namespace", "datetime.datetime", "collections.Counter"} <= found.classes


class IsForeign:
    """Equal to a foreign object of this name and state."""

    def __init__(self, name: str, state: Any) -> None:
        self.name, self.state = name, state

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ForeignObject) and (other.name, other.state) == (self.name, self.state)

    __hash__ = None  # type: ignore[assignment]


def lattice(start: bytes, twice: bytes, depth: int) -> bytes:
    """A pickle whose value holds its predecessor twice, again and again: small, and endless when walked by paths."""
    steps = b"".join(twice.replace(b"<", struct.pack("<I", n)) for n in range(depth))
    return b"\x80\x02" + start + steps + b"."


@pytest.mark.parametrize(
    "data",
    [
        lattice(b")", b"r<0j<j<\x86", 100),  # a tuple of two
        lattice(b")", b"r<0j<j<\x86", 100)[:-1] + b"}q\x00(h\x00h\x00u.",
        lattice(b"]", b"r<0](j<j<e", 100),  # a list of two
        lattice(b"}", b"r<0}(K\x01j<K\x02j<u", 100),  # a table of two
        b"\x80\x02}" + lattice(b")", b"r<0j<j<\x86", 100)[2:-1] + b"K\x01s.",  # a tuple of two as a key
        b"\x80\x04\x8f(" + lattice(b")", b"r<0j<j<\x86", 100)[2:-1] + b"\x90.",  # and in a set
        b"\x80\x02" + b"]" * 300_000 + b"a" * 299_999 + b".",
        b"\x80\x02" + b"(" * 1_000_000,
        b"\x80\x02" + b"}" * 5_000_000,
        b"\x80\x02](" + b"N" * 5_000_000,
        b"\x80\x02\x8a\xff" + b"\x7f" * 255 + b"q\x00}" + b"(h\x00h\x00u" * 1000 + b".",
    ],
    ids=["tuples", "not a table", "lists", "tables", "key", "set", "nested", "marks", "many", "long", "long integers"],
)
def test_a_pickle_that_grows_when_it_is_walked_is_refused_at_once(tmp_path, data) -> None:
    (tmp_path / "x.pkl").write_bytes(data)
    started = perf_counter()
    with pytest.raises(CheckpointError):
        read_weights(tmp_path / "x.pkl")
    assert perf_counter() - started < 8


def test_arrays_that_share_their_bytes_take_no_more_than_the_file_has(tmp_path) -> None:
    again = b"\x80\x02c_codecs\nencode\nX\xa0\x86\x01\x00" + b"a" * 100_000 + b"X\x06\x00\x00\x00latin1\x86q\x01q\x02R"
    many = b"c_codecs\nencode\nh\x01R" * 1000
    (tmp_path / "x.pkl").write_bytes(again + many + b".")
    with pytest.raises(CheckpointError, match=r"it asks for more than .* bytes of arrays"):
        read_weights(tmp_path / "x.pkl")

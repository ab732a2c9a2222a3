"""Weights from the network: fetched once, whole or not at all, and every failure names the address and a way out."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

import maskwright as mw
from maskwright.config import load_recipe
from maskwright.errors import CheckpointError, ConfigError, OutputError
from maskwright.predict.fetching import cached_path, fetch
from maskwright.predict.loading import locate_weights


class Shelf(ThreadingHTTPServer):
    """A server of files in memory, which counts requests and can cut an answer short."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.missing_bytes = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    server: Shelf

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        content = self.server.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) - self.server.missing_bytes])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def content(tmp_path_factory) -> bytes:
    """A torch file that is a backbone of ours in torchvision's names."""
    state = {
        "conv1.weight": torch.randn(4, 3, 7, 7),
        "bn1.weight": torch.ones(4),
        "layer1.0.conv1.weight": torch.ones(9),
    }
    path = tmp_path_factory.mktemp("content") / "model.pth"
    torch.save(state, path)
    return path.read_bytes()


@pytest.fixture
def shelf(content) -> Iterator[Shelf]:
    server = Shelf()
    server.files["/weights/model.pth"] = content
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "hub" / "maskwright"


def refusal(address: str, **wanted) -> str:
    with pytest.raises(CheckpointError) as raised:
        fetch(address, **wanted)
    message = str(raised.value)
    assert "\n" not in message
    assert address.partition("#")[0] in message
    assert "--weights FILE" in message
    return message


def test_a_file_is_fetched_once_and_kept(shelf, cache, content) -> None:
    address = f"{shelf.address}/weights/model.pth"
    path = fetch(address)
    assert path.parent == cache
    assert path.suffix == ".pth"
    assert path.read_bytes() == content
    assert fetch(address) == path == cached_path(address)
    assert shelf.asked == ["/weights/model.pth"]
    assert list(cache.iterdir()) == [path]


def test_a_name_behind_a_hash_is_the_files_and_not_sent(shelf, content) -> None:
    shelf.files["/download?id=1&confirm=t"] = content
    path = fetch(f"{shelf.address}/download?id=1&confirm=t#yolact_base.pth")
    assert path.name.startswith("yolact_base-")
    assert shelf.asked == ["/download?id=1&confirm=t"]


def test_two_addresses_with_one_file_name_do_not_meet(shelf, content) -> None:
    shelf.files["/other/model.pth"] = content
    assert fetch(f"{shelf.address}/weights/model.pth") != fetch(f"{shelf.address}/other/model.pth")
    assert len(shelf.asked) == 2


@pytest.mark.parametrize("name", ["", "weights", "model.zip", "download?id=1", "download?id=1#model"])
def test_an_address_without_a_checkpoints_name_is_refused_before_asking(shelf, name) -> None:
    with pytest.raises(ConfigError, match=r"does not end in a checkpoint's file name .*#model\.pth"):
        fetch(f"{shelf.address}/{name}")
    assert shelf.asked == []


@pytest.mark.parametrize("name", ["../../etc/model.pth", "a/b\\..\\model.pth", "%2e%2e%2fmodel.pth"])
def test_no_name_leads_out_of_the_cache(cache, name) -> None:
    path = cached_path(f"https://host/download#{name}")
    assert path.parent == cache
    assert re.fullmatch(r"[\w.-]+", path.name)


def test_a_checksum_may_be_whole_or_its_start(shelf, content) -> None:
    checksum = hashlib.sha256(content).hexdigest()
    assert fetch(f"{shelf.address}/weights/model.pth", sha256=checksum).is_file()
    fetch(f"{shelf.address}/weights/model.pth", sha256=checksum).unlink()
    assert fetch(f"{shelf.address}/weights/model.pth", sha256=checksum[:8], size=len(content)).is_file()


PAGE = b"\n<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head></html>"


@pytest.mark.parametrize(
    ("change", "wanted", "message"),
    [
        (lambda content: content, {"sha256": "0" * 64}, "what came is not the file meant"),
        (lambda content: content, {"size": 17}, "bytes came instead of 17"),
        (
            lambda content: content[:-100],
            {},
            r"cannot be used: checkpoint model-\w+\.pth cannot be read; it is cut off",
        ),
        (lambda content: b"", {}, "cannot be used"),
        (lambda content: PAGE, {}, "gave a web page instead of a checkpoint, as Google Drive does"),
        (lambda content: b"\x80\x02cos\nsystem\n.", {}, "cannot be used: .* could run code"),
    ],
    ids=["checksum", "size", "cut off", "empty", "web page", "attack"],
)
def test_what_is_not_the_file_never_gets_its_name(shelf, cache, content, change, wanted, message) -> None:
    shelf.files["/weights/model.pth"] = change(content)
    address = f"{shelf.address}/weights/model.pth"
    assert re.search(message, refusal(address, **wanted))
    assert list(cache.iterdir()) == []
    shelf.files["/weights/model.pth"] = content
    assert fetch(address).read_bytes() == content


def test_a_connection_that_breaks_leaves_nothing(shelf, cache) -> None:
    shelf.missing_bytes = 200
    assert "cut off" in refusal(f"{shelf.address}/weights/model.pth")
    assert list(cache.iterdir()) == []


def test_an_interrupt_leaves_nothing(shelf, cache, monkeypatch) -> None:
    def interrupted(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("maskwright.predict.fetching.read_weights", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch(f"{shelf.address}/weights/model.pth")
    assert list(cache.iterdir()) == []


def test_a_missing_file_is_told(shelf) -> None:
    assert "HTTP Error 404: Not Found" in refusal(f"{shelf.address}/weights/gone.pth")


@pytest.mark.parametrize("address", ["http://127.0.0.1:1/model.pth", "http://[/model.pth", "http:///model.pth"])
def test_an_address_where_nobody_answers_is_told(address) -> None:
    with pytest.raises((CheckpointError, ConfigError)) as raised:
        fetch(address)
    assert address in str(raised.value)


def test_a_cache_that_cannot_be_written_is_told(shelf, cache) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("a file")
    with pytest.raises(OutputError, match="maskwright"):
        fetch(f"{shelf.address}/weights/model.pth")


def test_a_weights_name_brings_its_address_and_its_checksum(shelf, content) -> None:
    listed = {"source": f"{shelf.address}/weights/model.pth", "licence": "CC0", "sha256": "0" * 64}
    recipe = load_recipe("mask_rcnn", {"weights": {"mine": listed}})
    with pytest.raises(CheckpointError, match="not the file meant"):
        locate_weights(recipe, "mine")
    recipe = load_recipe("mask_rcnn", {"weights": {"mine": {**listed, "sha256": hashlib.sha256(content).hexdigest()}}})
    assert locate_weights(recipe, "mine").read_bytes() == content


def test_an_address_may_stand_for_weights(shelf) -> None:
    with pytest.raises(CheckpointError, match=r"holds a backbone alone, no whole model.*train\.initial_weights"):
        mw.load("mask_rcnn", f"{shelf.address}/weights/model.pth", "cpu", {"categories": ["a"]})


@pytest.mark.parametrize(
    ("recipe", "names"),
    [
        ("torchvision/mask_rcnn_r50_fpn", {"coco"}),
        ("torchvision/mask_rcnn_r50_fpn_v2", {"coco"}),
        ("yolact/r50", {"coco", "imagenet"}),
        ("yolact/r101", {"coco", "imagenet"}),
        ("yolact/darknet53", {"coco", "imagenet"}),
        ("yolact/r101_400", {"imagenet"}),
        ("yolact/r101_700", {"coco", "imagenet"}),
        ("yolact/plus_r50", {"coco", "imagenet"}),
        ("yolact/plus_r101", {"coco", "imagenet"}),
        ("yolact/r50_pascal", {"pascal", "imagenet"}),
    ],
)
def test_published_weights_have_an_https_address_and_a_file_name(recipe, names) -> None:
    weights = load_recipe(recipe).weights
    assert set(weights) == names
    for published in weights.values():
        assert published.source.startswith("https://")
        assert cached_path(published.source).suffix == ".pth"

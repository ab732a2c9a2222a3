"""Weights from the network: fetched once, whole or not at all, and every failure names the address and a way out."""

from __future__ import annotations

import hashlib
import re
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
import trustme

import maskwright as mw
from maskwright.checkpoints.fetching import cached_path, fetch
from maskwright.checkpoints.loading import locate_weights
from maskwright.config import load_recipe, recipe_names
from maskwright.config.run import WeightsConfig
from maskwright.errors import CheckpointError, ConfigError, MissingDependency, OutputError


class Shelf(ThreadingHTTPServer):
    """A server of files in memory, which counts requests and can cut an answer short.

    Attributes:
        files: path → content.
        asked: paths, and the first byte where only a rest was asked for.
        missing_bytes: how much of each answer is not sent.
        gives_parts: whether it knows ranges.
        headers: of each answer, beside what its content says.
        pause_s: before each answer.
        redirects: where each answer says that the file is; None: it answers with the file.
        length: what each answer says of its length in place of the truth.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.missing_bytes = 0
        self.gives_parts = True
        self.headers: dict[str, str] = {}
        self.pause_s = 0.0
        self.redirects: str | None = None
        self.length: str | None = None

    @property
    def address(self) -> str:
        return f"https://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: object) -> None:
        pass


class Answer(BaseHTTPRequestHandler):
    server: Shelf

    def do_GET(self) -> None:
        wanted = self.headers.get("Range", "").removeprefix("bytes=").removesuffix("-")
        self.server.asked.append(self.path + (f" from {wanted}" if wanted else ""))
        time.sleep(self.server.pause_s)
        if self.server.redirects is not None:
            self.send_response(302)
            self.send_header("Location", self.server.redirects)
            self.end_headers()
            return
        content = self.server.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        tags = self.server.headers or {"ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
        is_same = self.headers.get("If-Range") in tags.values()
        first = int(wanted) if wanted and self.server.gives_parts and is_same else 0
        if first >= len(content) > 0:
            self.send_error(416)
            return
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        for name, value in tags.items():
            self.send_header(name, value)
        self.send_header("Content-Length", self.server.length or str(len(content) - first))
        self.end_headers()
        self.wfile.write(content[first : len(content) - self.server.missing_bytes])

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


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def shelf(content, authority, monkeypatch, tmp_path) -> Iterator[Shelf]:
    server = Shelf()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
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


def kept(cache: Path) -> dict[str, bytes]:
    """What is in the cache, but for locks."""
    files = (path for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {path.relative_to(cache).as_posix(): path.read_bytes() for path in files}


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
    assert kept(cache) == {path.name: content}


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
        (lambda content: content, {"sha256": "0" * 64}, r"what came is not the file meant \(its sha256 begins with "),
        (
            lambda content: content,
            {"md5": "012345"},
            r"not the file meant \(its md5 begins with \w{6}, not with 012345",
        ),
        (lambda content: content, {"size": 17}, "bytes came instead of 17"),
        (
            lambda content: content[:-100],
            {},
            r"cannot be used: checkpoint model-\w+\.pth cannot be read \(.*\); it is cut off",
        ),
        (lambda content: b"", {}, "cannot be used"),
        (lambda content: PAGE, {}, "gave a web page instead of a checkpoint, as Google Drive does"),
        (lambda content: b"\x80\x02cos\nsystem\nU\x02ls\x85R.", {}, "cannot be used: .* could run code"),
    ],
    ids=["sha256", "md5", "size", "cut off", "empty", "web page", "attack"],
)
def test_what_is_not_the_file_never_gets_its_name(shelf, cache, content, change, wanted, message) -> None:
    shelf.files["/weights/model.pth"] = change(content)
    address = f"{shelf.address}/weights/model.pth"
    assert re.search(message, refusal(address, **wanted))
    assert kept(cache) == {}
    shelf.files["/weights/model.pth"] = content
    assert fetch(address).read_bytes() == content


def test_a_broken_connection_is_reported_and_the_next_attempt_asks_for_the_rest_only(shelf, cache, content) -> None:
    address = f"{shelf.address}/weights/model.pth"
    shelf.missing_bytes = 200
    came = len(content) - 200
    assert f"cut off after {came} of {len(content)} bytes" in refusal(address)
    shelf.missing_bytes = 150
    assert f"cut off after {came + 50} of {len(content)} bytes" in refusal(address)
    shelf.missing_bytes = 0
    path = fetch(address, sha256=hashlib.sha256(content).hexdigest(), size=len(content))
    assert kept(cache) == {path.name: content}
    asked = "/weights/model.pth"
    assert shelf.asked == [asked, f"{asked} from {came}", f"{asked} from {came + 50}"]


@pytest.mark.parametrize(
    "headers", [{"Last-Modified": "Sat, 03 Oct 2020 10:00:00 GMT"}, {"ETag": 'W/"1"', "Date": "x"}]
)
def test_a_rest_is_asked_for_only_where_the_server_names_the_version_surely(shelf, content, headers) -> None:
    shelf.headers, shelf.missing_bytes = headers, 200
    refusal(f"{shelf.address}/weights/model.pth")
    shelf.missing_bytes = 0
    assert fetch(f"{shelf.address}/weights/model.pth").read_bytes() == content
    assert ("from" in shelf.asked[-1]) == ("Last-Modified" in headers)


def test_progress_counts_the_bytes_that_are_here_and_ends_with_all_of_them(shelf, cache, content) -> None:
    calls: list[tuple[int, int | None]] = []
    address = f"{shelf.address}/weights/model.pth"
    fetch(address, progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (len(content), len(content))
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)
    assert {total for _, total in calls} == {len(content)}
    calls.clear()
    fetch(address, progress=lambda done, total: calls.append((done, total)))
    assert calls == []


def test_fetching_shows_nothing_by_itself(shelf, cache, content, capsys, monkeypatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    fetch(f"{shelf.address}/weights/model.pth")
    assert capsys.readouterr() == ("", "")


def test_a_server_without_ranges_sends_all_again(shelf, cache, content) -> None:
    shelf.gives_parts, shelf.missing_bytes = False, 200
    refusal(f"{shelf.address}/weights/model.pth")
    shelf.missing_bytes = 0
    path = fetch(f"{shelf.address}/weights/model.pth")
    assert kept(cache) == {path.name: content}


def test_a_file_that_changed_between_attempts_is_fetched_from_its_start(shelf, content) -> None:
    shelf.files["/weights/model.pth"] = bytes(len(content))
    shelf.missing_bytes = 200
    refusal(f"{shelf.address}/weights/model.pth")
    shelf.files["/weights/model.pth"], shelf.missing_bytes = content, 0
    assert fetch(f"{shelf.address}/weights/model.pth").read_bytes() == content


def test_an_interrupt_is_gone_on_from(shelf, cache, content, monkeypatch) -> None:
    def interrupted(path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("maskwright.checkpoints.fetching.read_weights", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fetch(f"{shelf.address}/weights/model.pth")
    assert not cached_path(f"{shelf.address}/weights/model.pth").exists()
    path = fetch(f"{shelf.address}/weights/model.pth")
    assert kept(cache) == {path.name: content}


def test_of_several_who_want_a_file_one_fetches_it(shelf, cache, content) -> None:
    shelf.pause_s = 0.1
    with ThreadPoolExecutor(4) as workers:
        paths = set(workers.map(fetch, [f"{shelf.address}/weights/model.pth"] * 4))
    assert shelf.asked == ["/weights/model.pth"]
    assert kept(cache) == {path.name: content for path in paths}


def test_a_file_that_needs_a_missing_library_is_kept_for_later(shelf, cache, content, monkeypatch) -> None:
    def without_library(path: Path) -> None:
        raise MissingDependency("h5py", "keras")

    monkeypatch.setattr("maskwright.checkpoints.fetching.read_weights", without_library)
    path = fetch(f"{shelf.address}/weights/model.pth")
    assert kept(cache) == {path.name: content}


def test_a_missing_file_is_reported(shelf) -> None:
    assert "HTTP Error 404: Not Found" in refusal(f"{shelf.address}/weights/gone.pth")


def test_what_takes_several_lines_to_say_is_reported_in_one(shelf) -> None:
    shelf.redirects = "/weights/model.pth"
    assert "infinite loop. The last" in refusal(f"{shelf.address}/weights/model.pth")


@pytest.mark.parametrize("place", ["http://127.0.0.1/model.pth", "ftp://127.0.0.1/model.pth", "file:///model.pth"])
@pytest.mark.parametrize("sha256", [None, "0" * 64])
def test_a_server_leads_nowhere_but_to_another_secure_one(shelf, cache, place, sha256) -> None:
    shelf.redirects = place
    assert f"it leads to {place}, which is not secure" in refusal(f"{shelf.address}/weights/model.pth", sha256=sha256)
    assert kept(cache) == {}


@pytest.mark.parametrize(
    "address",
    ["http://host/model.pth", "HTTP://host/model.pth", "ftp://host/model.pth", "file:///model.pth", "s3://a/model.pth"],
)
def test_only_secure_addresses_are_fetched(address) -> None:
    for ask in (fetch, lambda source: mw.load("mask_rcnn", source, "cpu")):
        with pytest.raises(ConfigError, match=r"is not fetched \(.*:// is not secure\); give an https:// address"):
            ask(address)


@pytest.mark.parametrize("length", ["many", "-5", "1e9", "9" * 40, "1_000", "0x10"])
def test_a_length_that_is_no_number_is_reported(shelf, cache, length) -> None:
    shelf.length = length
    assert "its server says that the file has" in refusal(f"{shelf.address}/weights/model.pth")


def test_no_more_is_taken_than_the_file_has(shelf, cache, content) -> None:
    shelf.files["/weights/model.pth"] = content + bytes(4 << 20)
    shelf.length = None
    assert "bytes came instead of" in refusal(f"{shelf.address}/weights/model.pth", size=len(content))
    assert kept(cache) == {}


@pytest.mark.parametrize(
    "address",
    ["hf://owner", "hf://a/b/../../c", "hf://a/b/./c.pth", "hf://a//c.pth", "hf://../b/c", "hf://a/b/c\nd", "hf://"],
)
def test_an_address_of_the_hub_has_an_owner_a_repository_and_a_file(address) -> None:
    with pytest.raises(ConfigError, match="not of the form hf://owner/repo/file") as raised:
        fetch(address)
    assert "\n" not in str(raised.value)


def test_what_the_hub_raises_is_reported_in_one_line(monkeypatch) -> None:
    def failing(*_: object) -> None:
        raise ZeroDivisionError("first\nsecond")

    monkeypatch.setattr(pytest.importorskip("huggingface_hub"), "hf_hub_download", failing)
    with pytest.raises(CheckpointError, match=r"hf://a/b/c\.pth cannot be fetched \(first second\)"):
        fetch("hf://a/b/c.pth")


@pytest.mark.parametrize("address", ["https://127.0.0.1:1/model.pth", "https://[/model.pth", "https:///model.pth"])
def test_an_address_without_an_answer_is_reported(address) -> None:
    with pytest.raises((CheckpointError, ConfigError)) as raised:
        fetch(address)
    assert address in str(raised.value)


def test_a_cache_that_cannot_be_written_is_reported(shelf, cache) -> None:
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
    with pytest.raises(CheckpointError, match=r"holds only a backbone, no whole model.*train\.initial_weights"):
        mw.load("mask_rcnn", f"{shelf.address}/weights/model.pth", "cpu", {"categories": ["a"]})


def test_an_address_may_be_the_model(shelf) -> None:
    with pytest.raises(CheckpointError, match=r"holds only a backbone, no whole model.*train\.initial_weights"):
        mw.load(f"{shelf.address}/weights/model.pth", device="cpu")
    for address in ("http://host/model.pth", "hf://a/b/../../c"):
        with pytest.raises(ConfigError, match=r"is not fetched|not of the form"):
            mw.load(address, device="cpu")


@pytest.fixture(scope="module")
def published() -> dict[tuple[str, str], WeightsConfig]:
    """All weights of all shipped recipes that lie in the network."""
    listed = {(name, key): entry for name in recipe_names() for key, entry in load_recipe(name).weights.items()}
    return {name: entry for name, entry in listed.items() if not entry.source.startswith("package://")}


def test_published_weights_have_an_https_address_a_file_name_and_a_licence(published) -> None:
    for weights in published.values():
        assert weights.source.startswith("https://")
        assert cached_path(weights.source).name
        assert weights.licence


@pytest.mark.parametrize(
    ("recipe", "names"),
    [
        ("torchvision/mask_rcnn_r50_fpn", {"coco", "imagenet"}),
        ("torchvision/keypoint_rcnn_r50_fpn", {"coco", "coco_legacy", "imagenet"}),
        ("detectron2/mask_rcnn_r50_fpn", {"coco", "coco_1x", "imagenet"}),
        ("detectron2/mask_rcnn_r50_fpn_1x", {"coco", "imagenet"}),
        ("detectron2/mask_rcnn_r50_fpn_3x_gn_scratch", {"coco"}),
        ("detectron2/mask_rcnn_r50_fpn_cityscapes", {"cityscapes", "coco", "imagenet"}),
        ("matterport/mask_rcnn_r101", {"coco"}),
        ("matterport/mask_rcnn_r50", set()),
        ("simple/mask_rcnn_r50", {"torchvision", "imagenet"}),
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
def test_recipes_have_the_weights_that_their_authors_publish(recipe, names) -> None:
    assert set(load_recipe(recipe).weights) == names


def test_checksums_are_those_in_the_file_names(published) -> None:
    for name, weights in published.items():
        if "/model_" in weights.source:
            assert weights.source.endswith(f"_{weights.md5}.pkl"), name
        if "download.pytorch.org" in weights.source:
            assert weights.source.endswith(f"-{weights.sha256}.pth"), name

"""Weights from the network, kept in the user's cache: whole or not at all, and gone on with after a break."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urljoin, urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from maskwright.checkpoints.reading import SUFFIXES, read_weights
from maskwright.errors import CheckpointError, ConfigError, MissingDependency
from maskwright.files import claim_folder, output_errors

# called with (bytes that are here, bytes of the whole file or None where the server does not say); at the end, once
# more with two equal numbers
FetchProgress = Callable[[int, int | None], None]

_HUB = "hf://"
_WEB = "https://"
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_HUB_NAME = re.compile(r"[A-Za-z0-9_][\w.-]*")
_BY_HAND = "or download it with a browser and give the file (--weights FILE, or train.initial_weights=FILE to train)"
_PIECE = 1 << 20
_SILENCE_S = 60.0  # of the server, before an attempt is given up
# of a file of unknown size; the largest published checkpoints have 3 GB
_MOST_BYTES = 20 << 30
_SHOWN = 200  # letters of an address in a message


def is_address(source: str) -> bool:
    """Whether weights are given by an address in the network."""
    return _ADDRESS.match(source) is not None


def fetch(
    address: str,
    sha256: str | None = None,
    size: int | None = None,
    md5: str | None = None,
    progress: FetchProgress | None = None,
) -> Path:
    """The file behind an address, from the cache if it was fetched before.

    What a broken connection or an interrupt left is kept, and the next call asks for the rest only. Of several
    processes that want the same file one fetches it while the others wait.

    Args:
        address: `hf://owner/repo/file`, or an https address that ends in a file name. Where it does not, the name
            stands behind a `#`, as in `https://host/download?id=1#model.pth`; servers never see that part.
        sha256: first digits of the file's checksum, or all.
        size: of the file in bytes.
        md5: as `sha256`, for files of which only this checksum is known.
        progress: called as the file comes over https; not for one that is here.

    Raises:
        ConfigError: an address without a usable file name.
        CheckpointError: it cannot be fetched, or what came is no checkpoint, or not the one meant.
        OutputError: the cache cannot be written to.
        MissingDependency: `hf://` without the library huggingface_hub.
    """
    if address.startswith(_HUB):
        return _from_hub(address)
    _refuse_insecure(address)
    target = cached_path(address)
    if target.is_file():
        return target
    from filelock import FileLock

    # under its own name, by whose suffix it is read
    partial = target.parent / "unfinished" / target.name
    claim_folder(partial.parent)
    with output_errors(target.parent), FileLock(f"{partial}.lock"):
        if not target.is_file():
            asked = address.partition("#")[0]
            _download(asked, partial, size, progress or (lambda done, total: None))
            try:
                _refuse_other_content(partial, asked, {"sha256": sha256, "md5": md5}, size)
            except CheckpointError:
                partial.unlink()
                raise
            partial.replace(target)
    return target


def _refuse_insecure(address: str) -> None:
    """Only what comes over https is what its server sent.

    Raises:
        ConfigError: another kind of address.
    """
    kind = address.partition("://")[0]
    if kind.lower() == "https" and "\\" not in address and not any(map(str.isspace, address)):
        return
    reason = f"{kind}:// is not secure" if kind.lower() != "https" else "it is not an address"
    raise ConfigError(
        f"{address[:_SHOWN]} is not fetched ({reason}); give an https:// address, or hf://owner/repo/file, {_BY_HAND}"
    )


def cached_path(address: str) -> Path:
    """Where a fetched file is kept: under torch's cache (see `torch.hub.get_dir`), its name unique to the address.

    Raises:
        ConfigError: the address ends in no name of a checkpoint file.
    """
    import torch.hub

    asked, _, given = address.partition("#")
    name = PurePosixPath(re.sub(r"[^\w.-]", "_", given or asked.partition("?")[0].rpartition("/")[2]))
    if name.suffix not in SUFFIXES:
        raise ConfigError(
            f"{address} does not end in a checkpoint's file name (…{', …'.join(SUFFIXES)}); add one behind a #, as in "
            f"{asked}#model.pth"
        )
    key = hashlib.sha256(address.encode()).hexdigest()[:8]
    return Path(torch.hub.get_dir()) / "maskwright" / f"{name.stem}-{key}{name.suffix}"


def _download(address: str, partial: Path, size: int | None, progress: FetchProgress) -> None:
    """Fetch a file, or what an earlier attempt lacks of it if the server still has the same version."""
    version = partial.with_name(f"{partial.name}.version")
    have = partial.stat().st_size if partial.is_file() else 0
    with _network_errors(address):
        answer = _ask(address, have, version.read_text("utf-8") if version.is_file() else "")
    with answer:
        if answer.status != HTTPStatus.PARTIAL_CONTENT:
            have = 0
            partial.write_bytes(b"")  # before the version: what is there never passes for a piece of another one
            version.write_text(_version_of(answer), "utf-8")
        wanted = _wanted(answer, address, have)
        most = _MOST_BYTES if size is None else size
        came = _receive(answer, address, partial, most, lambda done: progress(done, wanted))
    if wanted is not None and came < wanted and came <= most:
        raise CheckpointError(
            f"{address}: the connection was cut off after {came} of {wanted} bytes. Try again, it goes on from there, "
            f"{_BY_HAND}"
        )
    version.unlink()
    progress(came, came)


def _receive(answer: HTTPResponse, address: str, partial: Path, most: int, came_so_far: Callable[[int], None]) -> int:
    """Append an answer to what is there, until there are more bytes than `most`; returns how many there are."""
    came = partial.stat().st_size
    with partial.open("ab") as file:
        for piece in _pieces(answer, address):
            came += len(piece)
            file.write(piece)
            came_so_far(came)
            if came > most:
                break
    return came


def _wanted(answer: HTTPResponse, address: str, have: int) -> int | None:
    """Bytes of the whole file, as far as the server says."""
    length = answer.headers.get("Content-Length")
    if length is None:
        return None
    if not re.fullmatch(r"[0-9]{1,18}", length.strip()):
        raise CheckpointError(
            f"{address}: its server says that the file has {length[:30]!r} bytes; try again, {_BY_HAND}"
        )
    return have + int(length)


def _ask(address: str, have: int, version: str) -> HTTPResponse:
    """The rest of a file whose first `have` bytes are here, or all of it where the server cannot or has another one."""
    if have and version:
        try:
            answer = _open(address, {"Range": f"bytes={have}-", "If-Range": version})
            is_all = answer.status != HTTPStatus.PARTIAL_CONTENT
            if is_all or answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                return answer
            answer.close()
        except HTTPError as error:
            error.close()
            if error.code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise
    return _open(address, {})


class _SecureRedirects(HTTPRedirectHandler):
    """Goes on where a server sends us, if that is https too."""

    def http_error_302(self, req: Request, fp: Any, code: int, msg: str, headers: Any) -> Any:
        """As the standard method, but an address that is not https is an error."""
        target = urljoin(req.full_url, headers.get("Location") or headers.get("URI") or "")
        if urlsplit(target).scheme != "https":
            raise URLError(f"it leads to {target[:_SHOWN]}, which is not secure")
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def _open(address: str, headers: Mapping[str, str]) -> HTTPResponse:
    """An answer over https; the user's proxy is used, and no other kind of address is known."""
    opener = OpenerDirector()
    for handler in (ProxyHandler, HTTPSHandler, _SecureRedirects, HTTPDefaultErrorHandler, HTTPErrorProcessor):
        opener.add_handler(handler())
    answer = opener.open(Request(address, headers={"User-Agent": "maskwright", **headers}), timeout=_SILENCE_S)  # noqa: S310
    if not isinstance(answer, HTTPResponse):
        raise URLError("it is not the address of a web server")
    return answer


def _version_of(answer: HTTPResponse) -> str:
    """What names the version of a file in later questions (`If-Range`); empty where the server does not say."""
    tag = answer.headers.get("ETag", "")
    return (tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified")) or ""


def _pieces(answer: HTTPResponse, address: str) -> Iterator[bytes]:
    """The body as it comes."""
    with _network_errors(address):
        while piece := answer.read(_PIECE):
            yield piece


@contextmanager
def _network_errors(address: str) -> Iterator[None]:
    try:
        yield
    except HTTPError as error:
        raise CheckpointError(
            f"{address} cannot be fetched ({_in_one_line(error)}); has it moved? Try again later, {_BY_HAND}"
        ) from error
    except (OSError, HTTPException, ValueError) as error:
        reason = error.reason if isinstance(error, URLError) else error
        raise CheckpointError(
            f"{address} cannot be fetched ({_in_one_line(reason)}); is there a network? Try again, {_BY_HAND}"
        ) from error


def _in_one_line(reason: object) -> str:
    """What servers answer, and what is said of redirections, may have several lines."""
    return " ".join(str(reason).split()) or type(reason).__name__


def _refuse_other_content(file: Path, address: str, checksums: Mapping[str, str | None], size: int | None) -> None:
    with file.open("rb") as content:
        start = content.read(1024).lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        raise CheckpointError(
            f"{address} gave a web page instead of a checkpoint, as Google Drive does when too many people fetched the "
            f"file. Try again in a day, {_BY_HAND}"
        )
    if size is not None and file.stat().st_size != size:
        raise CheckpointError(f"{address}: {file.stat().st_size} bytes came instead of {size}. Try again, {_BY_HAND}")
    for kind, wanted in checksums.items():
        if wanted and not (found := _checksum(file, kind)).startswith(wanted.lower()):
            raise CheckpointError(
                f"{address}: what came is not the file meant (its {kind} begins with {found[: len(wanted)]}, not with "
                f"{wanted}). Try again, {_BY_HAND}"
            )
    try:
        with suppress(MissingDependency):  # reading the file reports it; it need not be fetched again
            read_weights(file)
    except CheckpointError as error:
        reason = str(error).replace(str(file), file.name)
        raise CheckpointError(f"{address}: what came cannot be used: {reason}. Try again, {_BY_HAND}") from error


def _checksum(file: Path, kind: str) -> str:
    digest = hashlib.new(kind, usedforsecurity=False)
    with file.open("rb") as content:
        while piece := content.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def _from_hub(address: str) -> Path:
    parts = address.removeprefix(_HUB).split("/")
    if len(parts) < 3 or not all(map(_HUB_NAME.fullmatch, parts)):
        raise ConfigError(f"{address[:_SHOWN]!r} is not of the form hf://owner/repo/file")
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise MissingDependency("huggingface_hub", "hub") from error
    try:
        return Path(hf_hub_download("/".join(parts[:2]), "/".join(parts[2:])))
    except Exception as error:  # whatever its HTTP library raises
        raise CheckpointError(
            f"{address} cannot be fetched ({_in_one_line(error)[:_SHOWN]}); is it spelt right, and is there a network?"
        ) from error

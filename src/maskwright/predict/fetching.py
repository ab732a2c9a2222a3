"""Weights from the network, kept in the user's cache: fetched once, and whole or not at all."""

from __future__ import annotations

import hashlib
import re
import sys
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from ssl import SSLError
from tempfile import TemporaryDirectory
from urllib.error import HTTPError, URLError

from maskwright.checkpoints.reading import SUFFIXES, read_weights
from maskwright.errors import CheckpointError, ConfigError, MissingDependency
from maskwright.files import blaming, claim_folder

_HUB = "hf://"
_WEB = ("https://", "http://")
_BY_HAND = "or download it with a browser and give the file instead (--weights FILE)"


def is_address(source: str) -> bool:
    """Whether weights are given as a place in the network."""
    return source.startswith((_HUB, *_WEB))


def fetch(address: str, sha256: str | None = None, size: int | None = None) -> Path:
    """The file behind an address, from the cache if it was fetched before.

    Args:
        address: `hf://owner/repo/file`, or an https address that ends in a file name. Where it does not, the name
            stands behind a `#`, as in `https://host/download?id=1#model.pth`; servers never see that part.
        sha256: first digits of the file's checksum, or all.
        size: of the file in bytes.

    Raises:
        ConfigError: an address without a usable file name.
        CheckpointError: it cannot be fetched, or what came is no checkpoint, or not the one meant.
        OutputError: the cache cannot be written to.
        MissingDependency: `hf://` without the library huggingface_hub.
    """
    if address.startswith(_HUB):
        return _from_hub(address)
    target = cached_path(address)
    if target.is_file():
        return target
    claim_folder(target.parent)
    with blaming(target.parent), TemporaryDirectory(dir=target.parent, prefix="unfinished-") as folder:
        file = Path(folder) / target.name
        asked = address.partition("#")[0]
        _download(asked, file, sha256)
        _refuse_other_content(file, asked, size)
        file.replace(target)
    return target


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


def _download(address: str, file: Path, sha256: str | None) -> None:
    import torch.hub

    try:
        torch.hub.download_url_to_file(address, str(file), sha256, progress=sys.stderr.isatty())
    except (URLError, SSLError, ConnectionError, TimeoutError, HTTPException, ValueError) as error:
        reason = error.reason if isinstance(error, URLError) and not isinstance(error, HTTPError) else error
        raise CheckpointError(
            f"{address} cannot be fetched ({reason}); is there a network? Try again, {_BY_HAND}"
        ) from error
    except RuntimeError as error:  # torch's word for another checksum
        raise CheckpointError(
            f"{address}: what came is not the file meant ({error}): it is cut off, or another. Try again, {_BY_HAND}"
        ) from error


def _refuse_other_content(file: Path, address: str, size: int | None) -> None:
    with file.open("rb") as content:
        start = content.read(1024).lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        raise CheckpointError(
            f"{address} gave a web page instead of a checkpoint, as Google Drive does when too many people fetched the "
            f"file. Try again in a day, {_BY_HAND}"
        )
    if size is not None and file.stat().st_size != size:
        raise CheckpointError(f"{address}: {file.stat().st_size} bytes came instead of {size}. Try again, {_BY_HAND}")
    try:
        read_weights(file)
    except CheckpointError as error:
        reason = str(error).replace(str(file), file.name)
        raise CheckpointError(f"{address}: what came cannot be used: {reason}. Try again, {_BY_HAND}") from error


def _from_hub(address: str) -> Path:
    parts = address.removeprefix(_HUB).split("/")
    if len(parts) < 3:
        raise ConfigError(f"{address!r} is not of the form hf://owner/repo/file")
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError as error:
        raise MissingDependency("huggingface_hub", "hub") from error
    try:
        return Path(hf_hub_download("/".join(parts[:2]), "/".join(parts[2:])))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(
            f"{address} cannot be fetched ({reason}); is it spelt right, and is there a network?"
        ) from error

"""Which file of a folder an annotation file means, where it names images as another machine or a web page does."""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, unquote

from maskwright.data.checks import Problem, show
from maskwright.data.readers.per_image import find_images
from maskwright.data.record import Remark

# what Label Studio puts before the name of an uploaded file
_UPLOAD_PREFIX = re.compile(r"^[0-9a-f]{4,}-(?=.)")
# keys of an address that hold the name of a file: Label Studio's local files, and its links to cloud storage
_PATH_KEY, _CODED_PATH_KEY = "d", "fileuri"


@dataclass(frozen=True)
class FoundImage:
    """The file that a name means.

    Attributes:
        path: of the file.
        how: what the name and the file have in common, for a remark; empty where they are the same.
    """

    path: Path
    how: str = ""


class ImageNames:
    """The image files of a folder, and the folders in it, by all that other programs make of their names.

    Args:
        folder: of the image files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = find_images(folder)
        self._names = {path: PurePosixPath(path.relative_to(folder).as_posix()) for path in self.files}
        self._by_name = {str(name): path for path, name in self._names.items()}
        # for each kind of likeness: the form of a name → the files; and with the name of the folder above them
        self._by_key: list[dict[str, list[Path]]] = [{} for _ in _KEYS]
        self._by_folder: list[dict[tuple[str, str], list[Path]]] = [{} for _ in _KEYS]
        for (_, key), groups, nearer in zip(_KEYS, self._by_key, self._by_folder, strict=True):
            for path, name in self._names.items():
                form = key(path.name)
                groups.setdefault(form, []).append(path)
                nearer.setdefault((form, name.parent.name), []).append(path)

    def find(self, names: Sequence[str]) -> FoundImage | Problem:
        """The file that one of several names means: the same path, or else the one file whose name is the most alike.

        Args:
            names: what the annotations call the image, the likeliest first.
        """
        spellings = list(dict.fromkeys(spelling for name in names for spelling in _spellings(name)))
        for spelling in spellings:
            if spelling in self._by_name:
                return FoundImage(self._by_name[spelling])
        for (how, key), groups, nearer in zip(_KEYS, self._by_key, self._by_folder, strict=True):
            for name in map(PurePosixPath, spellings):
                form = key(name.name)
                if near := nearer.get((form, name.parent.name)):
                    return self._nearest(name, near, how)
                if found := groups.get(form):
                    return FoundImage(found[0], how) if len(found) == 1 else self._ambiguous(name, found)
        said = show(names[0]) if names else "no name"
        return Problem("missing-image", f"there is no image {said} in {self.folder}; add it, or correct the name")

    def _nearest(self, name: PurePosixPath, files: Sequence[Path], how: str) -> FoundImage | Problem:
        """Of files with a name and a folder alike, the one whose further folders are the most alike too."""
        alike = [_count_common_folders(name, self._names[path]) for path in files]
        best = max(alike)
        most = [path for path, count in zip(files, alike, strict=True) if count == best]
        return FoundImage(most[0], how) if len(most) == 1 else self._ambiguous(name, most)

    def _ambiguous(self, name: PurePosixPath, files: Sequence[Path]) -> Problem:
        some = ", ".join(str(self._names[path]) for path in files[:3])
        return Problem(
            "ambiguous-image", f"{show(str(name))} fits several images, {some}; give these images different names"
        )


def unlisted(first: str, count: int, folder: Path, source: str) -> Remark:
    """A remark about image files of a folder that annotations do not list, with the name of the first of them."""
    files = "1 image file" if count == 1 else f"{count} image files"
    message = f"{files} in {folder} without an entry and not used, first {show(first)}"
    return Remark("unlisted-images", source, message, None)


def _spellings(name: str) -> Iterator[str]:
    """The name with /, as it is and as an address of the web has it."""
    if "\0" in name:
        return
    plain = name.replace("\\", "/").removeprefix("./")
    yield plain
    address, _, query = plain.partition("?")
    if query:
        keys = parse_qs(query)
        yield from keys.get(_PATH_KEY, [])
        for coded in keys.get(_CODED_PATH_KEY, []):
            yield from _decoded(coded)
    for part in (address, address.partition("#")[0]):
        yield part
        yield unquote(part)


def _decoded(text: str) -> Iterator[str]:
    try:
        yield base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_").decode()
    except (ValueError, binascii.Error):
        return


def _count_common_folders(first: PurePosixPath, second: PurePosixPath) -> int:
    """How many of the folders above two files are called alike, from the files upwards."""
    count = 0
    for own, other in zip(reversed(first.parts[:-1]), reversed(second.parts[:-1]), strict=False):
        if own != other:
            break
        count += 1
    return count


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _without_prefix(name: str) -> str:
    return _UPLOAD_PREFIX.sub("", _folded(name))


def _without_ending(name: str) -> str:
    return PurePosixPath(_without_prefix(name)).stem


# what is alike → the form of a name in which it is equal; the likeliest first
_KEYS: Sequence[tuple[str, Callable[[str], str]]] = (
    ("the file of that name in another folder", str),
    ("the file of that name in other letters", _folded),
    ("the file of that name but for the prefix of an upload", _without_prefix),
    ("the file of that name with another ending", _without_ending),
)

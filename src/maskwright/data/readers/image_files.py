"""Where the files of the images that a COCO document lists are, and which files of their folders it does not list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from maskwright.data.checks import show
from maskwright.data.readers.coco_document import FileNames
from maskwright.data.readers.image_names import FoundImage, ImageNames, unlisted
from maskwright.data.record import Remark
from maskwright.images.formats import is_photograph


class _Listing:
    """The names in folders, each folder listed once: quicker than to ask for every file of many.

    Args:
        root: the folder that names are relative to.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._names: dict[Path, frozenset[str]] = {}

    def has(self, name: str) -> bool:
        """Whether there is a file, or a folder, of exactly this name."""
        path = self.root / name
        return path.name in self._names_in(path.parent)

    def unlisted(self, used: Iterable[str]) -> Iterator[str]:
        """Image files beside those that are used, in the folders of these."""
        taken: dict[Path, set[str]] = {}
        for name in used:
            path = self.root / name
            taken.setdefault(path.parent, set()).add(path.name)
        for folder, names in taken.items():
            yield from (name for name in sorted(self._names_in(folder) - names) if is_photograph(Path(name)))

    def _names_in(self, folder: Path) -> frozenset[str]:
        if folder not in self._names:
            try:
                self._names[folder] = frozenset(path.name for path in folder.iterdir())
            except (OSError, ValueError):
                self._names[folder] = frozenset()
        return self._names[folder]


@dataclass(frozen=True)
class FoundFiles:
    """The entries of `images`, with the names that their files have here.

    Attributes:
        entries: those whose file has another name than they say have that name.
        remarks: on other names, on files of two entries, and on images that no entry names.
    """

    entries: list[Any]
    remarks: list[Remark]


def find_files(entries: list[Any], folder: Path, file_names: FileNames, source: str) -> FoundFiles:
    """Look for the file of each entry of `images`.

    A file that is not where its entry says is looked for by its name only, and taken where one file and one entry fit.

    Args:
        entries: those that name no file stay as they are.
        folder: of the image files.
        file_names: names of an entry's file.
        source: of the entries, for the remarks.
    """
    files = _Listing(folder)
    names = [_names_of(entry, file_names) for entry in entries]
    found = [next(filter(files.has, own), None) for own in names]
    meant = _by_name(names, found, folder)
    counts = Counter(name for name in (*found, *meant.values()) if name is not None)
    read: list[Any] = [*entries]
    remarks: list[Remark] = []
    for index, name in meant.items():
        if counts[name] == 1:
            found[index], read[index] = name, {**entries[index], "file_name": name}
            message = f"there is no file {show(names[index][0])}; its image is {show(name)}"
            remarks.append(Remark("other-file-name", _where(entries[index]), message, None))
    present = [name for name in found if name is not None]
    return FoundFiles(read, [*remarks, *_repeated(entries, found), *_unlisted(files, present, folder, source)])


def _by_name(names: Sequence[Sequence[str]], found: Sequence[str | None], folder: Path) -> dict[int, str]:
    """Index of each entry without a file → the one file that has its name, in another folder or spelling."""
    lost = [index for index, own in enumerate(names) if own and found[index] is None]
    if not lost:
        return {}
    files, meant = ImageNames(folder), dict[int, str]()
    for index in lost:
        image = files.find(names[index])
        if isinstance(image, FoundImage):
            name = PurePosixPath(image.path.relative_to(folder).as_posix())
            # in another folder, a picture of another ending may be a mask
            if name.suffix.lower() in names[index][0].lower() or name.parent == PurePosixPath(names[index][0]).parent:
                meant[index] = name.as_posix()
    return meant


def _names_of(entry: Any, file_names: FileNames) -> Sequence[str]:
    return file_names(entry) if isinstance(entry, dict) else ()


def _where(entry: Mapping[str, Any]) -> str:
    return f"image {show(entry.get('id'))}"


def _repeated(entries: Sequence[Any], found: Sequence[str | None]) -> Iterator[Remark]:
    """Images whose file another one has before them."""
    first: dict[str, Any] = {}
    for entry, name in zip(entries, found, strict=True):
        if name is not None and first.setdefault(name, entry) is not entry:
            message = f"has the same file as {_where(first[name])}, {show(name)}; each keeps only its own objects"
            yield Remark("repeated-file", _where(entry), message, None)


def _unlisted(files: _Listing, present: Sequence[str], folder: Path, source: str) -> Iterator[Remark]:
    names = list(files.unlisted(present))
    if names:
        yield unlisted(names[0], len(names), folder, source)

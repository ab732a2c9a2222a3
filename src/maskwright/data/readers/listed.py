"""What all formats share that list many images, with their objects, in one file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskwright.data.checks import Problem, show
from maskwright.data.json_text import parse_json
from maskwright.data.readers.image_names import FoundImage, ImageNames, unlisted
from maskwright.data.readers.options import ReadOptions
from maskwright.data.readers.per_image import Flaw, Thing, read_per_image
from maskwright.data.record import Dataset, Defect, Remark
from maskwright.errors import DataError
from maskwright.structures import Categories


@dataclass(frozen=True)
class ListedImage:
    """An image as a file of many images lists it.

    Attributes:
        where: the position in the file, for messages: `task 12`, `line 3`.
        names: what its file may be called, the likeliest first.
        content: what the file says of it, in the form of its format.
    """

    where: str
    names: Sequence[str]
    content: Any


# a listed image, its (height, width) → what is in it
ReadListed = Callable[[ListedImage, tuple[int, int]], Iterable[Thing]]


def read_listed(
    listed: Sequence[ListedImage],
    images: Path,
    read_objects: ReadListed,
    source: Path,
    options: ReadOptions,
    *,
    categories: Categories | None = None,
    usual: Categories | None = None,
    defects: Iterable[Defect] = (),
    remarks: Iterable[Remark] = (),
) -> Dataset:
    """A dataset from the images that a file lists; each belongs to one file of the folder, see `ImageNames`.

    Args:
        listed: in the order of the file.
        images: folder of the image files, with the folders in it.
        read_objects: what is in an image. May be called in several threads; a `DataError` that it raises spoils the
            image.
        source: the annotation file.
        options: what the owner of the dataset decides.
        categories: the classes; None: those that occur, by name.
        usual: without `categories`, the classes as long as no others occur.
        defects: found before.
        remarks: made before.
    """
    names = ImageNames(images)
    owned, lost = _hand_out(listed, names)

    def read(path: Path, size: tuple[int, int]) -> Iterator[Thing]:
        entry, found = owned[path]
        if found.how:
            name = path.relative_to(images).as_posix()
            yield Remark("image-name", entry.where, f"{show(entry.names[0])} is taken for {name!r}, {found.how}", None)
        yield from read_objects(entry, size)

    return read_per_image(
        list(owned),
        read,
        str(source),
        options=options,
        categories=categories,
        usual=usual,
        defects=[*defects, *lost],
        remarks=[*remarks, *_unlisted(names.files, owned, images, source)],
    )


def _hand_out(
    listed: Sequence[ListedImage], names: ImageNames
) -> tuple[dict[Path, tuple[ListedImage, FoundImage]], list[Defect]]:
    """Image file → the entry that it belongs to, in the order of the entries; and a defect for each without one.

    A file that one entry names exactly is not taken by an entry with a name that is only alike, and a file that several
    such entries may mean by none of them.
    """
    meant = [names.find(entry.names) for entry in listed]
    claims = Counter((found.path, not found.how) for found in meant if isinstance(found, FoundImage))
    owned: dict[Path, tuple[ListedImage, FoundImage]] = {}
    defects: list[Defect] = []
    for entry, found in zip(listed, meant, strict=True):
        if isinstance(found, Problem):
            defects.append(Defect(found.kind, entry.where, found.message, None))
        elif found.how and (claims[found.path, True] or claims[found.path, False] > 1):
            message = f"{show(entry.names[0])} is like {found.path.name!r}, and so are other images of this file; "
            defects.append(Defect("ambiguous-image", entry.where, f"{message}name the files as it does", None))
        elif found.path in owned:
            first = owned[found.path][0].where
            message = f"is the image {found.path.name!r}, as {first} is; keep one of them"
            defects.append(Defect("duplicate-image", entry.where, message, None))
        else:
            owned[found.path] = entry, found
    return owned, defects


def _unlisted(files: Sequence[Path], owned: Mapping[Path, Any], folder: Path, source: Path) -> Iterator[Remark]:
    rest = [path for path in files if path not in owned]
    if rest:
        yield unlisted(rest[0].relative_to(folder).as_posix(), len(rest), folder, str(source))


def one_file(annotations: Path, endings: Sequence[str]) -> Path:
    """The annotation file itself, or the only one with one of the endings that lies in a folder.

    Raises:
        DataError: there is none, or more than one.
    """
    if not annotations.is_dir():
        return annotations
    files = [path for path in sorted(annotations.glob("[!.]*")) if path.suffix.lower() in endings and path.is_file()]
    if len(files) == 1:
        return files[0]
    wanted = " or ".join(f"*{ending}" for ending in endings)
    found = f"has {len(files)} files {wanted}" if files else f"has no file {wanted}"
    raise DataError(f"annotations {annotations} is a folder and {found}; give the one file with all annotations")


def load_lines(path: Path) -> tuple[list[tuple[int, Any]], list[Defect]]:
    """The values of a file with one JSON text a line, each with its line, and a defect for each that is none.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: is no text in UTF-8; export it again") from None
    values: list[tuple[int, Any]] = []
    defects: list[Defect] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            values.append((number, parse_json(line.encode())))
        except (ValueError, RecursionError) as error:
            message = f"broken JSON ({error}); the file may have been cut short, export it again"
            defects.append(Defect("broken-json", f"{path.name} line {number}", message, None))
    return values, defects


def size_flaw(where: str, said: Sequence[Any], size: tuple[int, int], keys: str) -> Flaw | None:
    """What is wrong with annotations that say another size of their image, if they do.

    Args:
        where: for the message.
        said: height and width as the file has them, numbers or their text; None: it does not say.
        size: (height, width) of the frame in which the labels may be drawn.
        keys: the names of height and width in the file.
    """
    if all(
        side is None or str(side).strip() in (str(true), f"{true}.0") for side, true in zip(said, size, strict=True)
    ):
        return None
    message = f"{keys} are {show(said[0])} and {show(said[1])}, the image's {size[0]} and {size[1]}"
    return Flaw(where, Problem("size-mismatch", f"{message}; give the image that was labelled"), spoils_image=True)

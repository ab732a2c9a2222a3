"""Which image files a user means by files, folders and globs, and what their results are to be called."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain, count
from pathlib import Path

from maskwright.errors import DataError

IMAGE_SUFFIXES = (".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
_SUFFIXES_TEXT = ", ".join(IMAGE_SUFFIXES)


def find_images(sources: Sequence[str | Path]) -> list[Path]:
    """The image files that the sources name.

    Args:
        sources: files; folders, for the images directly in them; or globs, where `**` stands for any folders. A path
            that exists is no glob, whatever signs it has.

    Returns:
        Paths in the order of the sources, sorted within a folder or a glob; each file once; hidden ones only by name.

    Raises:
        DataError: a source does not exist, has no image in it, or is a file that is no image by its suffix.
    """
    if not sources:
        raise DataError("no image is named; give files, folders or globs")
    images: dict[str, Path] = {}
    for source in sources:
        for path in _images_of(str(source)):
            images.setdefault(os.path.abspath(path), path)  # noqa: PTH100 - links stay apart, "a/../b" and "b" do not
    return list(images.values())


def unique_names(paths: Iterable[Path]) -> dict[Path, str]:
    """A name without suffix for the results of each image, so that none overwrites another's.

    The file's own stem where no other file shares it; with its folder's name before it otherwise; and with a number
    after it where even that is taken. Names differ in more than capitals, as some file systems ignore these.

    >>> list(unique_names([Path("a/1.png"), Path("b/1.png"), Path("b/1.jpg"), Path("c/2.png")]).values())
    ['a_1', 'b_1', 'b_1-2', '2']
    """
    paths = list(dict.fromkeys(paths))
    num_sharing = Counter(path.stem.casefold() for path in paths)
    names: dict[Path, str] = {}
    taken: set[str] = set()
    for path in paths:
        is_shared = num_sharing[path.stem.casefold()] > 1
        name = f"{path.parent.name}_{path.stem}" if is_shared and path.parent.name else path.stem
        names[path] = _free_name(name, taken)
        taken.add(names[path].casefold())
    return names


def _images_of(source: str) -> list[Path]:
    path = Path(source)
    if path.is_dir():
        return _images_in_folder(path)
    if path.exists():
        if not _is_image(path):
            raise DataError(f"{source} is no image by its suffix {path.suffix!r}; expected one of {_SUFFIXES_TEXT}")
        return [path]
    if glob.has_magic(source):
        return _images_of_glob(source)
    raise DataError(f"{source} does not exist; give an image file, a folder or a glob")


def _images_in_folder(folder: Path) -> list[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"folder {folder} cannot be read ({error.strerror}); check its permissions") from error
    images = [path for path in entries if _is_image(path) and not path.name.startswith(".") and path.is_file()]
    if not images:
        raise DataError(
            f"folder {folder} has no image directly in it ({_SUFFIXES_TEXT}); "
            f"for those in its subfolders give the glob '{folder / '**' / '*.png'}'"
        )
    return images


def _images_of_glob(pattern: str) -> list[Path]:
    found = glob.glob(pattern, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
    matches = sorted(Path(match) for match in found)
    images = [path for path in matches if _is_image(path) and path.is_file()]
    if not images:
        raise DataError(f"glob {pattern!r} matches {len(matches)} entries, none of them an image ({_SUFFIXES_TEXT})")
    return images


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


def _free_name(name: str, taken: set[str]) -> str:
    """The name itself or its first numbered form that is not taken."""
    numbered = (f"{name}-{number}" for number in count(2))
    return next(free for free in chain([name], numbered) if free.casefold() not in taken)

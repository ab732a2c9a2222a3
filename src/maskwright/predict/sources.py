"""Which images, videos and cameras a user means, and what their results are to be called."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain, count
from pathlib import Path

from maskwright.errors import DataError
from maskwright.images.formats import IMAGE_SUFFIXES, is_cellpose_result, is_image, listing
from maskwright.images.video import Camera, count_frames

VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ts", ".webm", ".wmv")
_SUFFIXES_TEXT = ", ".join(IMAGE_SUFFIXES + VIDEO_SUFFIXES)

Source = Path | Camera


def find_sources(names: Sequence[str | Path]) -> list[Source]:
    """The image files, video files and cameras that a user names.

    Args:
        names: files; folders, for the images and videos directly in them; globs, where `**` stands for any folders; or
            `camera:0`, `camera:1`, …. A path that exists is no glob and no camera, whatever it is called.

    Returns:
        In the order of the names, sorted within a folder or a glob; each once; hidden files, and what Cellpose wrote
        beside images, only by name.

    Raises:
        DataError: a file or folder does not exist, has no image or video in it, or is none by its suffix.
    """
    if not names:
        raise DataError("no image is named; give files, folders or globs")
    sources: dict[str, Source] = {}
    for name in names:
        for source in _named(str(name)):
            sources.setdefault(_identity(source), source)
    return list(sources.values())


def left_out_line(names: Sequence[str | Path]) -> str | None:
    """One line about the files in folders and globs that `find_sources` takes for no photographs; None without any."""
    found: set[Path] = set()
    for path in (Path(name) for name in names):
        entries = path.iterdir() if path.is_dir() else map(Path, glob.glob(str(path), recursive=True))  # noqa: PTH207
        found.update(entry for entry in entries if entry != path and is_cellpose_result(entry))
    if not found:
        return None
    return f"{len(found)} files that Cellpose wrote beside images are left out: {listing(sorted(found))}"


def is_video(source: Source) -> bool:
    """Whether a source is a video file, by its suffix, or a camera."""
    return isinstance(source, Camera) or source.suffix.lower() in VIDEO_SUFFIXES


def count_images(sources: Iterable[Source], most_frames: int | None = None) -> int | None:
    """How many images and frames there are in all, about; None where a camera or a video does not say.

    Args:
        sources: as `find_sources` gives them.
        most_frames: that are used of each video or camera; None for all.
    """
    total = 0
    for source in sources:
        number = _count_frames(source) if is_video(source) else 1
        if is_video(source) and most_frames is not None:
            number = most_frames if number is None else min(number, most_frames)
        if number is None:
            return None
        total += number
    return total


def unique_names(sources: Iterable[Source]) -> dict[Source, str]:
    """A name without suffix for the results of each source, so that none overwrites another's.

    The file's own stem where no other file shares it; with its folder's name before it otherwise; and with a number
    after it where even that is taken. Names differ in more than capitals, as some file systems ignore these.

    >>> list(unique_names([Path("a/1.png"), Path("b/1.png"), Path("b/1.jpg"), Path("c/2.png"), Camera(0)]).values())
    ['a_1', 'b_1', 'b_1-2', '2', 'camera_0']
    """
    paths = {source: _as_path(source) for source in sources}
    num_sharing = Counter(path.stem.casefold() for path in paths.values())
    names: dict[Source, str] = {}
    taken: set[str] = set()
    for source, path in paths.items():
        is_shared = num_sharing[path.stem.casefold()] > 1
        name = f"{path.parent.name}_{path.stem}" if is_shared and path.parent.name else path.stem
        names[source] = _free_name(name, taken)
        taken.add(names[source].casefold())
    return names


def _named(name: str) -> list[Path] | list[Camera]:
    path, camera = Path(name), re.fullmatch(r"camera:(\d{1,4})", name)
    if path.is_dir():
        return _in_folder(path)
    if path.exists():
        if not _is_readable(path):
            raise DataError(
                f"{name} is no image or video by its suffix {path.suffix!r}; expected one of {_SUFFIXES_TEXT}"
            )
        return [path]
    if camera:
        return [Camera(int(camera[1]))]
    if glob.has_magic(name):
        return _in_glob(name)
    raise DataError(f"{name} does not exist; give an image or video file, a folder, a glob or camera:0")


def _in_folder(folder: Path) -> list[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"folder {folder} cannot be read ({error.strerror}); check its permissions") from error
    found = [path for path in entries if _is_wanted(path) and not path.name.startswith(".") and path.is_file()]
    if not found:
        raise DataError(
            f"folder {folder} has no image or video directly in it ({_SUFFIXES_TEXT}); "
            f"for those in its subfolders give the glob '{folder / '**' / '*.png'}'"
        )
    return found


def _in_glob(pattern: str) -> list[Path]:
    entries = glob.glob(pattern, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
    matches = sorted(Path(entry) for entry in entries)
    found = [path for path in matches if _is_wanted(path) and path.is_file()]
    if not found:
        raise DataError(
            f"glob {pattern!r} matches {len(matches)} entries, none of them an image or video ({_SUFFIXES_TEXT})"
        )
    return found


def _is_readable(path: Path) -> bool:
    return is_image(path) or path.suffix.lower() in VIDEO_SUFFIXES


def _is_wanted(path: Path) -> bool:
    """Whether a file that is not named itself is an image or video, and nothing that Cellpose wrote beside images."""
    return _is_readable(path) and not is_cellpose_result(path)


def _identity(source: Source) -> str:
    """The same for two ways to name one source; links stay apart, "a/../b" and "b" do not."""
    return str(source) if isinstance(source, Camera) else os.path.abspath(source)  # noqa: PTH100 - resolves no links


def _count_frames(source: Source) -> int | None:
    """None too where the video turns out broken; reading it will say why."""
    try:
        return count_frames(source)
    except DataError:
        return None


def _as_path(source: Source) -> Path:
    return Path(f"camera_{source.number}") if isinstance(source, Camera) else source


def _free_name(name: str, taken: set[str]) -> str:
    """The name itself or its first numbered form that is not taken."""
    numbered = (f"{name}-{number}" for number in count(2))
    return next(free for free in chain([name], numbered) if free.casefold() not in taken)

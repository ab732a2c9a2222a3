"""Which files are images: the endings that are read, and the files beside photographs that are none.

Every room asks here, so that a file is an image for all of them or for none.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

# in small letters; NPY is numpy's, the others Pillow's, TIFF that it does not hold tifffile's, HEIC pillow-heif's
IMAGE_SUFFIXES = (
    ".avif",
    ".bmp",
    ".gif",
    ".heic",
    ".heif",
    ".jfif",
    ".jp2",
    ".jpe",
    ".jpeg",
    ".jpg",
    ".npy",
    ".pgm",
    ".png",
    ".pnm",
    ".ppm",
    ".tif",
    ".tiff",
    ".webp",
)

# Cellpose writes its session, a pickle, beside the images, under this ending
SESSION_ENDING = "_seg.npy"
# and pictures of what it found, under these ends of their names, whatever their format
_RESULT_ENDS = ("_cp_masks", "_cp_output", "_cp_outlines", "_cp_flows")
# what operating systems leave in folders, besides the hidden files
_SYSTEM_FILES = ("thumbs.db", "ehthumbs.db", "desktop.ini")


def is_image(path: Path) -> bool:
    """Whether a file is an image by its name; hidden ones too."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def is_photograph(path: Path) -> bool:
    """Whether a file is an image by its name, and neither hidden nor one that Cellpose writes beside photographs.

    >>> [is_photograph(Path(name)) for name in ("a.png", "._a.png", "a_cp_masks.png", "a_seg.npy", "a.txt")]
    [True, False, False, False, False]
    """
    return is_image(path) and not path.name.startswith(".") and not is_cellpose_result(path)


def is_cellpose_result(path: Path) -> bool:
    """Whether a file is one that Cellpose writes beside the image that it looked at, by its name."""
    return path.name.endswith(SESSION_ENDING) or (is_image(path) and path.stem.endswith(_RESULT_ENDS))


def is_clutter(path: Path) -> bool:
    """Whether a file is hidden, as `._a.jpg` and `.DS_Store` are, or another one that a system leaves in folders."""
    return path.name.startswith(".") or path.name.lower() in _SYSTEM_FILES


def left_out(files: Iterable[Path]) -> list[Path]:
    """Those of some files beside photographs that are passed over, and that their owner may wonder about."""
    return [path for path in files if is_clutter(path) or is_cellpose_result(path)]


def listing(paths: Iterable[Path], most: int = 3) -> str:
    """Some files by name in one line, cut short where there are many.

    >>> listing([Path("x/a.png"), Path("b.png"), Path("c.png"), Path("d.png")])
    'a.png, b.png, c.png and 1 more'
    """
    names = [path.name for path in paths]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")

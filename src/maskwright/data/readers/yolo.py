"""YOLO segmentation labels: a text file per image with a line per object, numbers in shares of the image's sides.

`class x1 y1 x2 y2 …` is an outline, filled by the even-odd rule as COCO's rasteriser does, so that parts and holes
which a bridge joins to one path come back; `class x y width height` is a box around its centre. An image without a text
file is a negative example.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

from maskwright.config.yaml_text import BadYaml, read_yaml
from maskwright.data.checks import BORDER_TOLERANCE_PX, Problem, show
from maskwright.data.readers.annotated import find_with_ending
from maskwright.data.readers.options import DEFAULT_OPTIONS, ReadOptions
from maskwright.data.readers.per_image import (
    Flaw,
    FoundObject,
    Thing,
    by_name,
    find_images,
    images_of,
    read_per_image,
)
from maskwright.data.record import Dataset, Defect, Remark
from maskwright.errors import DataError
from maskwright.structures import Categories

_YAML_SUFFIXES = (".yaml", ".yml")
# where the names of the classes may stand, beside the labels or up to two folders above
_NAME_FILES = ("data.yaml", "data.yml", "classes.txt", "obj.names")
# what stands between or in the numbers of tables in some languages
_OTHER_SIGNS = (",", ";")
# of an outline; and how far the box of an outline may be from it, in shares of the image's sides
_FEWEST_NUMBERS, _BOX_TOLERANCE = 6, 0.002
# without names, a class number above this is a slip rather than a class
_MOST_CLASSES = 10_000


def read_yolo(images: Path, annotations: Path, options: ReadOptions = DEFAULT_OPTIONS) -> Dataset:
    """Read YOLO labels and check all that can be known without opening the images' pixels.

    Args:
        images: folder of the image files, with the folders in it.
        annotations: folder of the text files, laid out as the images are; or a data.yaml with `names`, and the labels
            are then where `labels` stands for the last `images` in the path of the images.
        options: with `needs_masks`, a line with a box is a defect.

    Raises:
        DataError: there is no folder of labels, no label file in it, or the names of the classes cannot be read.
    """
    is_yaml = annotations.is_file() and annotations.suffix.lower() in _YAML_SUFFIXES
    if not is_yaml and not annotations.is_dir():
        raise DataError(f"{annotations} is neither a folder of labels nor a data.yaml; give one of them")
    labels = _labels_beside(images) if is_yaml else annotations
    names = _names_in(annotations) if is_yaml else _names_near(labels)
    groups = by_name(find_images(images), images)
    paths, defects = images_of({name: str(images / name) for name in groups}, groups, images)
    files = {path: labels / f"{name}.txt" for path, name in paths.items()}
    texts, misnamed = find_with_ending(labels, ".txt")
    expected = {labels / f"{name}.txt" for name in groups}
    strays = [file for file in texts if file not in expected and file.name != "classes.txt"]
    if names is None:
        names = _numbers_in([file for file in files.values() if file.is_file()])
    return read_per_image(
        list(files),
        partial(_read_file, files=files, folder=labels, names=names, needs_masks=options.needs_masks),
        str(annotations),
        categories=Categories.of([names[number] for number in sorted(names)]),
        options=options,
        defects=[*misnamed, *defects, *(_stray(file, labels, images) for file in strays)],
    )


def _labels_beside(images: Path) -> Path:
    """The folder of labels that belongs to a folder of images.

    Raises:
        DataError: there is none.
    """
    parts = list(images.absolute().parts)
    if "images" not in parts:
        raise DataError(f"image folder {images}: no part of its path is 'images'; give the folder of labels instead")
    parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    labels = Path(*parts)
    if not labels.is_dir():
        raise DataError(f"folder of labels {labels} does not exist; it stands beside the images, or give it yourself")
    return labels


def _stray(file: Path, labels: Path, images: Path) -> Defect:
    message = f"no image in {images} belongs to it; add the image or remove the labels"
    return Defect("missing-image", str(file.relative_to(labels.parent)), message, None)


def _names_near(labels: Path) -> dict[int, str] | None:
    """Class number → name from the nearest file that has them; None without one."""
    folder = labels.absolute()
    for parent in (folder, *folder.parents[:2]):
        for name in _NAME_FILES:
            if (parent / name).is_file():
                return _names_in(parent / name)
    return None


def _names_in(path: Path) -> dict[int, str]:
    """Class number → name.

    Raises:
        DataError: the file cannot be read, has no names, or has one twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        found = read_yaml(text, as_typed=True) if path.suffix.lower() in _YAML_SUFFIXES else None
    except UnicodeDecodeError:
        raise DataError(f"{path}: is no text in UTF-8; save it so") from None
    except (OSError, BadYaml) as error:
        raise DataError(f"{path}: cannot be read: {' '.join(str(error).split())}") from None
    if path.suffix.lower() in _YAML_SUFFIXES:
        names = _numbered(found.get("names") if isinstance(found, dict) else None, path)
    else:
        names = dict(enumerate(line.strip() for line in text.splitlines() if line.strip()))
    if not names:
        raise DataError(f"{path}: names no class; list their names in the order of their numbers")
    if repeated := sorted({name for name in names.values() if list(names.values()).count(name) > 1}):
        raise DataError(f"{path}: the name {repeated[0]!r} occurs twice; every class needs one of its own")
    return names


def _numbered(names: Any, path: Path) -> dict[int, str]:
    if isinstance(names, list):
        return {number: str(name) for number, name in enumerate(names)}
    is_number = isinstance(names, dict) and all(_class_number(str(key)) is not None for key in names)
    if not is_number:
        raise DataError(f"{path}: 'names' is {show(names)}; it must be a list of names, or number: name for each")
    return {number: str(name) for key, name in names.items() if (number := _class_number(str(key))) is not None}


def _numbers_in(files: Sequence[Path]) -> dict[int, str]:
    """Classes without names, as `0`, `1` and so on to the highest that occurs."""
    highest = 0
    for file in files:
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            number = _class_number(line.split(maxsplit=1)[0]) if line.strip() else None
            highest = max(highest, number if number is not None and number < _MOST_CLASSES else 0)
    return {number: str(number) for number in range(highest + 1)}


def _class_number(word: str) -> int | None:
    """The number of a class, which some programs write as 3.0."""
    try:
        value = float(word)
    except ValueError:
        return None
    return int(value) if isfinite(value) and value >= 0 and value.is_integer() else None


def _read_file(
    path: Path,
    size: tuple[int, int],
    files: Mapping[Path, Path],
    folder: Path,
    names: Mapping[int, str],
    needs_masks: bool,
) -> Iterator[Thing]:
    """The objects of an image; none where it has no file."""
    numbers = {name: number for number, name in names.items()}
    file = files[path]
    name = str(file.relative_to(folder.parent))
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError) as error:
        message = f"is not a text file that can be read ({error}); export it again, in UTF-8"
        yield Flaw(name, Problem("unreadable-annotation", message), spoils_image=True)
        return
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            words, where = line.split(), f"{name} line {number}"
            if _class_number(words[0]) is None and words[0] in numbers:
                message = f"class {show(words[0])} is a name; read as its number, {numbers[words[0]]}"
                yield Remark("class-by-name", where, message, None)
                words[0] = str(numbers[words[0]])
            if _has_box_before_outline(words):
                message = "has the box of its outline before the outline; read without it"
                yield Remark("box-before-outline", where, message, None)
                del words[1:5]
            found = _read_line(words, size, names, needs_masks)
            yield Flaw(where, found) if isinstance(found, Problem) else FoundObject(where, *found)


def _read_line(
    words: Sequence[str], size: tuple[int, int], names: Mapping[int, str], needs_masks: bool
) -> tuple[str, list[list[float]] | None, list[float] | None] | Problem:
    """(name of the class, polygons, box x y w h in pixels), one of the latter two None; or what is wrong."""
    if separator := next((sign for sign in _OTHER_SIGNS if any(sign in word for word in words)), None):
        wanted = "a line is the class and numbers, with spaces between and points before their decimals"
        return Problem("bad-line", f"has {separator!r} in {show(' '.join(words))}; {wanted}")
    number = _class_number(words[0])
    if number is None or number not in names:
        known = f"{min(names)} to {max(names)}, {', '.join(list(names.values())[:5])}"
        return Problem("unknown-category", f"class {show(words[0])} is not among the {len(names)} known ({known}, …)")
    shares = _finite(words[1:])
    if isinstance(shares, Problem):
        return shares
    if len(shares) == 4 and needs_masks:
        return Problem("missing-mask", "is a box, not an outline; label the outline, or work with boxes only")
    if len(shares) == 4:
        return names[number], None, _box_xywh(shares, size)
    outline = _outline(shares, size)
    return outline if isinstance(outline, Problem) else (names[number], [outline], None)


def _has_box_before_outline(words: Sequence[str]) -> bool:
    """Whether the first four numbers of a line are x, y, width and height of the outline in the others."""
    shares = _finite(words[1:])
    if isinstance(shares, Problem) or len(shares) < 4 + _FEWEST_NUMBERS or len(shares) % 2:
        return False
    box, xs, ys = shares[:4], shares[4::2], shares[5::2]
    around = [(min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2, max(xs) - min(xs), max(ys) - min(ys)]
    return all(abs(number - other) <= _BOX_TOLERANCE for number, other in zip(box, around, strict=True))


def _finite(words: Sequence[str]) -> list[float] | Problem:
    try:
        numbers = [float(word) for word in words]
    except ValueError as error:
        return Problem("bad-line", f"{error}; a line is the class and numbers from 0 to 1, with spaces between")
    if not all(map(isfinite, numbers)):
        return Problem("bad-line", "holds something that is not a finite number")
    return numbers


def _box_xywh(shares: Sequence[float], size: tuple[int, int]) -> list[float]:
    x, y, w, h = shares
    return [(x - w / 2) * size[1], (y - h / 2) * size[0], w * size[1], h * size[0]]


def _outline(shares: Sequence[float], size: tuple[int, int]) -> list[float] | Problem:
    """x1 y1 x2 y2 … in pixels."""
    height, width = size
    if len(shares) < _FEWEST_NUMBERS or len(shares) % 2:
        wanted = "an outline is x and y of at least 3 points, a box is 4 numbers"
        return Problem("bad-polygon", f"has {len(shares)} numbers after the class; {wanted}")
    points = [share * side for share, side in zip(shares, (width, height) * (len(shares) // 2), strict=True)]
    beyond = max(max(-min(points[k::2]), max(points[k::2]) - side) for k, side in enumerate((width, height)))
    if beyond > BORDER_TOLERANCE_PX:
        worst = max(shares, key=lambda share: abs(share - 0.5))
        return Problem("outline-outside-image", f"has {worst:g}, outside the image; give shares of its sides, 0 to 1")
    return points

"""Which images have an annotation file, where those are found by their names or by a list."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from maskwright.data.readers.per_image import by_name, find_images, images_of
from maskwright.data.record import Defect
from maskwright.errors import DataError
from maskwright.images.formats import is_image

# −1, 0 or 1 behind a name: whether the image has objects of the class that the list is about
_FLAG = re.compile(r"\s+-?[01]$")


@dataclass(frozen=True)
class AnnotatedImages:
    """Images of a dataset whose annotations are files of the same names.

    Attributes:
        folder: of the annotation files.
        names: image → its name, relative to its folder and without ending.
        defects: of names that no image, or more than one, belongs to.
    """

    folder: Path
    names: Mapping[Path, str]
    defects: Sequence[Defect]


def find_annotated(images: Path, annotations: Path, ending: str, folder_name: str) -> AnnotatedImages:
    """The images that have an annotation file, or that a list names.

    Args:
        images: their folder.
        annotations: folder of the annotation files, or a list file.
        ending: of the annotation files, with its dot.
        folder_name: of the folder where they lie if `annotations` is a list: beside `images`, or up to three folders
            above the list.

    Raises:
        DataError: the list cannot be read or names nothing, or that folder is not there.
    """
    misnamed: list[Defect] = []
    groups = by_name(find_images(images), images)
    if annotations.is_dir():
        folder = annotations
        files, misnamed = find_with_ending(folder, ending)
        where = {name: f"{name}{ending}" for name in by_name(files, folder)}
    elif annotations.suffix.lower() == ending:
        raise DataError(f"{annotations} is the annotation of one image; give the folder of these files, or a list file")
    else:
        folder = _folder_beside(images, annotations, folder_name)
        where = {_without_ending(name, groups): str(annotations) for name in read_names(annotations)}
    names, defects = images_of(where, groups, images)
    return AnnotatedImages(folder, names, [*misnamed, *defects])


def find_with_ending(folder: Path, ending: str) -> tuple[list[Path], list[Defect]]:
    """The files in a folder, and the folders in it, with an ending; and a defect for each that has it in capitals.

    Raises:
        DataError: there is none of either, so that every image would seem to have no objects.
    """
    files = sorted(path for path in folder.rglob("[!.]*") if path.suffix.lower() == ending)
    if not files:
        raise DataError(f"no file *{ending} in {folder} or the folders in it; give the folder that has them")
    misnamed = [path for path in files if path.suffix != ending]
    message = f"is passed over for its ending; rename it to {ending}, in small letters"
    defects = [Defect("misnamed-file", path.relative_to(folder).as_posix(), message, None) for path in misnamed]
    return [path for path in files if path.suffix == ending], defects


def _without_ending(name: str, images: Mapping[str, Sequence[Path]]) -> str:
    """The name of an image, which some lists give with the ending of its file."""
    stem = PurePosixPath(name).with_suffix("").as_posix()
    is_file_name = is_image(Path(name)) and name not in images
    return stem if is_file_name else name


def _folder_beside(images: Path, names: Path, folder_name: str) -> Path:
    for parent in (images.resolve().parent, *names.resolve().parents[:3]):
        if (parent / folder_name).is_dir():
            return parent / folder_name
    raise DataError(f"no folder {folder_name} beside {images} or above {names}; put the annotations there, or give it")


def read_names(path: Path) -> list[str]:
    """The images that a list file names, one a line; a flag behind the name, as in Pascal VOC's, is passed over.

    Raises:
        DataError: it cannot be read or names nothing.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: is no text; give a list with the name of an image on each line") from None
    names = [_FLAG.sub("", line.strip()) for line in lines if line.strip()]
    if not names:
        raise DataError(f"{path}: the list is empty; expected the name of an image on each line")
    return names

"""What formats share that have one JSON file for each image: SA-1B, Darwin, QuPath."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from maskwright.data.checks import Problem
from maskwright.data.readers.coco_document import load_json
from maskwright.data.readers.listed import ListedImage, read_listed
from maskwright.data.readers.options import ReadOptions
from maskwright.data.readers.per_image import Flaw, Thing, by_name, find_images
from maskwright.data.record import Dataset, Defect
from maskwright.errors import DataError

# what a file holds → the names that it gives its image, none where it gives none; or why it is no file of the format
NamesIn = Callable[[Any], Sequence[str] | Problem]
# name for messages, what a file holds, (height, width) of its image → what is in it
ThingsIn = Callable[[str, Any, tuple[int, int]], Iterator[Thing]]


def read_file_per_image(
    images: Path,
    annotations: Path,
    options: ReadOptions,
    *,
    endings: Sequence[str],
    names_in: NamesIn,
    things_in: ThingsIn,
) -> Dataset:
    """A dataset from a folder with a JSON file for each image, or from one such file.

    Each file is read twice, first for the name of its image: the objects of all together need not fit into memory.

    Args:
        images: folder of the image files.
        annotations: folder of the JSON files, with the folders in it, or one of them.
        options: what the owner of the dataset decides.
        endings: of the files, with their dots.
        names_in: the names of a file's image; without any the image is called like the file.
        things_in: what is in an image.

    Raises:
        DataError: there is no file with one of these endings.
    """
    files = [annotations] if annotations.is_file() else _find(annotations, endings)
    folder = annotations.parent if annotations.is_file() else annotations
    stems = {name: paths[0] for name, paths in by_name(find_images(images), images).items() if len(paths) == 1}
    listed: list[ListedImage] = []
    defects: list[Defect] = []
    for path in files:
        name = path.relative_to(folder).as_posix()
        try:
            names = names_in(load_json(path))
        except DataError as error:
            names = Problem("broken-json", str(error).removeprefix(f"{path}: "))
        if isinstance(names, Problem):
            defects.append(Defect(names.kind, name, names.message, None))
        else:
            own = str(PurePosixPath(name).with_suffix(""))
            beside = [stems[own].relative_to(images).as_posix()] if own in stems else []
            listed.append(ListedImage(name, [*names, *beside, own], path))
    return read_listed(listed, images, partial(_things, things_in), annotations, options, defects=defects)


def _find(folder: Path, endings: Sequence[str]) -> list[Path]:
    files = sorted(path for path in folder.rglob("[!.]*") if path.suffix.lower() in endings and path.is_file())
    if not files:
        wanted = " or ".join(f"*{ending}" for ending in endings)
        raise DataError(f"no file {wanted} in {folder} or the folders in it; give the folder that has them")
    return files


def _things(things_in: ThingsIn, entry: ListedImage, size: tuple[int, int]) -> Iterator[Thing]:
    yield from things_in(entry.where, load_json(entry.content), size)


def not_a_list(where: str, key: str, program: str) -> Flaw:
    """What is wrong with a file that lacks its list of objects."""
    message = f"has no list {key!r}; is it a file of {program}?"
    return Flaw(where, Problem("broken-json", message), spoils_image=True)

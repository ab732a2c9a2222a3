"""ImageJ and Fiji: regions of interest in a ZIP file for each image, or in files of their own; roifile reads them."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from maskwright.data.checks import Problem, show
from maskwright.data.readers.options import DEFAULT_OPTIONS, ReadOptions
from maskwright.data.readers.per_image import Flaw, FoundObject, Thing, find_images, read_per_image
from maskwright.data.readers.shapes import Region, box_as_mask, ellipse, even_odd, points_of, polygon, rectangle
from maskwright.data.record import Dataset, Defect
from maskwright.errors import DataError, MissingDependency

ONLY_CLASS = "object"
ENDINGS = (".zip", ".roi")
# what people and plugins write around the name of an image
_AROUND = ("roiset", "rois", "roi")
# a region larger than this is no region
_MOST_BYTES = 1 << 26
_OUTLINES = ("POLYGON", "FREEHAND", "TRACED")
_Size = tuple[int, int]


class _File(NamedTuple):
    """Bytes of one region and where they come from."""

    where: str
    data: bytes


def read_imagej(images: Path, annotations: Path, options: ReadOptions = DEFAULT_OPTIONS) -> Dataset:
    """Read the regions of interest of ImageJ. All are of one class, `object`.

    Polygons, freehand and traced outlines, rectangles, ovals and regions composed of these are objects; lines, points
    and angles are defects. Corners lie on the corners of pixels.

    Args:
        images: folder of the image files.
        annotations: folder of the ZIP or ROI files, or one of them. The regions of `a.tif` are in `a.zip`,
            `a_RoiSet.zip`, `RoiSet_a.zip`, `a.roi` or a folder `a`; those of a single image in the only file, whatever
            it is called.
        options: what the owner of the dataset decides.

    Raises:
        DataError: there is no such file.
        MissingDependency: roifile is not installed.
    """
    try:
        import roifile
    except ImportError as error:
        raise MissingDependency("roifile", "imagej") from error
    folder = annotations.parent if annotations.is_file() else annotations
    files = [annotations] if annotations.is_file() else _find(folder)
    photographs = find_images(images)
    owned, defects = _hand_out(files, folder, photographs, images)
    return read_per_image(
        photographs,
        partial(_things, roifile, owned, folder),
        str(annotations),
        categories=None,
        options=options,
        defects=defects,
    )


def has_regions(path: Path) -> bool:
    """Whether a file is a region of interest, or an archive of some."""
    if path.suffix.lower() == ".zip":
        try:
            with zipfile.ZipFile(path) as archive:
                return any(name.lower().endswith(".roi") for name in archive.namelist())
        except (OSError, ValueError, zipfile.BadZipFile):
            return False
    return path.suffix.lower() == ".roi"


def _find(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.rglob("[!.]*") if path.suffix.lower() in ENDINGS and path.is_file())
    if not files:
        raise DataError(f"no file *.zip or *.roi in {folder} or the folders in it; save the regions of the ROI Manager")
    return files


def _hand_out(
    files: Sequence[Path], folder: Path, photographs: Sequence[Path], images: Path
) -> tuple[dict[Path, list[Path]], list[Defect]]:
    """Image → files of its regions, and a defect for each file whose image is not known."""
    if len(photographs) == 1 and len(files) == 1:
        return {photographs[0]: list(files)}, []
    stems: dict[str, list[Path]] = {}
    for path in photographs:
        stems.setdefault(path.stem.casefold(), []).append(path)
    owned: dict[Path, list[Path]] = {}
    defects: list[Defect] = []
    for path in files:
        relative = path.relative_to(folder)
        names = [_without_affixes(path.stem.casefold()), *(part.casefold() for part in reversed(relative.parts[:-1]))]
        found = next((stems[name] for name in (path.stem.casefold(), *names) if name in stems), [])
        if len(found) == 1:
            owned.setdefault(found[0], []).append(path)
        else:
            what = "more than one image is" if found else "no image is"
            message = f"{what} called like it in {images}; call it like its image"
            defects.append(Defect("ambiguous-image" if found else "missing-image", relative.as_posix(), message, None))
    return owned, defects


def _without_affixes(stem: str) -> str:
    for word in _AROUND:
        stem = stem.removesuffix(word).removeprefix(word)
    return stem.strip("_- .")


def _things(
    roifile: Any, owned: Mapping[Path, Sequence[Path]], folder: Path, image: Path, size: _Size
) -> Iterator[Thing]:
    if image not in owned:
        message = "has no file of regions: not labelled yet? label it, or leave it out with skip_bad"
        yield Flaw(f"image {image.name!r}", Problem("missing-annotation", message), spoils_image=True)
        return
    for path in owned[image]:
        name = path.relative_to(folder).as_posix()
        try:
            regions = list(_regions(path, name))
        except (OSError, ValueError, RuntimeError, NotImplementedError, EOFError, zipfile.BadZipFile) as error:
            yield Flaw(name, Problem("bad-annotation", f"cannot be read ({error}); save the regions again"))
            continue
        for where, data in regions:
            yield from _thing(roifile, where, data, size)


def _regions(path: Path, name: str) -> Iterator[_File]:
    if path.suffix.lower() == ".roi":
        with path.open("rb") as file:
            yield _File(name, file.read(_MOST_BYTES))
        return
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.filename.lower().endswith(".roi"):
                if entry.file_size > _MOST_BYTES:
                    raise ValueError(f"{entry.filename} has {entry.file_size} bytes, too many for a region")
                yield _File(f"{name} {entry.filename}", archive.read(entry))


def _thing(roifile: Any, where: str, data: bytes, size: _Size) -> Iterator[Thing]:
    try:
        roi = roifile.ImagejRoi.frombytes(data)
        kind = roi.roitype.name
        region = _region(roi, kind, size)
    except Exception as error:  # noqa: BLE001 - whatever the library ends in on a damaged file
        yield Flaw(where, Problem("bad-shape", f"is no region that can be read ({error}); save it again"))
        return
    if isinstance(region, Problem):
        yield Flaw(where, region)
        return
    if kind == "RECT" and roi.multi_coordinates is None:
        yield box_as_mask(where, "rectangle")
    yield FoundObject(where, ONLY_CLASS, region)


def _region(roi: Any, kind: str, size: _Size) -> Region | Problem:
    if roi.multi_coordinates is not None:  # several outlines: inside is what an odd number of them surrounds
        outlines = [_outline(path) for path in roi.path2coords(roi.multi_coordinates)]
        problem = next((outline for outline in outlines if isinstance(outline, Problem)), None)
        return problem or even_odd([outline for outline in outlines if not isinstance(outline, Problem)], size)
    if kind in _OUTLINES:
        return _outline(roi.coordinates())
    is_fine = roi.subpixelrect
    left, top = (roi.xd, roi.yd) if is_fine else (roi.left, roi.top)
    width, height = (roi.widthd, roi.heightd) if is_fine else (roi.right - roi.left, roi.bottom - roi.top)
    if kind == "RECT":
        return rectangle(left, top, left + width, top + height)
    if kind == "OVAL":
        return ellipse(left + width / 2, top + height / 2, width / 2, height / 2)
    return Problem("shape-without-area", f"a {show(kind.lower())} covers no pixels; draw an outline, or remove it")


def _outline(coordinates: Any) -> Region | Problem:
    points = points_of([[float(x), float(y)] for x, y in coordinates])
    return Problem("bad-shape", "its corners are no finite numbers") if points is None else polygon(points)

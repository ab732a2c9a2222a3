"""What the owner of a dataset may wonder about: files that are left out, and images with more than is read of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from maskwright.data.record import Dataset, Remark
from maskwright.images.formats import is_clutter, left_out, listing
from maskwright.images.notes import notes_of


def with_remarks(dataset: Dataset, images: Path, annotations: Path) -> Dataset:
    """The dataset with a remark about the files that its folders have besides, and about images with more than is read.

    Args:
        dataset: as its reader gives it.
        images: folder of the image files.
        annotations: annotation file, or the folder of them.
    """
    folders = {folder.resolve(): folder for folder in (annotations, images) if folder.is_dir()}
    found = [remark for folder in folders.values() for remark in _left_out(folder, is_images=folder == images)]
    paths = [record.path for record in dataset.records]
    with ThreadPoolExecutor() as pool:
        notes = list(pool.map(notes_of, paths))
    found += [
        Remark(note.kind, f"image {record.path.name!r}", note.message, record.id)
        for record, own in zip(dataset.records, notes, strict=True)
        for note in own
    ]
    return replace(dataset, remarks=(*dataset.remarks, *found)) if found else dataset


def _left_out(folder: Path, is_images: bool) -> Iterator[Remark]:
    """A remark about the files in a folder that are no photographs, or in a folder of annotations, no annotations."""
    files = sorted(_files_in(folder))
    passed = left_out(files) if is_images else [path for path in files if is_clutter(path)]
    if passed:
        message = f"{len(passed)} files in it are not taken for {'images' if is_images else 'annotations'}"
        yield Remark("left-out-files", str(folder), f"{message}: {listing(passed)}", None)


def _files_in(folder: Path) -> Iterator[Path]:
    """All files, but for those in hidden folders."""
    for parent, names, files in os.walk(folder):
        names[:] = [name for name in names if not name.startswith(".")]
        yield from (Path(parent, name) for name in files)

"""Cases of images: files of every format with a few bytes changed or an end missing, read in every way there is."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pillow_heif
import tifffile
from PIL import Image
from trial import Case

from maskwright.config.images import PixelsConfig
from maskwright.data.file_checks import check_file
from maskwright.data.record import ImageRecord
from maskwright.errors import MaskwrightError
from maskwright.images.ids import read_ids
from maskwright.images.notes import notes_of
from maskwright.images.read import image_size, read_image

_SIZE = 60, 72
_COMPRESSIONS = (None, "zlib", "lzw", "jpeg", "zstd", "lzma", "packbits", "webp", "jpeg2000")
_PILLOWS: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("PNG", {}),
    ("JPEG", {}),
    ("JPEG", {"progressive": True}),
    ("WEBP", {}),
    ("WEBP", {"lossless": True}),
    ("GIF", {}),
    ("AVIF", {}),
    ("JPEG2000", {}),
    ("BMP", {}),
    ("TIFF", {"compression": "jpeg"}),
    ("TIFF", {"compression": "tiff_lzw"}),
)
_PIXELS = tuple(PixelsConfig.model_validate({"channels": c, "bits": b}) for c, b in ((3, 8), (3, 16), (5, 16)))
_READS: tuple[Callable[[Path], object], ...] = (
    *(partial(lambda pixels, path: read_image(path, pixels), pixels) for pixels in _PIXELS),
    image_size,
    notes_of,
    lambda path: read_ids(path, "either"),
    lambda path: check_file(ImageRecord(1, path, _SIZE, ())),
)


def cases(root: Path, seed: int, count: int) -> Iterator[Case]:
    """Image files, one after the other of each format."""
    for number in range(count):
        yield f"images {seed}:{number}", partial(_run, f"images {seed}:{number}", number, root)


def _run(name: str, number: int, root: Path) -> None:
    warnings.simplefilter("ignore")
    logging.disable()
    rng = Random(name)  # noqa: S311 - reproducible, not secret
    suffix, whole = _sound()[number % len(_sound())]
    path = root / f"image{suffix}"
    path.write_bytes(_damaged(whole, rng))
    first: MaskwrightError | None = None
    for read in _READS:
        try:
            read(path)
        except MaskwrightError as error:
            first = first or error
    if first is not None:
        raise first


def _damaged(whole: bytes, rng: Random) -> bytes:
    """Headers are hit as often as the pixels behind them."""
    data = bytearray(whole)
    most = rng.choice((len(data), min(len(data), 400)))
    for _ in range(rng.randint(1, 6)):
        data[rng.randrange(most)] = rng.choice((rng.randrange(256), 0, 255))
    return bytes(data[: rng.randrange(len(data))] if rng.random() < 0.1 else data)


@cache
def _sound() -> list[tuple[str, bytes]]:
    """(ending, bytes) of an image in every format."""
    rgb = np.kron(np.random.default_rng(1).integers(0, 256, (10, 12, 3), dtype=np.uint8), np.ones((6, 6, 1), np.uint8))
    grey, picture = rgb[..., 0], Image.fromarray(rgb)
    tiffs = [_tiff(rgb, photometric="rgb", compression=how) for how in _COMPRESSIONS]
    tiffs += [_tiff((rgb / 255).astype(np.float32), photometric="rgb", compression="zlib", predictor=True)]
    tiffs += [_tiff(rgb.astype(np.uint16), photometric="rgb", tile=(16, 16)), _tiff(rgb, bigtiff=True)]
    tiffs += [_tiff(np.stack([grey] * 5).astype(np.uint16), imagej=True), _tiff(grey.astype(np.uint64))]
    heic = _saved(lambda file: pillow_heif.from_pillow(picture).save(file))
    arrays = (rgb, rgb.astype(np.float32), np.array({"masks": grey}, dtype=object))
    return [
        *((".tif", data) for data in tiffs),
        *((".img", _saved(partial(picture.save, format=kind, **options))) for kind, options in _PILLOWS),
        (".png", _saved(partial(picture.quantize(8).save, format="PNG"))),
        (".heic", heic),
        *((".npy", _saved(partial(_save_array, array=array))) for array in arrays),
    ]


def _tiff(array: np.ndarray, **options: Any) -> bytes:
    return _saved(lambda file: tifffile.imwrite(file, array, **options))


def _save_array(file: io.BytesIO, array: np.ndarray) -> None:
    np.save(file, array)


def _saved(save: Callable[[io.BytesIO], object]) -> bytes:
    file = io.BytesIO()
    save(file)
    return file.getvalue()

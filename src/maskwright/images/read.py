"""Whatever a user calls an image (a file, bytes, a PIL image, an array, a tensor) becomes one kind of tensor.

Pixels are taken as stored: an EXIF orientation is not applied, because annotation files count stored pixels. Alpha is
dropped, not blended. Of an animation or a stack of pages the first is read. Sixteen-bit grey goes down to eight bits by
the rule of `grey_to_8_bit`; of sixteen-bit colour Pillow keeps the upper eight bits.

Pillow alone decodes. torchvision's decoders give the same pixels, JPEG in half the time, but they are deprecated, and
the one for PNG kills the process when a file is damaged.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from maskwright.errors import DataError

ImageSource = str | Path | bytes | Image.Image | np.ndarray | Tensor

Item = TypeVar("Item")

# images or frames that wait, already made, while another is worked on
IN_FLIGHT = 3

# what cameras deliver; 12 bits in a 16-bit file is the commonest of microscopes
_GREY_DEPTHS = (8, 10, 12, 14, 16)


def read_image(source: ImageSource) -> Tensor:
    """Read an image from wherever it is.

    Args:
        source: a path; the bytes of an image file; a PIL image; an (H, W, 3) RGB or (H, W) grey uint8 array; or a
            (3, H, W) RGB uint8 tensor, which comes back as it is.

    Returns:
        (3, H, W) uint8 RGB, contiguous.

    Raises:
        DataError: the file is missing, broken, cut off or no image, or an array has another shape or type.
    """
    if isinstance(source, Tensor):
        return _checked_tensor(source)
    if isinstance(source, np.ndarray):
        return _array_to_tensor(source)
    if isinstance(source, Image.Image):
        with _blaming("PIL image"):
            return _pil_to_tensor(source)
    if isinstance(source, bytes):
        return _decode(source, "image bytes")
    if isinstance(source, (str, Path)):
        name = f"image {source}"
        with _blaming(name):
            return _decode(Path(source).read_bytes(), name)
    raise DataError(
        f"{type(source).__name__} given as an image; give a path, bytes, a PIL image, a numpy array or a torch tensor"
    )


def read_ahead(sources: Iterable[ImageSource]) -> Generator[Tensor | DataError, None, None]:
    """The pixels of each image, as `read_image` gives them, or why it has none; the next ones are read meanwhile."""
    return ahead(_try_read(source) for source in sources)


def ahead(items: Iterator[Item]) -> Generator[Item, None, None]:
    """The items of an iterator; the next few are made meanwhile, in a thread of their own."""
    with ThreadPoolExecutor(max_workers=1) as maker:
        waiting = deque(maker.submit(_next_of, items) for _ in range(IN_FLIGHT))
        try:
            while item := waiting.popleft().result():
                waiting.append(maker.submit(_next_of, items))
                yield item[0]
        finally:
            maker.shutdown(cancel_futures=True)


def _next_of(items: Iterator[Item]) -> tuple[Item, ...]:
    """The next item alone in a tuple, or an empty one at the end."""
    return tuple(islice(items, 1))


def _try_read(source: ImageSource) -> Tensor | DataError:
    try:
        return read_image(source)
    except DataError as error:
        return error


def image_size(path: str | Path) -> tuple[int, int]:
    """(height, width) in pixels of an image file, from its header alone: the pixels may still turn out broken.

    Raises:
        DataError: the file is missing or not an image.
    """
    with _blaming(f"image {path}"), Image.open(path) as image:
        return image.height, image.width


def grey_to_8_bit(values: npt.NDArray[Any], name: str = "grey image") -> npt.NDArray[np.uint8]:
    """Bring grey values of up to 16 bits down to 8 by one division for the whole image.

    A 12-bit camera writes 16-bit files whose upper four bits are empty; divided by 65535 they would be black. So the
    values are taken to span the smallest of 8, 10, 12, 14 or 16 bits that holds the largest of them. Two images of one
    camera can thus differ in brightness by a factor of 4, but none becomes black. Convert to 8 bits yourself where
    absolute brightness matters.

    Args:
        values: (H, W) integers from 0 to 65535.
        name: what to call the image in the error.

    Returns:
        (H, W) rounded.

    Raises:
        DataError: values outside that range, or not integers.

    >>> grey_to_8_bit(np.array([[0, 2048, 4095]])).tolist()
    [[0, 128, 255]]
    """
    if values.dtype.kind not in "ui" or values.min() < 0 or values.max() > 65535:
        found = f"{values.dtype} grey values from {values.min():g} to {values.max():g}"
        raise DataError(f"{name} has {found}; expected integers from 0 to 65535, so convert it to 8 or 16 bits first")
    depth = next(depth for depth in _GREY_DEPTHS if values.max() < 2**depth)
    scaled: npt.NDArray[np.float32] = np.rint(values.astype(np.float32) * np.float32(255 / (2**depth - 1)))
    return scaled.astype(np.uint8)


def _decode(data: bytes, name: str) -> Tensor:
    if not data:
        raise DataError(f"{name} is empty (0 bytes); restore or remove it")
    with _blaming(name), Image.open(BytesIO(data)) as image:
        return _pil_to_tensor(image, name)


def _pil_to_tensor(image: Image.Image, name: str = "PIL image") -> Tensor:
    if image.mode.startswith("I") or image.mode == "F":
        return _array_to_tensor(grey_to_8_bit(np.asarray(image), name))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns of the direct way
    return _array_to_tensor(np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB")))


def _array_to_tensor(array: npt.NDArray[Any]) -> Tensor:
    is_grey, is_rgb = array.ndim == 2, array.ndim == 3 and array.shape[-1] == 3
    if array.dtype != np.uint8 or not (is_grey or is_rgb) or array.size == 0:
        raise DataError(
            f"image array is {array.dtype} of shape {array.shape}; expected uint8 (H, W, 3) RGB or (H, W) grey"
        )
    pixels = torch.from_numpy(np.require(array, requirements=["C", "W"]))  # copies only what torch cannot take
    return (pixels.permute(2, 0, 1) if is_rgb else pixels.expand(3, -1, -1)).contiguous()


def _checked_tensor(tensor: Tensor) -> Tensor:
    if tensor.dtype != torch.uint8 or tensor.ndim != 3 or len(tensor) != 3 or tensor.numel() == 0:
        raise DataError(
            f"image tensor is {str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}; "
            "expected uint8 (3, H, W) RGB"
        )
    return tensor.contiguous()


@contextmanager
def _blaming(name: str) -> Iterator[None]:
    """Turn what file systems and decoders raise into a `DataError` about the image `name`."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{name} does not exist; check the path") from None
    except IsADirectoryError:
        raise DataError(f"{name} is a folder; name an image file in it") from None
    except PermissionError:
        raise DataError(f"{name} may not be read; check its permissions") from None
    except UnidentifiedImageError:
        raise DataError(f"{name} is not an image that Pillow can read; convert it to PNG, JPEG or TIFF") from None
    except Image.DecompressionBombError as error:
        raise DataError(f"{name} is too large to decode at once ({error}); cut it into tiles") from None
    except (OSError, EOFError, RuntimeError, SyntaxError, ValueError, struct.error) as error:
        raise DataError(f"{name} is broken or cut off and cannot be decoded; restore or remove it") from error

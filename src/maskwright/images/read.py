"""Whatever a user calls an image (a file, bytes, a PIL image, an array, a tensor) becomes one kind of tensor.

Pixels are upright: the orientation tag of a photograph is applied (see `orientation`). Alpha is dropped, not blended,
unless there are as many channels with it as are wanted. Of an animation or a stack of pages the first is read; a TIFF
whose pages are the channels of one image is read whole where neither one nor three are wanted.

With 8 bits, sixteen-bit values go down by the rule of `to_8_bit`; of sixteen-bit colour in PNG and other formats that
Pillow decodes, the upper eight bits are taken. With more, nothing is lost of NPY, TIFF, PNG and of whatever is grey.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from maskwright.config.images import PixelsConfig
from maskwright.errors import DataError
from maskwright.images.decode import channels_first, decode, decode_pillow, image_errors, read_header
from maskwright.images.scale import to_channels, to_scale
from maskwright.images.tiff import Stored

ImageSource = str | Path | bytes | Image.Image | np.ndarray | Tensor

Item = TypeVar("Item")

# images or frames that wait, already made, while another is worked on
IN_FLIGHT = 3

_RGB_8_BIT = PixelsConfig()
_USUAL_CHANNELS = (1, 3, 4)  # grey, RGB, and with alpha


def read_image(source: ImageSource, pixels: PixelsConfig = _RGB_8_BIT) -> Tensor:
    """Read an image from wherever it is.

    Args:
        source: a path; the bytes of an image file (PNG, JPEG, TIFF, NPY, …); a PIL image; an (H, W), (H, W, C) or
            (C, H, W) array, RGB where C is 3; or a tensor of one of these shapes, whose values come back as they are:
            uint8, or float32 on the scale from 0 to 255 that this function gives.
        pixels: its channels are wanted, and its `bits` and `float_range` say what values mean; by default 8-bit RGB.

    Returns:
        (C, H, W), contiguous: uint8 where `pixels.bits` is 8, else float32 on the same scale, from 0 to 255.

    Raises:
        DataError: the file is missing, broken, cut off or no image; it or an array has another shape or type, values
            outside the range, or other channels.
        MissingDependency: a TIFF that Pillow does not read, without tifffile.
    """
    if isinstance(source, Tensor):
        return to_channels(_checked_tensor(source, pixels), pixels.channels, "image tensor")
    stored, name = _stored(source, pixels.channels, keeps_depth=pixels.bits > 8)
    if isinstance(source, np.ndarray) and stored.dtype.kind == "f" and pixels.bits == 8:  # normalised by mistake, often
        raise DataError(
            f"{name} has {stored.dtype} values; expected integers from 0 to 65535: set pixels.bits=16, which keeps "
            "them, or convert to 8 bits"
        )
    return to_channels(to_scale(stored, pixels, name), pixels.channels, name)


def read_stored(source: ImageSource) -> Tensor:
    """Read an image for people to look at, whatever its channels and depth.

    Returns:
        (C, H, W): uint8 of 8-bit files; of others, float32 of the values as stored.

    Raises:
        DataError: as `read_image`, but for channels and range.
        MissingDependency: as `read_image`.
    """
    if isinstance(source, Tensor):
        return _channels_to_front(source, None)
    stored, name = _stored(source, None, keeps_depth=True)
    if stored.dtype == np.uint8:
        return to_scale(stored, _RGB_8_BIT, name)
    if stored.dtype.kind not in "uif":
        raise DataError(f"{name} has {stored.dtype} values; expected integers or floats: convert it")
    return torch.from_numpy(np.nan_to_num(stored.astype(np.float32, order="C")))


def read_ahead(
    sources: Iterable[ImageSource], read: Callable[[ImageSource], Tensor] = read_image
) -> Generator[Tensor | DataError, None, None]:
    """The pixels of each image, as `read` gives them, or why it has none; the next ones are read meanwhile."""
    return ahead(_try(read, source) for source in sources)


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
    """The next item as a tuple of one, or an empty one at the end."""
    return tuple(islice(items, 1))


def _try(read: Callable[[ImageSource], Tensor], source: ImageSource) -> Tensor | DataError:
    try:
        return read(source)
    except DataError as error:
        return error


def image_size(path: str | Path) -> tuple[int, int]:
    """(height, width) in pixels of the upright image of a file, from its header: the pixels may still turn out broken.

    Raises:
        DataError: the file is missing or not an image.
        MissingDependency: a TIFF that Pillow does not read, without tifffile.
    """
    return read_header(Path(path)).size


def _stored(source: object, channels: int | None, *, keeps_depth: bool) -> tuple[Stored, str]:
    """The values of anything but a tensor, (C, H, W), and what to call it in errors."""
    if isinstance(source, np.ndarray):
        return _checked_array(source, channels), "image array"
    if isinstance(source, Image.Image):
        with image_errors("PIL image"):
            return decode_pillow(source, channels), "PIL image"
    if isinstance(source, bytes):
        return decode(source, "image bytes", channels, keeps_depth), "image bytes"
    if isinstance(source, (str, Path)):
        name = f"image {source}"
        with image_errors(name):
            data = Path(source).read_bytes()
        return decode(data, name, channels, keeps_depth), name
    raise DataError(
        f"{type(source).__name__} given as an image; give a path, bytes, a PIL image, a numpy array or a torch tensor"
    )


def _checked_array(array: npt.NDArray[Any], channels: int | None) -> Stored:
    try:
        return channels_first(array, channels)
    except ValueError:
        raise DataError(
            f"image array is {array.dtype} of shape {array.shape}; expected uint8 (H, W, 3) RGB, (H, W) grey, or as "
            "many channels as the model takes"
        ) from None


def _checked_tensor(tensor: Tensor, pixels: PixelsConfig) -> Tensor:
    is_known = tensor.dtype == torch.uint8 or (tensor.dtype == torch.float32 and pixels.bits > 8)
    if not is_known or tensor.ndim not in (2, 3) or tensor.numel() == 0:
        kinds = "uint8" if pixels.bits == 8 else "uint8, or float32 from 0 to 255,"
        raise DataError(
            f"image tensor is {str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}; "
            f"expected {kinds} ({pixels.channels}, H, W){_way_out(tensor)}"
        )
    tensor = _channels_to_front(tensor, pixels.channels)
    return tensor if pixels.bits == 8 else tensor.float()


def _way_out(tensor: Tensor) -> str:
    """What to do with a tensor that is no image here, where its form says it."""
    if tensor.ndim == 4:
        return "; give a batch as a list of images, list(batch)"
    if tensor.is_floating_point():
        return "; of values from 0 to 1, give (image * 255).round().to(torch.uint8)"
    return ""


def _channels_to_front(tensor: Tensor, channels: int | None) -> Tensor:
    """A tensor of an image as (C, H, W), contiguous: one of (C, H, W), (H, W, C) or (H, W).

    The first axis counts the channels, unless the last fits and the first does not.
    """
    if tensor.ndim == 2:
        return tensor[None]
    first, last = tensor.shape[0], tensor.shape[-1]
    is_last = first != channels and (last == channels or (last in _USUAL_CHANNELS and first > _USUAL_CHANNELS[-1]))
    return tensor.permute(2, 0, 1).contiguous() if is_last else tensor

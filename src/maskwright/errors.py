"""What maskwright raises when input from outside is not usable; every message says what, where and the way out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]|[\ud800-\udfff]")
_LONGEST = 2000

# what torch and the libraries below it say on any device, in lower case
_MEMORY_SIGNS = ("out of memory", "can't allocate memory", "not enough memory", "status_alloc_failed")


def printable(text: str, longest: int | None = _LONGEST) -> str:
    r"""A text that may hold names from a file, as one line without control characters, cut if long.

    >>> printable("class \x1b[31mred")
    'class \\x1b[31mred'
    """
    shown = _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
    if longest is None or len(shown) <= longest:
        return shown
    return f"{shown[: longest * 3 // 4]} … {shown[-longest // 5 :]}"


class MaskwrightError(Exception):
    """Base of all our errors: the command line prints only the message and exits with `exit_status`.

    Attributes:
        exit_status: of a command that ends with it.
        is_reported_elsewhere: another process, which raised it too, prints it.
    """

    exit_status = 2
    is_reported_elsewhere = False

    def __str__(self) -> str:
        """The message in one line, whatever the file had in it."""
        return printable(super().__str__())


class ConfigError(MaskwrightError):
    """A recipe, an override or an argument that does not fit."""


class DataError(MaskwrightError):
    """An image, an annotation file or a dataset that cannot be used as it is."""


class CheckpointError(MaskwrightError):
    """A checkpoint that cannot be read, or does not fit the model."""


class OutputError(MaskwrightError):
    """An output folder that cannot be written, or already belongs to something else."""


class TrainingError(MaskwrightError):
    """Training cannot go on (a non-finite loss, say); the last checkpoint on disk is still good."""

    exit_status = 1


class ResultError(MaskwrightError):
    """Measured results are not what the recipe expects; everything else went well and is kept."""

    exit_status = 1


class OutOfMemory(MaskwrightError):
    """There is not enough memory; the message names what needs less."""

    exit_status = 1


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python, NumPy or torch says that memory is at its end, on whatever device.

    >>> [is_out_of_memory(error) for error in (MemoryError(), RuntimeError("CUDA out of memory."), OSError())]
    [True, True, False]
    """
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _MEMORY_SIGNS)


@contextmanager
def out_of_memory_errors(what: str, remedies: str) -> Iterator[None]:
    """Work that may take more memory than there is; `remedies` are what needs less.

    Raises:
        OutOfMemory: it did.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        reason = next(iter(str(error).splitlines()), "")
        found = f" ({reason[:200]})" if reason else ""
        raise OutOfMemory(f"{what} needs more memory than there is{found}; what needs less: {remedies}") from error


class MissingDependency(MaskwrightError):
    """An optional library is needed; the message names the extra that installs it."""

    def __init__(self, library: str, extra: str, what: str = "this") -> None:
        super().__init__(
            f"{what} needs the optional library {library!r}; install it with: pip install 'maskwright[{extra}]'"
        )
        self._named = library, extra, what

    def __reduce__(self) -> tuple[type[MissingDependency], tuple[str, str, str]]:
        """Errors go from process to process, and this one is not made from its message."""
        return type(self), self._named


class MissingDecoder(DataError, MissingDependency):
    """A file that only an optional library decodes: it is named as what cannot be used, and other files go on."""

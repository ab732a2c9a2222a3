"""Every annotation format that is read or written, as its reader and writer describe themselves."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from inspect import cleandoc, getdoc
from textwrap import indent

from maskwright.data.readers import READERS
from maskwright.data.writers import WRITERS
from maskwright.images.formats import IMAGE_SUFFIXES
from maskwright.predict.sources import VIDEO_SUFFIXES

_TOP = """# Dataset formats

`--format NAME` (in a recipe `data.train.format`) says how annotations are written. Two paths go with it: IMAGES, the
folder with the images, and ANNOTATIONS, a file or a folder. `maskwright data check IMAGES ANNOTATIONS --format NAME`
lists every defect; `maskwright data convert IMAGES ANNOTATIONS TARGET --format NAME --to OTHER` writes another format.

{summary}

Holes and objects of several parts are kept. What a format cannot hold is counted and reported by `convert`. A defect is
an entry that cannot be used: the dataset is then refused, unless `--skip-bad` (`data.train.skip_bad=true`) leaves such
entries out.

Image files end in {suffixes}, in small or capital letters. HEIC needs the extra `heic`, TIFF of many channels the extra
`tiff`. Videos, for `predict`, end in {videos} and need the extra `video`.

"""


def formats_page() -> str:
    """The page of all formats."""
    rows = ["| format | what it is | written too |", "|---|---|---|"]
    for name, reader in READERS.items():
        is_written = "✓" if name in WRITERS else ""
        rows.append(f"| [`{name}`](#format-{_slug(name)}) | {_about(reader).splitlines()[0]} | {is_written} |")
    sections = [line for name in READERS for line in _section_lines(name)]
    top = _TOP.format(summary="\n".join(rows), suffixes=_listed(IMAGE_SUFFIXES), videos=_listed(VIDEO_SUFFIXES))
    return "\n".join([top, *sections])


def _listed(suffixes: Iterable[str]) -> str:
    return ", ".join(f"`{suffix}`" for suffix in sorted(suffixes))


def _section_lines(name: str) -> Iterator[str]:
    reader = READERS[name]
    images, annotations = _places(reader)
    yield f"(format-{_slug(name)})=\n## {name}\n"
    yield _about(reader) + "\n"
    yield re.sub(r"\ARead [^:]*?\.(?=\s|\Z)\s*", "", _body(reader)) + "\n"
    yield f"IMAGES\n: {images}\n\nANNOTATIONS\n: {annotations}\n"
    if name in WRITERS:
        yield f"Written by `data convert --to {name}`"
        yield indent(_body(WRITERS[name]).removeprefix("Write "), "  ").replace(" ", ":", 1) + "\n"


def _slug(name: str) -> str:
    return name.replace("_", "-")


def _about(reader: Callable[..., object]) -> str:
    """What its module says: the format in a sentence, and more below."""
    return cleandoc(sys.modules[reader.__module__].__doc__ or "")


def _body(function: Callable[..., object]) -> str:
    """The docstring up to its sections."""
    return re.split(r"\n\n?(?:Args|Returns|Raises):\n", getdoc(function) or "")[0].strip()


def _places(reader: Callable[..., object]) -> tuple[str, str]:
    """What the docstring says about the arguments `images` and `annotations`."""
    text = getdoc(reader) or ""
    found = dict(re.findall(r"^    (images|annotations): (.*?)(?=^    \w|^\S|\Z)", text, re.MULTILINE | re.DOTALL))
    return _sentence(found["images"]), _sentence(found["annotations"])


def _sentence(text: str) -> str:
    return " ".join(text.split())

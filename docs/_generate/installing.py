"""What is installed, and which extra adds what, as pyproject.toml says."""

from __future__ import annotations

import re
from pathlib import Path

_PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
_TOP = """# Installing

Python {python}. `pip install .` inside a clone gives all that prediction, evaluation and training need, without a
compiler. Extras add the rest, as in `pip install '.[train,video]'`; `all` is every one of them. A command that needs a
missing one names it.

| extra | for |
|---|---|
{extras}

On Python 3.10 pip takes PyTorch 2.14 and NumPy 2.2, the last with wheels for it; newer ones need Python 3.11. The
tests run with PyTorch 2.15 and, in parts, 2.11; nothing has run on Python 3.10 yet.

A GPU needs a build of PyTorch that knows it: install `torch` and `torchvision` as pytorch.org says, before maskwright.

## What comes along

| library | for |
|---|---|
{libraries}
"""


def installing_page() -> str:
    """The page of libraries and extras."""
    text = _PYPROJECT.read_text(encoding="utf-8")
    core = _section(text, "dependencies = [", "\n]")
    extras = _section(text, "[project.optional-dependencies]", "\nall = ")
    found = re.search(r'requires-python = "(.*)"', text)
    assert found is not None
    return _TOP.format(
        python=found[1].replace(">=", "") + " or newer",
        extras=_rows(re.findall(r"^(\w+) = \[.*\] *# (.*)$", extras, re.MULTILINE)),
        libraries=_rows(re.findall(r'^ *"([\w-]+)[^"]*", *# (.*)$', core, re.MULTILINE)),
    )


def _section(text: str, start: str, end: str) -> str:
    return text[text.index(start) :].partition(end)[0]


def _rows(pairs: list[tuple[str, str]]) -> str:
    return "\n".join(f"| `{name}` | {meaning.partition(';')[0]} |" for name, meaning in pairs)

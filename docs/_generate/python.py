"""The public names, described by their docstrings."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import maskwright

_TOP = """# Python

`import maskwright as mw` imports nothing heavy: each name is loaded when it is first used. Sizes are (height, width),
boxes are x1 y1 x2 y2 in pixels of the upright image with continuous edges.

"""
_MEMBERS = "   :members:\n   :special-members: __call__"
_EVALUATE_RESULTS = "maskwright.evaluation.evaluate_results"


def python_page() -> str:
    """The page of everything in `maskwright.__all__`."""
    names = [name for name in maskwright.__all__ if name != "__version__"]
    errors = [name for name in names if _is_error(name)]
    functions = [name for name in names if inspect.isfunction(getattr(maskwright, name))]
    classes = [name for name in names if name not in (*errors, *functions)]
    parts = {
        "Functions": [f".. autofunction:: maskwright.{name}" for name in functions]
        + [f".. autofunction:: {_EVALUATE_RESULTS}"],
        "Classes": [f".. autoclass:: maskwright.{name}\n{_MEMBERS}" for name in classes],
        "Errors": [f".. autoexception:: maskwright.{name}" for name in errors],
        "Version": [".. py:data:: maskwright.__version__\n   :type: str\n\n   The version of the package."],
    }
    return _TOP + "\n".join(line for heading, blocks in parts.items() if blocks for line in _part(heading, blocks))


def _part(heading: str, blocks: list[str]) -> Iterator[str]:
    yield f"## {heading}\n"
    for block in blocks:
        yield f"```{{eval-rst}}\n{block}\n```\n"


def _is_error(name: str) -> bool:
    value = getattr(maskwright, name)
    return inspect.isclass(value) and issubclass(value, Exception)

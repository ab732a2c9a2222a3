"""How the documentation is built: `sphinx-build -W docs site`, then open `site/index.html`. It needs no server."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sphinx.errors import ExtensionError

from maskwright import __version__

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(_DOCS.parent))  # for the generator of the reference

project = "maskwright"
author = "The maskwright contributors"
copyright = author  # noqa: A001 - the word of Sphinx
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_*", "**/.*"]
myst_enable_extensions = ["colon_fence", "deflist", "attrs_block"]
myst_heading_anchors = 4
nitpicky = False

# docstrings are plain text with code between single backticks
default_role = "literal"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
napoleon_numpy_docstring = False
python_use_unqualified_type_names = True

_COLOURED = ("color-brand-primary", "color-brand-content", "color-api-name", "color-api-pre-name")

html_theme = "furo"
html_title = "maskwright"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
templates_path = ["_templates"]
html_copy_source = False
html_show_sphinx = False
# a page opened from a disk may not fetch others, which summaries need
html_show_search_summary = False
html_theme_options = {
    "light_css_variables": dict.fromkeys(_COLOURED, "#0b6e5a"),
    "dark_css_variables": dict.fromkeys(_COLOURED, "#5fd0b5"),
}
pygments_style = "a11y-light"
pygments_dark_style = "a11y-dark"

# what a browser fetches by itself, unlike a link that a reader may follow
_FETCHED = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed)\b[^>]*\bsrc=["']?(?:https?:)?//[^"' >]*"""
    r"""|<link\b(?![^>]*rel=["']canonical)[^>]*\bhref=["']?(?:https?:)?//[^"' >]*"""
    r"""|@import[^;]*(?:https?:)?//[^;]*|url\(["']?(?:https?:)?//[^)]*"""
)


def setup(app: Sphinx) -> None:
    """Connect the generator of the reference, and the check of what the pages fetch."""
    app.connect("builder-inited", _write_reference)
    app.connect("build-finished", _refuse_foreign_addresses)


def _write_reference(app: Sphinx) -> None:
    from docs._generate import write_pages

    write_pages(Path(app.srcdir) / "reference")


def _refuse_foreign_addresses(app: Sphinx, error: Exception | None) -> None:
    """The pages work from a disk without a network: nothing in them is fetched from elsewhere.

    Raises:
        ExtensionError: something is.
    """
    if error is not None or app.builder.format != "html":
        return
    out = Path(app.outdir)
    found = [
        f"{path.relative_to(out)}: {match.group()}"
        for path in sorted(out.rglob("*"))
        if path.suffix in {".html", ".css"}
        for match in _FETCHED.finditer(path.read_text(encoding="utf-8"))
    ]
    if found:
        raise ExtensionError("pages fetch from foreign addresses: " + "; ".join(found))

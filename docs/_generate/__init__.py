"""The pages of the reference that are read off the code, so that they cannot lag behind it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from docs._generate.commands import commands_page
from docs._generate.configuration import common_page, family_page
from docs._generate.formats import formats_page
from docs._generate.installing import installing_page
from docs._generate.python import python_page
from docs._generate.recipes import recipes_page

from maskwright.config.loading import FAMILIES

# file in docs/reference/ → what is in it, as Markdown
PAGES: dict[str, Callable[[], str]] = {
    "commands.md": commands_page,
    "configuration.md": common_page,
    **{f"configuration-{family.replace('_', '-')}.md": partial(family_page, family) for family in FAMILIES},
    "formats.md": formats_page,
    "installing.md": installing_page,
    "python.md": python_page,
    "recipes.md": recipes_page,
}


def write_pages(folder: Path) -> None:
    """Write each page into the folder; one that stays as it was keeps its date, for Sphinx not to read it anew."""
    for name, page in PAGES.items():
        path, text = folder / name, page()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")

"""Pages name what exists: files of the source, keys, options and recipes, also in blocks that are not run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from docs._generate.configuration import all_keys
from typer.main import get_command

from maskwright.cli.app import app
from maskwright.config import recipe_names
from maskwright.config.loading import FAMILIES

_REPOSITORY = Path(__file__).resolve().parents[2]
_SOURCE = _REPOSITORY / "src" / "maskwright"
_WRITTEN = ("tutorials", "how-to", "explanation")
_PAGES = [
    _REPOSITORY / "README.md",
    *(page for folder in _WRITTEN for page in sorted((_REPOSITORY / "docs" / folder).glob("*.md"))),
]
_PROGRAMS = {path.name for folder in ("src", "benchmarks") for path in (_REPOSITORY / folder).rglob("*.py")}
# what stands in code, in a line or in a block
_CODE = re.compile(r"^```\w*\n(.*?)^```|`([^`\n]+)`", re.MULTILINE | re.DOTALL)
# a block that shows an error
_FAILING = re.compile(r"^<!-- exits with.*?^```\w*\n.*?^```", re.MULTILINE | re.DOTALL)
_KEYS = {key for family in FAMILIES for key in all_keys(family)}
_TABLES = {".".join(parts[:end]) for key in _KEYS if (parts := key.split(".")) for end in range(1, len(parts))}


def code(page: Path) -> str:
    text = _FAILING.sub("", page.read_text(encoding="utf-8"))
    return "\n".join(block or span for block, span in _CODE.findall(text))


def options() -> set[str]:
    """Of all commands."""
    found, waiting = set(), [get_command(app)]
    while waiting:
        command = waiting.pop()
        found |= {word for parameter in command.params for word in (*parameter.opts, *parameter.secondary_opts)}
        waiting.extend(getattr(command, "commands", {}).values())
    return found | {"--help"}


def test_a_page_begins_with_a_sentence_and_ends_with_links() -> None:
    for page in _PAGES[1:]:
        title, empty, first, *_ = (text := page.read_text(encoding="utf-8")).splitlines()
        assert title.startswith("# ")
        assert not empty
        assert first[0].isalpha() or first[0] == "`", page
        assert re.search(r"^- .*(\]\(|\{doc\}`)", text.rpartition("\n## ")[2], re.MULTILINE), page


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.stem)
def test_what_a_page_names_exists(page: Path) -> None:
    text = code(page)
    files = re.findall(r"(?<![\w/.])[\w/]+\.py\b", text)
    lost = [name for name in files if not (_SOURCE / name).exists() and not (_REPOSITORY / name).exists()]
    assert [name for name in lost if name not in _PROGRAMS] == []

    first = "|".join(sorted({re.escape(key.partition(".")[0]) for key in _KEYS if "." in key}))
    keys = re.findall(rf"(?<![\w/.\]])((?:{first})(?:\.[a-z_0-9]+)+)(?=[=\s\"',:]|$)", text, re.MULTILINE)
    chosen = re.compile(r"json$|yaml$|\.rename$|loss_weights\.")
    assert [key for key in keys if key not in _KEYS | _TABLES and not chosen.search(key)] == []

    commands = re.findall(r"maskwright (?:[^\n]|(?<=\\)\n)*", text)
    used = {word for line in commands for word in re.findall(r"(?<=\s)--[a-z][\w-]*", line.partition("#")[0])}
    assert used <= options()

    lineages = "|".join(sorted({name.partition("/")[0] for name in recipe_names() if "/" in name}))
    recipes = re.findall(rf"(?<![\w/.])((?:{lineages})/[a-z0-9_]+)(?=[\s`\"',]|$)", text)
    folders = {"nuclei/images", "nuclei/annotations", "nuclei/train", "nuclei/val"}
    assert set(recipes) - folders <= set(recipe_names())

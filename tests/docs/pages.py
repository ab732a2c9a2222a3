"""What the blocks of a page are, and how each is run; CONTRIBUTING.md has the convention for writers."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml
from sybil import Document, Example, Region
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown.lexers import DirectiveInHTMLCommentLexer, RawFencedCodeBlockLexer
from sybil.typing import Evaluator

# a page shows these to be read
READ_ONLY = {"text", "json", "toml", "ini", "csv", "html", "slurm"}
# `<!-- run with: short -->`: a real recipe as a network of a few layers, for two steps
SHORT = {
    "mask_rcnn": "train.iterations=2 train.batch_size=1 train.evaluate_every=2 train.initial_weights=none "
    "data.workers=0 resize.short_side=64 resize.long_side=128 backbone.depth=18 backbone.width=32 fpn.channels=32 "
    "box_head.conv_channels=32 box_head.fc_channels=32 mask_head.channels=32",
    "yolact": "train.iterations=2 train.batch_size=1 train.evaluate_every=2 train.initial_weights=none "
    "data.workers=0 resize.size=64 backbone.depth=18 backbone.width=32 fpn.channels=32 "
    "protonet.channels=32 head.channels=32",
}
_MARK = re.compile(r"<!--\s*(not run|run with|exits with|file):\s*((?:(?!-->).)*?)\s*-->\s*", re.DOTALL)
_NEEDS_A_SHELL = re.compile(r"[|<>*?$;&`(]")


class Blocks:
    """Every block of a page: Python and shell run, YAML is read, and what is none of these says so."""

    def __init__(self) -> None:
        self._fences = RawFencedCodeBlockLexer(re.compile(r"(?P<language>[^\n]*)\n"))
        self._hidden = DirectiveInHTMLCommentLexer("invisible-code-block", "python")

    def __call__(self, document: Document) -> Iterable[Region]:
        for region in self._hidden(document):
            yield Region(region.start, region.end, region.lexemes["source"], PythonEvaluator())
        for region in self._fences(document):
            language = region.lexemes["language"].strip()
            if not language.startswith("{"):  # those are directives of Sphinx
                region.parsed = region.lexemes["source"]
                region.evaluator = self._evaluator(language, _marks(document.text[: region.start]))
                yield region

    def _evaluator(self, language: str, marks: dict[str, str]) -> Evaluator:
        if "file" in marks:
            return lambda example: _write(example, marks["file"])
        if language == "sh" and "not run" in marks:
            return lambda _: None if marks["not run"] else "not run: say why"
        ways = {"python": PythonEvaluator(), "sh": lambda example: _run_shell(example, marks), "yaml": _read_yaml}
        ways |= dict.fromkeys(READ_ONLY, lambda _: None)
        return ways.get(language, lambda _: f"a block of {language or 'no language'}: use one of {', '.join(ways)}")


def _marks(text_above: str) -> dict[str, str]:
    """The comments that stand directly above a block."""
    found = {}
    start = len(text_above)
    while (opened := text_above.rfind("<!--", 0, start)) >= 0 and (match := _MARK.fullmatch(text_above[opened:start])):
        found[match[1]] = " ".join(match[2].split())
        start = opened
    return found


def _write(example: Example, name: str) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(example.parsed, encoding="utf-8")


def _read_yaml(example: Example) -> None:
    yaml.safe_load(example.parsed)


def _run_shell(example: Example, marks: dict[str, str]) -> str | None:
    """What went wrong in a block of shell lines; None where nothing did."""
    lines = list(_lines(example.parsed))
    for number, line in enumerate(lines, start=1):
        words = lengthened(line, marks.get("run with", ""), has_train="maskwright train" in example.parsed)
        status, said = _run_line(words)
        expected = int(marks.get("exits with", 0)) if number == len(lines) else 0
        if status != expected:
            return f"{words}\nended with {status}, not {expected}:\n{said}"
    return None


def _lines(block: str) -> Iterator[str]:
    """Its commands, each on one line, without comments."""
    for line in block.replace("\\\n", " ").splitlines():
        command = re.sub(r"(^|\s)#.*", "", line).strip()
        if command:
            yield " ".join(command.split())


def lengthened(line: str, words: str, *, has_train: bool) -> str:
    """The line with the words that make it short: a training, or any command of ours where none trains."""
    if not words or not line.startswith("maskwright train" if has_train else "maskwright "):
        return line
    family = "yolact" if "yolact" in line else "mask_rcnn"
    return " ".join([line, *(SHORT[family] if word == "short" else word for word in words.split())])


def _run_line(line: str) -> tuple[int, str]:
    """Its exit status and what it said. Ours runs in this process, which need not load torch anew."""
    from tests.running import run_here

    if line.startswith("maskwright ") and not _NEEDS_A_SHELL.search(line):
        outcome = run_here(*shlex.split(line)[1:])
        return outcome.status, outcome.out + outcome.err
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["sh", "-e", "-c", line],
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
        env={**os.environ, "PATH": path},
    )
    return done.returncode, done.stdout + done.stderr

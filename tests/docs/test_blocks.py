"""The convention for blocks of code in pages, which CONTRIBUTING.md tells writers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sybil import Document
from sybil.example import SybilFailure
from tests.docs.pages import SHORT, Blocks, lengthened

FENCE = "```"
Run = Callable[[str], int]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the blocks of a text as a page; returns how many there were."""
    monkeypatch.chdir(tmp_path)

    def run_text(text: str) -> int:
        page = tmp_path / "page.md"
        page.write_text(text.replace("'''", FENCE), encoding="utf-8")
        examples = list(Document.parse(str(page), Blocks()).examples())
        for example in examples:
            example.evaluate()
        return len(examples)

    return run_text


def test_python_blocks_share_names_and_hidden_ones_prepare_them(run: Run) -> None:
    hidden = "<!-- invisible-code-block: python\na = 1\n-->\n\n"
    assert run(f"{hidden}'''python\nb = a + 1\n'''\n\n'''python\nassert b == 2\n'''\n") == 3
    with pytest.raises(AssertionError):
        run("'''python\nassert False\n'''\n")


def test_python_always_runs(run: Run) -> None:
    with pytest.raises(ZeroDivisionError):
        run("<!-- not run: a reason -->\n'''python\n1 / 0\n'''\n")


def test_a_shell_block_runs_line_by_line_and_may_go_on_over_lines(run: Run, tmp_path: Path) -> None:
    run("'''sh\nmkdir a   # a comment\ntouch \\\n    a/b\n'''\n")
    assert (tmp_path / "a" / "b").exists()


def test_a_command_of_ours_runs_too(run: Run) -> None:
    run("'''sh\nmaskwright recipes nuclei/yolact_small\n'''\n")
    with pytest.raises(SybilFailure, match="ended with 2, not 0"):
        run("'''sh\nmaskwright recipes nuclei/yolact_smal\n'''\n")


def test_another_exit_status_can_be_expected_of_the_last_line(run: Run) -> None:
    run("<!-- exits with: 2 -->\n'''sh\nmaskwright recipes yolact\nmaskwright recipes nothing\n'''\n")
    with pytest.raises(SybilFailure, match="ended with 0, not 2"):
        run("<!-- exits with: 2 -->\n'''sh\ntrue\n'''\n")


def test_a_failing_line_fails_the_page(run: Run) -> None:
    with pytest.raises(SybilFailure, match="line 3, column 1"):
        run("# Title\n\n'''sh\nfalse\ntrue\n'''\n")


def test_a_block_that_is_not_run_says_why(run: Run) -> None:
    run("<!-- not run: it would burn\n     the house down -->\n'''sh\nfalse\n'''\n")
    with pytest.raises(SybilFailure, match="say why"):
        run("<!-- not run: -->\n'''sh\nfalse\n'''\n")


def test_a_mark_holds_for_the_block_directly_below_only(run: Run) -> None:
    with pytest.raises(SybilFailure):
        run("<!-- not run: a reason -->\n'''sh\nfalse\n'''\n\n'''sh\nfalse\n'''\n")


@pytest.mark.parametrize("language", ["", "bash", "console", "py"])
def test_a_block_of_no_known_kind_fails_the_page(run: Run, language: str) -> None:
    with pytest.raises(SybilFailure, match="use one of python, sh, yaml"):
        run(f"'''{language}\nx\n'''\n")


def test_text_is_read_only_and_directives_belong_to_the_builder(run: Run) -> None:
    assert run("'''text\nanything\n'''\n\n'''{note}\nanything\n'''\n\n'''yaml\na: 1\n'''\n") == 2
    with pytest.raises(Exception, match="mapping values"):
        run("'''yaml\na: b: c\n'''\n")


def test_a_block_can_be_a_file_for_those_below(run: Run) -> None:
    run("<!-- file: deep/mine.yaml -->\n'''yaml\nbase: yolact\n'''\n\n'''sh\nmaskwright recipes deep/mine.yaml\n'''\n")


def test_words_shorten_the_training_of_a_block_or_its_other_commands(run: Run) -> None:
    run("<!-- run with: train.seed=7 -->\n'''sh\nmaskwright recipes yolact\n'''\n")
    assert lengthened("maskwright recipes yolact", "a=1", has_train=False) == "maskwright recipes yolact a=1"
    assert lengthened("maskwright recipes yolact", "a=1", has_train=True) == "maskwright recipes yolact"
    assert lengthened("ls", "a=1", has_train=False) == "ls"
    for family in ("yolact", "mask_rcnn"):
        line = f"maskwright train {family} --output o"
        assert lengthened(line, "short a=1", has_train=True) == f"{line} {SHORT[family]} a=1"

"""Exit statuses, messages, and what a command may load."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from typer.main import get_command

from maskwright.cli.app import app


def test_recipes_are_listed_without_loading_torch():
    words = [sys.executable, "-X", "importtime", "-m", "maskwright", "recipes"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "torchvision/mask_rcnn_r50_fpn " in done.stdout
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "maskwright.config.loading" in loaded
    assert loaded & {"torch", "numpy", "PIL", "supervision", "hotcoco"} == set()


def test_misspelt_key_is_one_line_with_the_right_key_and_status_2(process):
    outcome = process("recipes", "mask_rcnn", "rpn.nms_iuo=0.6")
    assert outcome.status == 2
    assert outcome.out == ""
    assert outcome.err == "error: mask_rcnn: unknown key 'rpn.nms_iuo'; did you mean rpn.nms_iou or detect.nms_iou?\n"


def test_reader_that_has_seen_enough_is_no_failure():
    script = "import sys; sys.argv[1:] = ['recipes', 'mask_rcnn']; from maskwright.cli import main; main()"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as command:
        command.stdout.close()
        assert command.stderr.read() == b""


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["recipes", "mask_rccn"], "did you mean mask_rcnn"),
        (["recipes", "mask_rcnn", "train.seed"], "write it as key=value"),
        (["predict", "nowhere.png", "--model", "mask_rcnn"], "nowhere.png does not exist"),
        (["predict", "--model", "mask_rcnn"], "SOURCE"),
        (["predict", "a.png", "--model", "mask_rcnn", "--score-threshold", "2"], "score-threshold"),
        (["inspect", "nowhere.safetensors"], "nowhere.safetensors does not exist"),
        (["train", "mask_rcnn", "--output", "run"], "data.train.images"),
        (["data", "check", "nowhere", "nothing.json"], "nowhere does not exist"),
        (
            ["evaluate", "--model", "nuclei/mask_rcnn_small", "--images", ".", "--annotations", "no.json"],
            "no.json does not exist",
        ),
        (["no-such-command"], "no-such-command"),
    ],
)
def test_wrong_use_is_reported_with_status_2(here, arguments, part, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = here(*arguments)
    assert outcome.status == 2
    assert part in outcome.err
    assert "Traceback" not in outcome.err


def test_version_is_reported(here):
    assert here("--version").out.startswith("maskwright 0.")


@pytest.mark.parametrize("command", ["predict", "evaluate", "train", "recipes", "inspect", "demo"])
def test_every_command_explains_itself(here, command):
    outcome = here(command, "--help")
    assert outcome.status == 0
    assert f"Usage: maskwright {command}" in outcome.out


@pytest.mark.parametrize("words", [("train", "--resume"), ("train",), ("predict", "--model"), ("data", "chek")])
def test_a_command_line_that_cannot_be_understood_is_one_line_that_names_the_help(here, words):
    outcome = here(*words)
    assert outcome.status == 2
    assert outcome.out == ""
    assert re.fullmatch(r"error: .+; `maskwright.* --help` shows the right form\n", outcome.err)


def test_what_is_missing_or_wrong_in_a_command_line_is_said_in_our_words(here):
    assert here("train", "--resume").err.startswith("error: argument RECIPE is missing;")
    wrong = here("predict", "a.png", "--model", "yolact", "--max-detections", "many")
    assert wrong.err.startswith("error: --max-detections must be a whole number;")
    assert here("recipes", "yolact", "train.steps=3").err == (
        "error: yolact: train.steps: must be a list, such as [1, 2], got 3\n"
    )


@pytest.mark.parametrize("words", [(), ("data",)])
def test_no_command_prints_the_help(here, words):
    outcome = here(*words)
    assert outcome.status == 2
    assert "Commands" in outcome.out


def commands(words: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The words of every command and group."""
    command = get_command(app)
    for word in words:
        command = command.commands[word]
    inner = [(*words, word) for word in getattr(command, "commands", ())]
    return [words, *(below for one in inner for below in commands(one))]


@pytest.mark.parametrize("command", commands())
def test_help_of_every_command_shows_no_type_and_no_default_of_a_flag(here, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    help_text = here(*command, "--help").out
    assert "--help" in help_text
    for noise in ("<bool>", "[default: True]", "[default: False]", "no-no-", "<list[", "]...]..."):
        assert noise not in help_text

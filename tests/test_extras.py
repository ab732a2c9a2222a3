"""The core predicts, evaluates and trains without any extra, and what needs one names it."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
import torch

from maskwright.config import load_recipe
from maskwright.errors import MissingDependency
from maskwright.training.events import missing_tensorboard
from maskwright.training.facts import machine_facts
from maskwright.training.logbook import Logbook

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCES = sorted((REPOSITORY / "src" / "maskwright").rglob("*.py"))
# extras for people who work on maskwright itself, or that only add up others
OTHER_EXTRAS = {"all", "dev", "docs"}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    return toml.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=!;\[ ]", requirement, maxsplit=1)[0].lower() for requirement in requirements}


def optional(project: dict[str, Any]) -> dict[str, set[str]]:
    """Extra → the libraries that it installs."""
    extras = project["optional-dependencies"]
    return {extra: names(needed) for extra, needed in extras.items() if extra not in OTHER_EXTRAS}


def raised_extras() -> list[tuple[str, str, str]]:
    """(file, library, extra) of each error about a missing library."""
    found = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("MissingDependency", "MissingDecoder"):
                assert all(isinstance(argument, ast.Constant) for argument in node.args[:2]), path
                found.append((path.name, *(argument.value for argument in node.args[:2])))
    return found


def test_the_core_has_ten_libraries_and_all_has_every_extra(project) -> None:
    assert len(project["dependencies"]) <= 10
    (everything,) = project["optional-dependencies"]["all"]
    assert set(everything.partition("[")[2].rstrip("]").split(",")) == set(optional(project))


def test_libraries_that_come_with_another_are_required_by_it() -> None:
    for distribution, brought in {"typer": "rich", "pydantic": "typing-extensions"}.items():
        needed = [one for one in requires(distribution) or () if "extra ==" not in one and ";" not in one]
        assert brought in names(needed)


def test_an_error_names_the_extra_that_installs_its_library(project) -> None:
    extras = optional(project)
    raised = raised_extras()
    assert {extra for _, _, extra in raised} == set(extras)
    assert [entry for entry in raised if entry[1] not in extras[entry[2]]] == []


WITHOUT_EXTRAS = """
import sys
from pathlib import Path

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())

import maskwright as mw
from maskwright.data.id_pictures import connected_parts
from maskwright.data.readers.sbd import _import_loadmat
from maskwright.report import page_templates

for name in mw.__all__:
    getattr(mw, name)
bundled = Path(mw.__file__).parent / "assets" / "demo"
image = next((bundled / "images").glob("*.png"))
predictor = mw.load("nuclei/yolact_small", "nuclei", device="cpu")
found = predictor(image)
assert len(found) and found.draw(image).shape[2] == 3
assert mw.read_dataset(bundled / "images", bundled / "annotations.json").records
assert mw.evaluate(predictor, bundled / "images", bundled / "annotations.json")["mask"]["AP"] > 0.2
"""
TRIALS = """
for trial in (found.to_supervision, page_templates, lambda: connected_parts(found.masks.rle()[0]), _import_loadmat):
    try:
        trial()
    except mw.MissingDependency as error:
        print(error)
"""


def test_without_any_extra_everything_is_imported_and_images_are_predicted_and_drawn(project) -> None:
    blocked = {
        "pillow_heif",
        *set().union(*optional(project).values()),
        "markupsafe",
        "matplotlib",
        "cv2",
        "pycocotools",
    }
    code = WITHOUT_EXTRAS.format(blocked=sorted(blocked)) + TRIALS
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, encoding="utf-8")
    assert done.stderr == ""
    extras = re.findall(r"pip install 'maskwright\[(\w+)\]'", done.stdout)
    assert extras == ["supervision", "report", "parts", "sbd"]


def test_a_training_without_tensorboard_says_so_and_keeps_its_log(tmp_path, monkeypatch) -> None:
    for name in ("tensorboard", "tensorboard.summary", "tensorboard.summary.writer"):
        monkeypatch.setitem(sys.modules, name, None)
    assert isinstance(missing_tensorboard(), MissingDependency)
    book = Logbook(tmp_path, 0)
    book.write(1, {"loss": 0.5}, "train")
    book.close()
    assert [path.name for path in tmp_path.iterdir()] == ["log.jsonl"]
    facts = machine_facts(load_recipe("yolact"), torch.nn.Linear(1, 1), torch.device("cpu"))
    assert "maskwright[train]" in facts["no_events"]

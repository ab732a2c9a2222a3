"""What is given away: the wheel, the versions, the pages and settings around the code."""

from __future__ import annotations

import importlib
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

import maskwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

import check_wheel

REPOSITORY = Path(__file__).resolve().parents[1]


def read(name: str) -> str:
    return (REPOSITORY / name).read_text(encoding="utf-8")


def table(name: str) -> dict[Any, Any]:
    return yaml.safe_load(read(name))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling", reason="needs hatchling, of the extra dev, to build a wheel")
    return check_wheel.build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.mark.slow
def test_the_wheel_has_all_of_the_package_and_nothing_else_in_12_megabytes(wheel) -> None:
    assert check_wheel.problems(wheel) == []


@pytest.mark.slow
def test_a_wheel_that_lacks_something_or_has_too_much_is_named(wheel, tmp_path) -> None:
    bad = tmp_path / "bad.whl"
    with zipfile.ZipFile(wheel) as good, zipfile.ZipFile(bad, "w") as target:
        for name in good.namelist():
            if not name.endswith(("py.typed", ".png")):
                target.writestr(name, good.read(name))
        target.writestr("tests/test_a.py", "")
    found = check_wheel.problems(bad)
    assert "maskwright/py.typed is missing" in found
    assert "tests/test_a.py does not belong there" in found
    assert "there are no images of the demo" in found
    assert any("most are 12 MB" in line for line in found)  # it is not compressed


def test_the_version_is_one_in_the_package_the_changelog_and_the_citation() -> None:
    versions = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", read("CHANGELOG.md"), flags=re.MULTILINE)
    assert versions[0] == maskwright.__version__ == table("CITATION.cff")["version"]


def test_the_workflow_runs_what_ci_runs_on_every_system_and_python_of_the_package() -> None:
    (job,) = table(".github/workflows/ci.yml")["jobs"].values()
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    classifiers = toml.loads(read("pyproject.toml"))["project"]["classifiers"]
    supported = [one.rpartition(" ")[2] for one in classifiers if re.search(r":: 3\.\d+$", one)]
    assert job["strategy"]["matrix"]["python"] == supported
    assert {name.partition("-")[0] for name in job["strategy"]["matrix"]["os"]} == {"ubuntu", "macos", "windows"}
    assert job["steps"][-1]["run"] == ".ci/run"


def test_hooks_before_a_commit_are_the_tools_of_the_house() -> None:
    (repository,) = table(".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    assert [hook["entry"].split()[0] for hook in repository["hooks"]] == ["ruff", "ruff", "mypy"]


def test_forms_for_issues_have_what_their_reader_needs() -> None:
    for path in (REPOSITORY / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        if path.stem != "config":
            assert {"name", "description", "body"} <= set(content)
            assert all(part["type"] == "textarea" and part["attributes"]["label"] for part in content["body"])


# the last versions with wheels for Python 3.10, as pip chooses them there; torch 2.15 has none
ON_PYTHON_310 = {
    "torch": "2.14.1",
    "torchvision": "0.29.2",
    "numpy": "2.2.6",
    "pillow": "12.3.0",
    "scipy": "1.15.3",
    "av": "17.1.0",
    "tifffile": "2025.5.10",
    "imagecodecs": "2025.3.30",
    "roifile": "2025.12.12",
    "sphinx": "8.1.3",
    "myst-parser": "4.0.1",
}


def test_every_requirement_can_be_met_on_python_310() -> None:
    requirements = pytest.importorskip("packaging.requirements", reason="needs packaging, which pytest brings")
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    project = toml.loads(read("pyproject.toml"))["project"]
    assert project["requires-python"] == ">=3.10"
    given = [
        requirements.Requirement(one) for one in sum(project["optional-dependencies"].values(), project["dependencies"])
    ]
    bounds = {one.name: one.specifier for one in given if one.name in ON_PYTHON_310}
    assert set(bounds) == set(ON_PYTHON_310)
    assert [name for name, version in ON_PYTHON_310.items() if not bounds[name].contains(version)] == []

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

"""The fuzzing script finds what it looks for; a slice of it runs here, the whole as a slow test."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from maskwright.errors import DataError

FUZZ = Path(__file__).resolve().parents[1] / "tools" / "fuzz"


@pytest.fixture
def fuzz(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """The modules of the script, which is no package."""
    monkeypatch.syspath_prepend(str(FUZZ))
    names = [path.stem for path in FUZZ.glob("*.py") if path.stem != "__main__"]
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    import annotations  # type: ignore[import-not-found]  # of the script's folder
    import recipes  # type: ignore[import-not-found]
    import results  # type: ignore[import-not-found]
    import trial  # type: ignore[import-not-found]

    yield SimpleNamespace(annotations=annotations, recipes=recipes, results=results, trial=trial)
    for name in names:
        sys.modules.pop(name, None)


def test_a_slice_of_all_kinds_ends_well_or_in_our_errors(fuzz: SimpleNamespace, tmp_path: Path) -> None:
    fuzz.annotations.write_sound(tmp_path, None)
    kinds = (
        (fuzz.annotations.coco_cases, 40),
        (fuzz.annotations.format_cases, 28),
        (fuzz.results.cases, 30),
        (fuzz.recipes.cases, 30),
    )
    for cases, count in kinds:
        for name, run in islice(cases(tmp_path, 1, count), count):
            assert fuzz.trial.outcome(run) is None, name


def test_a_case_is_a_function_of_the_seed_and_its_number(fuzz: SimpleNamespace, tmp_path: Path) -> None:
    from random import Random

    import mutations  # type: ignore[import-not-found]

    document = fuzz.annotations.coco_document()
    texts = [mutations.to_json(mutations.mutated(document, Random("coco 3:5"))) for _ in range(2)]
    assert texts[0] == texts[1]
    assert document == fuzz.annotations.coco_document()


def raising(error: Exception) -> Any:
    def run() -> None:
        raise error

    return run


def test_tracebacks_hangs_dead_processes_and_much_memory_are_findings(
    fuzz: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzz.trial, "SECONDS", 1)
    monkeypatch.setattr(fuzz.trial, "MEMORY_MB", 100)
    cases = [
        ("well", lambda: None),
        ("ours", raising(DataError("x \x1b"))),
        ("long", raising(DataError("x"))),
        ("traceback", raising(KeyError("x"))),
        ("hang", lambda: time.sleep(60)),
        ("dead", lambda: os._exit(3)),
        ("memory", lambda: bytearray(300 * 2**20)),
        ("well again", lambda: None),
    ]
    found = [finding for finding in fuzz.trial.run_all(cases) if finding is not None]
    assert [finding.name for finding in found] == ["traceback", "hang", "dead", "memory"]
    assert [word in finding.what for finding, word in zip(found, ["KeyError", "hangs", "dies", "MB"], strict=True)]


@pytest.mark.slow
def test_nothing_is_found_in_all_cases() -> None:
    run = subprocess.run([sys.executable, str(FUZZ)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]

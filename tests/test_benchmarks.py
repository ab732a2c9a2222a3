"""`benchmarks/gpu.py` is made for machines that are not at hand, so all of it runs here, on the CPU and tiny."""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "gpu.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    specification = importlib.util.spec_from_file_location("gpu_script", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def arguments(tmp_path: Path) -> argparse.Namespace:
    return argparse.Namespace(device="cpu", quick=True, output=tmp_path, minutes=1, only=None)


def test_a_part_that_hangs_is_ended_and_recorded(script, arguments) -> None:
    outcome = script.run_apart(script.Part("slow", ("machine",), 90), arguments, seconds=0.05)
    assert (outcome["status"], outcome["records"]) == ("failed", [])
    assert "did not end within 0 s" in outcome["error"]


def test_a_part_that_dies_is_recorded_with_its_last_words(script, arguments, monkeypatch) -> None:
    monkeypatch.setattr(script, "__file__", str(Path(__file__).with_name("no_such_script.py")))
    outcome = script.run_apart(script.Part("dead", ("machine",), 90), arguments, seconds=60)
    assert outcome["status"] == "failed"
    assert "exit status 2" in outcome["error"] and "no_such_script.py" in outcome["error"]


def test_every_dependency_of_the_package_is_looked_for(script, monkeypatch) -> None:
    assert script.missing_libraries() == []
    monkeypatch.setattr(script.importlib.util, "find_spec", lambda name: None)
    missing = script.missing_libraries()
    assert set(missing) >= script._INDISPENSABLE
    assert {"filelock", "safetensors"} <= set(missing)


def test_a_machine_without_a_card_is_refused_in_words(script) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a card")
    run = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (2, "")
    assert "torch sees no card" in run.stdout


@pytest.mark.slow
def test_every_part_runs_on_the_cpu_and_agrees(tmp_path) -> None:
    command = [sys.executable, SCRIPT, "--device", "cpu", "--quick", "--minutes", "40", "--output", str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    result = json.loads((tmp_path / "gpu_cpu.json").read_text(encoding="utf-8"))
    troubles = {
        part["name"]: [part.get("error"), *(record for record in part["records"] if "error" in record)]
        for part in result["parts"]
        if part["status"] != "ok"
    }
    assert troubles == {}, run.stdout
    assert run.returncode == 0
    assert len(result["parts"]) == 9
    systems = {record["system"] for part in result["parts"] for record in part["records"] if record["what"] == "time"}
    assert systems == {
        "maskwright Mask R-CNN R50-FPN",
        "torchvision Mask R-CNN R50-FPN",
        "maskwright yolact/r50",
    }
    page = (tmp_path / "gpu_cpu.md").read_text(encoding="utf-8")
    assert page in run.stdout
    assert "**over**" not in page

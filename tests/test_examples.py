"""Every script and notebook of examples/ runs as it stands, on the bundled images."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
MOST_LINES = 60


def cells(notebook: Path) -> list[str]:
    """The source of each code cell."""
    content = json.loads(notebook.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in content["cells"] if cell["cell_type"] == "code"]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [script])
    runpy.run_path(str(EXAMPLES / script), run_name="__main__")


def test_a_model_is_fine_tuned_on_a_folder(folder, monkeypatch, capsys) -> None:
    run("finetune_on_your_folder.py", monkeypatch)
    assert "8 images of nucleus; 0 defects" in capsys.readouterr().out
    assert (folder / "finetuned" / "checkpoints" / "best.safetensors").is_file()
    assert (folder / "finetuned" / "found.png").is_file()


def test_a_checkpoint_of_another_program_is_read_and_kept(folder, monkeypatch, capsys) -> None:
    run("read_an_old_checkpoint.py", monkeypatch)
    assert "old.pth: detectron2, 160 tensors" in capsys.readouterr().out
    assert (folder / "converted.safetensors").is_file()


def test_features_and_proposals_are_drawn(folder, monkeypatch, capsys) -> None:
    run("look_inside.py", monkeypatch)
    assert "proposals  1000 boxes" in capsys.readouterr().out
    assert {path.name for path in folder.iterdir()} == {"features.png", "proposals.png"}


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_its_first_cell_to_its_last(folder, notebook) -> None:
    names = {"__name__": "__main__"}
    for number, source in enumerate(cells(notebook), start=1):
        exec(compile(source, f"{notebook.name}, code cell {number}", "exec"), names)


def test_scripts_are_short_and_notebooks_hold_no_outputs() -> None:
    assert len(SCRIPTS) == 3
    assert len(NOTEBOOKS) == 2
    for script in SCRIPTS:
        assert len(script.read_text(encoding="utf-8").splitlines()) <= MOST_LINES
    for notebook in NOTEBOOKS:
        assert sum(len(source.splitlines()) for source in cells(notebook)) <= MOST_LINES
        assert '"outputs": []' in notebook.read_text(encoding="utf-8")
        assert "image/png" not in notebook.read_text(encoding="utf-8")

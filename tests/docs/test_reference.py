"""The reference has everything that users may name: commands, keys, recipes, formats, metrics, Python names, errors."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from docs._generate import PAGES
from docs._generate.configuration import SYSTEMS, all_keys
from typer.main import get_command

import maskwright
from maskwright import errors
from maskwright.cli.app import app
from maskwright.config import load_recipe, recipe_names
from maskwright.config.loading import FAMILIES
from maskwright.data.readers import READERS
from maskwright.data.writers import WRITERS
from maskwright.evaluation import (
    CityscapesTally,
    Comparison,
    Metrics,
    PanopticTally,
    SemanticTally,
    evaluate_results,
    evaluate_voc,
)
from maskwright.evaluation.run import with_known_mean
from maskwright.evaluation.yolact_table import yolact_table
from maskwright.structures import Categories

_REPOSITORY = Path(__file__).resolve().parents[2]
_REFERENCE = _REPOSITORY / "docs" / "reference"
_SQUARE = [4.0, 4.0, 24.0, 4.0, 24.0, 24.0, 4.0, 24.0]


@cache
def page(name: str) -> str:
    return PAGES[name]() if name in PAGES else (_REFERENCE / name).read_text(encoding="utf-8")


def words_in_code(text: str) -> set[str]:
    """What stands between backticks, whole and word by word."""
    spans = re.findall(r"`([^`\n]+)`", text)
    return {*spans, *(word for span in spans for word in re.split(r"[\s,]+", span))}


def commands(command: Any = None, name: str = "maskwright") -> dict[str, Any]:
    command = get_command(app) if command is None else command
    if not hasattr(command, "commands"):
        return {name: command}
    found: dict[str, Any] = {}
    for word, inner in command.commands.items():
        found |= commands(inner, f"{name} {word}")
    return found


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_command_is_described_with_its_options_and_arguments(name: str) -> None:
    sections = dict(
        re.findall(r"^#{2,3} (maskwright [\w ]+)\n(.*?)(?=^#{2,3} |\Z)", page("commands.md"), re.MULTILINE | re.DOTALL)
    )
    described = words_in_code(sections[name])
    for parameter in commands()[name].params:
        names = [word for word in (*parameter.opts, *parameter.secondary_opts) if word.startswith("--")]
        assert described >= set(names or [parameter.metavar])
        assert parameter.help in sections[name]


def keys_of(table: Any, name: str = "") -> set[str]:
    """The dotted keys of a dumped recipe, but for those that a recipe chooses itself."""
    if not isinstance(table, dict) or name in {"weights", "expected", "train.loss_weights"} or name.endswith("rename"):
        return {name}
    return {key for word, inner in table.items() for key in keys_of(inner, f"{name}.{word}".lstrip("."))}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_key_of_a_family_is_described(family: str) -> None:
    text = page("configuration.md") + page(f"configuration-{family.replace('_', '-')}.md")
    described = {*re.findall(r"^```\{confval\} (\S+)", text, re.MULTILINE), *words_in_code(text)}
    assert all_keys(family) <= described
    dumped = FAMILIES[family].model_validate({"family": family}).model_dump()
    assert keys_of(dumped) <= described


def test_every_key_says_what_it_means() -> None:
    for name in ("configuration.md", "configuration-mask-rcnn.md", "configuration-yolact.md"):
        blocks = re.findall(r"```\{confval\} (\S+)\n(.*?)```", page(name), re.DOTALL)
        assert len(blocks) > 40
        meanings = {key: block.split("\n\n", 1)[1].strip() for key, block in blocks}
        assert [key for key, meaning in meanings.items() if len(meaning) < 7] == []


def test_the_default_of_a_key_and_the_values_of_other_systems_are_there() -> None:
    text = page("configuration-mask-rcnn.md")
    block = text[text.index("```{confval} resize.rounding\n") :].partition("```\n")[0]
    assert ":default: `down`" in block
    assert "`down`: torchvision and others" in block
    assert "`half_up`: detectron2" in block


def test_every_lineage_of_recipes_is_compared() -> None:
    compared = {recipe.partition("/")[0] for systems in SYSTEMS.values() for _, recipe in systems}
    assert {name.partition("/")[0] for name in recipe_names()} <= compared
    assert all(load_recipe(recipe).family == family for family, systems in SYSTEMS.items() for _, recipe in systems)


def test_every_recipe_and_format_is_listed() -> None:
    assert set(recipe_names()) <= words_in_code(page("recipes.md"))
    headings = set(re.findall(r"^## (\w+)$", page("formats.md"), re.MULTILINE))
    assert headings == set(READERS)
    assert {name for name in WRITERS if f"--to {name}`" in page("formats.md")} == set(WRITERS)


def test_every_extra_and_every_library_is_listed() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 reads no TOML")
    project = tomllib.loads((_REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].keys() - {"all", "dev", "docs"}
    libraries = {re.split(r"[<>=~! \[]", line)[0] for line in project["dependencies"]}
    rows = set(re.findall(r"^\| `([\w-]+)` \|", page("installing.md"), re.MULTILINE))
    assert rows == extras | libraries
    assert project["requires-python"].removeprefix(">=") in page("installing.md")


def test_every_public_name_is_described() -> None:
    described = set(re.findall(r"^\.\. [a-z:]+:: maskwright\.(\w+)$", page("python.md"), re.MULTILINE))
    assert described == set(maskwright.__all__)
    assert [name for name in maskwright.__all__ if not getattr(maskwright, name).__doc__] == []


def test_every_error_is_described_with_its_exit_status() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (\d) \|", page("errors.md"), re.MULTILINE))
    kinds = {
        name: str(kind.exit_status)
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.MaskwrightError) and kind is not errors.MaskwrightError
    }
    assert rows == kinds


def test_quoted_messages_are_those_of_the_code() -> None:
    source = re.sub(r'"\s*\n\s*f?"', "", "".join(p.read_text("utf-8") for p in (_REPOSITORY / "src").rglob("*.py")))
    quoted = re.findall(r"^\| `([^`]+)` \|[^|]*\|$", page("errors.md").partition("## What to do")[2], re.MULTILINE)
    parts = [part.strip() for text in quoted for part in text.split("…") if len(part.strip()) > 12]
    assert len(parts) > 10
    assert [part for part in parts if part not in source] == []


def _metrics() -> dict[str, Metrics]:
    """A little of everything that can stand in metrics.json."""
    entry = {"image_id": 1, "category_id": 1, "bbox": [4, 4, 20, 20], "segmentation": [_SQUARE], "area": 400}
    entry |= {"keypoints": [10, 10, 2] * 17, "num_keypoints": 17}
    truth = {
        "images": [{"id": 1, "height": 40, "width": 40, "neg_category_ids": [], "not_exhaustive_category_ids": []}],
        "categories": [{"id": 1, "name": "egg", "frequency": "r", "keypoints": [str(n) for n in range(17)]}],
        "annotations": [{"id": 1, "iscrowd": 0, **entry}],
    }
    rle = {"size": [40, 40], "counts": [4 * 40 + 4, *[20, 20] * 19, 20, 40 * 17 - 24]}
    results = [{**entry, "score": 0.9, "segmentation": rle}]
    coco = evaluate_results(results, truth)
    known = with_known_mean(coco, Categories(("egg",), (1,)), Categories(("egg",), (1,)))
    semantic, streets = SemanticTally(["sky", "sea"]), CityscapesTally()
    semantic.add(np.array([[0, 1]]), np.array([[0, 1]]))
    streets.add(np.array([[7, 26]]), np.array([[7, 26]]), np.array([[7, 26001]]))
    panoptic = PanopticTally([{"id": 1, "name": "cat", "isthing": 1}])
    return {
        "": known,
        "semantic": semantic.metrics(),
        "cityscapes_semantic": streets.metrics(),
        "panoptic": panoptic.metrics(),
        "voc": evaluate_voc(Comparison.of(results, truth)),
        "yolact": yolact_table(Comparison.of(results, truth)),
    }


def test_every_number_of_metrics_json_is_explained() -> None:
    explained = {part for word in words_in_code(page("metrics.md")) for part in word.split(".")}
    chosen = {"egg", "sky", "sea", "cat"}
    for group, metrics in _metrics().items():
        names = {part for name in metrics.flat() for part in name.split(".")} | {group or "mask"}
        if group == "cityscapes_semantic":  # names of classes are Cityscapes' own
            names = {part for name in metrics for part in (name,)} | set(metrics["per_category"]["car"])
        assert names - chosen <= explained, group


def test_the_page_of_files_names_what_a_run_and_a_prediction_leave() -> None:
    text = page("files.md")
    for name in (
        "recipe.yaml",
        "last.safetensors",
        "best.safetensors",
        "log.jsonl",
        "metrics.json",
        "events.out.tfevents",
    ):
        assert name in text
    for name in ("predictions.json", "results.json", "report.html", "panoptic.json", "overlays"):
        assert name in text


def test_defaults_are_written_as_yaml_reads_them() -> None:
    """`none` is the word for no value, as in the meanings of keys and on the command line."""
    defaults = re.findall(r"^:default: `(.*)`$", page("configuration-yolact.md"), re.MULTILINE)
    assert len(defaults) > 50
    assert all(yaml.safe_load(text) is not None for text in defaults)

"""YAML from other people's files stays within a budget, and an error in it is one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from maskwright.config import load_recipe, parse_override
from maskwright.config.yaml_text import BadYaml, read_yaml
from maskwright.errors import ConfigError, printable

EXPANDING = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))


def test_a_text_that_refers_to_its_parts_is_read() -> None:
    assert read_yaml("a: &a {x: 1}\nb: {<<: *a, y: 2}\n") == {"a": {"x": 1}, "b": {"x": 1, "y": 2}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (EXPANDING, "refers to it has over"),
        ("a: &a [*a]", "refers to a value that contains it"),
        ("a: " + "[" * 100_000, "nested"),
        ("- " * 10_000, "nested"),
        ("x" * (5 * 2**20), "letters"),
        ("a: 2026-99-99", "does not fit"),
        ("a: !!int x", "does not fit"),
        ("a: !!timestamp x", "does not fit"),
        (f"a: {'9' * 5000}", "does not fit"),
        (f"a: 0b{'1' * 50_000}", "bits"),
        ("a: !!python/object/apply:os.system [x]", "line 1"),
        ("a: [1", "line 1"),
    ],
    ids=range(12),
)
def test_what_is_beyond_the_budget_or_no_yaml_is_refused_in_a_line(text: str, message: str) -> None:
    with pytest.raises(BadYaml, match=message) as caught:
        read_yaml(text)
    assert "\n" not in str(caught.value)


def test_a_recipe_and_an_override_are_read_within_the_budget(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(EXPANDING)
    with pytest.raises(ConfigError, match="refers to it has over"):
        load_recipe(str(path))
    with pytest.raises(ConfigError, match="nested"):
        parse_override("train.seed=" + "[" * 10_000)


@pytest.mark.parametrize("name", ["x" * 5000, "a/" * 3000, "\x1b[31m", "a\0b", "x" * 5000 + ".yaml", "a\0b.yaml"])
def test_a_name_that_no_recipe_has_is_told_short_whatever_is_in_it(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_recipe(name)
    message = str(caught.value)
    assert len(message) <= 2000
    assert message == printable(message)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("backbone.width", 10**30),
        ("fpn.channels", 10**9),
        ("box_head.num_convs", 10**8),
        ("resize.short_side", 10**9),
        ("box_head.fc_channels", 10**9),
    ],
)
def test_a_number_beyond_every_network_is_refused(key: str, value: int) -> None:
    with pytest.raises(ConfigError, match=key):
        load_recipe("mask_rcnn", {key: value})

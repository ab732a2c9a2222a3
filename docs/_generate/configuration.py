"""Every key of a recipe: its meaning, its values, its default, and which systems have another value."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from inspect import cleandoc
from typing import Any

import yaml
from docs._generate.value_types import described_type, tables_in
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from maskwright.config import Recipe, load_recipe
from maskwright.config.loading import FAMILIES

# family → (what a system is called here, the recipe that has its values)
SYSTEMS: dict[str, tuple[tuple[str, str], ...]] = {
    "mask_rcnn": (
        ("torchvision", "torchvision/mask_rcnn_r50_fpn"),
        ("torchvision v2", "torchvision/mask_rcnn_r50_fpn_v2"),
        ("detectron2", "detectron2/mask_rcnn_r50_fpn_3x"),
        ("matterport", "matterport/mask_rcnn_r101"),
        ("Simple Mask R-CNN", "simple/mask_rcnn_r50"),
        ("our `mask_rcnn`", "mask_rcnn"),
        ("our `nuclei/mask_rcnn_small`", "nuclei/mask_rcnn_small"),
    ),
    "yolact": (
        ("YOLACT", "yolact/r101"),
        ("YOLACT++", "yolact/plus_r101"),
        ("our `yolact`", "yolact"),
        ("our `nuclei/yolact_small`", "nuclei/yolact_small"),
    ),
}
# has the keys of `data.train`, which are described once
_VALIDATION = "data.val"
# one of several tables, as its key `kind` says
_WITH_KINDS = "backbone"
# what is the system's own, or said by other means
_NOT_COMPARED = ("name", "summary", "family", "categories", "weights", "default_weights")

_COMMON = """# Configuration

A recipe is a table of keys. On the command line a key is changed as `train.batch_size=4` (`train`, `recipes`) or
`--set detect.nms_iou=0.6` (the other commands), in Python in `overrides`, in a recipe file as YAML. A recipe file names
the recipe it differs from as `base`. Unknown keys are refused with the nearest right one. `none` is no value.

This page has the keys that all families share with the same defaults; the pages of {pages} have the rest. Where systems
differ, a line below the key says whose number is whose.

"""
_FAMILY = """# Configuration: {title}

The tables of a recipe with `family: {family}`; {{doc}}`configuration` has those that all families share. {origin}
Where systems differ, a line below the key says whose number is whose.

"""


@dataclass(frozen=True)
class Table:
    """A table of keys.

    Attributes:
        path: how it is called in a recipe, such as `data.augment`; empty for the top level.
        model: its class.
        defaults: the table that a family has where nothing is given; None where keys have no such default.
        elsewhere: keys that are described with another table.
    """

    path: str
    model: type[BaseModel]
    defaults: BaseModel | None
    elsewhere: frozenset[str] = frozenset()

    @property
    def fields(self) -> dict[str, FieldInfo]:
        """The keys that are no tables of their own."""
        return {
            key: field
            for key, field in self.model.model_fields.items()
            if key not in self.elsewhere and not any(not suffix for _, suffix in tables_in(field.annotation))
        }

    @property
    def keys(self) -> list[str]:
        """The dotted names of its fields."""
        return [f"{self.path}.{key}".lstrip(".") for key in self.fields]


def common_page() -> str:
    """The page of what the families share."""
    pages = " and ".join(
        f"{{doc}}`{recipe.title} <configuration-{family.replace('_', '-')}>`" for family, recipe in FAMILIES.items()
    )
    lines = (line for table in _common_tables() for line in _table_lines(table, tuple(FAMILIES), ()))
    return _COMMON.format(pages=pages) + "\n".join(lines)


def family_page(family: str) -> str:
    """The page of what one family has for itself."""
    others = {key for other in FAMILIES if _comes_before(other, family) for key in _own_keys(other)}
    origin = cleandoc(sys.modules[FAMILIES[family].__module__].__doc__ or "").partition("; ")[2]
    top = _FAMILY.format(title=FAMILIES[family].title, family=family, origin=origin[:1].upper() + origin[1:])
    lines = [line for table in _own_tables(family) for line in _table_lines(table, (family,), others)]
    return top + "\n".join(lines)


def all_keys(family: str) -> set[str]:
    """Every dotted key of a family; `NAME` stands for what a recipe may choose."""
    return {key for table in (*_common_tables(), *_tables(family)) for key in table.keys}


def _comes_before(family: str, other: str) -> bool:
    names = list(FAMILIES)
    return names.index(family) < names.index(other)


def _own_keys(family: str) -> set[str]:
    return {key for table in _own_tables(family) for key in table.keys}


@cache
def _tables(family: str) -> tuple[Table, ...]:
    recipe = FAMILIES[family]
    top = Table("", recipe, None, elsewhere=frozenset(Recipe.model_fields))
    return (top, *_inner_tables(recipe, "", None))


def _common_tables() -> list[Table]:
    """Tables that are the same in all families, and the keys of the top level."""
    first, *others = (_by_path(family) for family in FAMILIES)
    shared = [path for path in first if all(first[path] == tables.get(path) for tables in others)]
    return [Table("", Recipe, None), *(table for path in shared for table in first[path])]


def _own_tables(family: str) -> list[Table]:
    common = _common_tables()
    return [table for table in _tables(family) if table not in common]


def _by_path(family: str) -> dict[str, list[Table]]:
    """The tables below the top level; a path has several where a key takes one of them."""
    by_path: dict[str, list[Table]] = {}
    for table in _tables(family)[1:]:
        by_path.setdefault(table.path, []).append(table)
    return by_path


def _inner_tables(model: type[BaseModel], path: str, defaults: BaseModel | None) -> Iterator[Table]:
    for key, field in model.model_fields.items():
        default = getattr(defaults, key, None) if defaults is not None else field.default
        for inner, suffix in tables_in(field.annotation):
            own = default if isinstance(default, inner) else None
            name = f"{path}.{key}{suffix}".lstrip(".")
            yield Table(name, inner, own)
            yield from _inner_tables(inner, name, own)


def _table_lines(table: Table, families: tuple[str, ...], known: set[str] | tuple[()]) -> Iterator[str]:
    if not table.fields:
        return
    if table.path == _VALIDATION:
        keys = ", ".join(f"`{key}`" for key in table.keys)
        yield f"## {table.path}\n\nThe keys of `data.train`, for validation: {keys}.\n"
        return
    variant = f" ({described_type(table.fields['kind'])})" if table.path == _WITH_KINDS else ""
    yield f"## {table.path or 'The top level'}{variant}\n"
    if table.path:
        yield cleandoc(table.model.__doc__ or "") + "\n"
    for name, (key, field) in zip(table.keys, table.fields.items(), strict=True):
        default = field.default if table.defaults is None else getattr(table.defaults, key)
        yield f"```{{confval}} {name}"
        if name in known or (variant and not isinstance(table.defaults, table.model)):
            yield ":no-index:"
        yield f":type: {described_type(field)}"
        if default is not PydanticUndefined:
            yield f":default: `{_inline(default)}`"
        yield f"\n{_sentence(field.description or '')}"
        if others := _others(name, default, families):
            yield f"\n{others}"
        yield "```\n"


def _others(key: str, default: Any, families: tuple[str, ...]) -> str:
    """Whose number it is: each value with the systems that have it, the default first; nothing where all agree."""
    if default is PydanticUndefined or key.split(".", maxsplit=1)[0] in _NOT_COMPARED:
        return ""
    values: dict[str, list[str]] = {_inline(default): []}
    for family in families:
        for system, recipe in SYSTEMS.get(family, ()):
            value = _value(_dumped(recipe), key)
            if value is not _ABSENT:
                values.setdefault(_inline(value), []).append(system)
    if len(values) == 1:
        return ""
    if len(of_default := values[_inline(default)]) > 1:
        values[_inline(default)] = [f"{of_default[0]} and others"]
    listed = [f"`{value}`: {', '.join(systems)}" for value, systems in values.items() if systems]
    return f"{{.systems}}\n{' · '.join(listed)}"


_ABSENT = object()


@cache
def _dumped(recipe: str) -> Mapping[str, Any]:
    return load_recipe(recipe).model_dump()


def _value(table: Any, key: str) -> Any:
    for part in key.split("."):
        if not isinstance(table, Mapping) or part not in table:
            return _ABSENT
        table = table[part]
    return table


def _inline(value: Any) -> str:
    """A value as a recipe file has it, on one line."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    plain = yaml.safe_load(yaml.safe_dump(_listed(value), allow_unicode=True))
    text: str = yaml.safe_dump(plain, default_flow_style=True, width=float("inf"), allow_unicode=True, sort_keys=False)
    text = text.removesuffix("...\n").strip()
    return {"null": "none"}.get(text, text)


def _listed(value: Any) -> Any:
    """Tuples as lists, which YAML has."""
    if isinstance(value, Mapping):
        return {key: _listed(inner) for key, inner in value.items()}
    return [_listed(inner) for inner in value] if isinstance(value, list | tuple) else value


def _sentence(text: str) -> str:
    if text.partition(" ")[0].rstrip(",:;").isalpha():
        text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "?")) or not text else f"{text}."

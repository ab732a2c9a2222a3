"""`key=value` overrides of a recipe, and errors that name the nearest right key."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from maskwright.config.backbone import BACKBONE_KINDS
from maskwright.config.data import ONE_DATASET, SEVERAL_DATASETS
from maskwright.config.renamed import renaming_of
from maskwright.config.wording import in_our_words
from maskwright.config.yaml_text import BadYaml, read_yaml
from maskwright.errors import ConfigError

# parts of a key in pydantic's errors that say which kind of table was checked, and are no keys
_KINDS = (*BACKBONE_KINDS, ONE_DATASET, SEVERAL_DATASETS)

# the table whose keys are names of metrics
_OF_METRICS = "expected."

# a comparison of names takes time with the square of their length
_LONGEST_NAME = 200

# of a table `pixels` that does not say how many channels there are
_RGB = 3

# keys of a table `train`, where the given one replaces the other
_ALTERNATIVES = (("epochs", "iterations"), ("iterations", "epochs"))
_NOTHING = (None, "none")


def parse_override(text: str) -> tuple[str, Any]:
    """Split `key=value`; the value is read as YAML, so numbers, lists and null come out typed.

    Raises:
        ConfigError: there is no `=`, or the value is not YAML.
    """
    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"{text!r} is not an override: write it as key=value, for example train.learning_rate=0.01")
    try:
        return key.strip(), _read_scalar(value)
    except BadYaml as error:
        raise ConfigError(f"the value of {key.strip()} cannot be read: {reprlib.repr(value)} ({error})") from error


def _read_scalar(value: str) -> Any:
    read = read_yaml(value)
    if isinstance(read, str):
        try:
            return float(read)  # YAML 1.1 reads 1e-3 as a string
        except ValueError:
            return read
    return read


def nest_overrides(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Turn dotted keys into nested dicts; names of metrics, which are dotted themselves, stay whole.

    >>> nest_overrides({"rpn.nms_iou": 0.6, "rpn.num_convs": 2})
    {'rpn': {'nms_iou': 0.6, 'num_convs': 2}}
    >>> nest_overrides({"expected.mask.AP": "0.36 ± 0.02"})
    {'expected': {'mask.AP': '0.36 ± 0.02'}}
    """
    nested: dict[str, Any] = {}
    for key, value in overrides.items():
        *tables, last = key.split(".", 1 if key.startswith(_OF_METRICS) else -1)
        inner = nested
        for table in tables:
            inner = inner.setdefault(table, {})
            if not isinstance(inner, dict):
                raise ConfigError(f"override {key!r} reaches into {table!r}, which another override sets to a value")
        inner[last] = value
    return nested


def with_overrides(table: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's table with dotted keys laid over it; a number in a key is an index into a list, counted from 0.

    Raises:
        ConfigError: a key goes into a list without saying which entry is meant, or names one that is not there.

    >>> with_overrides({"data": {"train": [{"images": "a"}, {"images": "b"}]}}, {"data.train.1.images": "c"})
    {'data': {'train': [{'images': 'a'}, {'images': 'c'}]}}
    """
    return merge(table, _whole_lists(table, nest_overrides(overrides), ""))


def _whole_lists(old: Mapping[str, Any], changes: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The changes, where those of single entries of a list in `old` are replaced by that list, changed."""
    whole = dict(changes)
    for name, change in changes.items():
        inner, key = old.get(name), f"{prefix}{name}"
        if isinstance(change, Mapping) and isinstance(inner, Mapping):
            whole[name] = _whole_lists(inner, change, f"{key}.")
        elif isinstance(change, Mapping) and isinstance(inner, list | tuple):
            whole[name] = _changed_list(inner, change, key)
    return whole


def _changed_list(entries: Sequence[Any], changes: Mapping[str, Any], key: str) -> list[Any]:
    changed = list(entries)
    for index, change in changes.items():
        if not str(index).isdecimal() or int(index) >= len(changed):
            raise ConfigError(
                f"{key} is a list of {len(changed)} in this recipe and has no {index!r}: say which entry is meant, "
                f"as in {key}.0{'.images' if key.startswith('data.') else ''}=…, or set {key}=[…] whole"
            )
        old = changed[int(index)]
        is_table = isinstance(old, Mapping) and isinstance(change, Mapping)
        changed[int(index)] = merge(old, _whole_lists(old, change, f"{key}.{index}.")) if is_table else change
    return changed


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it, table by table; a value, a list or an empty table replaces the old one whole.

    So does a table that is of another `kind` than the old one, whose keys it need not have. The mean and std of so many
    `channels` are not laid under those of another number, nor one measure of a run's length under the other.

    >>> merge({"backbone": {"depth": 50}}, {"backbone": {"kind": "darknet53"}})  # where none is said, it is the first
    {'backbone': {'kind': 'darknet53'}}
    """
    if "kind" in changes and changes["kind"] != base.get("kind", BACKBONE_KINDS[0]):
        return dict(changes)
    own = base.get("channels", _RGB)
    is_of_others = "mean" in base and changes.get("channels", own) != own
    merged = {key: value for key, value in base.items() if not (is_of_others and key in ("mean", "std"))}
    merged |= {other: None for key, other in _ALTERNATIVES if other in base and changes.get(key) not in _NOTHING}
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) and value else value
    return merged


def dotted_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """All keys of a recipe class, tables and values, dotted; a union of tables has the keys of all."""
    for name, field in model.model_fields.items():
        yield prefix + name
        inner = [key for table in _tables(field.annotation) for key in dotted_keys(table, f"{prefix}{name}.")]
        yield from dict.fromkeys(inner)


def _tables(annotation: Any) -> list[type[BaseModel]]:
    """The table of an annotation, or those of a union."""
    if get_origin(annotation) in (Union, UnionType):
        return [table for part in get_args(annotation) for table in _tables(part)]
    if get_origin(annotation) is Annotated:
        return _tables(get_args(annotation)[0])
    return [annotation] if isinstance(annotation, type) and issubclass(annotation, BaseModel) else []


def explain(error: ValidationError, model: type[BaseModel], source: str) -> str:
    """One line per problem of a recipe: the key, what is wrong, and the nearest right key for a misspelt one."""
    return "; ".join(f"{source}: {_explain_one(problem, model)}" for problem in error.errors())


def _explain_one(problem: Mapping[str, Any], model: type[BaseModel]) -> str:
    key = ".".join(str(part) for part in problem["loc"] if part not in _KINDS)
    if problem["type"] == "union_tag_invalid":
        return f"{key}.kind: {problem['ctx']['tag']!r} is none of {', '.join(BACKBONE_KINDS)}"
    if problem["type"] != "extra_forbidden":
        message = in_our_words(problem["msg"].removeprefix("Value error, "))
        is_of_table = problem["type"] == "value_error" and isinstance(problem["input"], Mapping)
        found = "" if is_of_table else f", got {reprlib.repr(problem['input'])}"
        return f"{key}: {message}{found}" if key else message
    table, _, last = key.rpartition(".")
    if last.isdecimal():
        return f"{table} is no list here, so it has no entry {last}; leave the number out, or set {table}=[…]"
    if (renamed := renaming_of(key)) is not None:
        return f"{key} has another name now: write {renamed.hint(problem['input'])}"
    nearest = _nearest_keys(key, list(dotted_keys(model)))
    return f"unknown key {key!r}" + (f"; did you mean {' or '.join(nearest)}?" if nearest else "")


def _nearest_keys(key: str, known: Sequence[str]) -> list[str]:
    """As `nearest_names`, for a key that may go into a list: `known` keys do not count its entries."""
    table, _, _ = key.rpartition(".")
    unnumbered = ".".join(part for part in table.split(".") if not part.isdecimal())
    if unnumbered == table:
        return nearest_names(key, known)
    nearest = nearest_names(f"{unnumbered}.{key.rpartition('.')[2]}", known)
    return [f"{table}{name.removeprefix(unnumbered)}" if name.startswith(unnumbered) else name for name in nearest]


def nearest_names(name: str, known: Sequence[str]) -> list[str]:
    """Up to three of `known` that `name` may be a misspelling of: near as a whole, or with the same last part."""
    if len(name) > _LONGEST_NAME:
        return []
    last = name.rpartition(".")[2]
    same_last = [
        entry for entry in known if difflib.SequenceMatcher(None, entry.rpartition(".")[2], last).ratio() > 0.85
    ]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.75)
    ranked = sorted({*same_last, *near}, key=lambda entry: -difflib.SequenceMatcher(None, entry, name).ratio())
    return ranked[:3]

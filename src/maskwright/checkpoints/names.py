"""Two spellings of the same names: tables of template pairs that rename state dicts in both directions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from maskwright.errors import CheckpointError

# as in the docstring of NameTable
_PLACEHOLDER = re.compile(r"\{(?:(?P<factor>\d+)\*|(?P<minuend>\d+)-)?(?P<letter>[a-z])(?:\+(?P<offset>\d+))?\}")
_NUMBER = r"(0|[1-9]\d*)"
# what is left of a name behind its layer: weight, bias, running_mean, …
_PARAMETER = r"([a-z_]+)"


@dataclass(frozen=True)
class _Number:
    """A number in a name: factor · n + offset, n being the placeholder's number."""

    letter: str
    factor: int
    offset: int

    def solved(self, value: int) -> int | None:
        """The n that gives `value`, if there is one."""
        n, rest = divmod(value - self.offset, self.factor)
        return n if rest == 0 and n >= 0 else None


class _Template:
    """A layer's name with placeholders; see `NameTable`."""

    def __init__(self, text: str) -> None:
        self._numbers: list[_Number] = []
        self._texts: list[str] = []
        end = 0
        for placeholder in _PLACEHOLDER.finditer(text):
            self._numbers.append(_number(placeholder))
            self._texts.append(text[end : placeholder.start()])
            end = placeholder.end()
        self._texts.append(text[end:])
        pattern = _NUMBER.join(map(re.escape, self._texts))
        self._layer = re.compile(pattern + _PARAMETER)

    def read(self, name: str) -> tuple[dict[str, int], str] | None:
        """The placeholders' numbers and the parameter, if `name` is of this form."""
        match = self._layer.fullmatch(name)
        if match is None:
            return None
        values: dict[str, int] = {}
        for number, digits in zip(self._numbers, match.groups(), strict=False):
            n = number.solved(int(digits))
            if n is None or values.setdefault(number.letter, n) != n:
                return None
        return values, match.groups()[-1]

    def write(self, values: dict[str, int], parameter: str) -> str | None:
        """The name with these numbers, if they are all of this form."""
        numbers = [number.factor * values[number.letter] + number.offset for number in self._numbers]
        if any(number < 0 for number in numbers):
            return None
        parts = [text + str(number) for text, number in zip(self._texts, numbers, strict=False)]
        return "".join(parts) + self._texts[-1] + parameter


def _number(placeholder: re.Match[str]) -> _Number:
    if placeholder["minuend"]:
        return _Number(placeholder["letter"], -1, int(placeholder["minuend"]))
    return _Number(placeholder["letter"], int(placeholder["factor"] or 1), int(placeholder["offset"] or 0))


class NameTable:
    """Pairs of templates (theirs, ours), each the name of a layer up to the dot before its parameters.

    A placeholder stands for a number from 0 on: `{n}`, `{n+1}`, `{2*n}`, `{2*n+5}`, and `{2-n}` counts down. The first
    pair that fits holds.

    Args:
        pairs: renamed in both directions.
        aliases: other spellings of theirs, which are read and never written.

    >>> table = NameTable([("layer{s+1}.{b}.bn{c}.", "stages.{s}.{b}.conv{c}.norm.")])
    >>> table.to_ours("layer3.0.bn1.running_mean")
    'stages.2.0.conv1.norm.running_mean'
    >>> table.to_theirs("stages.2.0.conv1.norm.running_mean")
    'layer3.0.bn1.running_mean'
    >>> table.to_ours("layer0.0.bn1.weight") is None
    True
    """

    def __init__(self, pairs: Iterable[tuple[str, str]], aliases: Iterable[tuple[str, str]] = ()) -> None:
        self._pairs = [(_Template(theirs), _Template(ours)) for theirs, ours in pairs]
        self._aliases = [(_Template(theirs), _Template(ours)) for theirs, ours in aliases]

    def to_ours(self, name: str) -> str | None:
        """Our name of theirs; None where there is none."""
        return _renamed(name, [*self._pairs, *self._aliases])

    def read_in(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A state dict under our names; a key that no template fits keeps its name, so that loading reports it."""
        return {self.to_ours(name) or name: value for name, value in state.items()}

    def to_theirs(self, name: str) -> str | None:
        """Their name of ours; None where there is none."""
        return _renamed(name, [(ours, theirs) for theirs, ours in self._pairs])

    def write_out(self, weights: Mapping[str, Tensor], lineage: str) -> dict[str, Tensor]:
        """Our weights under their names.

        Raises:
            CheckpointError: some of ours have no counterpart there; the message names the first.
        """
        names = {name: self.to_theirs(name) for name in weights}
        if missing := [name for name, theirs in names.items() if theirs is None]:
            raise CheckpointError(
                f"{lineage} has no place for {len(missing)} of these weights, first {missing[0]}; "
                "its models do not have this architecture, so keep the model as .safetensors"
            )
        return {str(names[name]): value for name, value in weights.items()}


def _renamed(name: str, pairs: Iterable[tuple[_Template, _Template]]) -> str | None:
    for source, target in pairs:
        found = source.read(name)
        renamed = target.write(*found) if found else None
        if renamed is not None:
            return renamed
    return None

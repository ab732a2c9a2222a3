"""The results that a recipe promises, beside those that were measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from maskwright.config.testing import ExpectedResult
from maskwright.errors import ConfigError, ResultError
from maskwright.evaluation.metrics import Metrics

if TYPE_CHECKING:
    from rich.table import Table


class Check(NamedTuple):
    """A metric by its dotted name, what it should be, within which tolerance, and what it is."""

    name: str
    expected: float
    tolerance: float
    found: float

    @property
    def is_met(self) -> bool:
        """Whether it lies within the tolerance, its ends included; NaN never does."""
        return abs(self.found - self.expected) <= self.tolerance + 1e-12  # 0.38 is 0.36 ± 0.02 in decimals

    def __str__(self) -> str:
        return f"{self.name} is {self.found:.4f}, expected {self.expected:g} ± {self.tolerance:g}"


def check_expected(metrics: Metrics, expected: Mapping[str, ExpectedResult]) -> list[Check]:
    """Compare measured metrics with those of a recipe.

    Raises:
        ConfigError: a name that no metric has; the message names the nearest ones.
    """
    return [Check(name, result.value, result.tolerance, metrics.lookup(name)) for name, result in expected.items()]


def refuse_unknown(expected: Mapping[str, ExpectedResult], metrics: Metrics, hint: str) -> None:
    """Go on only if there is a metric for every name; asked before the work, not after.

    Args:
        expected: of a recipe.
        metrics: any that have all the names; their numbers do not matter.
        hint: what may be missing where a name's group is, as `augmented` or a table that was not asked for.

    Raises:
        ConfigError: a name that no metric has; the message names the nearest ones.
    """
    for name in expected:
        try:
            metrics.lookup(name)
        except ConfigError as error:
            is_of_group = name.partition(".")[0] in metrics
            raise ConfigError(f"expected: {error}" + ("" if is_of_group else f"; {hint}")) from error


def refuse_missed(checks: Sequence[Check]) -> None:
    """Go on only if every expectation is met.

    Raises:
        ResultError: which are not, in one line.
    """
    missed = [check for check in checks if not check.is_met]
    if missed:
        raise ResultError(f"{len(missed)} of {len(checks)} expected results missed: {'; '.join(map(str, missed))}")


def expected_table(checks: Sequence[Check]) -> Table:
    """One row for each check, for a terminal."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="expected results", title_justify="left")
    for column in ("metric", "expected", "found", ""):
        table.add_column(column, justify="left" if column == "metric" else "right")
    for check in checks:
        verdict = "met" if check.is_met else "missed"
        expected = f"{check.expected:g} ± {check.tolerance:g}"
        table.add_row(escape(check.name), expected, f"{check.found:.4f}", verdict)
    return table

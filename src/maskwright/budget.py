"""How much an untrusted file may ask for: its reader spends what it uses, and stops when nothing is left."""

from __future__ import annotations


class OverBudget(ValueError):
    """A file asks for more than its reader gives."""


class Budget:
    """Steps, bytes or numbers that a reader may still use for one file.

    Args:
        most: how many, above 0.
        what: is counted, as the error names it: "bytes of arrays".

    >>> budget = Budget(3, "groups")
    >>> budget.spend(2)
    >>> budget.left
    1
    """

    def __init__(self, most: int, what: str) -> None:
        self.most, self.left, self._what = most, most, what

    def spend(self, count: int = 1) -> None:
        """Use some of it.

        Raises:
            OverBudget: so much is not left.
        """
        self.left -= count
        if self.left < 0:
            raise OverBudget(f"it asks for more than {self.most:,} {self._what}")

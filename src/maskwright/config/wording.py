"""Pydantic's findings in our words, which follow on the key or the option whose value was checked."""

from __future__ import annotations

import re

# pydantic's name of a type → what the value must be
_MUST_BE = {
    "boolean": "true or false",
    "dictionary": "a table of keys and values",
    "integer": "a whole number",
    "list": "a list, such as [1, 2]",
    "number": "a number",
    "string": "a text (in quotes, where it looks like a number)",
    "tuple": "a list, such as [1, 2]",
}
_PREFIX = "Input should be "


def in_our_words(message: str) -> str:
    """What is wrong with a value, to be read after its key; a message that pydantic did not write stays as it is.

    >>> in_our_words("Input should be a valid tuple"), in_our_words("Input should be greater than 0")
    ('must be a list, such as [1, 2]', 'must be greater than 0')
    """
    if message == "Field required":
        return "is missing"
    found = re.match(rf"{_PREFIX}a valid (\w+)", message)
    if found is not None and found[1] in _MUST_BE:
        return f"must be {_MUST_BE[found[1]]}"
    return f"must be {message.removeprefix(_PREFIX)}" if message.startswith(_PREFIX) else message

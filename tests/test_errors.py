"""Messages are one line that a terminal shows and does not obey."""

from __future__ import annotations

import pickle

from maskwright.errors import DataError, printable


def test_a_message_with_names_from_a_file_is_one_printable_line() -> None:
    error = DataError("class \x1b[31mred\x1b[0m\n\x07 \u2028 \ud800")
    assert str(error) == "class \\x1b[31mred\\x1b[0m\\n\\x07 \\u2028 \\ud800"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_long_message_keeps_its_beginning_and_its_end() -> None:
    message = str(DataError("begin " + "x" * 10_000 + " end"))
    assert len(message) < 2000
    assert message.startswith("begin")
    assert message.endswith("end")


def test_letters_of_all_scripts_are_printable() -> None:
    assert printable("Zelle, клетка, 細胞, خلية\tok") == "Zelle, клетка, 細胞, خلية\tok"

"""XML from outside is read with its lines, and refused in words where it cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from maskwright.data.xml_nodes import XmlNode, load_xml
from maskwright.errors import DataError


def load(folder: Path, text: str | bytes) -> XmlNode:
    (folder / "a.xml").write_bytes(text.encode() if isinstance(text, str) else text)
    return load_xml(folder / "a.xml")


def test_nodes_know_their_text_and_line(tmp_path: Path) -> None:
    root = load(tmp_path, "<a>\n <b> x\n&amp; y </b>\n <b/><c>1<d/>2</c>\n</a>")
    assert [(node.tag, node.line, node.text) for node in root.children] == [
        ("b", 2, "x\n& y"),
        ("b", 4, ""),
        ("c", 4, "12"),
    ]
    assert [len(root.all(tag)) for tag in "bcd"] == [2, 1, 0]
    assert root.text_of("b") == "x\n& y"
    assert root.first("d") is None
    assert root.text_of("d") == ""


def test_the_declared_encoding_counts(tmp_path: Path) -> None:
    assert load(tmp_path, '<?xml version="1.0" encoding="latin-1"?><a>Käfer</a>'.encode("latin-1")).text == "Käfer"


BOMB = '<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;&x;">]>\n<a>&y;</a>'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, r"a\.xml, line 1: has a DOCTYPE"),
        ("<a>\n<b></a>", r"a\.xml, line 2: broken XML \(mismatched tag\)"),
        ("<a>", "line 1: broken XML"),
        ("", "broken XML"),
        ("<a>&x;</a>", "undefined entity"),
        (b"\x89PNG\r\n", "broken XML"),
        ('<?xml version="1.0" encoding="utf-7"?><a/>', "cannot be read as XML"),
        ('<?xml version="1.0" encoding="klingon"?><a/>', "cannot be read as XML|unknown encoding"),
    ],
)
def test_what_is_no_plain_xml_is_refused(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(tmp_path, text)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"b\.xml does not exist"):
        load_xml(tmp_path / "b.xml")
    with pytest.raises(DataError, match="cannot be read"):
        load_xml(tmp_path)


def test_a_very_deep_file_is_read(tmp_path: Path) -> None:
    root = load(tmp_path, "<a>" * 5000 + "</a>" * 5000)
    assert len(root.children) == 1

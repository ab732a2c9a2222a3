"""XML files from outside as plain nodes that know their line; nothing in a file can make reading it hang."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from maskwright.errors import DataError


@dataclass
class XmlNode:
    """An element.

    Attributes:
        tag: its name.
        line: where it begins, counted from 1.
        attributes: name → text.
        text: directly in it, without white space around.
        children: the elements directly in it.
    """

    tag: str
    line: int
    attributes: dict[str, str] = field(default_factory=dict)
    text: str = ""
    children: list[XmlNode] = field(default_factory=list)

    def all(self, tag: str) -> list[XmlNode]:
        """The children with this tag, in order."""
        return [child for child in self.children if child.tag == tag]

    def first(self, tag: str) -> XmlNode | None:
        """The first child with this tag."""
        return next((child for child in self.children if child.tag == tag), None)

    def text_of(self, tag: str) -> str:
        """The text of the first child with this tag, empty where there is none."""
        child = self.first(tag)
        return "" if child is None else child.text


def load_xml(path: Path) -> XmlNode:
    """The root of an XML file.

    Raises:
        DataError: the file cannot be read, is not XML, or has a DOCTYPE: no annotation tool writes one, and entities
            defined there can grow without end.
    """
    document = XmlNode("", 0)
    open_nodes = [document]
    open_texts: list[list[str]] = [[]]
    parser = expat.ParserCreate()
    parser.buffer_text = True

    def start(tag: str, attributes: dict[str, str]) -> None:
        node = XmlNode(tag, parser.CurrentLineNumber, attributes)
        open_nodes[-1].children.append(node)
        open_nodes.append(node)
        open_texts.append([])

    def end(_tag: str) -> None:
        open_nodes.pop().text = "".join(open_texts.pop()).strip()

    def add_text(text: str) -> None:
        open_texts[-1].append(text)

    def refuse(*_declaration: object) -> None:
        raise DataError(f"{path}, line {parser.CurrentLineNumber}: has a DOCTYPE; remove it, annotations need none")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = add_text
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(path.read_bytes(), True)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except expat.ExpatError as error:
        raise DataError(
            f"{path}, line {error.lineno}: broken XML ({expat.ErrorString(error.code)}); export the file again"
        ) from None
    except (LookupError, ValueError) as error:  # an unknown encoding
        raise DataError(f"{path}: cannot be read as XML ({error}); save it as UTF-8") from None
    return document.children[0]

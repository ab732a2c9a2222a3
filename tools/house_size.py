"""What a newcomer has to read and to touch: sizes, imports and how far a head and a family are spread over the files.

    python tools/house_size.py [TREE …]

A TREE is a checkout; without one it is this. With two, the second column is read beside the first: before and after.
"""

from __future__ import annotations

import argparse
import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

_HERE = Path(__file__).resolve().parents[1]
_LONG = 50  # lines of a function
# a head and a family that exist, and the code names they go by: where these stand, a new one has to be entered as well
_HEAD = re.compile(r"keypoint_?head", re.IGNORECASE)
_FAMILY = re.compile(r"yolact", re.IGNORECASE)
# a lineage of checkpoints and the table of a benchmark are no parts of a family, though they are called alike
_NO_FAMILY = re.compile(r"(checkpoints|evaluation)/|models/yolact/|config/yolact\.py|yolact_table")
_DIALECT = re.compile(
    r"(?<![a-z])(places?|told|tells?|nobody|judged|whoever|alone|heeds?|bears?)(?![a-z])", re.IGNORECASE
)

Function = ast.FunctionDef | ast.AsyncFunctionDef


class House:
    """The package of one checkout.

    Attributes:
        sources: path within the package → text.
    """

    def __init__(self, tree: Path) -> None:
        package = tree / "src" / "maskwright"
        self.sources = {
            path.relative_to(package).as_posix(): path.read_text(encoding="utf-8")
            for path in sorted(package.rglob("*.py"))
        }
        self._trees = {name: ast.parse(text) for name, text in self.sources.items()}

    def counts(self) -> dict[str, str]:
        """Name of a count → its value."""
        lengths = [node.end_lineno - node.lineno + 1 for node in self._functions() if node.end_lineno is not None]
        importers = self._importers()
        most = ", ".join(f"{name} {count}" for name, count in importers.most_common(3))
        return {
            "files": f"{len(self.sources)}",
            "lines": f"{sum(text.count(chr(10)) for text in self.sources.values()):,}",
            "longest file, lines": f"{max(text.count(chr(10)) for text in self.sources.values())}",
            "files under 50 lines": f"{sum(text.count(chr(10)) < 50 for text in self.sources.values())}",
            "functions": f"{len(lengths):,}",
            f"functions over {_LONG} lines": f"{sum(length > _LONG for length in lengths)}",
            "importers of a module, mean": f"{mean(importers.values()):.2f}",
            "modules imported most": most,
            "files that name a head": f"{len(self._naming(_HEAD))}",
            "files that name a family, outside its rooms": f"{len(self._naming(_FAMILY, _NO_FAMILY))}",
            "words of the dialect": f"{sum(len(_DIALECT.findall(text)) for text in self.sources.values()):,}",
        }

    def spread(self) -> dict[str, list[str]]:
        """What is spread → the files it is spread over."""
        return {"a head": self._naming(_HEAD), "a family, outside its rooms": self._naming(_FAMILY, _NO_FAMILY)}

    def _functions(self) -> Iterator[Function]:
        for tree in self._trees.values():
            yield from (node for node in ast.walk(tree) if isinstance(node, Function))

    def _importers(self) -> Counter[str]:
        """Module → the number of modules that import it or a name of it, at whatever depth of the code."""
        modules = {_module(name) for name in self.sources}
        found: Counter[str] = Counter()
        for name, tree in self._trees.items():
            imported: set[str] = set()
            for node in ast.walk(tree):
                if isinstance(node, ast.Import):
                    imported |= {alias.name for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module:
                    imported |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
            found.update((imported & modules) - {_module(name)})
        return found

    def _naming(self, pattern: re.Pattern[str], left_out: re.Pattern[str] | None = None) -> list[str]:
        """Files whose code, without docstrings and comments, has a name or a text that fits the pattern."""
        return [
            name
            for name, tree in self._trees.items()
            if not (left_out and left_out.search(name)) and any(map(pattern.search, _words(tree)))
        ]


def _module(name: str) -> str:
    parts = ["maskwright", *Path(name).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _words(tree: ast.Module) -> Iterator[str]:
    """Names, attributes, imports and texts of the code; docstrings are none of it."""
    bodies = (node.body for node in ast.walk(tree) if isinstance(node, (ast.Module, ast.ClassDef, *Function.__args__)))
    firsts = {id(body[0].value) for body in bodies if body and isinstance(body[0], ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, (ast.arg, ast.keyword)) and node.arg:
            yield node.arg
        elif isinstance(node, ast.ImportFrom):
            yield from (node.module or "", *(alias.name for alias in node.names))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in firsts:
            yield node.value


def _print_table(houses: list[House]) -> None:
    columns = [house.counts() for house in houses]
    width = max(map(len, columns[0]))
    for name in columns[0]:
        print(f"{name:{width}}  " + "  →  ".join(f"{column[name]:>8}" for column in columns))
    for name in houses[0].spread():
        print(f"\n{name}:")
        for house in houses:
            print("  " + " ".join(house.spread()[name]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trees", type=Path, nargs="*", default=[_HERE], metavar="TREE")
    _print_table([House(tree) for tree in parser.parse_args().trees])

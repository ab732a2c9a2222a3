"""The rules of ARCHITECTURE.md that a machine can check, read off the source with `ast`."""

from __future__ import annotations

import ast
import doctest
import importlib
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "src" / "maskwright"

# lowest first; a package imports only from rows below its own
ROWS = (
    {"errors"},
    {"ops", "files", "budget"},
    {"structures", "config"},
    {"images"},
    {"models", "data", "evaluation"},
    {"checkpoints"},
    {"predict"},
    {"training"},
    {"serve", "export", "batch", "report"},
    {"cli"},
    {"__main__"},
)
ROW_OF = {room: row for row, rooms in enumerate(ROWS) for room in rooms}
FAMILIES = {"mask_rcnn", "yolact"}

# (importing module, imported module) → why it may
ALLOWED_IMPORTS = {
    ("maskwright.structures.instances", "maskwright.images.draw"): "Instances.draw is the way users ask for a picture",
}
# module → why it asks whether it is in training
ALLOWED_TRAINING_FLAGS = {"maskwright.models.backbones.norms": "statistics of a batch are taken in training only"}
# file → why it may be longer than 300 lines
ALLOWED_LENGTHS: dict[str, str] = {}
MOST_LINES = 300


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}


def own_imports(name: str) -> set[str]:
    """The modules of ours that a module imports anywhere: inside functions and under TYPE_CHECKING too."""
    found: set[str] = set()
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            below = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {module if module in FILES else node.module for module in below}
    return {module for module in found if module.partition(".")[0] == "maskwright"} - {name}


# the package's own __init__ only names where public things live, and may be asked for the version
IMPORTS = {name: own_imports(name) - {"maskwright"} for name in FILES if name != "maskwright"}
EDGES = [
    (name, imported)
    for name, modules in IMPORTS.items()
    for imported in sorted(modules)
    if (name, imported) not in ALLOWED_IMPORTS
]


def room_of(module: str) -> str:
    return module.split(".")[1]


def test_the_source_is_found() -> None:
    assert len(FILES) > 20
    assert len(EDGES) > 20


def test_every_room_stands_in_a_row() -> None:
    assert {room_of(name) for name in IMPORTS} <= set(ROW_OF)


def test_every_folder_with_code_is_a_package() -> None:
    assert [path for path in FILES.values() if not (path.parent / "__init__.py").is_file()] == []


def test_the_rows_are_those_of_the_picture() -> None:
    picture = (REPOSITORY / "ARCHITECTURE.md").read_text(encoding="utf-8").split("```")[1]
    drawn = [set(line[:27].split()) for line in picture.splitlines() if line.strip()]
    built = [rooms & {room_of(name) for name in IMPORTS} - {"__main__"} for rooms in reversed(ROWS)]
    assert [rooms for rooms in built if rooms] == drawn


def test_packages_import_only_from_rows_below() -> None:
    upward = [
        f"{name} imports {imported}"
        for name, imported in EDGES
        if room_of(name) != room_of(imported) and ROW_OF[room_of(imported)] >= ROW_OF[room_of(name)]
    ]
    assert upward == []


def test_modules_do_not_import_each_other_in_circles() -> None:
    graph: dict[str, set[str]] = {name: set() for name in IMPORTS}
    for name, imported in EDGES:
        graph[name].add(imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


def test_families_do_not_know_each_other() -> None:
    def family(module: str) -> str | None:
        parts = module.split(".")
        return parts[2] if parts[1] == "models" and len(parts) > 2 and parts[2] in FAMILIES else None

    strangers = [(a, b) for a, b in EDGES if family(a) and family(b) and family(a) != family(b)]
    assert strangers == []


def test_inside_the_package_only_the_version_is_taken_from_its_top() -> None:
    taken = {
        alias.name
        for tree in TREES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "maskwright"
        for alias in node.names
        if f"maskwright.{alias.name}" not in FILES
    }
    assert taken <= {"__version__"}


def test_exemptions_are_still_needed() -> None:
    assert [edge for edge in ALLOWED_IMPORTS if edge[1] not in IMPORTS[edge[0]]] == []
    assert [name for name in ALLOWED_LENGTHS if _num_lines(PACKAGE / name) <= MOST_LINES] == []


def _num_lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_files_are_short_enough_to_read() -> None:
    lengths = {path.relative_to(PACKAGE).as_posix(): _num_lines(path) for path in FILES.values()}
    assert {name: n for name, n in lengths.items() if n > MOST_LINES and name not in ALLOWED_LENGTHS} == {}


def test_configs_stay_outside_the_modules_they_configure() -> None:
    readers = {name for name, imported in EDGES if room_of(name) == "models" and room_of(imported) == "config"}
    assert {name for name in readers if not name.endswith(".build")} == set()


def test_everything_public_says_what_it_is() -> None:
    silent = [
        f"{name}.{node.name}"
        for name, tree in TREES.items()
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
        and not any("overload" in ast.unparse(decorator) for decorator in node.decorator_list)
    ]
    assert silent == []
    assert [name for name, tree in TREES.items() if not ast.get_docstring(tree)] == []


def test_only_the_command_line_prints_and_exits() -> None:
    loud = [
        f"{name}:{node.lineno}"
        for name, tree in TREES.items()
        if not name.startswith(("maskwright.cli", "maskwright.__main__"))
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"print", "sys.exit", "exit", "quit", "os._exit"}
    ]
    assert loud == []


def test_no_except_catches_everything_unnamed() -> None:
    bare = [
        f"{name}:{node.lineno}"
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler) and node.type is None
    ]
    assert bare == []


def test_nothing_looks_at_the_training_flag() -> None:
    looks = [
        f"{name}:{node.lineno}"
        for name, tree in TREES.items()
        if name not in ALLOWED_TRAINING_FLAGS
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and ast.unparse(node) == "self.training"
    ]
    assert looks == []


def test_what_is_still_to_do_names_its_issue() -> None:
    mark = re.compile(r"\b(TODO|FIXME|XXX)\b(?!\(#\d+\))")
    vague = [
        f"{name}:{number}"
        for name, path in FILES.items()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if mark.search(line)
    ]
    assert vague == []


def test_no_file_names_a_place_on_somebodys_machine() -> None:
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    if listing.returncode:
        pytest.skip("not a git checkout")
    places = re.compile(r"(?<![\w.:/-])/(?:home|root|Users|work|tmp|mnt|opt)/\w")
    named = []
    for name in filter(None, listing.stdout.split("\0")):
        path = REPOSITORY / name
        if path.is_file() and path.suffix not in {".png", ".jpg", ".safetensors"}:
            text = path.read_text(encoding="utf-8", errors="replace")
            named += [f"{name}: {match.group()}" for match in places.finditer(text)]
    assert named == []


def test_public_names_have_homes() -> None:
    package = importlib.import_module("maskwright")
    assert set(package.__all__) == {*package._HOME_OF, "__version__"}
    shown_to_type_checkers = {
        alias.asname: node.module
        for node in ast.walk(TREES["maskwright"])
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("maskwright.")
        for alias in node.names
    }
    assert shown_to_type_checkers == package._HOME_OF


@pytest.mark.parametrize("name", sorted(set(importlib.import_module("maskwright").__all__)))
def test_public_name_can_be_imported(name: str) -> None:
    package = importlib.import_module("maskwright")
    assert getattr(package, name) is not None
    assert name in dir(package)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = importlib.import_module("maskwright").no_such_thing


# run in a fresh interpreter to see what `{imports}` writes, connects to, starts and loads
_WATCH = """
import sys
{first}
deeds, known = [], set(sys.modules)
def watch(event, arguments):
    writes = event == "open" and (isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"))
    if writes or event in {{"os.mkdir", "os.rename", "os.remove", "socket.connect", "subprocess.Popen"}}:
        deeds.append((event, str(arguments[0])))
sys.addaudithook(watch)
{imports}
print(*sorted(set(sys.modules) - known), *map(repr, deeds), sep="\\n")
"""


def in_fresh_interpreter(imports: str, first: str = "") -> tuple[set[str], list[str]]:
    """(modules loaded by `imports`, files written, connections made and processes started by it)."""
    code = _WATCH.format(imports=imports, first=first)
    run = subprocess.run([sys.executable, "-B", "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    lines = run.stdout.split("\n")[:-1]
    return {line for line in lines if not line.startswith("(")}, [line for line in lines if line.startswith("(")]


HEAVY = {"torch", "torchvision", "numpy", "PIL", "supervision", "hotcoco", "tensorboard", "huggingface_hub", "pydantic"}
# needed by one function each, or not installed at all by everybody
LATE = {"supervision", "tensorboard", "torch.utils.tensorboard", "huggingface_hub", "pycocotools", "matplotlib", "cv2"}
LATE |= {"timm", "av", "h5py", "scipy", "tifffile", "pillow_heif"}


def test_importing_maskwright_does_nothing() -> None:
    modules, deeds = in_fresh_interpreter("import maskwright")
    assert modules & HEAVY == set()
    assert len(modules) < 40
    assert deeds == []


def test_recipes_are_read_without_torch() -> None:
    modules, deeds = in_fresh_interpreter("from maskwright.config import load_recipe, recipe_names; recipe_names()")
    assert "maskwright.config.loading" in modules
    assert modules & (HEAVY - {"pydantic"}) == set()
    assert deeds == []


def test_the_command_line_opens_without_torch() -> None:
    modules, deeds = in_fresh_interpreter("import maskwright.cli")
    assert modules & (HEAVY - {"pydantic"}) == set()
    assert deeds == []


def test_no_module_does_anything_when_imported() -> None:
    everything = "; ".join(f"import {name}" for name in FILES if not name.endswith("__main__"))
    watched = (
        f"{everything}; import logging, torch; assert not logging.root.handlers and not torch.cuda.is_initialized()"
    )
    modules, deeds = in_fresh_interpreter(
        watched, first="import torch, torchvision, torchvision.transforms.v2, hotcoco.mask"
    )
    assert modules & LATE == set()
    assert deeds == []


@pytest.mark.parametrize("name", [name for name, path in FILES.items() if ">>> " in path.read_text(encoding="utf-8")])
def test_examples_in_docstrings_are_true(name: str) -> None:
    outcome = doctest.testmod(importlib.import_module(name))
    assert outcome.attempted > 0
    assert outcome.failed == 0


def test_ci_runs_the_test_command_of_the_readme() -> None:
    commands = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert commands[-1] in (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert commands[-1] in (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "tool", [["ruff", "check"], ["ruff", "format", "--check"], pytest.param(["mypy"], marks=pytest.mark.slow)]
)
def test_the_tools_find_nothing(tool: list[str]) -> None:
    run = subprocess.run([sys.executable, "-m", *tool], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr

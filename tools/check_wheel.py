"""Builds the wheel and checks it: all of the package and nothing else, small enough to be fetched by anybody.

python tools/check_wheel.py            # needs the extra `dev`
python tools/check_wheel.py A.whl      # one that is there
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCE = REPOSITORY / "src" / "maskwright"
MOST_BYTES = 12_000_000
# kinds of files beside the code; each must be there at least once
KINDS = {
    "recipes": "maskwright/recipes/**/*.yaml",
    "bundled weights": "maskwright/assets/*.safetensors",
    "images of the demo": "maskwright/assets/demo/images/*.png",
    "class lists": "maskwright/config/class_lists/*.txt",
    "templates": "maskwright/report/templates/*",
    "the mark of types": "maskwright/py.typed",
}


def build_wheel(folder: Path) -> Path:
    """Build the wheel of this checkout into a folder, with the build backend that is installed."""
    words = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(words, cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    (wheel,) = folder.glob("*.whl")
    return wheel


def problems(wheel: Path) -> list[str]:
    """All that is wrong with a wheel, in sentences."""
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if not name.endswith("/")}
        metadata = next(archive.read(name).decode() for name in held if name.endswith(".dist-info/METADATA"))
    found = []
    size = wheel.stat().st_size
    if size > MOST_BYTES:
        found.append(f"it has {size / 1e6:.1f} MB; the most are {MOST_BYTES / 1e6:.0f} MB")
    expected = {f"maskwright/{path.relative_to(SOURCE).as_posix()}" for path in _source_files()}
    ours = {name for name in held if ".dist-info/" not in name}
    found += [f"{name} is missing" for name in sorted(expected - ours)]
    found += [f"{name} does not belong there" for name in sorted(ours - expected)]
    found += [f"there are no {kind}" for kind, pattern in KINDS.items() if not _any_matches(ours, pattern)]
    found += [f"{name} is missing" for name in ("LICENSE", "NOTICE") if not any(one.endswith(name) for one in held)]
    if "Requires-Python: >=3.10" not in metadata:
        found.append("its metadata do not say which Python it needs")
    return found


def _source_files() -> list[Path]:
    return [path for path in SOURCE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


def _any_matches(names: set[str], pattern: str) -> bool:
    folder, _, ending = pattern.partition("*")
    return any(name.startswith(folder) and name.endswith(ending.lstrip("*/")) for name in names)


def main() -> int:
    """Report on the wheel; the exit status is 1 where something is wrong with it."""
    with tempfile.TemporaryDirectory() as folder:
        wheel = Path(sys.argv[1]) if len(sys.argv) > 1 else build_wheel(Path(folder))
        found = problems(wheel)
        print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB, {'; '.join(found) or 'complete'}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

"""Does it work on a GPU, and how fast is it there? One unattended run of under 8 minutes.

    python benchmarks/gpu.py [--output FOLDER] [--minutes 8] [--only PART …]
    python benchmarks/gpu.py --device cpu --quick          # tries the script itself, on any machine

It needs a card that torch sees, torch ≥ 2.11 and its torchvision, numpy, Pillow and the other libraries that maskwright
itself depends on (`dependencies` in pyproject.toml); they may lie in any folder of PYTHONPATH. It runs from a clone,
installed or not, needs no network, and names at its start what is missing.

Every part runs in a process of its own with a time limit, so that an error of CUDA, a crash or a hang ends that part
alone: it is recorded and the rest goes on. Results are written after every part; a run that is killed leaves what it
has. In the folder of results, `benchmarks/results` by default:

- `gpu_CARD.json`: everything, by part: records of agreement with their limits (`gpu_parts/setting.py` has them in one
  table), times, memory, errors;
- `gpu_CARD.md`: the same as tables.

Parts, in the order of the run:

- `machine`: versions, the card, torchvision's compiled operators;
- `parity CASE`: the numbers of torchvision, detectron2 and others, recorded on a CPU, from the input to gradients;
  TF32 is off. The cases of `tests/parity/cases`; where `../shared/parity` is beside the clone more, at the end;
- `devices RECIPE`: YOLACT and YOLACT++ on the CPU and on the card, the same random weights;
- `training FAMILY`: 20 steps on the CPU and on the card, in fp32 and in bf16;
- `group`: training through NCCL with one process;
- `resume`: a run that was ended and taken up again, beside one that was not;
- `speed …`: prediction with 1 and 8 images and a training step, in fp32, TF32 and bf16, with peak memory: Mask R-CNN
  R50-FPN beside torchvision's with the same weights, YOLACT R50, R101 and ++.

The exit status is 0 where all parts ran and all differences are within their limits, 1 where not, 2 where it cannot
start.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = REPOSITORY / "benchmarks" / "results"
# where a library is imported by another name than it is installed by
_IMPORTED_AS = {"pillow": "PIL", "pyyaml": "yaml"}
# without these no part can run
_INDISPENSABLE = {"torch", "torchvision", "numpy", "pillow", "pydantic", "pyyaml", "safetensors", "hotcoco"}
# least time that a part is started with
_LEAST_SECONDS = 10.0


class Part(NamedTuple):
    """A name, the words of the function that it calls, and its time limit in seconds."""

    name: str
    call: tuple[str, ...]
    seconds: float


def parts_of(cases: Sequence[str], is_quick: bool) -> list[Part]:
    """All parts in their order, cases that do not ship last."""
    shipped = [name for name in cases if (REPOSITORY / "tests" / "parity" / "cases" / name).is_dir()]
    if is_quick:
        cases = shipped = [name for name in shipped if "C4" in name]
    parity = {name: Part(f"parity {name}", ("parity", name), 90) for name in cases}
    recipes = ("yolact/r50",) if is_quick else ("yolact/r50", "yolact/r101", "yolact/plus_r50")
    twice = [name for name in recipes if "101" not in name]
    return [
        Part("machine", ("machine",), 60),
        *(parity[name] for name in shipped),
        *(Part(f"devices {name}", ("devices", name), 60) for name in twice),
        *(Part(f"training {family}", ("training", family), 90) for family in ("mask_rcnn", "yolact")),
        Part("group", ("group",), 75),
        Part("resume", ("resume",), 75),
        Part("speed Mask R-CNN", ("speed_mask_rcnn",), 120),
        *(Part(f"speed {name}", ("speed_yolact", name), 75) for name in recipes),
        *(part for name, part in parity.items() if name not in shipped),
    ]


def run_here(call: Sequence[str], arguments: argparse.Namespace) -> None:
    """A part, in the process that was started for it."""
    from functools import partial

    import torch
    from gpu_parts.machine import machine
    from gpu_parts.parity import parity
    from gpu_parts.parity_yolact import both_devices
    from gpu_parts.setting import Setting
    from gpu_parts.speed import speed_mask_rcnn, speed_yolact
    from gpu_parts.training import group_of_one, resume, training

    functions: dict[str, Callable[..., None]] = {
        "machine": machine,
        "parity": parity,
        "devices": both_devices,
        "training": training,
        "group": group_of_one,
        "resume": resume,
        "speed_mask_rcnn": speed_mask_rcnn,
        "speed_yolact": speed_yolact,
    }
    name, *words = call
    with tempfile.TemporaryDirectory() as folder:
        setting = Setting(torch.device(arguments.device), arguments.quick, arguments.records, Path(folder))
        partial(functions[name], setting, *words)()


def run_apart(part: Part, arguments: argparse.Namespace, seconds: float) -> dict[str, Any]:
    """A part in a process of its own: its records, however it ended."""
    begin = perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        records, errors = Path(folder) / "records.jsonl", Path(folder) / "errors.txt"
        command = [sys.executable, __file__, "--device", arguments.device, "--records", str(records)]
        command += [*(["--quick"] if arguments.quick else []), "--part", *part.call]
        with errors.open("w") as stream:
            process = subprocess.Popen(
                command, stdout=stream, stderr=stream, env=_environment(), start_new_session=True
            )
            try:
                status = process.wait(seconds)
                error = f"exit status {status}" if status else None
            except subprocess.TimeoutExpired:
                _end(process)
                error = f"did not end within {seconds:.0f} s"
            except BaseException:  # this script is to end: no child goes on without it
                _end(process)
                raise
        lines = records.read_text(encoding="utf-8").splitlines() if records.exists() else []
        found = [json.loads(line) for line in lines if line.endswith("}")]
        if error is not None:
            error += _last_words(errors.read_text(encoding="utf-8", errors="replace"))
    has_failed = error is not None or any("error" in record for record in found)
    is_over = any(record.get("is_within") is False for record in found)
    status_text = "failed" if has_failed else "over a limit" if is_over else "ok"
    return {
        "name": part.name,
        "status": status_text,
        "seconds": perf_counter() - begin,
        "error": error,
        "records": found,
    }


def _end(process: subprocess.Popen[bytes]) -> None:
    """The process and what it started, at once."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _environment() -> dict[str, str]:
    """Ours, with the clone's own source first."""
    found = [str(REPOSITORY / "src"), str(REPOSITORY / "benchmarks"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, found)), "PYTHONFAULTHANDLER": "1"}


def _last_words(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return ": " + " / ".join(lines[-6:])[-900:] if lines else ""


def missing_libraries() -> list[str]:
    """Of the libraries that pyproject.toml asks for, those that cannot be imported here."""
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    listed = text.partition("\ndependencies = [")[2].partition("\n]")[0]
    names = re.findall(r'^\s*"([\w-]+)', listed, flags=re.MULTILINE)
    return [name for name in names if importlib.util.find_spec(_IMPORTED_AS.get(name, name)) is None]


def write(result: dict[str, Any], folder: Path) -> Path:
    """The two files of a run, old or new, never half."""
    from gpu_parts.table import table_of

    folder.mkdir(parents=True, exist_ok=True)
    stem = "gpu_" + (re.sub(r"[^a-z0-9]+", "_", result["card"].lower()).strip("_") or "unknown")
    for suffix, text in ((".json", json.dumps(result, indent=1, ensure_ascii=False) + "\n"), (".md", table_of(result))):
        unfinished = folder / f"{stem}{suffix}.unfinished"
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(folder / f"{stem}{suffix}")
    return folder / f"{stem}.md"


def card_of(device: str) -> str:
    """The card's name; asked in another process, so that this one never opens it."""
    if device == "cpu":
        return "cpu"
    code = "import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else '')"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return answer.stdout.strip()


def listed_cases() -> list[str]:
    """The recorded cases at hand; asked in another process, since it takes torch to know."""
    code = "from gpu_parts.parity import case_names; print(*case_names(), sep='\\n')"
    command = [sys.executable, "-c", code]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, env=_environment())
    if answer.returncode:
        print(f"no parity cases: {_last_words(answer.stderr)}")
    return answer.stdout.split()


def run_all(arguments: argparse.Namespace, card: str) -> bool:
    """All parts, the files after each; whether everything ran and agreed."""
    begin = perf_counter()
    result: dict[str, Any] = {
        "card": card,
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": shlex.join(["python", "benchmarks/gpu.py", *sys.argv[1:]]),
        "seconds": 0.0,
        "parts": [],
    }
    for part in parts_of(listed_cases(), arguments.quick):
        if arguments.only and not any(word in part.name for word in arguments.only):
            continue
        left = arguments.minutes * 60 - (perf_counter() - begin)
        if left < _LEAST_SECONDS:
            outcome = {"name": part.name, "status": "not run: no time left", "seconds": 0.0, "records": []}
        else:
            outcome = run_apart(part, arguments, min(part.seconds * (4 if arguments.quick else 1), left))
        result["parts"].append(outcome)
        result["seconds"] = perf_counter() - begin
        page = write(result, arguments.output)
        print(f"{outcome['status']:12} {outcome['seconds']:5.0f} s  {part.name}", flush=True)
    print()
    print(page.read_text(encoding="utf-8"))
    return all(part["status"] == "ok" for part in result["parts"])


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--quick", action="store_true", help="everything tiny, to try the script")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="FOLDER")
    parser.add_argument("--minutes", type=float, default=8.0, help="after which no more is done")
    parser.add_argument("--only", nargs="+", metavar="PART", help="parts whose names contain one of these")
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--records", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        run_here(arguments.part, arguments)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the part that runs is ended too
    if missing := missing_libraries():
        print(f"missing libraries: {', '.join(missing)}; put them on PYTHONPATH", flush=True)
        if _INDISPENSABLE & set(missing):
            sys.exit(2)
    card = card_of(arguments.device)
    if not card:
        print("torch sees no card; `--device cpu --quick` tries the script without one")
        sys.exit(2)
    print(f"{card}: results go to {arguments.output}", flush=True)
    sys.exit(0 if run_all(arguments, card) else 1)


if __name__ == "__main__":
    main()

"""Damaged input of every kind against the public functions: only maskwright's own errors may come of it.

    python tools/fuzz                                       # all: some minutes
    python tools/fuzz --seed 7 --only coco,recipes --count 200
    python tools/fuzz --only coco --case 1234               # one case here, with its traceback

A case is a function of the seed and its number, so that a finding's name is all that is needed to see it again. The
exit status is 1 where there are findings: tracebacks, more than 10 seconds, more than 2 GB, or `data check` calling
something sound that training or evaluation then refuses.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import annotations
import recipes
import results
import torch
from trial import Case, Finding, run_all

import images

KINDS: dict[str, tuple[Callable[[Path, int, int], Iterator[Case]], int]] = {
    "coco": (annotations.coco_cases, 2000),
    "formats": (annotations.format_cases, 1000),
    "images": (images.cases, 1000),
    "recipes": (recipes.cases, 500),
    "results": (results.cases, 300),
}

_FIELD = Path(__file__).parents[2].parent / "shared" / "field"


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for; returns the exit status."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(1)  # threads do not survive a fork
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        _write_sound(root, options.field)
        found = [finding for name in options.only for finding in _run_kind(name, root, options)]
    kinds = Counter(_kind_of(finding) for finding in found)
    for what, number in kinds.most_common():
        print(f"{number:5} × {what}")
    return 1 if found else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fuzz", description="Damaged input of every kind; exit 1 with findings.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=_names, default=_names(",".join((*KINDS, "checkpoints"))), metavar="KIND,…")
    parser.add_argument("--count", type=int, help="cases of each kind; by default as many as it is due")
    parser.add_argument("--case", type=int, help="run this one alone, in this process, without limits")
    parser.add_argument("--field", type=Path, default=_FIELD, help="folder of further datasets, where there is one")
    return parser


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - {*KINDS, "checkpoints"}:
        raise argparse.ArgumentTypeError(f"unknown {', '.join(unknown)}; choose of {', '.join(KINDS)}, checkpoints")
    return names


def _write_sound(root: Path, field: Path) -> None:
    """In a process of its own: what it calls starts threads."""
    child = os.fork()
    if child == 0:
        annotations.write_sound(root, field if field.is_dir() else None)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status:
        raise SystemExit("the sound datasets could not be written")


def _run_kind(name: str, root: Path, options: argparse.Namespace) -> list[Finding]:
    cases = _cases(name, root, options)
    if options.case is not None:
        case, run = next(islice(cases, options.case, None))
        print(case)
        run()
        return []
    start, found, number = time.monotonic(), [], 0
    for finding in run_all(cases):
        number += 1
        if finding is not None:
            found.append(finding)
            print(f"{finding.name}: {finding.what}", flush=True)
    print(f"{name}: {number} cases, {len(found)} findings, {time.monotonic() - start:.0f} s", flush=True)
    return found


def _cases(name: str, root: Path, options: argparse.Namespace) -> Iterator[Case]:
    if name in KINDS:
        cases, due = KINDS[name]
        return cases(root, options.seed, due if options.count is None else options.count)
    if importlib.util.find_spec("checkpoints") is None:
        return iter(())
    import checkpoints

    return islice(checkpoints.cases(options.seed), options.count)


def _kind_of(finding: Finding) -> str:
    """The same for findings that are alike: without paths and numbers."""
    return re.sub(r"/\S+|\d+", "…", finding.what)[:200]


if __name__ == "__main__":
    sys.exit(main())

"""Runs cases in forked processes with limits, and says which of them ended otherwise than they may.

A case may end well, or in one of maskwright's own errors whose message is one short line without control characters.
A traceback, a hang, too much memory, or a process that dies is a finding. torch is loaded once, before the first fork.
"""

from __future__ import annotations

import os
import re
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from maskwright.errors import MaskwrightError

SECONDS = 10
MEMORY_MB = 2048

# addresses are not memory: libraries map more than they use
_ADDRESSES_MB = 3 * MEMORY_MB
_CASES_PER_FORK = 25
_LONGEST_MESSAGE = 2000
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")

Case = tuple[str, Callable[[], object]]


@dataclass(frozen=True)
class Finding:
    """A case that ended as none may."""

    name: str
    what: str


def outcome(run: Callable[[], object]) -> str | None:
    """What is wrong with how a case ends; None where nothing is."""
    try:
        run()
    except MaskwrightError as error:
        return message_flaw(str(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
        frames = traceback.extract_tb(error.__traceback__)
        where = next((frame for frame in reversed(frames) if "maskwright" in frame.filename), frames[-1])
        text = str(error).splitlines()[0][:200] if str(error) else ""
        return f"{type(error).__name__}: {text} ({where.filename.rpartition('maskwright/')[2]}:{where.lineno})"
    return None


def message_flaw(message: str) -> str | None:
    """What is wrong with the message of an error, or a line of a report."""
    if found := _CONTROL.search(message):
        return f"a message with the control character {found[0]!r}: {message[:150]!r}"
    if len(message) > _LONGEST_MESSAGE:
        return f"a message of {len(message)} letters: {message[:80]!r}…"
    return None


def run_all(cases: Iterable[Case]) -> Iterator[Finding | None]:
    """Every case, in processes of their own; None for each that ended as it may."""
    left = iter(cases)
    while batch := list(islice(left, _CASES_PER_FORK)):
        while batch:
            done = 0
            for finding in _forked(batch):
                done += 1
                yield finding
            batch = batch[done:]


def _forked(batch: list[Case]) -> Iterator[Finding | None]:
    """Cases until the first that ends its process."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        _work(batch, write_end)
    os.close(write_end)
    done = 0
    with os.fdopen(read_end, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            text = line.rstrip("\n")
            yield Finding(batch[done][0], text) if text else None
            done += 1
    _, status = os.waitpid(child, 0)
    number = os.waitstatus_to_exitcode(status)
    if done < len(batch) and (number or not done):  # after much memory the others get a new process
        hangs = number == -signal.SIGALRM
        what = f"hangs for over {SECONDS} s" if hangs else f"the process dies with {number}"
        yield Finding(batch[done][0], what)


def _work(batch: list[Case], write_end: int) -> None:
    """In the child: one line for every case, empty where all is well."""
    limit = (_now_mb() + _ADDRESSES_MB) * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.dup2(null, sys.stderr.fileno())
    start_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    for _, run in batch:
        signal.alarm(SECONDS)
        what = outcome(run) or ""
        signal.alarm(0)
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        if not what and peak_mb - start_mb > MEMORY_MB:
            what = f"takes {peak_mb - start_mb} MB"
        os.write(write_end, (" ".join(what.split()) + "\n").encode())
        if peak_mb - start_mb > MEMORY_MB:
            break
    os._exit(0)


def _now_mb() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - no path of ours
        return int(file.read().split()[0]) * resource.getpagesize() // 2**20

"""Files are whole, folders belong to one run, and what is begun is ended before a signal is obeyed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from maskwright.errors import OutputError
from maskwright.files import FolderLock, GrowingFile, Stopping, obey_signals, replace_file, uninterrupted


def test_an_interrupted_write_leaves_the_old_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_file(tmp_path / "a.json", "old")

    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        replace_file(tmp_path / "a.json", "new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.json", "old")]


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_the_end_of_the_block(number: signal.Signals) -> None:
    class Stop(BaseException):
        pass

    def stop(*_: object) -> None:
        raise Stop

    before = signal.signal(number, stop)
    done = []

    def work() -> None:
        with uninterrupted():
            with uninterrupted():
                os.kill(os.getpid(), number)
                done.append("inner")
            done.append("outer")

    try:
        with pytest.raises(Stop):
            work()
        assert signal.getsignal(number) is stop
    finally:
        signal.signal(number, before)
    assert done == ["inner", "outer"]


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
def test_a_signal_that_a_library_swallows_is_obeyed_at_the_next_step() -> None:
    before = signal.signal(signal.SIGINT, Stopping(KeyboardInterrupt))
    try:
        obey_signals()
        with suppress(BaseException):  # as pydantic's serialiser does
            os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            obey_signals()
    finally:
        signal.signal(signal.SIGINT, before)
    obey_signals()


def test_other_threads_write_without_holding_signals_back(tmp_path: Path) -> None:
    file = GrowingFile(tmp_path / "log")
    thread = threading.Thread(target=file.write, args=("line\n",))
    thread.start()
    thread.join()
    file.close()
    assert (tmp_path / "log").read_text() == "line\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
def test_a_growing_file_without_room_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to("/dev/full")
    with pytest.raises(OutputError, match=r"log cannot be written \(No space left on device\)"):
        GrowingFile(tmp_path / "log").write(b"line\n")


HOLD = """
import sys, time, os
from pathlib import Path
from maskwright.files import FolderLock
FolderLock(Path(sys.argv[1])).take()
if os.fork() == 0:
    print(os.getpid(), flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that are forked")
def test_a_lock_ends_with_its_process_even_where_a_worker_of_that_lives_on(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        child = int(holder.stdout.readline())
        with FolderLock(tmp_path) as lock, pytest.raises(OutputError, match="is in use"):
            lock.take()
        holder.kill()
        holder.wait()
        try:
            os.kill(child, 0)  # it is still there
            with FolderLock(tmp_path) as lock:
                lock.take()
        finally:
            os.kill(child, signal.SIGKILL)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_not_made_by_looking(tmp_path: Path) -> None:
    with FolderLock(tmp_path / "new") as lock:
        lock.take_if_there()
    assert not (tmp_path / "new").exists()

"""Processes that need the same function: one compiles it, and the others wait for as long as that makes sense."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from pathlib import Path

import pytest

from mdflash.compiled import turns
from tests.compiled.test_progress import KERNEL, SCRIPT
from tests.processes import ROOT, Process, python


def _script(folder: Path, code: str) -> str:
    (folder / "kernel.py").write_text(KERNEL)
    return SCRIPT.format(cache=str(folder / "cache"), folder=str(folder), code=code)


HOLDS = """
from contextlib import ExitStack
from pathlib import Path
from mdflash.compiled import turns
stack = ExitStack()
def wait(path, alone=turns.alone):
    entered = alone(path)
    if 'kernel.f' in path.name and not Path({begun!r}).exists():
        stack.enter_context(entered)
        Path({begun!r}).touch()
        import time; time.sleep(600)
    return entered
import mdflash.compiled.dispatcher as dispatcher
dispatcher.alone = wait
kernel.f(1)
"""


def test_it_waits_for_another_process_with_a_word_and_not_for_one_that_ended(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    script = _script(tmp_path, HOLDS.format(begun=str(begun)))
    owner = Process("-c", script, cwd=ROOT)
    while not begun.exists():
        assert owner.poll() is None, owner.said()
        time.sleep(0.05)
    waiting = Process("-c", script, cwd=ROOT)
    while "waiting for kernels that another process compiles" not in waiting.said()[1]:
        assert waiting.poll() is None, waiting.said()
        time.sleep(0.05)
    owner.kill()
    out, err = waiting.communicate(60)
    assert (out, waiting.returncode) == ("2\n", 0), err
    assert python("-c", script, cwd=ROOT, check=True).stdout == "0\n"  # from the disk


def test_nobody_waits_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "LONGEST", 0.1)
    path, ours, theirs = tmp_path / "function.nbc", *os.pipe()
    child = os.fork()
    if child == 0:
        with turns.alone(path):
            os.write(theirs, b"!")
            signal.pause()
        os._exit(0)
    assert os.read(ours, 1) == b"!"
    with turns.alone(path):
        pass
    with turns.alone(tmp_path / "another.nbc"):
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


@pytest.mark.parametrize("error", [OSError(37, "No locks available"), OSError(38, "Function not implemented")])
def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    def lockf(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(fcntl, "lockf", lockf)
    with turns.alone(tmp_path / "function.nbc"):
        pass

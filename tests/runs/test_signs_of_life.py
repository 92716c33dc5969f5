"""What shows that a run lives, and that nobody who looks on stops it."""

from __future__ import annotations

import fcntl
import itertools
import json
import math
import os
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import pytest
from rich.console import Console

import mdflash
from mdflash.cli import progress
from mdflash.cli.app import main
from mdflash.cli.progress import Lines, Waiting, Where
from mdflash.config.load import load_run, locate
from mdflash.engine.engine import Engine
from mdflash.errors import StorageError
from mdflash.io.read import read_times
from mdflash.io.table import last_row
from mdflash.runs import session, writers
from mdflash.runs.execute import Watch, execute
from tests.helpers import eventually
from tests.processes import Process, python

QUICK = ("replicas.count=2", "dynamics.seed=11", "output.log.interval=1 ps")
CLOCK = 600
"""Seconds after which a test that waits gives up; kernels may have to be compiled."""
ENV = {**os.environ, "PYTHONPATH": str(Path(mdflash.__file__).parents[1])}


def command(*arguments: str) -> list[str]:
    return ["-m", "mdflash", *arguments]


def chignolin(folder: Path, *more: str, steps: int = 10**8) -> list[str]:
    """A run of hours, with one checkpoint at its start and none until its end."""
    sets = [word for text in (f"output.folder={folder}", *QUICK, *more) for word in ("--set", text)]
    return command("run", "chignolin", "--steps", str(steps), "--set", "output.checkpoint.interval=100 h", *sets)


@contextmanager
def started(*arguments: str) -> Iterator[Process]:
    child = Process(*arguments)
    try:
        yield child
    finally:
        child.kill()


def wait_for_steps(folder: Path, child: Process, step: int = 1) -> None:
    """Until log.csv has a row of this step or a later one."""
    end = time.monotonic() + CLOCK
    while time.monotonic() < end and child.poll() is None:
        row = last_row(folder / "log.csv") if (folder / "log.csv").is_file() else None
        if row is not None and int(row.split(",")[0]) >= step:
            return
        time.sleep(0.05)
    raise AssertionError(child.said())


def test_tables_and_manifest_follow_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """... for one checkpoint at the start and one at the end; what a kill leaves is cut on resuming."""
    assert writers.FLUSH_SECONDS <= 5 and session.MANIFEST_SECONDS <= 8  # at most 10 s behind, with a block of steps
    monkeypatch.setattr(writers, "FLUSH_SECONDS", 0.3)
    monkeypatch.setattr(session, "MANIFEST_SECONDS", 0.3)
    folder = tmp_path / "run"
    overrides = [*QUICK, "output.checkpoint.interval=100 h", "output.trajectory.format=none", f"output.folder={folder}"]
    overrides += ["replicas.count=4", "exchange.temperatures=[300 K, 340 K]", "exchange.interval=1 ps"]
    overrides += ["dynamics.temperature=none", "dynamics.steps=100000000"]
    seen: list[tuple[int, ...]] = []
    since = looked = math.inf

    def look(engine: Engine) -> None:
        """Until all that is shown is younger than the look before."""
        nonlocal since, looked
        now = time.monotonic()
        if engine.state.step == 0 or 0.0 <= now - looked < 0.1:
            return
        looked, since = now, min(since, now)
        tables = [int((last_row(folder / name) or "0").split(",")[0]) for name in ("log.csv", "exchange.csv")]
        manifest = json.loads((folder / "manifest.json").read_text())
        assert manifest["status"] == "running"
        shown = (*tables, manifest["step"])
        assert now - since < CLOCK, (shown, seen)
        if min(shown) > (seen[-1][-1] if seen else 0):
            seen.append((*shown, engine.state.step))
            since = now

    def stop() -> str | None:
        return "enough" if len(seen) == 3 else None

    source = locate("chignolin")
    config = load_run(source, overrides)
    with pytest.raises(mdflash.errors.Interrupted):
        execute(config, source, watch=Watch(progress=look, should_stop=stop))
    assert all(max(shown) <= step for *shown, step in seen)


def test_lines_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    lines = Lines(Console(width=40))
    times = []
    for second in range(900):
        now[0] = 1000.0 + second
        lines.show(Where(100 * second, 90_000, 1234.5 if second else None, 341.2, 900.0 - second))
        if capsys.readouterr().out:
            times.append(second)
    assert times[0] <= 11
    assert max(b - a for a, b in itertools.pairwise(times)) <= 60
    assert all(b - a <= 10 for a, b in itertools.pairwise(times) if b < 300)
    assert len(times) < 45
    now[0] += 100
    lines.show(Where(89_000, 90_000, 1234.5, 341.2, 200.0))
    assert capsys.readouterr().out == "step 89,000 of 90,000, 1,234 ns/day, 341 K, about 3 min left\n"
    lines.end(Where(90_000, 90_000, 1234.5, 341.2, 0.0), 130.0)
    assert capsys.readouterr().out == "step 90,000 of 90,000, 1,234 ns/day, 341 K, took 2 min\n"


def test_a_word_while_kernels_compile_and_none_while_steps_are_done() -> None:
    import numba

    heard: list[str] = []
    waiting = Waiting(heard.append, 0.1)
    eventually(lambda: len(heard) > 0)
    assert all(text.startswith("starting (") for text in heard)
    waiting.stepped()
    count = len(heard)
    time.sleep(0.5)
    assert len(heard) <= count + 1  # one may have been on its way
    heard.clear()

    def compiled() -> bool:
        @numba.njit
        def new(x):  # type: ignore[no-untyped-def]
            return sum([y * 2.5 for y in range(x)])

        new(3)
        return len(heard) > 0

    eventually(compiled)
    assert all(text.startswith("compiling kernels (once for this version; ") for text in heard)
    waiting.stop()
    heard.clear()
    time.sleep(0.3)
    assert heard == []


def test_paths_and_commands_are_whole_and_the_end_says_what_it_took(tmp_path: Path) -> None:
    folder = tmp_path / ("long " * 20) / "[bold]run"
    done = python(*chignolin(folder, steps=500), env={**os.environ, "COLUMNS": "60"}, check=True)
    lines = done.stdout.splitlines()
    assert any(line.startswith("step 500 of 500, ") and ", took " in line for line in lines), done.stdout
    assert "left" not in lines[-9:]
    assert any(line.split("  ")[1:2] and str(folder / "log.csv") in line for line in lines)
    assert f"  mdflash info '{folder}'" in lines
    assert any(line.startswith(f"  mdflash export '{folder}' --replica 0 --format ") for line in lines)
    told = python(*command("info", str(folder)), check=True).stdout
    facts = dict(line.split("  ", 1) for line in told.splitlines() if "  " in line)
    assert facts["temperature"].strip() == "340 K"
    assert facts["log.csv"].strip() == "to step 500"
    assert facts["trajectory/chignolin.h5"].strip().endswith("frames, to step 500")
    again = python(*command("run", str(folder), "--steps", "400"))
    assert again.returncode == 0
    assert "the run stands at step 500, beyond --steps 400" in again.stdout
    assert "finished: 400" not in again.stdout


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGXCPU])
def test_signals_end_a_run_with_a_checkpoint_and_75(tmp_path: Path, number: signal.Signals) -> None:
    folder = tmp_path / "run"
    with started(*chignolin(folder, "output.trajectory.format=none")) as child:
        wait_for_steps(folder, child)
        child.send_signal(number)
        if number == signal.SIGXCPU:
            child.send_signal(number)  # the system sends it every second
        out, errors = child.communicate(timeout=CLOCK)
    assert child.returncode == 75, errors
    assert errors.startswith(f"{number.name}: stopped at step ")
    assert ", took " in out
    assert max(int(p.stem.removeprefix("step_")) for p in (folder / "checkpoint").iterdir()) > 0


def take_terminal() -> None:
    """In the new process; a test under nohup ignores SIGHUP, and so would what it starts."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def test_a_closed_terminal_ends_a_run_with_a_checkpoint_and_75(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    master, terminal = os.openpty()
    child = subprocess.Popen(
        [sys.executable, *chignolin(folder, "output.trajectory.format=none")],
        env={**ENV, "TERM": "xterm"}, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True,
        preexec_fn=take_terminal,
    )  # fmt: skip
    os.close(terminal)
    try:
        os.set_blocking(master, False)
        end = time.monotonic() + CLOCK
        text = b""
        while b"ns/day" not in text and time.monotonic() < end and child.poll() is None:
            time.sleep(0.1)
            try:
                text += os.read(master, 1 << 16)
            except BlockingIOError:
                continue
        assert b"ns/day" in text, text.decode()
        os.close(master)  # the system sends SIGHUP, and nothing can be written any more
        assert child.wait(timeout=CLOCK) == 75
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
    assert max(int(p.stem.removeprefix("step_")) for p in (folder / "checkpoint").iterdir()) > 0


def test_a_reader_that_left_ends_no_run(tmp_path: Path) -> None:
    """`mdflash run ... | head -3`."""
    child = subprocess.Popen(
        [sys.executable, *chignolin(tmp_path / "run", steps=20_000)],
        env=ENV,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdout is not None and child.stderr is not None
    child.stdout.readline()
    child.stdout.close()
    errors = child.stderr.read().decode()
    child.stderr.close()
    assert child.wait(timeout=CLOCK) == 0, errors
    assert json.loads((tmp_path / "run/manifest.json").read_text())["status"] == "finished"


READER = """
import sys, h5py
file = h5py.File(sys.argv[1], "r")
print(file["coordinates"].shape[0], flush=True)
sys.stdin.read()
print(file["coordinates"].shape[0] >= 0)
"""


def test_a_notebook_that_holds_the_trajectory_blocks_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    source = locate("chignolin")

    def config(steps: int):  # type: ignore[no-untyped-def]
        return load_run(source, [*QUICK, f"output.folder={folder}", f"dynamics.steps={steps}"])

    execute(config(1000), source)
    trajectory = folder / "trajectory/chignolin.h5"
    reader = subprocess.Popen(
        [sys.executable, "-c", READER, str(trajectory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert reader.stdout is not None and reader.stdin is not None
    try:
        assert int(reader.stdout.readline()) > 0
        execute(config(3000), source)
        steps = read_times(trajectory)[0]
        assert steps[-1] == 3000
        execute(config(500), source, fresh=True)
        assert read_times(trajectory)[0][-1] == 500
    finally:
        reader.communicate()
    with h5py.File(trajectory, "r"):
        assert read_times(trajectory)[0][-1] == 500  # in the same process too


def test_a_path_that_is_too_long_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    long = tmp_path / ("x" * 300)
    for arguments in (
        ("run", "chignolin", "--steps", "100", "--set", f"output.folder={long}"),
        ("run", str(long)),
        ("info", str(long)),
        ("export", str(long), "--out", "a.xtc"),
    ):
        monkeypatch.setattr(sys, "argv", ["mdflash", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        assert left.value.code == 2
        errors = capsys.readouterr().err.splitlines()
        assert len(errors) == 1 and "longer than the file system allows" in errors[0], errors
    assert list(tmp_path.iterdir()) == []
    source = locate("chignolin")
    with pytest.raises(StorageError, match="longer than the file system allows"):
        execute(load_run(source, [f"output.folder={long}"]), source)


def test_a_run_folder_resumes_where_it_lies(tmp_path: Path) -> None:
    source = locate("chignolin")
    execute(load_run(source, [*QUICK, f"output.folder={tmp_path / 'old'}", "dynamics.steps=500"]), source)
    moved = tmp_path / "new"
    (tmp_path / "old").rename(moved)
    config = load_run(moved, ["dynamics.steps=1000"])
    assert config.folder == moved
    assert execute(config, locate(moved)).start == "resume"
    assert not (tmp_path / "old").exists()
    plan = execute(load_run(moved), locate(moved), fresh=True)  # its resolved.yaml is deleted on the way
    assert plan.start == "fresh" and (moved / "input.yaml").is_file()
    assert load_run(moved, [f"output.folder={tmp_path / 'else'}"]).folder == tmp_path / "else"

"""How runs are worked off: what follows from each exit code, who may run what, and how all of it stops."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from mdflash.campaigns import work
from mdflash.campaigns.executors import EXECUTORS, LocalExecutor, Workers, count_of, share_of_cores, visible_gpus
from mdflash.campaigns.folder import Row, rows_text
from mdflash.campaigns.inputs import digest_of_run
from mdflash.campaigns.plan import lay_out
from mdflash.campaigns.runner import Watch, work_through
from mdflash.campaigns.state import Attempt, held_by, last_attempt, note_attempt, stand_of
from mdflash.campaigns.table import write_table
from mdflash.campaigns.work import Job, Manner, judge, work_off
from mdflash.cli.app import app
from mdflash.core.cores import usable_cores
from mdflash.engine.job import find_job
from mdflash.errors import InputError, NoSpaceError
from mdflash.io.claims import claim

PROGRAM = """
step() { mkdir -p run/checkpoint; touch "run/checkpoint/step_$(printf %015d "$1").npz"; }
finish() { mkdir -p run; echo '{"status": "finished", "step": 10, "total_steps": 10}' > run/manifest.json; }
echo "$@" >> started
next=$(head -n 1 todo); sed -i 1d todo; eval "$next"
"""
"""Stands in for mdflash: does what the next line of `todo` says."""


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Job]]:
    """A campaign of runs that do as they are told."""
    program = tmp_path / "program.sh"
    program.write_text(PROGRAM)
    monkeypatch.setattr(work, "PROGRAM", ("bash", str(program)))
    monkeypatch.setattr(work, "POLL", 0.02)

    def campaign(*todo: str, **manner: Any) -> list[Job]:
        folder = tmp_path / "all"
        rows = []
        for number, lines in enumerate(todo, 1):
            place = folder / "runs" / f"run{number}"
            if not place.exists():
                place.mkdir(parents=True)
                (place / "system.yaml").write_text(f"number: {number}\n")
            (place / "todo").write_text(lines.replace("|", "\n") + "\n")
            rows.append(Row(number, place.name, digest_of_run(place), {"dynamics.seed": str(number)}))
        claim(folder, "campaign")
        (folder / "runs.csv").write_text(rows_text(rows))
        return [Job(folder, row, Manner(folder / ".stop", **manner)) for row in rows]

    return campaign


def started(job: Job) -> int:
    file = job.place / "started"
    return len(file.read_text().splitlines()) if file.exists() else 0


CRASH = "kill -9 $$"


@pytest.mark.parametrize(
    ("todo", "starts", "result", "said"),
    [
        ("finish", 1, "done", ""),
        (f"{CRASH}|exit 1|exit 75|finish", 4, "done", ""),
        ("|".join([CRASH] * 5), 4, "failed", "ended by SIGKILL"),
        (f"{CRASH}|{CRASH}|step 5; {CRASH}|{CRASH}|{CRASH}|finish", 6, "done", ""),  # it got further: a new count
        ("echo Traceback; echo 'ValueError: odd'; exit 1|exit 1|exit 1|echo 'last: odd' >&2; exit 1", 4, "failed",
         "last: odd"),
        ("echo 'error: a.yaml, line 3: wrong' >&2; exit 2|finish", 1, "failed", "a.yaml, line 3: wrong"),
        ("printf 'error: NaN in 3\\nat bead 7\\n' >&2; exit 3|finish", 1, "failed", "NaN in 3\nat bead 7"),
        ("finish; echo 'error: writes no trajectory'; exit 2|exit 9", 1, "done", "writes no trajectory"),
    ],
)  # fmt: skip
def test_exit_codes_decide(todo: str, starts: int, result: str, said: str, make: Callable[..., list[Job]]) -> None:
    (job,) = make(todo)
    outcome = work_off(job)
    assert (outcome.result, outcome.said, started(job)) == (result, said, starts)
    stand = stand_of(job.place)
    assert (stand.state, stand.reason) == (result, said)
    again = work_off(job)  # the next `mdflash campaign run`
    assert again.result == ("before" if result == "done" else "failed")
    assert started(job) == starts


def test_a_run_that_failed_is_tried_again_when_asked(make: Callable[..., list[Job]]) -> None:
    (job,) = make("exit 2|finish")
    assert work_off(job).result == "failed"
    assert work_off(job._replace(manner=Manner(job.manner.stop, again=True))).result == "done"


def test_a_run_whose_disk_was_full_goes_on_when_there_is_room(make: Callable[..., list[Job]]) -> None:
    """Nobody has to ask for it with --failed; the command says so, and its exit code."""
    (job,) = make("echo 'error: the disk is full' >&2; exit 74|finish")
    folder = str(job.campaign)
    done = CliRunner().invoke(app, ["campaign", "run", folder, "--no-analysis"])
    assert isinstance(done.exception, NoSpaceError) and f"run {folder} tries them again" in str(done.exception)
    assert stand_of(job.place).state == "failed"
    assert CliRunner().invoke(app, ["campaign", "run", folder, "--no-analysis"]).exit_code == 0


def test_every_end_has_one_verdict() -> None:
    """Whatever the exit status, a run is never given up while it may go on, nor tried for ever."""
    for code in (*range(-20, 20), 75, 137, 255):
        for complete in (False, True):
            assert judge(code, complete, False, False) in ("done", "failed")
            assert judge(code, complete, True, True) in ("done", "failed", "stopped")
            assert (judge(code, complete, False, True) == "done") == (code == 0 or (complete and code == 2))


def test_an_input_that_was_changed_is_refused(make: Callable[..., list[Job]]) -> None:
    (job,) = make("finish")
    (job.place / "system.yaml").write_text("number: 7\n")
    assert "was changed since the run was planned" in work_off(job).said
    assert started(job) == 0


def test_a_line_that_was_cut_is_no_attempt(make: Callable[..., list[Job]]) -> None:
    (job,) = make("finish")
    place = job.place
    note_attempt(place, Attempt("again", 2, -9, "first"))
    with (place / "attempts.jsonl").open("a") as file:
        file.write('{"verdict": "failed", "tri')
    assert last_attempt(place) == Attempt("again", 2, -9, "first")
    note_attempt(place, Attempt("failed", 0, 3, "später"))
    assert last_attempt(place) == Attempt("failed", 0, 3, "später")


def test_two_runners_at_once_do_no_run_twice(make: Callable[..., list[Job]]) -> None:
    jobs = make(*["sleep 0.1; finish|finish"] * 6)
    with LocalExecutor(3, []) as one, LocalExecutor(3, []) as two:
        both = [threading.Thread(target=work_through, args=(jobs, pool, Watch())) for pool in (one, two)]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join()
    assert [started(job) for job in jobs] == [1] * 6
    assert all(stand_of(job.place).state == "done" for job in jobs)


def test_a_run_whose_runner_was_killed_is_left_alone(make: Callable[..., list[Job]], tmp_path: Path) -> None:
    """Its process has the runner's lock, so the next runner waits for no lock that nobody gives back."""
    (job,) = make("touch begun; while [ ! -e go ]; do sleep 0.05; done; finish")
    place = job.place
    code = (
        "from mdflash.campaigns import work; from mdflash.campaigns.work import *; from pathlib import Path\n"
        f"from mdflash.campaigns.folder import Row\nwork.PROGRAM = {work.PROGRAM!r}\n"
        f"work_off(Job(Path({str(job.campaign)!r}), Row(1, 'run1', {job.row.digest!r}), Manner(Path('/nowhere/stop'))))"
    )
    runner = subprocess.Popen([sys.executable, "-c", code])
    while not (place / "begun").exists():
        time.sleep(0.02)
    runner.kill()
    runner.wait()
    assert work_off(job).result == "elsewhere"
    assert stand_of(place).state == "running"
    (place / "go").touch()
    while held_by(place):
        time.sleep(0.02)
    (place / "todo").write_text("exit 0\n")  # the analysis that the first runner did not see
    assert work_off(job).result == "done"
    assert started(job) == 2


@pytest.mark.parametrize("how", ["asked", "deadline"])
def test_all_stop_with_a_checkpoint_and_go_on_later(
    how: str, make: Callable[..., list[Job]], monkeypatch: pytest.MonkeyPatch
) -> None:
    wait = "trap 'echo term >> term; exit 75' TERM; touch begun; while true; do sleep 0.02; done"
    if how == "deadline":
        wait = "touch begun; until [ -e ../run1/begun -a -e ../run2/begun ]; do sleep 0.02; done; exit 75"
    jobs = make(*[f"{wait}|finish"] * 3, deadline=100.0 if how == "deadline" else None)
    begun = [job.place / "begun" for job in jobs]

    def two_have_begun() -> bool:
        return sum(file.exists() for file in begun) == 2

    def stop() -> str | None:
        return "SIGTERM" if how == "asked" and two_have_begun() else None

    clock = SimpleNamespace(monotonic=time.monotonic, sleep=time.sleep, time=lambda: 101.0 if two_have_begun() else 0.0)
    monkeypatch.setattr(work, "time", clock)

    with LocalExecutor(2, []) as pool:
        outcomes = work_through(jobs, pool, Watch(should_stop=stop))
    assert [outcome.result for outcome in outcomes] == ["stopped"] * 3
    assert sum(started(job) for job in jobs) == 2
    if how == "asked":
        assert [(file.parent / "term").read_text() for file in begun[:2]] == ["term\n"] * 2  # once
        jobs[0].manner.stop.unlink()
    else:
        assert "--until" in (begun[0].parent / "started").read_text()
    later = [job._replace(manner=Manner(job.manner.stop)) for job in jobs]
    (begun[2].parent / "todo").write_text("finish\n")
    with LocalExecutor(2, []) as pool:
        assert [outcome.result for outcome in work_through(later, pool, Watch())] == ["done"] * 3


class _Losing(ThreadPoolExecutor):
    """Loses its workers, the first so many times."""

    def __init__(self, losses: int) -> None:
        super().__init__(1)
        self.left = losses

    def submit(self, work: Callable[..., Any], /, *args: Any, **more: Any) -> Future[Any]:
        self.left -= 1
        if self.left >= 0:
            lost: Future[Any] = Future()
            lost.set_exception(RuntimeError("the manager was lost"))
            return lost
        return super().submit(work, *args, **more)


@pytest.mark.parametrize(("losses", "result"), [(2, "done"), (9, "failed")])
def test_workers_that_are_lost_are_replaced(losses: int, result: str, make: Callable[..., list[Job]]) -> None:
    jobs = make("finish")
    pool: Executor
    with _Losing(losses) as pool:
        (outcome,) = work_through(jobs, pool, Watch())
    assert outcome.result == result
    assert result == "done" or "the manager was lost" in outcome.said


def test_each_worker_has_a_gpu(make: Callable[..., list[Job]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, GPU-5e")
    assert visible_gpus() == ["2", "GPU-5e"]
    assert count_of(Workers(None, Path())) == 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == []
    assert count_of(Workers(None, Path())) == 1
    cores = usable_cores()
    assert share_of_cores(Workers(None, Path())) is None  # as the run says
    assert share_of_cores(Workers(2, Path())) == max(1, cores // 2)
    both = "[ -e ../run1/gpu -a -e ../run2/gpu ]"
    wait = f'echo -n "$CUDA_VISIBLE_DEVICES" > gpu; until {both}; do sleep 0.02; done; finish'
    jobs = make(wait, wait)
    with LocalExecutor(2, ["2", "GPU-5e"]) as pool:
        work_through(jobs, pool, Watch())
    assert {(job.place / "gpu").read_text() for job in jobs} == {"2", "GPU-5e"}


def test_a_run_is_one_process_whatever_started_its_worker(
    make: Callable[..., list[Job]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers that srun or torchrun started together, as those of a pilot job: no run waits for the others."""
    together = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "2", "RANK": "2", "WORLD_SIZE": "4", "LOCAL_RANK": "2"}
    for key, value in together.items():
        monkeypatch.setenv(key, value)
    (job,) = make("env > variables; finish")
    assert work_off(job).result == "done"
    given = dict(line.split("=", 1) for line in (job.place / "variables").read_text().splitlines() if "=" in line)
    assert find_job(given).size == 1


def test_parsl_as_a_file_of_the_user_says(make: Callable[..., list[Job]], tmp_path: Path) -> None:
    pytest.importorskip("parsl", reason="Parsl is not installed: pip install parsl")
    jobs = make("finish", f"{CRASH}|finish", "exit 2")
    config = tmp_path / "machines.py"
    config.write_text(
        "from parsl.config import Config\nfrom parsl.executors import ThreadPoolExecutor\n"
        f"config = Config(executors=[ThreadPoolExecutor(max_threads=2)], run_dir={str(tmp_path / 'parsl')!r})\n"
    )
    with EXECUTORS["parsl"](Workers(None, jobs[0].campaign, config)) as pool:
        assert [outcome.result for outcome in work_through(jobs, pool, Watch())] == ["done", "done", "failed"]
    config.write_text("machines = 3\n")
    with pytest.raises(InputError, match="has no `config`"):
        EXECUTORS["parsl"](Workers(None, jobs[0].campaign, config))


def test_tasks_of_a_large_array_leave_the_table_to_the_user(
    make: Callable[..., list[Job]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make("finish", "finish")[0].campaign
    words = ["campaign", "run", str(folder), "--no-analysis", "--task"]
    monkeypatch.setattr("mdflash.cli.campaign._SMALL", 1)
    assert CliRunner().invoke(app, [*words, "1"]).exit_code == 0
    assert not (folder / "properties.csv").exists()
    monkeypatch.setattr("mdflash.cli.campaign._SMALL", 2)
    assert CliRunner().invoke(app, [*words, "2"]).exit_code == 0
    assert (folder / "properties.csv").exists()


def test_one_table_over_all(make: Callable[..., list[Job]]) -> None:
    analyzed = "finish; mkdir -p run/analysis; printf 'molecule,state,rg_A\\nvillin,0,9.5\\nvillin,1,11\\n' > "
    jobs = make(f"{analyzed} run/analysis/properties.csv", "exit 2", "finish")
    for job in jobs:
        work_off(job)
    with write_table(jobs[0].campaign).open() as file:
        table = list(csv.DictReader(file))
    assert [(line["number"], line["status"], line["dynamics.seed"], line["rg_A"]) for line in table] == [
        ("1", "done", "1", "9.5"),
        ("1", "done", "1", "11"),
        ("2", "failed", "2", ""),
        ("3", "done", "3", ""),
    ]


def test_the_command_works_all_off_and_says_what_failed(make: Callable[..., list[Job]]) -> None:
    jobs = make("finish", "echo 'error: replica 0 became NaN at step 7'; exit 3", f"{CRASH}|exit 1", "finish")
    folder = str(jobs[0].campaign)
    done = CliRunner().invoke(app, ["campaign", "run", folder, "--workers", "2", "--retries", "1", "--no-analysis"])
    assert "2 runs of 4 failed" in str(done.exception)
    assert "NaN at step 7" in str(done.exception)
    shown = CliRunner().invoke(app, ["campaign", "status", folder]).stdout.splitlines()
    assert shown[0].split() == ["1", "run1", "done", "100", "%"]
    assert shown[1].split(maxsplit=3) == ["2", "run2", "failed", "replica 0 became NaN at step 7"]
    assert shown[4] == "4 runs: 2 done, 2 failed"
    (jobs[2].campaign / "runs" / "run3" / "todo").write_text("finish\n")
    done = CliRunner().invoke(app, ["campaign", "run", folder, "--task", "3", "--failed", "--no-analysis"])
    assert done.exit_code == 0, done.output
    assert "run3: done" in done.stdout
    said = CliRunner().invoke(app, ["campaign", "run", folder, "--task", "5"])
    assert "has runs 1 to 4" in str(said.exception)


def test_the_command_is_not_silent_while_nothing_ends(
    make: Callable[..., list[Job]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in its first minute either, while kernels compile."""
    from mdflash.cli import campaign

    monkeypatch.setattr(campaign, "_OFTEN", 0.1)
    compiling = "echo 'compiling kernels (7 s so far)'; printf 'half a li'; sleep 1.3; finish"
    jobs = make(*[compiling] * 3, "sleep 1; finish")
    done = CliRunner().invoke(app, ["campaign", "run", str(jobs[0].campaign), "--workers", "4", "--no-analysis"])
    assert done.exit_code == 0, done.output
    said = [line for line in done.stdout.splitlines() if "compiling" in line]
    assert said[0].startswith("run1: compiling kernels (7 s so far); run2: compiling kernels (7 s so far); and 2 more")
    assert "[0 of 4, after" in said[0]


def test_two_runs_for_real(tmp_path: Path) -> None:
    """With SIGTERM on the way: exit code 75, and the same command ends what is left."""
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(
        "mdflash: 1\nrun: chignolin\nset: {dynamics.steps: 100, replicas.count: 1, output.trajectory.interval: 100 fs, "
        f"output.log.interval: 100 fs}}\nsweep: {{dynamics.seed: [1, 2]}}\nfolder: {tmp_path / 'all'}\n"
    )
    lay_out(sweep, lambda runs: None, lambda what, done, total: None)
    command = [sys.executable, "-m", "mdflash", "campaign", "run", "all", "--threads", "1", "--workers"]
    first = subprocess.Popen([*command, "1"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while held_by(tmp_path / "all" / "runs" / "seed1") is None and first.poll() is None:
        time.sleep(0.02)
    first.send_signal(signal.SIGTERM)
    out, errors = first.communicate(timeout=600)
    assert first.returncode == 75, (out, errors)
    assert "stopped with" in errors and " left]" not in out.partition("SIGTERM")[2]
    assert [file.name for file in (tmp_path / "all").glob(".stop*")] == []
    done = subprocess.run([*command, "2"], cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "all" / "properties.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [(line["run"], line["dynamics.seed"], line["frames"]) for line in table] == [
        ("seed1", "1", "11"),
        ("seed2", "2", "11"),
    ]
    events = [json.loads(x) for x in (tmp_path / "all/runs/seed1/run/events.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events].count("finished") == 1

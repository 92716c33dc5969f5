"""Many ranks write what one process writes, stop together, and fail together."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch

from mdflash.config.load import load_run
from mdflash.core.partition import by_rank
from mdflash.core.state import Layout, State
from mdflash.engine.blocks.ranks import across_ranks
from mdflash.engine.choose import choose_propagator
from mdflash.engine.distributed import Ranks
from mdflash.engine.engine import Engine
from mdflash.engine.job import find_job, first_host
from mdflash.errors import InputError
from mdflash.forcefields.build import build_potential
from mdflash.io.events import read_events
from mdflash.runs.execute import execute
from tests.engine.test_guards import springs
from tests.helpers import beads, eventually, go_helix, helix, same_bits, simulate
from tests.processes import Process
from tests.rank_helpers import (
    CLOCK,
    STEPS,
    command,
    finish,
    free_job,
    free_port,
    newest_step,
    one_message,
    same_content,
    srun_variables,
    start,
    start_ranks,
    torchrun_variables,
    wait_for_checkpoint,
    write_mixed,
    write_network,
)

__all__ = ["springs"]  # a fixture
T = TypeVar("T")

# --- who carries what -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_every_replica_is_carried_once_and_the_load_is_even(seed: int) -> None:
    rng = np.random.default_rng(seed)
    systems = tuple(beads(f"s{i}", int(n)) for i, n in enumerate(rng.integers(1, 60, rng.integers(1, 4))))
    counts = tuple(int(n) for n in rng.integers(1, 40, len(systems)))
    ids = tuple(rng.permutation(1000)[: sum(counts)].tolist())
    layout = Layout(systems, counts, ids)
    state = State.at(layout, rng.normal(size=(layout.n_beads, 3)), 300.0)
    state.energy[:] = torch.arange(layout.n_replicas)
    size = int(rng.integers(1, layout.n_replicas + 1))
    parts = by_rank(layout, size)
    assert [r for part in parts for r in part.replicas] == list(range(layout.n_replicas))
    assert len(parts) == size and min(len(part.replicas) for part in parts) >= 1
    largest = max(system.n_beads for system in systems)
    for part in parts:
        own, share = part.layout, part.replicas
        assert own.replica_ids == tuple(ids[r] for r in share)
        assert own.systems == tuple(systems[s] for s in part.systems)
        mine = part.take(state)
        for local, r in enumerate(share):
            assert own.systems[own.system_of_replica[local]] == systems[layout.system_of_replica[r]]
            assert torch.equal(mine.positions[own.rows(local)], state.positions[layout.rows(r)])
            assert float(mine.energy[local]) == r
        if len(share) > 1:
            assert own.n_beads <= layout.n_beads / size + largest
        mine.positions += 1.0  # in place, in the whole state
    assert float(state.positions.mean()) == pytest.approx(1.0, abs=0.3)


def test_more_ranks_than_replicas_are_refused() -> None:
    with pytest.raises(InputError, match="5 ranks for 4 replicas"):
        by_rank(Layout((beads("a", 3),), (4,)), 5)


def test_the_job_is_found() -> None:
    assert find_job({}).size == 1
    torchrun = {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    job = find_job({**torchrun, **srun_variables(0, 4, "77")})  # torchrun inside of srun
    assert (job.rank, job.size, job.local_rank, job.local_size, job.address) == (3, 8, 1, 2, None)
    job = find_job({**srun_variables(2, 4, "77"), "SLURM_STEP_NODELIST": "gpu[007-009]"})
    assert (job.rank, job.size, job.local_rank, job.local_size) == (2, 4, 2, 4)
    assert job.address == ("gpu007", 20_000 + 16 * 77)
    # a batch script that starts the program without srun has these, and no step
    assert find_job({"SLURM_JOB_ID": "77", "SLURM_NTASKS": "4", "SLURM_PROCID": "0"}).size == 1


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("node3", "node3"), ("a1,a2", "a1"), ("gpu[007-009,12],login", "gpu007"), ("n[1,3-4]-ib", "n1-ib")],
)
def test_the_first_machine_of_a_list(nodes: str, first: str) -> None:
    assert first_host(nodes) == first


def test_ranks_of_a_machine_divide_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(12)))
    ranks = Ranks()
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    assert ranks.threads == 12
    ranks.local_size = 5
    assert ranks.threads == 2
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "8")
    assert ranks.threads == 8


def test_a_share_of_everything_changes_no_bit() -> None:
    (one, ff1), (two, ff2) = go_helix(8, "one", 0.4), go_helix(6, "two", 0.4)
    layout = Layout((one, two), (2, 3))
    x = np.concatenate([np.tile(helix(8), (2, 1)), np.tile(helix(6), (3, 1))])
    plain = simulate(layout, [ff1, ff2], x)
    own = partial(choose_propagator, layout, plain.potential)
    shared = simulate(layout, [ff1, ff2], x, choose=across_ranks(Ranks(), by_rank(layout, 1), own))
    for simulation in (plain, shared):
        simulation.run(300)
    assert all(same_bits(plain, shared, r, r) for r in range(5))


class InThreads(Ranks):
    """One of several ranks in one process; they wait for each other as processes do."""

    def __init__(self, rank: int, board: list[torch.Tensor], barrier: threading.Barrier) -> None:
        self.rank, self.size, self._board, self._barrier = rank, len(board), board, barrier

    def all(self, value: T) -> list[T]:
        said: list[Any] = self._board
        said[self.rank] = value
        self._barrier.wait()
        found = list(said)
        self._barrier.wait()
        return found

    def share(self, step: int, own: torch.Tensor, everyone: Sequence[torch.Tensor]) -> None:
        self._board[self.rank] = own.clone()
        self._barrier.wait()
        for each, theirs in zip(everyone, self._board, strict=True):
            each.copy_(theirs)
        self._barrier.wait()


def test_results_of_every_rank_go_to_its_replicas() -> None:
    """Three ranks whose shares differ in size and in molecules; each knows all bits of one process afterwards."""
    (one, ff1), (two, ff2) = go_helix(8, "one", 0.4), go_helix(6, "two", 0.4)
    layout = Layout((one, two), (2, 3))
    x = np.concatenate([np.tile(helix(8), (2, 1)), np.tile(helix(6), (3, 1))])
    plain = simulate(layout, [ff1, ff2], x)
    plain.run(200)
    board, barrier = [torch.empty(0)] * 3, threading.Barrier(3, timeout=CLOCK)

    def run(rank: int) -> Engine:
        parts = by_rank(layout, 3)
        own = parts[rank]
        potential = build_potential([(ff1, ff2)[s] for s in own.systems], own.layout)
        choose = across_ranks(InThreads(rank, board, barrier), parts, partial(choose_propagator, own.layout, potential))
        shared = simulate(layout, [ff1, ff2], x, choose=choose)
        shared.run(200)
        return shared

    with ThreadPoolExecutor(3) as pool:
        for shared in pool.map(run, range(3)):
            assert all(same_bits(plain, shared, r, r) for r in range(5))


# --- the same bytes ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mixed(tmp_path_factory.mktemp("mixed"))


@pytest.fixture(scope="module")
def whole(mixed: Path) -> Path:
    """What one process writes."""
    folder = mixed.parent / "whole"
    alone(mixed, folder)
    return folder


def alone(source: Path, folder: Path, *overrides: str) -> None:
    execute(load_run(source, [f"output.folder={folder}", f"dynamics.steps={STEPS}", *overrides]), source)


def test_four_ranks_of_srun_write_the_bytes_of_one_process(mixed: Path, whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    job = free_job()
    results = finish(start(command(mixed, folder), [srun_variables(rank, 4, job) for rank in range(4)]))
    assert [code for code, _, _ in results] == [0] * 4, results
    same_content(whole, folder)
    for rank, replicas in enumerate(("0-1", "2-4", "5-8", "9-11")):
        assert re.search(
            rf"rank {rank}: replicas {replicas}, CPU, \d+ threads? on {socket.gethostname()}", results[0][1]
        )
    assert [text for _, text, _ in results[1:]] == [""] * 3
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["status"], manifest["ranks"]) == ("finished", 4)
    one = json.loads((whole / "manifest.json").read_text())
    assert one["exchange"] == manifest["exchange"] and one["ranks"] == 1


def test_killed_stopped_and_resumed_by_other_numbers_of_ranks(mixed: Path, whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    # two ranks, the second killed
    ranks = start_ranks(2, command(mixed, folder))
    wait_for_checkpoint(folder, 4000, ranks)
    ranks[1].send_signal(signal.SIGKILL)
    results = finish(ranks)
    assert [code for code, _, _ in results] == [75, -signal.SIGKILL], results
    one_message(results, "another rank ended without a message")
    # three ranks, a signal for the last
    before = newest_step(folder)
    assert 4000 <= before < STEPS
    ranks = start_ranks(3, command(mixed, folder, STEPS, "output.checkpoint.interval=1 h"))
    events = folder / "events.jsonl"
    while read_events(events)[-1]["event"] != "resume" and ranks[0].poll() is None:
        time.sleep(0.01)
    ranks[2].send_signal(signal.SIGTERM)
    results = finish(ranks)
    assert [code for code, _, _ in results] == [75] * 3, results
    one_message(results, "SIGTERM: stopped at step")
    stopped = [e for e in read_events(events) if e["event"] == "stopped"]
    assert [e["step"] for e in stopped][-1] == newest_step(folder)
    assert before <= newest_step(folder) < STEPS
    # one process
    alone(mixed, folder)
    same_content(whole, folder)


def test_traded_windows_are_known_to_all_ranks(mixed: Path, tmp_path: Path) -> None:
    """Hamiltonian exchange: the parameters that a replica is carried with change with every attempt."""
    structure = next((mixed.parent / "two/systems").glob("*.safetensors"))
    options = (
        f"system={{structure: {structure}, forcefield: two, name: two, replicas: 8}}",
        "dynamics.temperature=300 K",
        "exchange={biases: [ends], interval: 0.2 ps}",
        "biases=[{name: ends, variable: distance, beads: [0, 5], force_constant: 0.5 kcal/mol/angstrom^2, "
        "center: {min: 6 angstrom, max: 12 angstrom, count: 8}}]",
        "output.checkpoint.interval=20 ps",
    )
    results = finish(start_ranks(2, command(mixed, tmp_path / "many", 5000, *options)))
    assert [code for code, _, _ in results] == [0, 0], results
    config = load_run(mixed, [f"output.folder={tmp_path / 'one'}", "dynamics.steps=5000", *options])
    plan = execute(config, mixed)
    assert plan.engine.exchange is not None and plan.engine.exchange.accepted.sum() > 20
    same_content(tmp_path / "one", tmp_path / "many")


def test_impulses_of_networks_do_not_depend_on_ranks(tmp_path: Path) -> None:
    """`network_every: 3`, and checkpoints every 400 steps: two of three lie between two impulses."""
    steps = 6000
    source = write_network(tmp_path)
    execute(load_run(source, [f"output.folder={tmp_path / 'one'}", f"dynamics.steps={steps}"]), source)
    results = finish(start_ranks(2, command(source, tmp_path / "two", steps)))
    assert [code for code, _, _ in results] == [0, 0], results
    same_content(tmp_path / "one", tmp_path / "two")
    folder = tmp_path / "killed"
    ranks = start_ranks(2, command(source, folder, steps))
    wait_for_checkpoint(folder, 800, ranks)
    ranks[0].send_signal(signal.SIGKILL)
    results = finish(ranks)
    assert [code for code, _, _ in results] == [-signal.SIGKILL, 75], results
    assert 800 <= newest_step(folder) < steps
    execute(load_run(source, [f"output.folder={folder}", f"dynamics.steps={steps}"]), source)
    same_content(tmp_path / "one", folder)


def test_torchrun_starts_again_by_itself(mixed: Path, whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", "1")
    launcher = Process(*torchrun, *command(mixed, folder))
    wait_for_checkpoint(folder, 8000, [launcher])
    workers = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    first = json.loads((folder / "lock").read_text())["pid"]
    assert str(first) in workers
    os.kill(first, signal.SIGKILL)  # the rank that writes
    ((code, _, said),) = finish([launcher])
    assert code == 0, said
    same_content(whole, folder)
    resumed = [e["step"] for e in read_events(folder / "events.jsonl") if e["event"] == "resume"]
    assert len(resumed) == 1 and 8000 <= resumed[0] < STEPS


STRANGER = """
import os, pickle, sys, time
from datetime import timedelta
import torch, torch.distributed as dist
class Evil:
    def __reduce__(self):
        return os.mkdir, (sys.argv[2],)
store = dist.TCPStore("localhost", int(sys.argv[1]), is_master=False, timeout=timedelta(seconds=60))
prefix = "mdflash/0"
if sys.argv[3] == "looks":  # at all keys, among them that under which rank 0 waits
    while not (keys := [k for k in store.list_keys() if "secret" not in k and k.count("/") > 2]):
        time.sleep(0.05)
    prefix = "/".join(keys[0].split("/")[:3])
print("there", prefix, flush=True)
dist.init_process_group("gloo", store=dist.PrefixStore(prefix, store), rank=1, world_size=2,
                        timeout=timedelta(seconds=60 if sys.argv[3] == "looks" else 3))
for data in (torch.tensor([0, 0]), torch.tensor([len(pickle.dumps(Evil()))])):
    dist.all_gather([torch.empty_like(data) for _ in range(2)], data)
sizes = torch.tensor([len(pickle.dumps(Evil()))])
own = torch.frombuffer(bytearray(pickle.dumps(Evil()).ljust(66, b".")), dtype=torch.uint8)
dist.all_gather([torch.empty_like(own) for _ in range(2)], own)
"""


@pytest.mark.parametrize("what", ["guesses", "looks"])
def test_a_stranger_at_the_port_is_no_rank(mixed: Path, whole: Path, tmp_path: Path, what: str) -> None:
    """Who guesses the keys meets nobody; who lists them does not know the secret. No pickle is opened."""
    folder, job = tmp_path / "run", free_job()
    variables = [srun_variables(rank, 2, job) for rank in range(2)]
    (first,) = start(command(mixed, folder), variables[:1])
    stranger = Process("-c", STRANGER, str(20_000 + 16 * int(job)), tmp_path / "owned", what)
    if what == "guesses":
        stranger.wait(CLOCK)
        results = finish([first, *start(command(mixed, folder), variables[1:])])
        assert [code for code, _, _ in results] == [0, 0], (results, stranger.said())
        same_content(whole, folder)
    else:
        ((code, _, said),) = finish([first])
        assert code == 2 and "rank 1" in said and said.count("\n") == 1, (said, stranger.said())
        assert not folder.exists()
    stranger.kill()
    assert not (tmp_path / "owned").exists()


def listens(process: Path, port: int) -> bool:
    """Whether someone on its machine listens at a port."""
    assert process.exists()
    rows = [row.split() for name in ("tcp", "tcp6") for row in (process / "net" / name).read_text().splitlines()]
    return any(row[1].endswith(f":{port:04X}") and row[3] == "0A" for row in rows)


def test_ranks_whose_launcher_is_killed_end(mixed: Path, tmp_path: Path) -> None:
    """While they wait for a rank that never comes."""
    script = (
        "import os, subprocess, sys, time\n"
        "p = subprocess.Popen([sys.executable, *sys.argv[1:]]); print(p.pid, flush=True); time.sleep(600)"
    )
    port = free_port()
    environment = {**os.environ, **torchrun_variables(0, 2, port), "TORCHELASTIC_RUN_ID": "x"}
    launcher = Process("-c", script, *command(mixed, tmp_path / "run"), env=environment)
    while not launcher.said()[0]:
        assert launcher.poll() is None, launcher.said()
        time.sleep(0.05)
    rank = Path(f"/proc/{launcher.said()[0].strip()}")
    eventually(lambda: listens(rank, int(port)))
    launcher.kill()
    eventually(lambda: not rank.exists())
    assert "torchrun ended" in launcher.said()[1]


# --- failing together -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["freeze", "retry"])
def test_ranks_guard_as_one_process_does(springs: Path, tmp_path: Path, policy: str) -> None:
    """Replicas 0 and 1, of the first rank, explode; retried stretches are carried by all ranks.

    Replicas 2 and 3, of another system and the second rank, have a window each.
    """
    window = "{min: 3.5 angstrom, max: 4.5 angstrom, count: 2}"
    options = (
        f"guards.nonfinite={policy}",
        "output.colvars.interval=6 ps",
        "biases=[{name: pull, variable: distance, beads: [0, 1], system: heavy, "
        f"force_constant: 1 kcal/mol/angstrom^2, center: {window}}}]",
    )
    results = finish(start_ranks(2, command(springs, tmp_path / "many", 2000, *options)))
    assert [code for code, _, _ in results] == [0, 0], results
    config = load_run(springs, [f"output.folder={tmp_path / 'one'}", *options])
    execute(config, springs)
    same_content(tmp_path / "one", tmp_path / "many")
    told = [
        [{k: v for k, v in e.items() if k != "time"} for e in read_events(tmp_path / name / "events.jsonl")]
        for name in ("one", "many")
    ]
    assert told[0] == told[1]
    assert len([e for e in told[0] if e["event"] == policy]) == (2 if policy == "freeze" else 40)


def test_an_unstable_replica_ends_all_ranks(springs: Path, tmp_path: Path) -> None:
    options = (
        "dynamics.timestep=12 fs",  # which the springs alone survive
        "output.colvars.interval=6 ps",
        "biases=[{name: stiff, variable: distance, beads: [0, 1], system: light, "
        "force_constant: 1000 kcal/mol/angstrom^2, center: 4 angstrom}]",
    )
    results = finish(start_ranks(2, command(springs, tmp_path / "run", 2000, *options)))
    assert [code for code, _, _ in results] == [3, 3], results
    one_message(results, "replica 0 (light) became unstable")
    assert json.loads((tmp_path / "run/manifest.json").read_text())["status"] == "unstable"


def test_a_full_disk_of_the_first_rank_ends_all(mixed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    ranks = start_ranks(2, command(mixed, folder, STEPS, "output.trajectory.format=none"))
    wait_for_checkpoint(folder, 4000, ranks)
    resource.prlimit(ranks[0].pid, resource.RLIMIT_FSIZE, (20_000, 20_000))
    results = finish(ranks)
    assert [code for code, _, _ in results] == [2, 2], results
    one_message(results, f"{folder}/")


def test_wrong_starts_are_one_message(mixed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    many = finish(start_ranks(3, command(mixed, folder, 1000, "system.0.replicas=1", "system.1.replicas=1",
                                         "exchange=none", "dynamics.temperature=300 K")))  # fmt: skip
    assert [code for code, _, _ in many] == [2] * 3, many
    one_message(many, "3 ranks for 2 replicas")
    assert not folder.exists()
    job = free_job()
    processes = []
    for rank, steps in enumerate((1000, 2000)):
        environment = srun_variables(rank, 2, job)
        processes += start(command(mixed, folder, steps), [environment])
    differ = finish(processes)
    assert [code for code, _, _ in differ] == [2, 2], differ
    one_message(differ, "the ranks of a job share one run")
    assert not folder.exists()

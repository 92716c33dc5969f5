"""Start the ranks of a run as separate processes, and compare what they leave."""

from __future__ import annotations

import dataclasses
import itertools
import os
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import Popen

import h5py
import pytest

from mdflash.forcefields.forcefield import save_forcefield
from mdflash.forcefields.model import Network
from tests.helpers import go_helix
from tests.potentials.random_schnet import random_schnet
from tests.processes import Process

STEPS = 40_000
CLOCK = 600
"""Seconds after which a test that waits gives up."""

Started = Process | Popen[str]


def write_mixed(folder: Path) -> Path:
    """Two molecules of different size, 4 and 8 replicas, on ladders of four temperatures; the second is biased."""
    entries = []
    for name, beads, replicas in (("one", 8, 4), ("two", 6, 8)):
        _, ff = go_helix(beads, name, 0.4)
        save_forcefield(folder / name, ff)
        structure = next((folder / name / "systems").glob("*.safetensors")).relative_to(folder)
        entries.append(f"  - {{structure: {structure}, forcefield: {name}, name: {name}, replicas: {replicas}}}")
    lines = [
        "mdflash: 1",
        "system:",
        *entries,
        "dynamics: {timestep: 4 fs, seed: 7, minimize: 3}",
        "exchange: {temperatures: [300 K, 340 K, 390 K, 450 K], interval: 1 ps}",
        "biases:",
        "  - {name: ends, variable: distance, beads: [0, 5], system: two, force_constant: 0.1 kcal/mol/angstrom^2,",
        "     center: 8 angstrom}",
        "output: {trajectory: {interval: 2 ps}, log: {interval: 2 ps}, colvars: {interval: 3 ps},",
        "         checkpoint: {interval: 4 ps}}",
    ]
    (folder / "system.yaml").write_text("\n".join(lines))
    return folder / "system.yaml"


def write_network(folder: Path) -> Path:
    """Four replicas of a molecule with a small network, which acts at every third step."""
    _, ff = go_helix(8, "net", 0.4)
    weights = random_schnet(5, features=16, filters=16, blocks=1, output=(16,))
    network = Network(
        "SchNet", "schnet", weights.hyper.to_dict(), {k: w.numpy() for k, w in weights.state_dict().items()}
    )
    save_forcefield(folder / "net", dataclasses.replace(ff, networks=(network,)))
    structure = next((folder / "net" / "systems").glob("*.safetensors")).relative_to(folder)
    lines = [
        "mdflash: 1",
        f"system: {{structure: {structure}, forcefield: net, name: net, replicas: 4}}",
        "dynamics: {timestep: 4 fs, network_every: 3, seed: 7, temperature: 300 K}",
        "output: {trajectory: {interval: 2 ps}, log: {interval: 0.8 ps}, checkpoint: {interval: 1.6 ps}}",
    ]
    (folder / "network.yaml").write_text("\n".join(lines))
    return folder / "network.yaml"


def command(source: Path, folder: Path, steps: int = STEPS, *overrides: str) -> list[str]:
    """`mdflash run`, to be started by each rank."""
    given = [f"output.folder={folder}", *overrides]
    return ["-m", "mdflash", "run", str(source), "--steps", str(steps), *(w for o in given for w in ("--set", o))]


_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 8
_PORTS = itertools.cycle(range(20_000 + 16 * _WORKER, 32_000, 16 * 8))


def free_port() -> str:
    """One that no other process of the tests takes, and below those that the system gives to whoever asks for any."""
    while True:
        port = next(_PORTS)
        with socket.socket() as s, suppress(OSError):
            s.bind(("localhost", port))
            return str(port)


def free_job() -> str:
    """The number of a job of Slurm whose ranks meet at such a port."""
    return str((int(free_port()) - 20_000) // 16)


def torchrun_variables(rank: int, size: int, port: str) -> dict[str, str]:
    """What torchrun tells a process."""
    return {
        "RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "localhost", "MASTER_PORT": port,
    }  # fmt: skip


def srun_variables(rank: int, size: int, port: str) -> dict[str, str]:
    """What srun tells a task; the port follows from the job's number."""
    return {
        "SLURM_JOB_ID": port, "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": str(size), "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": str(rank), "SLURM_STEP_TASKS_PER_NODE": str(size), "SLURM_STEP_NODELIST": "localhost",
    }  # fmt: skip


def start(arguments: Sequence[str], environments: Sequence[Mapping[str, str]]) -> list[Process]:
    """One process for each environment."""
    bare = {k: v for k, v in os.environ.items() if not k.startswith("SLURM_")}
    return [Process(*arguments, env={**bare, "COLUMNS": "300", **environment}) for environment in environments]


def start_ranks(size: int, arguments: Sequence[str]) -> list[Process]:
    """As torchrun would."""
    port = free_port()
    return start(arguments, [torchrun_variables(rank, size, port) for rank in range(size)])


def finish(processes: Sequence[Started]) -> list[tuple[int, str, str]]:
    """(exit code, stdout, stderr) of each; none may hang."""
    try:
        said = [process.communicate(timeout=CLOCK) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.wait(), *texts) for process, texts in zip(processes, said, strict=True)]


def newest_step(folder: Path) -> int:
    return max((int(f.stem[5:]) for f in (folder / "checkpoint").glob("step_*.npz")), default=-1)


def wait_for_checkpoint(folder: Path, step: int, processes: Sequence[Started]) -> None:
    """Until the run is past `step` for sure, or has ended."""
    end = time.monotonic() + CLOCK
    while newest_step(folder) < step and all(p.poll() is None for p in processes):
        assert time.monotonic() < end
        time.sleep(0.01)


def content(folder: Path) -> dict[str, bytes]:
    """Everything that must not depend on the number of ranks nor on what happened on the way, by file."""
    tables = ("log.csv", "exchange.csv", "colvars.csv")
    found = {name: (folder / name).read_bytes() for name in tables if (folder / name).exists()}
    for file in sorted((folder / "trajectory").iterdir()):
        with h5py.File(file, "r") as f:
            for name in ("coordinates", "time", "particles/trajectory/position/step", "topology"):
                found[f"{file.name}/{name}"] = f[name][()].tobytes()
    for file in (folder / "checkpoint").iterdir():
        found[file.name] = file.read_bytes()
    return found


def same_content(one: Path, other: Path) -> None:
    a, b = content(one), content(other)
    assert a.keys() == b.keys()
    assert [name for name in a if a[name] != b[name]] == []


def one_message(results: Sequence[tuple[int, str, str]], words: str) -> None:
    """One rank said what is wrong; the others said nothing; nobody showed a traceback."""
    errors = [text for _, _, text in results]
    assert not any("Traceback" in text for text in errors), errors
    speakers = [text for text in errors if "error:" in text or ": stopped at step" in text]
    assert len(speakers) == 1, errors
    if words not in " ".join(speakers[0].split()):
        pytest.fail(f"{words!r} is not in {speakers[0]!r}")

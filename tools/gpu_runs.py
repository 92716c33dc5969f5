"""The sections of `gpu_check.py` that start whole programs: runs and trainings, killed and resumed, of many ranks."""

from __future__ import annotations

import functools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from gpu_part import DEVICE, HERE, NOTES, OPTIONS, SYSTEMS

OWN = ("interpreter.py",) if OPTIONS.interpret else ("-m", "mdflash")
"""How `mdflash` is started, from this folder."""

HILLS = """
metadynamics:
  - {name: fill, variables: [{name: size, variable: radius_of_gyration, width: 0.3 angstrom,
     grid: {min: 1 angstrom, max: 40 angstrom}}], height: 0.1 kcal/mol, bias_factor: 6, every: 1 ps}
"""
SHIPPED = "chignolin-ca"
"""Small enough for one program a replica."""


def run() -> None:
    """`mdflash run` on the device: once through, and killed and resumed; both must leave the same bytes."""
    for text in ("",) if OPTIONS.interpret else ("", HILLS):
        with tempfile.TemporaryDirectory() as folder:
            NOTES.attempt("run", functools.partial(kill_and_resume, Path(folder), text))


def case_in(folder: Path) -> Path:
    """The system.yaml of a small molecule with a network, written there."""
    case = SYSTEMS.described("chignolin") if SYSTEMS.real() else SYSTEMS.tiny_case()
    file: Path = case.write(folder)
    return file


def words(file: Path, steps: int, every: str, replicas: int, *settings: str) -> list[str]:
    """`mdflash run FILE ...` without Python and its folder."""
    more = ("hardware.device=cuda", f"replicas.count={replicas}", *settings)
    output = (f"output.{what}.interval={every}" for what in ("log", "trajectory", "checkpoint"))
    return ["run", str(file), "--steps", str(steps), *(w for s in (*more, *output) for w in ("--set", s))]


def kill_and_resume(folder: Path, text: str) -> None:
    """`text` is added to system.yaml; with it, networks act at every second step."""
    file = case_in(folder / "case")
    file.write_text(file.read_text() + text)
    steps, every = (8, "8 fs") if OPTIONS.interpret else (20_000 if text else 60_000, "20 ps")
    common = words(file, steps, every, 2 if OPTIONS.interpret else 16, f"dynamics.network_every={2 if text else 1}")

    def command(name: str) -> list[str]:
        return [sys.executable, *OWN, *common, "--set", f"output.folder={folder / name}"]

    began = time.monotonic()
    done = subprocess.run(command("whole"), cwd=HERE, capture_output=True, text=True)
    ended = ended_well("mdflash run", done, time.monotonic() - began)
    if not ended:
        return
    manifest = json.loads((folder / "whole" / "manifest.json").read_text())
    NOTES.row(manifest["device"] == "cuda", f"on {manifest['device_name']}, {manifest['timing']}",
              what="manifest", manifest=manifest)  # fmt: skip
    kill([subprocess.Popen(command("killed"), cwd=HERE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)],
         functools.partial(_far_enough, folder / "killed"))  # fmt: skip
    done = subprocess.run(command("killed"), cwd=HERE, capture_output=True, text=True)
    resumed(done, "resuming")
    same_folders("the same bytes", folder / "whole", folder / "killed")


def ended_well(what: str, done: subprocess.CompletedProcess[str], seconds: float) -> bool:
    text = done.stdout + done.stderr
    NOTES.row(done.returncode == 0, f"{what} ended with {done.returncode} after {seconds:.1f} s",
              what=what, seconds=seconds, output=text[-6000:])  # fmt: skip
    if done.returncode != 0:
        print(text[-3000:])
    return done.returncode == 0


def resumed(done: subprocess.CompletedProcess[str], word: str) -> None:
    text = done.stdout + done.stderr
    good = done.returncode == 0 and word in text
    NOTES.row(good, f"the same command again ended with {done.returncode}", what="resume", output=text[-6000:])
    if not good:
        print(text[-3000:])


def _far_enough(folder: Path) -> bool:
    """Whether a run has left its first checkpoint behind."""
    return len(list((folder / "checkpoint").glob("*.npz"))) >= 2


def kill(started: Sequence[subprocess.Popen[bytes]], now: Callable[[], bool]) -> None:
    """Kill all of them as soon as `now` holds."""
    while all(one.poll() is None for one in started) and not now():
        time.sleep(0.002)
    for one in started:
        one.send_signal(signal.SIGKILL)
    ends = [one.wait() for one in started]
    killed = 0 not in ends
    NOTES.row(killed, "killed" if killed else "it had finished before it could be killed", what="kill")


def same_folders(what: str, *folders: Path) -> None:
    """Last checkpoint, log and exchanges of several runs, byte by byte."""
    first, *others = folders
    tables = [name for name in ("log.csv", "exchange.csv") if (first / name).exists()]
    for other in others:
        ends = [sorted((folder / "checkpoint").glob("*.npz"))[-1] for folder in (first, other)]
        a, b = (np.load(end) for end in ends)
        names = [name for name in a.files if a[name].dtype.kind in "fiu"]
        same = ends[0].name == ends[1].name and all(np.array_equal(a[name], b[name]) for name in names)
        differ = [name for name in tables if (first / name).read_bytes() != (other / name).read_bytes()]
        NOTES.row(
            same and not differ,
            f"{what}: {other.name} ends as {first.name}, {'the same bits' if same else 'DIFFERENT bits'} in the last "
            f"checkpoint, tables that differ: {', '.join(differ) or 'none'}",
            what=what, folders=[first.name, other.name], same_checkpoint=same, tables_that_differ=differ,
            log=(first / "log.csv").read_text()[:2000],
        )  # fmt: skip


# --- many ranks


def ranks() -> None:
    """A rank for each GPU, and at least two: the bytes of one, also killed and resumed by another number of them."""
    gpus = torch.cuda.device_count() if DEVICE == "cuda" else 0
    size = max(2, min(gpus, 8))
    with tempfile.TemporaryDirectory() as folder:
        NOTES.attempt("runs of many ranks", functools.partial(runs_of_ranks, Path(folder), size, gpus))
    if not OPTIONS.interpret:
        with tempfile.TemporaryDirectory() as folder:
            NOTES.attempt("whole, many ranks", functools.partial(programs_of_ranks, Path(folder), size))
        with tempfile.TemporaryDirectory() as folder:
            NOTES.attempt("training by many ranks", functools.partial(training_of_ranks, Path(folder), size))


def runs_of_ranks(folder: Path, size: int, gpus: int) -> None:
    """With exchange between replicas of different ranks."""
    file = case_in(folder / "case")
    replicas = 2 if OPTIONS.interpret else 2 * size * 4
    apart = "16 fs" if OPTIONS.interpret else "1 ps"
    ladder = f"{{temperatures: {{min: 300 K, max: 400 K, count: {replicas}}}, interval: {apart}}}"
    file.write_text(f"{file.read_text()}\nexchange: {ladder}\n")
    length = (8, "8 fs") if OPTIONS.interpret else (15_000, "8 ps")
    common = words(file, *length, replicas, "dynamics.temperature=none")

    def command(name: str) -> list[str]:
        return [*OWN, *common, "--set", f"output.folder={folder / name}"]

    rates = {}
    for name, many in (("one", 1), ("many", size)):
        done, seconds = together(command(name), many)
        if not ended_well(f"{many} ranks" if many > 1 else "one rank", done, seconds):
            return
        manifest = json.loads((folder / name / "manifest.json").read_text())
        rates[name] = manifest["timing"]
        shared = "take turns" in done.stdout
        NOTES.row(
            manifest["ranks"] == many and shared == (0 < gpus < many),
            f"{many} ranks on {manifest['device_name']}, {'shared' if shared else 'not shared'}: {manifest['timing']}",
            what="ranks", ranks=many, gpus=gpus, shared=shared, timing=manifest["timing"],
        )  # fmt: skip
    kill(apart_started(command("killed"), size), functools.partial(_far_enough, folder / "killed"))
    resumed(together(command("killed"), size)[0], "resuming")
    kill(apart_started(command("killed, then one"), size), functools.partial(_far_enough, folder / "killed, then one"))
    resumed(together(command("killed, then one"), 1)[0], "resuming")
    same_folders("ranks", *(folder / name for name in ("one", "many", "killed", "killed, then one")))


def programs_of_ranks(folder: Path, size: int) -> None:
    """The same with one program for each replica."""
    common = words(Path(SHIPPED), 30_000, "20 ps", 4 * size, "model.kernels=whole", "dynamics.temperature=300 K")
    for name, many in (("one", 1), ("many", size)):
        done, seconds = together([*OWN, *common, "--set", f"output.folder={folder / name}"], many)
        if not ended_well(f"whole, ranks: {many}", done, seconds):
            return
    same_folders("whole, ranks", folder / "one", folder / "many")


def training_of_ranks(folder: Path, size: int) -> None:
    """Force matching: once through, and killed and resumed, by as many ranks."""
    from tests.training.datasets import write_recipe

    frames_with_forces(folder / "data")
    recipe = write_recipe(folder / "recipe.yaml", folder / "data", training={"device": "cuda", "epochs": 40})

    def command(name: str) -> list[str]:
        return [*OWN, "train", str(recipe), "--set", f"folder={folder / name}"]

    done, seconds = together(command("whole"), size)
    if not ended_well(f"training by {size} ranks", done, seconds):
        return
    log = folder / "killed" / "log.csv"
    kill(apart_started(command("killed"), size), lambda: log.is_file() and log.read_text().count("\n") > 5)
    done, seconds = together(command("killed"), size)
    ended_well(f"training by {size} ranks, resumed", done, seconds)
    files = ("log.csv", "forcefield/weights.safetensors")
    differ = [f for f in files if (folder / "whole" / f).read_bytes() != (folder / "killed" / f).read_bytes()]
    NOTES.row(not differ, f"training, killed and resumed by {size} ranks: files that differ: {differ or 'none'}",
              what="training of ranks", files_that_differ=differ)  # fmt: skip


def frames_with_forces(folder: Path) -> None:
    """A dataset of a helix whose beads are pulled back to where they were moved from; nothing is simulated for it."""
    from mdflash.sampling.dataset import create_dataset
    from mdflash.sampling.trajectory import TrajectoryWriter
    from tests.helpers import go_helix, helix

    system, rng = go_helix(7, "helix")[0], np.random.default_rng(3)
    create_dataset(folder, {"helix": (system, helix(7)[None])}, "ca", {"made_for": "gpu_check"})
    for k in range(3):
        writer = TrajectoryWriter(folder / "helix" / f"{k:03d}.h5", 7, seed=1, aggregation="basic", biased=False,
                                  energy=False)  # fmt: skip
        for frame in range(200):
            moved = 0.2 * rng.normal(size=(7, 3))
            writer.append(helix(7) + moved, -20.0 * moved, 300.0, 0.4 * frame, energy=None)
        writer.close()


def together(arguments: Sequence[str], many: int) -> tuple[subprocess.CompletedProcess[str], float]:
    """Started by torchrun, or alone; and the seconds that it took."""
    began = time.monotonic()
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(many), "--master-port", free_port()]
    command = [sys.executable, *(launcher if many > 1 else []), *arguments]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True)
    return done, time.monotonic() - began


def apart_started(arguments: Sequence[str], many: int) -> list[subprocess.Popen[bytes]]:
    """As torchrun starts them, each known by its number, so that all can be killed at once."""
    port = free_port()
    return [
        subprocess.Popen(
            [sys.executable, *arguments], cwd=HERE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**os.environ, "RANK": str(rank), "WORLD_SIZE": str(many), "LOCAL_RANK": str(rank),
                 "LOCAL_WORLD_SIZE": str(many), "MASTER_ADDR": "localhost", "MASTER_PORT": port},
        )
        for rank in range(many)
    ]  # fmt: skip


def free_port() -> str:
    with socket.socket() as s:
        s.bind(("localhost", 0))
        return str(s.getsockname()[1])

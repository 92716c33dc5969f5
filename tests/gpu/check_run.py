"""Whole runs on a GPU through `Engine`, `Simulation` and `mdflash run`, against the compiled loop on the CPU."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from mdflash import Simulation
from mdflash.bench.report import bench
from mdflash.cli.app import app
from mdflash.config.load import load_run
from mdflash.config.write import commented_yaml
from mdflash.core.gpu import describe, find_gpu
from mdflash.core.state import Layout, State
from mdflash.core.system import save_system
from mdflash.engine.engine import Engine
from mdflash.engine.gpu.whole import WholePropagator
from mdflash.engine.settings import Backend, Dynamics
from mdflash.errors import InputError, Interrupted
from mdflash.forcefields.forcefield import save_forcefield
from mdflash.forcefields.model import ForceField, Network
from mdflash.forcefields.networks import schnet_weights
from mdflash.integrators.langevin import LangevinMiddle
from mdflash.io.checkpoint import load_checkpoint
from mdflash.potentials.bias.function import FunctionBias
from mdflash.runs.execute import Plan, Watch, execute
from tests.gpu.batches import SMALL, network
from tests.helpers import go_helix, helix

TINY = replace(SMALL, filters=8, blocks=1, output=(4,))
"""The interpreter takes about a tenth of a second for each kernel and bead."""
N = 5


def forcefield(with_network: bool = True) -> ForceField:
    """Gō priors, and a network whose forces are about as large."""
    _, ff = go_helix(N)
    if not with_network:
        return ff
    model = network(replace(TINY, types=max(b.index for b in ff.bead_types) + 1)).float()
    return replace(ff, networks=(Network("SchNet", "schnet", model.hyper.to_dict(), schnet_weights(model)),))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A force field with a network, a helix, and a system.yaml of three replicas."""
    place = tmp_path_factory.mktemp("gpu")
    save_forcefield(place / "ff", forcefield())
    rng = np.random.default_rng(51)
    frames = np.stack([helix(N) + 0.1 * rng.normal(size=(N, 3)) for _ in range(3)])
    save_system(place / "helix.safetensors", go_helix(N)[0], frames)
    data = {
        "mdflash": 1,
        "name": "tiny",
        "system": {"structure": "helix.safetensors"},
        "model": {"forcefield": "ff", "precision": "fp32"},
        "dynamics": {"timestep": "4 fs", "friction": "1 /ps", "length": "32 fs", "seed": 7},
        "replicas": {"count": 3},
        "exchange": {"temperatures": {"min": "300 K", "max": "500 K", "count": 3}, "interval": "16 fs"},
        "output": {
            "trajectory": {"interval": "8 fs"},
            "log": {"interval": "8 fs"},
            "checkpoint": {"interval": "8 fs"},
        },
    }
    (place / "system.yaml").write_text(commented_yaml(data))
    return place


@pytest.mark.parametrize(("kernels", "called"), [("auto", "cuda"), ("whole", "whole")])
def test_a_run_agrees_with_the_cpu_and_goes_on_with_the_same_bits(folder: Path, kernels: str, called: str) -> None:
    file = folder / "system.yaml"

    place = folder / kernels

    def run(name: str, device: str, stop: Callable[[], str | None] = lambda: None, *more: str) -> Plan:
        settings = [f"output.folder={place / name}", f"hardware.device={device}", *more]
        settings += [f"model.kernels={kernels}"] * (device == "cuda")
        return execute(load_run(file, settings), file, watch=Watch(should_stop=stop))

    plans: list[Plan] = []
    plan = run("gpu", "cuda")
    run("cpu", "cpu")
    calls = iter(range(100))
    with pytest.raises(Interrupted):
        run("resumed", "cuda", lambda: "SIGTERM" if next(calls) > 3 else None)
    stopped = load_checkpoint(place / "resumed" / "checkpoint")
    assert stopped is not None and 0 < stopped.header["step"] < 8
    plans.append(run("resumed", "cuda"))
    assert plans[0].start == "resume"

    assert any("the forces of the GPU are off by" in note for note in plan.engine.notes)
    assert any("one program for each replica" in note for note in plan.engine.notes) == (kernels == "whole")
    manifest = json.loads((place / "gpu" / "manifest.json").read_text())
    assert (manifest["device"], manifest["kernels"]) == ("cuda", called)
    assert manifest["device_name"] == describe(find_gpu())

    ends = {name: load_checkpoint(place / name / "checkpoint") for name in ("gpu", "cpu", "resumed")}
    for name, array in ends["gpu"].arrays.items():  # type: ignore[union-attr]
        np.testing.assert_array_equal(array, ends["resumed"].arrays[name], err_msg=name)  # type: ignore[union-attr]
        np.testing.assert_allclose(array, ends["cpu"].arrays[name], rtol=1e-4, atol=1e-4, err_msg=name)  # type: ignore[union-attr]
    for name in ("log.csv", "exchange.csv"):
        assert (place / "gpu" / name).read_bytes() == (place / "resumed" / name).read_bytes()
    assert (place / "gpu" / "exchange.csv").read_text() == (place / "cpu" / "exchange.csv").read_text()
    rows = [list(csv.DictReader((place / name / "log.csv").open())) for name in ("gpu", "cpu")]
    assert len(rows[0]) == len(rows[1]) == 3 * 5
    for mine, theirs in zip(*rows, strict=True):
        assert mine.keys() == theirs.keys()
        for key in mine:
            assert mine[key] == theirs[key] or float(mine[key]) == pytest.approx(float(theirs[key]), rel=1e-4, abs=1e-4)

    if kernels == "auto":
        moved = run("cpu", "cuda", lambda: None, "dynamics.length=40 fs")
        assert any("made on cpu" in note for note in moved.notes)


def test_whole_blocks_where_they_cannot_be(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A note says why kernels are launched one by one instead; on a CPU the setting is told to be for another one."""

    def simulated(**more: Any) -> Simulation:
        return Simulation(go_helix(N)[0], forcefield(), start=helix(N), kernels="whole", **{"device": "cuda", **more})

    exact = simulated(filters="exact")
    assert exact.propagator.kernels == "cuda"
    assert any("kernels are launched one by one: filters are exact" in note for note in exact.notes)
    monkeypatch.setattr(WholePropagator, "evaluate", lambda self, state: state.forces.fill_(1.0))
    wrong = simulated()
    assert wrong.propagator.kernels == "cuda"
    assert any("forces differ by" in note and "please report it" in note for note in wrong.notes)
    with pytest.raises(InputError, match="whole is for a GPU; write `kernels="):
        simulated(device="cpu")


def test_every_verb_takes_the_device(folder: Path, tmp_path: Path) -> None:
    on_gpu = ["--set", "hardware.device=cuda", "--set", f"output.folder={tmp_path / 'run'}"]
    run = CliRunner().invoke
    done = run(app, ["run", str(folder / "system.yaml"), *on_gpu, "--steps", "4"])
    assert done.exit_code == 0, done.output
    assert "captured graphs" in done.output and "has not" not in done.output
    np.save(tmp_path / "x.npy", np.stack([helix(N), helix(N) + np.linspace(0, 0.3, N)[:, None]]))
    common = ["energy", str(folder / "ff"), "--system", str(folder / "helix.safetensors"),
              "--frames", str(tmp_path / "x.npy")]  # fmt: skip
    for device in ("cpu", "cuda"):
        done = run(app, [*common, "--device", device, "--out", str(tmp_path / f"{device}.npz")])
        assert done.exit_code == 0, done.output
    cpu, gpu = np.load(tmp_path / "cpu.npz"), np.load(tmp_path / "cuda.npz")
    assert set(cpu) == set(gpu)
    for name in cpu:
        np.testing.assert_allclose(gpu[name], cpu[name], rtol=1e-6, atol=1e-6 * np.abs(cpu["forces"]).max())


def test_simulation_freezes_a_replica_that_explodes(folder: Path) -> None:
    sims = []
    for device in ("cuda", "cpu"):
        sim = Simulation(
            go_helix(N)[0],
            forcefield(False),
            replicas=3,
            start=helix(N),
            seed=3,
            guard="freeze",
            device=device,
            precision="fp64",
        )
        v = np.zeros((N, 3))
        v[2] = 1e200
        sim.replicas[1].velocities = v
        sim.run(4)
        sims.append(sim)
    gpu, cpu = sims
    assert gpu.guard.frozen.tolist() == cpu.guard.frozen.tolist() == [False, True, False]
    np.testing.assert_array_equal(gpu.replicas[1].positions, helix(N))
    np.testing.assert_allclose(gpu.state.positions, cpu.state.positions, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(gpu.kinetic_energy(), cpu.kinetic_energy(), rtol=1e-10)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "bias": ({"biases": [FunctionBias("funnel", lambda x: x.square().sum(dim=(1, 2)))]},
             "bias 'funnel' is a function in Python"),
    "reference": ({"kernels": "reference"}, "plain torch"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_has_no_kernel_is_refused(what: str) -> None:
    arguments, why = REFUSED[what]
    with pytest.raises(InputError, match=rf"argument 'device' of Simulation.*{why}.*device='cpu'"):
        Simulation(go_helix(N)[0], forcefield(), start=helix(N), device="cuda", **arguments)


def test_forces_that_are_wrong_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from mdflash.engine.gpu import choose as on_gpu

    exact = on_gpu.exact_forces
    monkeypatch.setattr(on_gpu, "exact_forces", lambda network, sample: 1.01 * exact(network, sample))
    with pytest.raises(InputError, match=r"off by 9.9e-03 of their rms, and fp32 allows 1e-05: the kernels are wrong"):
        Simulation(go_helix(N)[0], forcefield(), start=helix(N), device="cuda")


BIASED = """\
mdflash: 1
name: biased
system: {structure: helix.safetensors}
model: {forcefield: go, precision: fp64}
dynamics: {timestep: 4 fs, friction: 1 /ps, length: 32 fs, seed: 7, temperature: 300 K}
replicas: {count: 2}
metadynamics:
  - {name: fill, variables: [{name: size, variable: radius_of_gyration, width: 0.3 angstrom,
     grid: {min: 1 angstrom, max: 8 angstrom}}], height: 0.5 kcal/mol, bias_factor: 6, every: 8 fs}
biases:
  - {name: pull, variable: distance, beads: [0, 4], force_constant: 2 kcal/mol/angstrom^2,
     center: 8 angstrom, center_to: 12 angstrom, moving: {length: 24 fs, every: 4 fs}}
output: {trajectory: {interval: 8 fs}, log: {interval: 8 fs}, colvars: {interval: 4 fs}, checkpoint: {interval: 4 fs}}
"""


def test_hills_and_moving_biases_agree_with_the_cpu_and_go_on_with_the_same_bits(folder: Path) -> None:
    save_forcefield(folder / "go", forcefield(False))
    file = folder / "biased.yaml"
    file.write_text(BIASED)

    def run(name: str, device: str, stop: Callable[[], str | None] = lambda: None) -> None:
        settings = [f"output.folder={folder / name}", f"hardware.device={device}"]
        execute(load_run(file, settings), file, watch=Watch(should_stop=stop))

    run("filled", "cuda")
    run("filled_cpu", "cpu")
    calls = iter(range(100))
    with pytest.raises(Interrupted):
        run("filled_again", "cuda", lambda: "SIGTERM" if next(calls) > 3 else None)
    run("filled_again", "cuda")
    ends = [load_checkpoint(folder / name / "checkpoint") for name in ("filled", "filled_again", "filled_cpu")]
    whole, again, cpu = (end.arrays for end in ends if end is not None)
    assert whole["hills_count_fill"] == 8 and np.isfinite(whole["work"]).all()
    for name, array in whole.items():
        np.testing.assert_array_equal(array, again[name], err_msg=name)
        np.testing.assert_allclose(array, cpu[name], rtol=1e-9, atol=1e-9, err_msg=name)
    for text in ("log.csv", "colvars.csv"):
        assert (folder / "filled" / text).read_bytes() == (folder / "filled_again" / text).read_bytes()


def test_biases_that_are_wrong_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from mdflash.engine.gpu import choose as on_gpu

    monkeypatch.setattr(on_gpu, "SHAKE", math.nan)
    system = go_helix(N)[0]
    pull = {"name": "pull", "variable": "distance", "beads": [0, 4], "center": "8 angstrom",
            "force_constant": "2 kcal/mol/angstrom^2"}  # fmt: skip
    with pytest.raises(InputError, match=r"forces of the biases 'pull' near the start frames off by nan"):
        Simulation(system, forcefield(False), start=helix(N), device="cuda", biases=[pull])


def gpu_engine(replicas: int) -> Engine:
    system, ff = go_helix(N)
    layout = Layout((system,), (replicas,))
    rng = np.random.default_rng(54)
    x = torch.from_numpy(np.tile(helix(N), (replicas, 1)) + 0.1 * rng.normal(size=(replicas * N, 3)))
    from mdflash.forcefields.build import build_potential

    state, dynamics = State.at(layout, x, 300.0), Dynamics(LangevinMiddle(0.004, 1.0), seed=5)
    engine = Engine(layout, build_potential([ff], layout), state, dynamics, Backend(gpu=find_gpu()))
    engine.draw_velocities()
    return engine


def test_a_batch_that_is_too_large_is_carried_in_parts_with_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    from mdflash.engine.gpu import choose as on_gpu

    whole = gpu_engine(3)
    whole.run(2)
    made = on_gpu.CudaPropagator

    class Small(made):  # type: ignore[valid-type, misc]
        def __init__(self, layout: Layout, *more: object, **options: object) -> None:
            if layout.n_replicas > 1:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            super().__init__(layout, *more, **options)

    monkeypatch.setattr(on_gpu, "CudaPropagator", Small)
    split = gpu_engine(3)
    assert sum("run in parts" in note for note in split.notes) == 1
    split.run(1)
    split.run(1)
    for name in ("positions", "velocities", "forces", "energy"):
        assert torch.equal(getattr(whole.state, name), getattr(split.state, name))

    class None_(made):  # type: ignore[valid-type, misc]
        def __init__(self, *more: object, **options: object) -> None:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(on_gpu, "CudaPropagator", None_)
    with pytest.raises(InputError, match=r"no room for one replica of 3 x .*Tried to allocate 2.00 GiB"):
        gpu_engine(3)


def test_bench(folder: Path) -> None:
    report = bench(folder / "system.yaml", ["hardware.device=cuda"], 0.01, memory=False, sizes=False)
    assert report.kernels == "cuda" and report.device == describe(find_gpu()) and report.terms is None

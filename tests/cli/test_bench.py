"""`mdflash bench` and the standard benchmark at their smallest."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mdflash.bench.machine import Machine
from mdflash.bench.memory import measure_memory
from mdflash.bench.report import measure_roofline
from mdflash.bench.speed import Speed, break_even, measure_speed
from mdflash.bench.terms import TERMS, measure_terms
from mdflash.bench.work import dense_layers, neighborhood, schnet_work
from mdflash.cli.app import app
from mdflash.core.state import Layout, State
from mdflash.engine.blocks.compiled import CompiledPropagator
from mdflash.engine.engine import Engine
from mdflash.engine.settings import Dynamics
from mdflash.errors import MdflashError
from mdflash.integrators.langevin import LangevinMiddle
from mdflash.potentials.base import SumPotential
from tests.helpers import beads, simulate, walk
from tests.potentials.random_schnet import random_batch, random_schnet
from tests.processes import ROOT, python

MACHINE = Machine("a", 1, 1, 1e9, 1e9)


@pytest.fixture(scope="module")
def engine() -> Engine:
    """Three replicas with a network of odd sizes."""
    network = random_schnet(1)
    layout, schnet, x = random_batch([network], (20,), (3,), 5)
    return Engine(
        layout, SumPotential([schnet]), State.at(layout, x, 10.0), Dynamics(LangevinMiddle(0.0005, 5.0), seed=1)
    )


def test_the_whole_report(tmp_path: Path) -> None:
    """The shipped system, as a user asks for it; nothing is left behind but the file asked for."""
    out = tmp_path / "bench.json"
    done = CliRunner().invoke(
        app, ["bench", "chignolin", "--seconds", "0.1", "--json", str(out), "--set", "replicas.count=4",
              "--set", f"output.folder={tmp_path / 'run'}"],
        catch_exceptions=False,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    for word in ("step·replicas/s", "ns/day", "priors", "integrator", "neighbors", "output", "MB", "break-even"):
        assert word in done.output
    report = json.loads(out.read_text())
    speed = report["speed"]
    assert speed["replicas"] == 4
    # 10 fs a step: ns/day follow from steps/s
    assert speed["ns_per_day"] == pytest.approx(speed["steps_per_second"] * 0.01 * 86.4)
    assert speed["aggregate_ns_per_day"] == pytest.approx(4 * speed["ns_per_day"])
    assert 0 < report["memory"]["above_imports"] < 500e6
    assert [size["replicas"] for size in report["sizes"]][:3] == [1, 2, 4]
    assert report["terms_explain"] > 0
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.slow
def test_measuring_leaves_the_simulation_where_it_is(engine: Engine) -> None:
    engine.run(2)
    before = [getattr(engine.state, name).clone() for name in ("positions", "velocities", "forces", "energy")]
    terms = measure_terms(engine, 0.3)
    after = [getattr(engine.state, name) for name in ("positions", "velocities", "forces", "energy")]
    assert all(a.equal(b) for a, b in zip(before, after, strict=True))
    assert engine.state.step == 2
    assert tuple(terms.seconds) == TERMS
    assert terms.seconds["dense layers"] > 0 and terms.seconds["messages"] > 0
    assert measure_speed(engine, 0.05).steps_per_second > 0


def test_the_count_of_work(engine: Engine) -> None:
    """Against sums written out for a network of 48 features and 40 filters in panels of 16 float64."""
    assert isinstance(engine.propagator, CompiledPropagator)
    networks = engine.propagator.packed.networks
    assert networks is not None
    h, f, n, pairs, knots = 48, 48, 20, 100, 7
    sizes = [(f, h), (h, h), (h, f), (f, h), (h, h), (h, 32), (32, 16)]
    assert [(layer.n_in, layer.n_out) for layer in dense_layers(networks, 0)] == sizes
    work = schnet_work(networks, 0, n, pairs, knots)
    assert work.dense_multiply_adds == 2 * n * sum(a * b for a, b in sizes)
    assert work.message_multiply_adds == pairs * f * (5 + 5 + 5 + 10)
    channel = pairs * f * 8 * (6 + 6 + 4 + 8)
    assert work.message_bytes == channel + 4 * 6 * knots * f * 8 + 4 * 16 * pairs * f / 16

    x = engine.state.positions
    found = neighborhood(engine.layout, x, 9.0, 256, None, range(1, 3))
    for near, r in zip(found, (1, 2), strict=True):
        y = x[engine.layout.rows(r)].numpy()
        d = np.linalg.norm(y[:, None] - y, axis=-1)[np.triu_indices(n, 1)]
        d = d[d < 9.0]
        assert (near.pairs, near.intervals) == (len(d), len({int(v * 256 / 9.0) for v in d}))

    roofline = measure_roofline(engine, Speed(3, 10.0, 10.0, 1.0), MACHINE)
    assert roofline is not None
    assert roofline.neighbors_per_bead == pytest.approx(roofline.edges / 60)
    assert roofline.multiply_add_fraction == pytest.approx(10.0 * roofline.work.multiply_adds / 1e9)


def test_break_even() -> None:
    def sizes(*rates: float) -> list[Speed]:
        return [Speed(2**k, rate / 2**k, rate / 2**k, 1.0) for k, rate in enumerate(rates)]

    assert break_even(sizes(100, 190, 200, 205)) == 2
    assert break_even(sizes(100, 105, 150, 155, 160)) == 4  # one doubling that gains nothing may be noise
    assert break_even(sizes(100, 105)) is None


def test_memory_says_why_it_failed(tmp_path: Path) -> None:
    missing = tmp_path / "none.yaml"
    with pytest.raises(MdflashError, match=r"none\.yaml"):
        measure_memory(missing, [], 1)


def test_the_standard_benchmark_without_models(tmp_path: Path) -> None:
    script = f"import runpy; runpy.run_path('{ROOT}/benchmarks/standard.py', run_name='__main__')"
    options = ("--quick", "--out", tmp_path, "--reference", tmp_path / "no")
    done = python("-c", script, *options, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    assert "left out: no models in" in done.stdout
    (file,) = tmp_path.iterdir()
    report = json.loads(file.read_text())
    assert report["cases"] == {}
    large = report["large"]["1000"]
    assert large["steps_per_second"] > 0
    assert large["roofline"]["neighbors_per_bead"] == pytest.approx(0.025 * 4 / 3 * np.pi * 15**3, rel=0.05)


def test_the_yardstick_is_the_same_force_field_in_both_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from classical import go_forcefield, openmm_speed

    rng = np.random.default_rng(1)
    # five residues of N, CA, CB, C, O; the chain runs through N, CA, C
    bonds = [b for r in range(5) for b in ((5 * r, 5 * r + 1), (5 * r + 1, 5 * r + 2), (5 * r + 1, 5 * r + 3),
             (5 * r + 3, 5 * r + 4), (5 * r + 3, 5 * r + 5))][:-1]  # fmt: skip
    system = dataclasses.replace(beads("five", 25, types="NXYZO"), bonds=np.array(bonds))
    native = walk(25, rng, step=1.5)
    ff = go_forcefield(system, native)
    x = native + rng.normal(scale=0.1, size=native.shape)
    twin = simulate(Layout((system,), (1,)), [ff], x, draw=False)
    twin.evaluate()
    found = openmm_speed(ff, system, x, 0.01)
    assert found["energy"] == pytest.approx(float(twin.state.energy[0]), rel=1e-5)
    assert found["steps_per_second"] > 0

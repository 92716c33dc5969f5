"""Guards: freeze, retry, spikes; the replicas beside a failed one keep their bits."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mdflash.config.load import load_run
from mdflash.core.state import Layout, State
from mdflash.engine.engine import Engine
from mdflash.engine.exchange.replica_exchange import ReplicaExchange
from mdflash.engine.guards import STRETCH, Guard
from mdflash.engine.protocols import Propagator
from mdflash.engine.settings import Dynamics
from mdflash.errors import UnstableError
from mdflash.forcefields.forcefield import save_forcefield
from mdflash.integrators.langevin import LangevinMiddle
from mdflash.io.by_state import find_state
from mdflash.io.events import read_events
from mdflash.runs.execute import Plan, Watch, execute
from mdflash.units import BOLTZMANN
from tests.helpers import Rest, bead_term, beads, go_helix, helix, replica, same_bits, simulate, toy

BAD = 3
"""The replica that explodes."""


def batch(nonfinite: str = "freeze", n: int = 8, **options: object) -> Engine:
    """Gō helices; replica 3 is thrown apart so fast that no time step of its size holds it."""
    system, ff = go_helix(9)
    layout = Layout((system,), (n,), tuple(range(40, 40 + n)))
    guard = Guard(layout, nonfinite)  # type: ignore[arg-type]
    return simulate(layout, [ff], np.tile(helix(9), (n, 1)), guard=guard, **options)  # type: ignore[arg-type]


def explode(simulation: Engine) -> None:
    """Send two beads of the bad replica at each other; the energy overflows some steps later."""
    rows = simulation.layout.rows(BAD)
    simulation.state.velocities[rows][0] = torch.tensor([1e155, 0.0, 0.0], dtype=torch.float64)


class Told:
    """What a guard said."""

    def __init__(self, simulation: Engine) -> None:
        self.events: list[tuple[int, str, dict[str, object]]] = []
        simulation.guard.listeners.append(self)

    def __call__(self, step: int, event: str, **fields: object) -> None:
        self.events.append((step, event, fields))


@pytest.mark.parametrize(("policy", "python"), [("freeze", False), ("retry", False), ("freeze", True)])
def test_the_others_keep_their_bits_when_one_explodes(policy: str, python: bool) -> None:
    extra = [Rest()] if python else []
    steps = 800 if python else 2500
    whole, broken = (batch(policy, extra=extra) for _ in range(2))
    for simulation in (whole, broken):
        simulation.run(200)
    explode(broken)
    broken.guard.forget()
    start = tuple(v.clone() for v in replica(broken, BAD))
    told = Told(broken)
    whole.run(steps)
    broken.run(steps)
    for r in range(8):
        if r != BAD:
            assert same_bits(whole, broken, r, r)
    assert broken.guard.frozen.tolist() == [r == BAD for r in range(8)]
    for found, expected in zip(replica(broken, BAD), start, strict=True):  # it is where the stretch began
        assert torch.equal(found, expected)
    ((step, event, about),) = told.events
    assert (step, event, about["replica"], about["last_good_step"]) == (STRETCH, "freeze", 40 + BAD, 200)
    assert 200 <= about["failed_step"] < 260  # type: ignore[operator]
    assert "ALA 1 CA (bead 0)" in str(about["what"]) or "no finite position" in str(about["what"])


def test_one_of_64_explodes() -> None:
    whole, broken = batch(n=64), batch(n=64)
    for simulation in (whole, broken):
        simulation.run(50)
    explode(broken)
    broken.guard.forget()
    whole.run(1100)
    broken.run(1100)
    assert [r for r in range(64) if not same_bits(whole, broken, r, r)] == [BAD]


def test_stop_is_the_default_and_names_the_replica() -> None:
    simulation = batch("stop")
    simulation.run(10)
    explode(simulation)
    with pytest.raises(UnstableError, match=r"replica 43 \(helix\) became unstable at step \d+"):
        simulation.run(100)


def test_when_all_are_frozen_the_run_ends() -> None:
    simulation = batch("freeze")
    simulation.run(10)
    for r in range(8):
        simulation.state.velocities[simulation.layout.rows(r)][0, 0] = 1e155
    simulation.guard.forget()
    with pytest.raises(UnstableError, match="every replica is frozen"):
        simulation.run(5000)


# --- retry: a time step that is too long for a stiff bond, and short enough when halved --------------------------


def stiff(policy: str, timestep: float, temperatures: list[float]) -> Engine:
    """Two beads on a spring of frequency 100 /ps: stable below 20 fs, slowly unstable above."""
    k = 100.0**2 * 10.0 / 418.4 / 4  # omega^2 = 2 k / reduced mass, reduced mass 5 Da
    system = beads("spring", 2, masses=10.0)
    ff = toy(bead_term("bonds", "harmonic_bond", [[0, 1]], k=k, x0=4.0))
    layout = Layout((system,), (len(temperatures),))
    start = np.tile([[0.0, 0.0, 0.0], [4.0, 0.0, 0.0]], (len(temperatures), 1))
    guard = Guard(layout, policy)  # type: ignore[arg-type]
    return simulate(layout, [ff], start, LangevinMiddle(timestep, 1.0), temperatures, guard=guard)


def test_retry_takes_half_the_step_for_that_replica_alone() -> None:
    simulation = stiff("retry", 0.0205, [300.0] * 3)
    told = Told(simulation)
    simulation.run(5 * STRETCH)
    assert not simulation.guard.frozen.any()
    assert bool(torch.isfinite(simulation.state.energy).all())
    assert float(simulation.state.energy.max()) < 20.0  # thermal: kT/2 is 0.3 kcal/mol
    assert len(told.events) >= 3
    for step, event, about in told.events:
        assert event == "retry" and step % STRETCH == 0 and about["from_step"] == step - STRETCH
        assert about["timestep_fs"] == pytest.approx(10.25)


def test_retry_halves_again_and_gives_up_in_the_end() -> None:
    quarter = stiff("retry", 0.06, [300.0])
    told = Told(quarter)
    quarter.run(STRETCH)
    assert [(e, a["timestep_fs"]) for _, e, a in told.events] == [("retry", pytest.approx(15.0))]
    hopeless = stiff("retry", 0.5, [300.0])
    told = Told(hopeless)
    with pytest.raises(UnstableError, match="every replica is frozen"):
        hopeless.run(STRETCH)
    assert [e for _, e, _ in told.events] == ["freeze"]


def test_what_is_retried_does_not_depend_on_where_runs_stop() -> None:
    whole, parts = (stiff("retry", 0.0205, [300.0, 310.0]) for _ in range(2))
    told = Told(whole)
    whole.run(3 * STRETCH)
    assert len(told.events) >= 2
    asked = iter(range(10**9))
    while parts.state.step < 3 * STRETCH:  # stopped after every block
        parts.run(3 * STRETCH - parts.state.step, lambda: next(asked) % 2 == 1)
    assert all(same_bits(whole, parts, r, r) for r in range(2))


def test_the_finer_steps_have_noise_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The retried stretch must not be another stretch of the run, nor that of the retry before."""
    simulation = stiff("retry", 0.06, [300.0])
    right, tried = simulation.choose, []

    def choose(state: State, dynamics: Dynamics) -> Propagator:
        tried.append(dynamics)
        return right(state, dynamics)

    monkeypatch.setattr(simulation, "choose", choose)
    simulation.run(STRETCH)
    assert [d.timestep for d in tried] == [0.03, 0.015]
    assert len({simulation.seed, *(d.seed for d in tried)}) == 3
    assert all(d.integrator.friction == simulation.integrator.friction for d in tried)


# --- spikes -----------------------------------------------------------------------------------------------------


def test_a_force_spike_is_an_event_and_nothing_else() -> None:
    system, ff = go_helix(9)
    layout = Layout((system,), (4,), (5, 6, 7, 8))
    start = np.tile(helix(9), (4, 1)).reshape(4, 9, 3)
    quiet, watched = (simulate(layout, [ff], start, guard=Guard(layout, "stop", limit)) for limit in (None, 1e-3))
    told = Told(watched)
    for simulation in (quiet, watched):
        simulation.run(2 * STRETCH + 10)
    assert all(same_bits(quiet, watched, r, r) for r in range(4))
    assert sorted(about["replica"] for _, _, about in told.events) == [5, 6, 7, 8]  # a spike that lasts is one event
    for step, event, about in told.events:
        assert (step, event) == (STRETCH, "force spike")
        assert float(about["force_kcal_mol_A"]) > 1e-3  # type: ignore[arg-type]
        assert str(about["bead"]).startswith("ALA")


def test_the_spike_names_the_bead() -> None:
    system, ff = go_helix(9)
    layout = Layout((system,), (2,))
    simulation = simulate(layout, [ff], np.tile(helix(9), (2, 1)), guard=Guard(layout, "stop", 500.0))
    told = Told(simulation)
    simulation.run(STRETCH - 1)
    assert told.events == []
    simulation.state.positions[9 + 8] *= 3.0  # the last bead of replica 1, torn off
    simulation.evaluate()
    simulation.state.step = STRETCH
    largest = simulation.state.forces[9:].norm(dim=1)
    simulation.guard.settle(simulation)
    ((_, _, about),) = told.events
    assert about["replica"] == 1
    assert about["force_kcal_mol_A"] == float(largest.max())
    assert about["bead"] == system.bead_label(int(largest.argmax()))


def test_an_energy_spike_is_an_event() -> None:
    """A rise of more than 3 kT for each bead and ten more, from one boundary to the next; of that replica only."""
    system, ff = go_helix(9)
    layout = Layout((system,), (3,), (5, 6, 7))
    simulation = simulate(layout, [ff], np.tile(helix(9), (3, 1)))
    told = Told(simulation)
    simulation.run(3000)  # from the native structure to 300 K
    assert told.events == []
    state, rows = simulation.state, layout.rows(1)
    limit = 3.0 * (9 + 10) * BOLTZMANN * 300.0
    calm, held = state.energy.clone(), state.positions[rows].clone()
    for stretch in np.linspace(1.0, 3.0, 60):
        state.positions[rows] = stretch * held
        simulation.propagator.evaluate(state)
        simulation.guard.settle(simulation)
        rise = float(state.energy[1] - calm[1])
        if rise > limit:
            ((step, event, about),) = told.events
            assert (step, event) == (3000, "energy spike")
            assert about == {"replica": 6, "system": "helix", "energy_kcal_mol": float(state.energy[1]),
                             "rise_kcal_mol": rise}  # fmt: skip
            break
        assert told.events == []
        simulation.guard.forget()  # compare each with the same state
        state.positions[rows] = held
        simulation.propagator.evaluate(state)
        simulation.guard.settle(simulation)
    else:
        pytest.fail("the energy never rose")


# --- with exchange, and in a run --------------------------------------------------------------------------------


def test_frozen_replicas_take_no_part_in_exchange() -> None:
    system, ff = go_helix(8, epsilon=0.4)
    layout = Layout((system,), (8,))

    def start() -> Engine:
        exchange = ReplicaExchange(layout, (300.0, 340.0, 390.0, 450.0), 20)
        return simulate(
            layout, [ff], np.tile(helix(8), (8, 1)), None, exchange.start_temperatures.tolist(),
            exchange=exchange, guard=Guard(layout, "freeze"),
        )  # fmt: skip

    whole, broken = start(), start()
    whole.run(40)
    broken.run(40)
    explode(broken)
    broken.guard.forget()
    held = float(broken.state.temperature[BAD])
    seen: list[np.ndarray] = []
    assert broken.exchange is not None
    broken.exchange.listeners.append(lambda step, time, labels: seen.append(labels))
    whole.run(1000)
    broken.run(1000)
    assert broken.guard.frozen.tolist() == [r == BAD for r in range(8)]
    assert float(broken.state.temperature[BAD]) == held
    assert all(sorted(labels[:4]) == [0, 1, 2, 3] for labels in seen)
    assert len({tuple(labels[:3]) for labels in seen}) == 6  # the three others still reach every order
    assert all(same_bits(whole, broken, r, r) for r in range(4, 8))  # the other ladder never met it


@pytest.fixture
def springs(tmp_path: Path) -> Path:
    """Two springs: at 60 fs the light one explodes within 100 steps, a quarter of that holds; the heavy one is slow."""
    k = 100.0**2 * 10.0 / 418.4 / 4
    entries = []
    for name, mass in (("light", 10.0), ("heavy", 10_000.0)):
        system = beads(name, 2, masses=mass)
        ff = toy(bead_term("bonds", "harmonic_bond", [[0, 1]], k=k, x0=4.0))
        start = np.array([[[0.0, 0.0, 0.0], [4.0, 0.0, 0.0]]])
        save_forcefield(tmp_path / name, dataclasses.replace(ff, systems=((system, start),)))
        structure = next((tmp_path / name / "systems").glob("*.safetensors")).relative_to(tmp_path)
        entries.append(f"  - {{structure: {structure}, forcefield: {name}, name: {name}, replicas: 2}}")
    (tmp_path / "system.yaml").write_text(
        "\n".join(
            [
                "mdflash: 1",
                "system:",
                *entries,
                "dynamics: {steps: 2000, timestep: 60 fs, seed: 7, temperature: 300 K}",
                "output: {trajectory: {interval: 6 ps}, log: {interval: 6 ps}, checkpoint: {interval: 12 ps}}",
            ]
        )
    )
    return tmp_path / "system.yaml"


def run(source: Path, folder: Path, steps: int, *overrides: str) -> Engine:
    config = load_run(source, [f"output.folder={folder}", f"dynamics.steps={steps}", *overrides])
    return execute(config, source).engine


@pytest.mark.parametrize("policy", ["freeze", "retry"])
def test_resumed_runs_freeze_and_retry_the_same(springs: Path, tmp_path: Path, policy: str) -> None:
    option = f"guards.nonfinite={policy}"
    run(springs, tmp_path / "whole", 2000, option)
    for steps in (100, 700, 2000):
        run(springs, tmp_path / "parts", steps, option)
    for name in ("log.csv", "checkpoint/step_000000000002000.npz"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes(), name
    events = [e for e in read_events(tmp_path / "whole/events.jsonl") if e["event"] == policy]
    manifest = json.loads((tmp_path / "whole/manifest.json").read_text())
    assert manifest["status"] == "finished"
    if policy == "freeze":
        assert [(e["replica"], e["system"], e["last_good_step"]) for e in events] == [(0, "light", 0), (1, "light", 0)]
        assert manifest["frozen_since_step"] == {"0": 0, "1": 0}
    else:
        assert len(events) == 2 * 20  # every stretch, both replicas
        assert {e["timestep_fs"] for e in events} == {15.0}
        assert "frozen_since_step" not in manifest


def test_an_unstable_run_goes_on_with_freeze(springs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`guards` may change when a run is resumed, and changes nothing that was written."""
    monkeypatch.setattr("mdflash.runs.prepare.impossible_step", lambda *_: None)  # a step that no run may have
    coarse = ("output.trajectory.interval=120 ps", "output.log.interval=120 ps")
    with pytest.raises(UnstableError, match=r"replica 0 \(light\).*its last frame is that of step 0"):
        run(springs, tmp_path / "run", 2000, *coarse)
    failure, end = read_events(tmp_path / "run/events.jsonl")[-2:]
    assert (failure["event"], failure["replica"], failure["system"]) == ("failure", 0, "light")
    assert 0 < failure["failed_step"] <= failure["step"] < 2000 and "bonds" in failure["what"]
    assert (end["event"], end["last_frame_step"]) == ("unstable", 0)
    simulation = run(springs, tmp_path / "run", 2000, "guards.nonfinite=freeze", *coarse)
    assert simulation.guard.frozen.tolist() == [True, True, False, False]
    again = run(springs, tmp_path / "run", 4000, "guards.nonfinite=stop", *coarse)  # frozen replicas stay frozen
    assert again.state.step == 4000 and again.guard.frozen_since.tolist() == [0, 0, -1, -1]
    assert torch.equal(replica(again, 0)[0], replica(simulation, 0)[0])


def test_frames_of_frozen_replicas_are_not_exported_by_temperature(tmp_path: Path) -> None:
    _, ff = go_helix(8, epsilon=0.4)
    save_forcefield(tmp_path, ff)
    structure = next((tmp_path / "systems").glob("*.safetensors")).relative_to(tmp_path)
    (tmp_path / "system.yaml").write_text(
        f"""mdflash: 1
system: {{structure: {structure}}}
model: {{forcefield: .}}
dynamics: {{steps: 1000, timestep: 4 fs, seed: 7}}
replicas: {{count: 2}}
exchange: {{temperatures: [300 K, 320 K], interval: 0.2 ps}}
output: {{trajectory: {{interval: 0.2 ps}}, log: {{interval: 0.2 ps}}}}
guards: {{nonfinite: freeze}}
"""
    )

    class Push:
        """Throws replica 1 apart after the report of step 400."""

        def next_report(self, step: int) -> int:
            return (step // 400 + 1) * 400

        def report(self, simulation: Engine) -> None:
            if simulation.state.step == 400:
                simulation.state.velocities[simulation.layout.rows(1)][0, 0] = 1e155

    config = load_run(tmp_path / "system.yaml", [f"output.folder={tmp_path / 'run'}"])

    def planned(plan: Plan) -> None:
        plan.engine.reporters.append(Push())

    execute(config, tmp_path / "system.yaml", watch=Watch(planned=planned))
    counts = []
    for state in (0, 1):
        found = find_state(tmp_path / "run", [300.0, 320.0], state=state)
        steps = np.concatenate([part.steps for part in found.frames()])
        assert (steps % 50 == 0).all() and len(steps) == len(set(steps.tolist()))
        counts.append(len(steps))
    assert sorted(counts) == [9, 21]  # replica 1 is frozen from step 400 on

"""Exchange of the strength of a term: every state has its own distribution, in the compiled block, and in a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from mdflash.config.load import load_run, parse_run
from mdflash.config.write import resolved_yaml
from mdflash.core.state import Layout
from mdflash.engine.engine import Engine
from mdflash.engine.exchange.replica_exchange import ReplicaExchange
from mdflash.errors import InputError
from mdflash.forcefields.build import build_potential
from mdflash.forcefields.forcefield import save_forcefield
from mdflash.integrators.langevin import LangevinMiddle
from mdflash.potentials.bias.bias import FORCE_CONSTANT, Bias, biases_of
from mdflash.potentials.bias.pack import PackedBiases
from mdflash.potentials.bias.term_energy import TermEnergy
from mdflash.potentials.priors.term import PriorTerm
from mdflash.runs.execute import execute
from mdflash.runs.prepare import prepare
from mdflash.units import kT
from tests.helpers import bead_term, beads, go_helix, same_bits, simulate, toy

SCALES = [0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
LADDER = [280.0, 290.0, 300.0, 310.0, 320.0, 330.0]
EPSILON, R0, K, X0 = 10.0, 6.0, 0.4, 11.0
PAIR = beads("pair", 2, masses=100.0)
FORCEFIELD = toy(
    bead_term("contact", "contact_12_10", [[0, 1]], epsilon=EPSILON, r0=R0),
    bead_term("spring", "harmonic_bond", [[0, 1]], k=K, x0=X0),
)
"""Two beads, bound at 6 Å by a contact, or apart at 11 Å by a spring."""
GRID = np.linspace(4.5, 16.0, 20_001)
"""Å."""


def start(ladders: int, temperatures: list[float], exchanging: bool = True, seed: int = 2026) -> Engine:
    """Ladders over the strength of the contact; every replica starts at a distance drawn from its state's own."""
    k = len(SCALES)
    layout = Layout((PAIR,), (k * ladders,))
    contact = next(t for t in build_potential([FORCEFIELD], layout).terms if t.name == "contact")
    assert isinstance(contact, PriorTerm)
    constants = [scale - 1.0 for scale in SCALES] * ladders
    bias = Bias("scale_contact", TermEnergy(PAIR, contact), layout, constants, form="linear")
    exchange = ReplicaExchange(layout, temperatures, 20, biases=[bias])
    states = [cdf(s, t)(GRID) for s, t in enumerate(temperatures)]
    drawn = np.random.default_rng(seed).random((ladders, k))
    x = [
        [[0.0, 0.0, 0.0], [np.interp(u, state, GRID), 0.0, 0.0]]
        for row in drawn
        for u, state in zip(row, states, strict=True)
    ]
    return simulate(
        layout, [FORCEFIELD], np.array(x), LangevinMiddle(0.01, 8.0), exchange.start_temperatures.tolist(),
        extra=[bias], exchange=exchange if exchanging else None, seed=seed,
    )  # fmt: skip


def cdf(state: int, temperature: float) -> Callable[[np.ndarray], np.ndarray]:
    """Of the distance in a state, exact."""
    contact = EPSILON * (5 * (R0 / GRID) ** 12 - 6 * (R0 / GRID) ** 10)
    density = GRID**2 * np.exp(-(SCALES[state] * contact + K * (GRID - X0) ** 2) / kT(temperature))
    return lambda at: np.asarray(np.interp(at, GRID, np.cumsum(density) / density.sum()))


def distances(simulation: Engine, temperatures: list[float], frames: int) -> list[np.ndarray]:
    """The distances seen in every state."""
    biases = biases_of(simulation.potential)
    exchange = simulation.exchange or ReplicaExchange(simulation.layout, temperatures, 1, biases=biases)
    simulation.run(4_000)  # 200 exchanges, after which wrong ones have left the distributions of the start
    found: list[list[np.ndarray]] = [[] for _ in SCALES]
    for _ in range(frames):
        simulation.run(300)
        labels = exchange.labels(simulation.state)
        x = simulation.state.positions.view(-1, 2, 3)
        r = (x[:, 1] - x[:, 0]).norm(dim=1).numpy()
        for k, values in enumerate(found):
            values.append(r[labels == k])
    return [np.concatenate(values) for values in found]


@pytest.mark.parametrize("temperatures", [[300.0] * 6, LADDER], ids=["scales", "scales and temperatures"])
def test_every_state_has_its_own_distribution(temperatures: list[float]) -> None:
    """60 ladders, 10 samples each 3 ps apart: 600 distances of each state, against the exact one and single states."""
    together = start(60, temperatures, seed=21)
    assert together.propagator.kernels == "compiled"
    found = distances(together, temperatures, 10)
    alone = distances(start(60, temperatures, exchanging=False, seed=22), temperatures, 10)
    assert together.exchange is not None
    tried, done = (np.diagonal(c[0], 1) for c in (together.exchange.attempted, together.exchange.accepted))
    assert ((done > 0.05 * tried) & (done < tried)).all()
    for k, t in enumerate(temperatures):
        assert stats.kstest(found[k], cdf(k, t)).pvalue > 0.01, f"state {k}"
        if k < 3:  # stronger contacts alone are too slow to open
            assert stats.ks_2samp(found[k], alone[k]).pvalue > 0.01, f"state {k}"
    assert stats.ks_2samp(found[0], found[-1]).pvalue < 1e-4  # so the test can tell states apart


@pytest.mark.parametrize("mutant", ["wrong sign", "scale left out"])
def test_wrong_decisions_are_caught(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can tell: mutants of the decision give other distributions."""
    temperatures = [300.0] * 6
    simulation = start(60, temperatures, seed=23)
    exchange = simulation.exchange
    assert exchange is not None
    right = exchange.reduced
    mutants = {
        "wrong sign": lambda u, labels, q: -right(u, labels, q),
        "scale left out": lambda u, labels, q: np.tile(u / kT(300.0), (len(SCALES), 1)),
    }
    monkeypatch.setattr(exchange, "reduced", mutants[mutant])
    found = distances(simulation, temperatures, 10)
    assert min(stats.kstest(found[k], cdf(k, 300.0)).pvalue for k in range(6)) < 1e-4


def test_energy_and_forces_are_those_of_the_scaled_term() -> None:
    """Against a force field whose contact is that much weaker, to the last digits."""
    simulation = start(1, [300.0] * 6)
    simulation.run(50)
    x = simulation.state.positions
    one = Layout((PAIR,), (1,))
    assert simulation.exchange is not None
    labels = simulation.exchange.labels(simulation.state)
    for r in range(6):
        contact = bead_term("contact", "contact_12_10", [[0, 1]], epsilon=EPSILON * SCALES[labels[r]], r0=R0)
        weaker = build_potential([toy(contact, FORCEFIELD.terms[1])], one)
        energy, forces = weaker.energy_and_forces(x[simulation.layout.rows(r)], one, None)
        assert float(energy[0]) == pytest.approx(float(simulation.state.energy[r]), rel=1e-12)
        found = simulation.state.forces[simulation.layout.rows(r)]
        torch.testing.assert_close(found, forces, rtol=1e-11, atol=1e-11)


def test_reduced_energies_are_those_of_an_evaluation_in_every_state() -> None:
    simulation = start(2, LADDER)
    simulation.exchange, exchange = None, simulation.exchange
    simulation.run(50)
    assert exchange is not None
    (bias,), state = biases_of(simulation.potential), simulation.state
    values = PackedBiases([bias], simulation.layout).measure(state.positions.numpy())[0]
    found = exchange.reduced(state.energy.numpy(), exchange.labels(state), values)
    own = bias.parameters.copy()
    for k, temperature in enumerate(LADDER):
        bias.parameters[:] = own[k]
        simulation.evaluate()
        np.testing.assert_allclose(found[k], state.energy.numpy() / kT(temperature), rtol=1e-11)


def test_blocks_change_no_bit() -> None:
    whole, parts = start(2, LADDER), start(2, LADDER)
    whole.run(500)
    for steps in (1, 133, 206, 160):
        parts.run(steps)
    assert whole.exchange is not None and whole.exchange.accepted.sum() > 10
    assert all(same_bits(whole, parts, r, r) for r in range(12))


# --- a run ------------------------------------------------------------------------------------------------------


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A Gō helix whose contacts are traded at four strengths; two ladders."""
    _, ff = go_helix(8, epsilon=0.6)
    save_forcefield(tmp_path, ff)
    structure = next((tmp_path / "systems").glob("*.safetensors")).relative_to(tmp_path)
    (tmp_path / "system.yaml").write_text(
        f"""mdflash: 1
system: {{structure: {structure}}}
model: {{forcefield: .}}
dynamics: {{steps: 1000, timestep: 4 fs, seed: 7, temperature: 300 K}}
replicas: {{count: 8}}
exchange: {{scale: {{contacts: {{min: 0.7, max: 1, count: 4}}}}, interval: 0.2 ps}}
output: {{trajectory: {{interval: 0.4 ps}}, log: {{interval: 0.4 ps}}, colvars: {{interval: 0.4 ps}},
  checkpoint: {{interval: 0.4 ps}}}}
"""
    )
    return tmp_path / "system.yaml"


def test_a_run_goes_on_with_the_same_bytes(source: Path, tmp_path: Path) -> None:
    def run(folder: str, steps: int) -> Engine:
        config = load_run(source, [f"output.folder={tmp_path / folder}", f"dynamics.steps={steps}"])
        return execute(config, source).engine

    whole = run("whole", 1000)
    assert whole.exchange is not None and whole.exchange.accepted.sum() > 10
    for steps in (30, 410, 1000):
        run("parts", steps)
    for name in ("log.csv", "colvars.csv", "exchange.csv", "checkpoint/step_000000000001000.npz"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes(), name
    first, row, *_ = (tmp_path / "whole/colvars.csv").read_text().splitlines()
    assert first.endswith("scale_contacts_term_kcal_mol,scale_contacts_kcal_mol")
    term, added = map(float, row.split(",")[-2:])
    assert added == (0.7 - 1.0) * term < 0.0 or added == pytest.approx(-0.3 * term)
    states = whole.exchange.summary()["biases"]["scale_contacts"]["force_constant"]
    assert [1.0 + constant for constant in states] == pytest.approx([0.7, 0.8, 0.9, 1.0])


def test_simulations_of_one_preparation_have_biases_of_their_own(source: Path) -> None:
    prepared = prepare(load_run(source).with_seed())
    one, other = prepared.engine(), prepared.engine()
    one.draw_velocities()
    one.run(500)
    (moved,), (still,) = biases_of(one.potential), biases_of(other.potential)
    assert (moved.parameters[:, FORCE_CONSTANT] != still.parameters[:, FORCE_CONSTANT]).any()
    np.testing.assert_array_equal(still.parameters, prepared.biases[0].parameters)


def test_resolved_yaml_reads_back(source: Path) -> None:
    config = load_run(source)
    assert config.exchange is not None
    assert config.exchange.scale == {"contacts": (0.7, 0.8, 0.9, 1.0)}
    assert config.exchange_states == (300.0,) * 4
    assert parse_run(resolved_yaml(config), source).exchange == config.exchange


@pytest.mark.parametrize(
    ("override", "words"),
    [
        (
            "exchange.scale={contact: [0.5, 1]}",
            "'contact' is no term here; what can be scaled: angles, bonds, contacts",
        ),
        ("exchange.scale={excluded_volume: [0.5, 1]}", "'excluded_volume' is a network or a term of all pairs"),
        ("exchange.scale={contacts: [0.5]}", "contacts: expected two or more scales"),
        ("exchange.scale={contacts: [0.5, -1]}", "a scale is a plain number from 0 to 100, found -1"),
        ("exchange.scale={contacts: {min: 1, max: 0.5, count: 4}}", "min must be below max, found 1 and 0.5"),
        ("exchange.scale={contacts: {min: 0.5, max: 1}}", "expected the keys min, max, count"),
        ("exchange.scale=[contacts]", "expected terms with their scales"),
        ("exchange.scale={contacts: [0.5, 1], bonds: [0.5, 0.7, 1]}", r"and one temperature, found \[2, 3\]"),
        ("exchange.scale={contacts: [0.5, 0.6, 1]}", "do not fill ladders of 3 states"),
        ("exchange.scale=none", "or terms whose strength is"),
    ],
)
def test_wrong_scales_are_explained(source: Path, override: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        prepare(load_run(source, [override]).with_seed())

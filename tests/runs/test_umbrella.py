"""Biases in runs: free energies, colvars.csv, the same bits however a run is cut, own functions, errors by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mdflash.config.load import load_run
from mdflash.core.state import Layout
from mdflash.engine.blocks.compiled import set_threads
from mdflash.engine.engine import Engine
from mdflash.errors import InputError, UnstableError
from mdflash.forcefields.forcefield import save_forcefield
from mdflash.io.repair import repair_file
from mdflash.neighbors.verlet import VerletList
from mdflash.potentials.base import Potential
from mdflash.potentials.bias.bias import Bias
from mdflash.potentials.bias.function import FunctionBias
from mdflash.potentials.variables.dihedral import Dihedral
from mdflash.potentials.variables.distance import Distance
from mdflash.potentials.variables.native_contacts import NativeContacts, contacts_of
from mdflash.potentials.variables.position import Position
from mdflash.potentials.variables.rmsd import Rmsd
from mdflash.runs.execute import Plan, execute
from tests.helpers import Rest, go_helix, helix, same_bits, simulate
from tests.umbrella import contact, mbar_error, sample, windows

SYSTEM, GO = go_helix(10, epsilon=0.4)
START = helix(10)


def test_free_energy_of_a_double_well_short() -> None:
    """15 windows, 32 replicas of each, 200 samples of each replica: within 0.1 kcal/mol, Jacobian included."""
    well = contact()
    simulation, bias = windows(well, 32, seed=1)
    assert simulation.propagator.kernels == "compiled"
    assert mbar_error(well, sample(simulation, bias, 300, 20, 200)) < 0.1


def several(layout: Layout) -> list[Potential]:
    """Biases of many kinds; the center of the first is the replica's own."""
    n = layout.n_replicas
    pairs = contacts_of(SYSTEM, range(10), START, 8.0, 2)
    r0 = np.linalg.norm(START[pairs[:, 0]] - START[pairs[:, 1]], axis=1)
    centers = [6.0 + 0.5 * r for r in layout.replica_ids]
    return [
        Bias("ends", Distance(SYSTEM, [0, 1], 9), layout, [2.0] * n, centers),
        Bias("twist", Dihedral(SYSTEM, 0, 3, 6, 9), layout, 3.0, 1.0),
        Bias("near", Rmsd(SYSTEM, range(10), START), layout, 5.0, 0.0, 1.0, "flat-bottom"),
        Bias("folded", NativeContacts(SYSTEM, pairs, r0), layout, 20.0, 0.7),
        Bias("pinned", Position(SYSTEM, [4, 5], START[[4, 5]]), layout, 1.0),
    ]


def biased(ids: tuple[int, ...], extra: tuple[Potential, ...] = (), **options: object) -> Engine:
    layout = Layout((SYSTEM,), (len(ids),), ids)
    start = np.tile(START, (len(ids), 1))
    return simulate(layout, [GO], start, extra=[*several(layout), *extra], **options)  # type: ignore[arg-type]


def test_the_same_bits() -> None:
    """In any batch, on any number of threads, in any blocks, in the plain loop."""
    whole = biased((0, 1, 2, 3))
    whole.run(600)
    alone, chunks, plain = biased((2,)), biased((0, 1, 2, 3)), biased((0, 1, 2, 3), (Rest(),))
    alone.run(600)
    set_threads(1)
    try:
        for steps in (1, 250, 7, 342):
            chunks.run(steps)
    finally:
        set_threads(None)
    plain.run(600)
    assert (whole.propagator.kernels, plain.propagator.kernels) == ("compiled", "python")
    assert same_bits(whole, alone, 2, 0)
    assert all(same_bits(whole, other, r, r) for other in (chunks, plain) for r in range(4))


@pytest.mark.parametrize("precision", ["fp64", "fp32"])
def test_the_reference_kernels_walk_the_same_path(precision: str) -> None:
    """Also in single precision, far from the origin: biases keep their reference points in float64."""
    compiled, reference = biased((0, 1)), biased((0, 1), kernels="reference", precision=precision)
    for simulation in (compiled, reference):
        simulation.run(20)
    close = 1e-10 if precision == "fp64" else 1e-4
    np.testing.assert_allclose(compiled.state.positions, reference.state.positions, rtol=0, atol=close)
    energy = compiled.state.energy.numpy()
    np.testing.assert_allclose(reference.state.energy, energy, rtol=0, atol=1e-9 if precision == "fp64" else 1e-2)


def test_a_bias_of_ones_own() -> None:
    """A plain function gives the same path as the built-in bias that it spells out."""
    layout = Layout((SYSTEM,), (2,))

    def spring(x: torch.Tensor) -> torch.Tensor:
        assert x.dtype == torch.float64 and x.shape[1:] == (10, 3)
        return 0.5 * 2.0 * ((x[:, 9] - x[:, 0]).norm(dim=-1) - 8.0) ** 2

    built_in = Bias("spring", Distance(SYSTEM, 0, 9), layout, 2.0, 8.0)
    own, compiled = (
        simulate(layout, [GO], np.tile(START, (2, 1)), extra=[bias])
        for bias in (FunctionBias("spring", spring), built_in)
    )
    for simulation in (own, compiled):
        simulation.run(30)
    assert (own.propagator.kernels, compiled.propagator.kernels) == ("python", "compiled")
    np.testing.assert_allclose(own.state.positions, compiled.state.positions, rtol=0, atol=1e-10)
    np.testing.assert_allclose(own.state.energy, compiled.state.energy, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda x: x.square().sum(), r"must return a tensor of energies \[R\].*it returned \[\]"),
        (lambda x: 1.0, "it returned float"),
        (lambda x: x.detach().square().sum(dim=(1, 2)), "does not depend on the positions by torch operations"),
    ],
)
def test_own_functions_that_cannot_work_are_explained(function: object, text: str) -> None:
    layout = Layout((SYSTEM,), (1,))
    simulation = simulate(layout, [GO], START, extra=[FunctionBias("mine", function)])  # type: ignore[arg-type]
    with pytest.raises(InputError, match=f"(?s)bias 'mine'.*{text}"):
        simulation.run(1)
    with pytest.raises(InputError, match="bias 'mine': no system 'x'; there is helix"):
        simulate(layout, [GO], START, extra=[FunctionBias("mine", torch.sum, "x")]).run(1)  # type: ignore[arg-type]


def test_a_bias_that_tears_a_molecule_apart_is_named() -> None:
    layout = Layout((SYSTEM,), (1,))
    hard = Bias("pull", Distance(SYSTEM, 0, 9), layout, 1e9, 40.0)
    simulation = simulate(layout, [GO], START, extra=[hard])
    with pytest.raises(UnstableError, match="term 'pull' has energy"):
        simulation.run(2000)


YAML = """
biases:
  - {name: ends, variable: distance, beads: [0, resSeq 10], center: {min: 6 angstrom, max: 9 angstrom, count: 4},
     force_constant: 2 kcal/mol/angstrom^2}
  - {name: folded, variable: native_contacts, center: 0.8, force_constant: 20 kcal/mol}
  - {name: near, variable: rmsd, form: flat-bottom, center: 0 angstrom, width: 2 angstrom, beads: "name CA",
     force_constant: 5 kcal/mol/angstrom^2}
"""
QUICK = ("output.log.interval=0.4 ps", "output.colvars.interval=0.2 ps", "output.trajectory.interval=0.8 ps")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("umbrella")
    save_forcefield(folder, GO)
    structure = next((folder / "systems").glob("*.safetensors")).relative_to(folder)
    (folder / "system.yaml").write_text(
        f"mdflash: 1\nname: umbrella\nsystem: {{structure: {structure}}}\nmodel: {{forcefield: .}}\n"
        "replicas: {count: 8}\n"
        f"dynamics: {{steps: 800, timestep: 4 fs, seed: 7, temperature: 300 K}}\n{YAML}"
    )
    return folder / "system.yaml"


def run(source: Path, folder: Path, *overrides: str, steps: int = 800) -> Plan:
    config = load_run(source, [*QUICK, f"output.folder={folder}", f"dynamics.steps={steps}", *overrides])
    return execute(config, source)


@pytest.mark.parametrize("exchange", [(), ("exchange.biases=[ends]", "exchange.interval=0.4 ps")], ids=["", "exchange"])
def test_colvars_csv(source: Path, tmp_path: Path, exchange: tuple[str, ...]) -> None:
    """What it says is true, and a run that was cut and went on writes the same bytes."""
    plan = run(source, tmp_path / "whole", *exchange)
    run(source, tmp_path / "parts", *exchange, steps=350)
    with (tmp_path / "parts/colvars.csv").open("a") as file:
        file.write("350,1.4,0,helix,6.2")  # a torn row that a kill left
    assert run(source, tmp_path / "parts", *exchange).start == "resume"
    names = ["colvars.csv", "log.csv", "checkpoint/step_000000000000800.npz", *(["exchange.csv"] if exchange else [])]
    for name in names:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes(), name

    table = np.genfromtxt(tmp_path / "whole/colvars.csv", delimiter=",", names=True, dtype=None, encoding=None)
    columns = ("ends_A", "ends_kcal_mol", "folded", "folded_kcal_mol", "near_A", "near_kcal_mol")
    assert table.dtype.names == ("step", "time_ps", "replica", "system", "state", "target_K", *columns)
    assert len(table) == 8 * 17 and set(table["system"]) == {"helix"}
    last = table[table["step"] == 800]
    x = plan.engine.state.positions.view(8, 10, 3)
    np.testing.assert_allclose(last["ends_A"], (x[:, 9] - x[:, 0]).norm(dim=-1), rtol=1e-12)
    np.testing.assert_allclose(last["folded_kcal_mol"], 10.0 * (last["folded"] - 0.8) ** 2, rtol=1e-9)
    if not exchange:
        centers = np.tile([6.0, 7.0, 8.0, 9.0], 2)
        np.testing.assert_allclose(
            table["ends_kcal_mol"], (table["ends_A"] - centers[table["replica"]]) ** 2, atol=1e-12
        )
    if not exchange:  # after the last attempt the biases are those of the new windows
        potential = plan.prepared.potential
        pairs = VerletList(plan.engine.layout, potential.cutoff or 0.0, 0.0, None).pairs(x.view(-1, 3))
        terms = potential.by_term(x.view(-1, 3), plan.engine.layout, pairs)
        np.testing.assert_allclose(terms["ends"].energy, last["ends_kcal_mol"], rtol=1e-11)
        log = np.genfromtxt(tmp_path / "whole/log.csv", delimiter=",", names=True, dtype=None, encoding=None)
        total = sum(term.energy for term in terms.values())
        np.testing.assert_allclose(log[log["step"] == 800]["potential_kcal_mol"], total, rtol=1e-10)

    with (tmp_path / "whole/colvars.csv").open("a") as file:
        file.write("900,3.6")
    assert repair_file(tmp_path / "whole/colvars.csv").kept == 8 * 17


def test_a_resumed_run_keeps_its_biases(source: Path, tmp_path: Path) -> None:
    run(source, tmp_path / "run", steps=100)
    moved = source.with_name("moved.yaml")
    moved.write_text(source.read_text().replace("center: 0.8", "center: 0.7"))
    with pytest.raises(InputError, match=r"biases\.1\.center: 0\.8, now it is 0\.7"):
        run(moved, tmp_path / "run")
    np.save(source.with_name("other.npy"), START + np.random.default_rng(1).normal(size=START.shape))
    moved.write_text(source.read_text().replace("form: flat-bottom,", "form: flat-bottom, reference: other.npy,"))
    with pytest.raises(InputError, match="bias variable 'near' has changed since"):
        run(moved, tmp_path / "run")


@pytest.mark.parametrize(
    ("old", "new", "key", "text"),
    [
        (
            "resSeq 10",
            "resSeq 99",
            "biases.0.beads",
            "'resSeq 99' selects no bead of system 'helix', which has 10 beads",
        ),
        ("resSeq 10", "resSeq is", "biases.0.beads", "is not a selection that MDTraj understands"),
        ("[0, resSeq 10]", "[0, 10]", "biases.0.beads", "bead 10 is not in system 'helix'; its beads are 0 to 9"),
        (
            "center: 0.8,",
            "center: 0.8, contacts: {cutoff: 2 angstrom},",
            "biases.1.beads",
            "has no native contacts among",
        ),
        ('beads: "name CA"', "reference: wrong.npy", "", r"needs \[frames, 10, 3\]"),
    ],
)
def test_what_does_not_fit_the_molecule_is_explained(
    source: Path, tmp_path: Path, old: str, new: str, key: str, text: str
) -> None:
    np.save(source.with_name("wrong.npy"), START[:5])
    broken = source.with_name("broken.yaml")
    assert old in source.read_text()
    broken.write_text(source.read_text().replace(old, new))
    with pytest.raises(InputError, match=text) as caught:
        run(broken, tmp_path / "run")
    assert key in str(caught.value)
    assert not (tmp_path / "run").exists()

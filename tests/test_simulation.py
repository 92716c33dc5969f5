"""`mdflash.Simulation`: the bits of a system.yaml, quantities, live replicas, errors in the words of a call."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest
import torch

import mdflash
from mdflash import Simulation, units
from mdflash.config.load import load_run
from mdflash.config.schema import Dynamics, Model, Neighbors, Replicas
from mdflash.errors import ForceFieldError, InputError
from mdflash.runs.execute import execute

from .helpers import Rest, go_helix

CHIGNOLIN = Path(mdflash.__file__).parents[1] / "systems" / "chignolin.pdb"


def small(**options: object) -> Simulation:
    """Chignolin as its force field brings it, in 10 fs steps."""
    settings: dict[str, object] = {"replicas": 2, "timestep": "10 fs", "seed": 11}
    return Simulation("chignolin", "go-chignolin", **{**settings, **options})  # type: ignore[arg-type]


def positions(sim: Simulation) -> np.ndarray:
    return sim.state.positions.numpy().copy()


@pytest.mark.parametrize(
    ("yaml", "call"),
    [
        ("dynamics: {temperature: 310 K, timestep: 9 fs, friction: 2 /ps, steps: 200, seed: 5, minimize: 20}",
         {"temperatures": "310 K", "timestep": "9 fs", "friction": "2 /ps", "minimize": 20}),
        ("dynamics: {temperature: [300 K, 320 K, 340 K, 360 K], timestep: 10 fs, steps: 200, seed: 5,\n"
         "           integrator: langevin-baoab, remove_com_motion: true}",
         {"temperatures": [300, 320.0, "340 K", np.float64(360)], "timestep": "0.010 ps",
          "integrator": "langevin-baoab", "remove_com_motion": True}),
        ("dynamics: {timestep: 10 fs, steps: 200, seed: 5}\n"
         "exchange: {temperatures: {min: 300 K, max: 360 K, count: 4}, interval: 200 fs, scheme: gibbs}\n"
         "guards: {nonfinite: freeze}\nbox: [80 angstrom, 80 angstrom, 80 angstrom]",
         {"exchange": {"temperatures": {"min": 300, "max": "360 K", "count": 4}, "interval": "0.2 ps",
                        "scheme": "gibbs"},
          "guard": "freeze", "box": [80, 80.0, "80 angstrom"], "timestep": "10 fs"}),
        ("dynamics: {temperature: 300 K, timestep: 10 fs, steps: 200, seed: 5}\n"
         "biases: [{name: pull, variable: distance, beads: [0, 9], force_constant: 2 kcal/mol/angstrom^2,\n"
         "          center: {min: 4 angstrom, max: 16 angstrom, count: 4}}]",
         {"timestep": "10 fs", "biases": [
             {"name": "pull", "variable": "distance", "beads": [0, 9], "force_constant": "2 kcal/mol/angstrom^2",
              "center": {"min": "4 angstrom", "max": "16 angstrom", "count": 4}}]}),
    ],
)  # fmt: skip
def test_the_same_bits_as_a_yaml(tmp_path: Path, yaml: str, call: dict[str, object]) -> None:
    source = tmp_path / "run.yaml"
    source.write_text(
        f"mdflash: 1\nsystem: {{structure: {CHIGNOLIN}}}\nmodel: {{forcefield: go-chignolin}}\n"
        f"replicas: {{count: 4}}\n{yaml}\n"
        f"output: {{folder: {tmp_path / 'run'}, trajectory: {{format: none}}, log: {{interval: 18 ps}}}}\n"
    )  # fmt: skip
    plan = execute(load_run(source), source)
    minimize = call.pop("minimize", 0)
    sim = Simulation(CHIGNOLIN, "go-chignolin", replicas=4, seed=5, **call)  # type: ignore[arg-type]
    if minimize:
        sim.minimize(int(minimize))  # type: ignore[call-overload]
    sim.run(120)
    sim.run(80)
    run = plan.engine.state
    for name in ("positions", "velocities", "forces", "energy", "temperature"):
        assert torch.equal(getattr(sim.state, name), getattr(run, name)), name
    assert sim.layout.systems == plan.engine.layout.systems


def test_defaults_are_those_of_the_yaml() -> None:
    given = {name: p.default for name, p in inspect.signature(Simulation.__init__).parameters.items()}
    dynamics, model = Dynamics.model_fields, Model.model_fields
    assert units.parse(given["timestep"], "time") == dynamics["timestep"].default
    assert units.parse(given["friction"], "rate") == dynamics["friction"].default
    assert units.parse(given["skin"], "length") == Neighbors.model_fields["skin"].default
    assert given["replicas"] == Replicas.model_fields["count"].default
    for name in ("integrator", "seed", "remove_com_motion", "network_every"):
        assert given[name] == dynamics[name].default
    assert (given["precision"], given["kernels"]) == (model["precision"].default, model["kernels"].default)
    assert small().state.temperature.tolist() == [300.0, 300.0]


def test_quantities_of_openmm_and_pint() -> None:
    unit = pytest.importorskip("openmm.unit")
    registry = pytest.importorskip("pint").UnitRegistry()
    text = small(temperatures=["300 K", "310 K"], timestep="9 fs", friction="2 /ps", box=["8 nm"] * 3)
    openmm = small(
        temperatures=[300, 310] * unit.kelvin,
        timestep=9 * unit.femtosecond,
        friction=2 / unit.picosecond,
        box=[8, 8, 8] * unit.nanometer,
    )
    pint = small(
        temperatures=registry.Quantity(np.array([300, 310]), "K"),
        timestep=registry.Quantity(9, "fs"),
        friction=registry.Quantity(2, "1/ps"),
        box=[registry.Quantity(8, "nm")] * 3,
    )
    text.run("90 fs")
    openmm.run(90 * unit.femtosecond)
    pint.run(registry.Quantity(0.09, "ps"))
    for sim in (openmm, pint):
        assert sim.state.step == 10
        np.testing.assert_array_equal(positions(sim), positions(text))
    for wrong in (4 * unit.kelvin, registry.Quantity(4, "K")):
        with pytest.raises(InputError, match=r"argument 'timestep' of Simulation: expected a time .*found 4 [Kk]"):
            small(timestep=wrong)
    x = np.random.default_rng(3).normal(size=(10, 3))
    for value in (x / 10 * unit.nanometer, registry.Quantity(x / 10, "nm"), torch.from_numpy(x), x.tolist()):
        text.replicas[1].positions = value
        np.testing.assert_allclose(text.replicas[1].positions, x, rtol=1e-14)
    openmm.replicas[0].temperature = 350 * unit.kelvin
    assert openmm.replicas[0].temperature == 350.0


def test_quantities_need_no_library(tmp_path: Path) -> None:
    import subprocess
    import sys

    script = (
        "import sys; from mdflash import Simulation; Simulation('chignolin', 'go-chignolin', seed=1);"
        "print([m for m in ('openmm', 'pint', 'pandas', 'xarray') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_replicas_are_live_views() -> None:
    sim = small(replicas=3)
    assert [r.number for r in sim.replicas] == [0, 1, 2]
    x = sim.replicas[1].positions
    before = x.copy()
    sim.run(10)
    assert not np.array_equal(x, before), "the view follows the simulation"
    np.testing.assert_array_equal(x, sim.positions[1])
    for view in (x, sim.positions, sim.replicas[0].velocities, sim.replicas[0].forces):
        with pytest.raises(ValueError, match="read-only"):
            view[:] = 0.0
    assert sim.replicas[2].kinetic_energy == sim.kinetic_energy()[2] > 0


def test_all_replicas_at_once() -> None:
    sim, other = small(replicas=3), small(replicas=3)
    sim.run(5)
    assert sim.step == 5 and sim.positions.shape == (3, 10, 3)
    assert sim.energies.tolist() == [replica.energy for replica in sim.replicas]
    other.positions = sim.positions
    np.testing.assert_array_equal(other.positions[2], sim.replicas[2].positions)
    assert other.energies.tolist() == sim.energies.tolist(), "set positions are evaluated"
    other.positions = [x / 10 * pytest.importorskip("openmm.unit").nanometer for x in sim.positions]
    np.testing.assert_allclose(other.positions, sim.positions, rtol=1e-14)
    before = other.energies.tolist()
    with pytest.raises(InputError, match=r"expected one \[N, 3\] in Å for each of the 3 replicas, found 2"):
        other.positions = sim.positions[:2]
    with pytest.raises(InputError, match=r"replica 1: positions must be \[10, 3\]"):
        other.positions = [sim.positions[0], np.zeros((9, 3)), sim.positions[2]]
    assert other.energies.tolist() == before, "a mistake changes nothing"


def test_positions_of_molecules_of_different_sizes_and_as_a_call() -> None:
    system, ff = go_helix(6, "other")
    sim = Simulation([system, "chignolin"], [ff, "go-chignolin"], replicas=[1, 2], seed=1)
    assert [x.shape for x in sim.positions] == [(6, 3), (10, 3), (10, 3)]
    np.testing.assert_array_equal(sim.positions[2], sim.replicas[2].positions)
    with pytest.warns(DeprecationWarning, match="sim.positions is an array"):
        old = sim.positions(1)
    np.testing.assert_array_equal(old, np.stack(list(sim.positions[1:])))
    with pytest.warns(DeprecationWarning, match="sim.positions is an array"):
        assert small().positions().shape == (2, 10, 3)


def test_temperature_is_accepted_as_in_a_run_file() -> None:
    assert small(temperature="310 K").state.temperature.tolist() == [310.0, 310.0]
    assert small(temperature=[310, "320 K"]).state.temperature.tolist() == [310.0, 320.0]


def test_the_signature_tells_what_is_expected() -> None:
    types = {name: str(p.annotation) for name, p in inspect.signature(Simulation).parameters.items()}
    assert "Any" not in " ".join(types.values()).replace("Mapping[str, Any]", "")
    assert types["systems"] == "Molecule | Sequence[Molecule]" and types["timestep"] == "WithUnit"


def test_setting_positions_makes_forces_anew() -> None:
    rng = np.random.default_rng(8)
    sim, other = small(), small()
    sim.run(5)
    moved = sim.replicas[0].positions + rng.normal(scale=0.1, size=(10, 3))
    other.replicas[1].positions = moved
    sim.replicas[1].positions = moved
    untouched = sim.replicas[0].energy
    assert sim.replicas[1].energy == other.replicas[1].energy
    np.testing.assert_array_equal(sim.replicas[1].forces, other.replicas[1].forces)
    assert sim.replicas[0].energy == untouched
    # a run right after the change starts from the new forces too
    sim.replicas[1].positions = other.replicas[1].positions
    for s in (sim, other):
        s.state.step = 5
        s.replicas[1].velocities = np.zeros((10, 3))
        s.run(3)
    np.testing.assert_array_equal(sim.replicas[1].positions, other.replicas[1].positions)


def test_heating_one_replica() -> None:
    sim = small(replicas=2, temperatures="0.1 K")
    sim.replicas[1].temperature = "600 K"
    sim.run(2000)
    cold, hot = sim.instantaneous_temperature()
    assert cold < 5 < 200 < hot
    with pytest.raises(InputError, match="0 K or more"):
        sim.replicas[0].temperature = -1
    ladder = small(exchange={"temperatures": [300, 320]})
    with pytest.raises(InputError, match="belong to the ladder"):
        ladder.replicas[0].temperature = 300


def test_what_replicas_refuse() -> None:
    sim = small()
    for value, text in (
        (np.zeros((9, 3)), r"must be \[10, 3\] in Å, found \[9, 3\]"),
        (np.full((10, 3), np.inf), r"TYR 1 CA \(bead 0\).*finite"),
        ("x", "expected numbers in Å"),
    ):
        with pytest.raises(InputError, match=text):
            sim.replicas[0].positions = value
    assert np.isfinite(sim.replicas[0].energy)


def test_start_positions(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    own = small().replicas[0].positions
    frames = own + rng.normal(scale=0.2, size=(2, 10, 3))
    np.save(tmp_path / "frames.npy", frames)
    for start in (frames, tmp_path / "frames.npy", str(tmp_path / "frames.npy"), torch.from_numpy(frames)):
        sim = small(start=start, replicas=3)
        np.testing.assert_array_equal(sim.positions, frames[[0, 1, 0]])
    assert any("2 start frames for 3 replicas" in note for note in sim.notes)
    system, ff = go_helix(12)
    sim = Simulation([system, "chignolin"], [ff, "go-chignolin"], replicas=[1, 2], start=None, seed=1)
    assert sim.layout.describe() == "1 x helix (12 beads), 2 x chignolin (10 beads)"
    np.testing.assert_array_equal(sim.replicas[0].positions, ff.systems[0][1][0])  # type: ignore[index]
    np.testing.assert_array_equal(sim.replicas[2].positions, own)
    assert [r.system.name for r in sim.replicas] == ["helix", "chignolin", "chignolin"]


@pytest.mark.parametrize("suffix", [".pdb", ".cif", ".gro"])
def test_structure_files(tmp_path: Path, suffix: str) -> None:
    import mdtraj

    path = tmp_path / f"chignolin{suffix}"
    mdtraj.load(str(CHIGNOLIN)).save(str(path))
    sim = Simulation(path, "go-chignolin", seed=1)
    assert sim.layout.systems[0].residue_names == small().layout.systems[0].residue_names
    # GRO keeps 0.01 Å
    np.testing.assert_allclose(sim.replicas[0].positions, small().replicas[0].positions, atol=6e-3)
    source = tmp_path / "run.yaml"
    source.write_text(
        f"mdflash: 1\nsystem: {{structure: {path.name}}}\nmodel: {{forcefield: go-chignolin}}\n"
        "dynamics: {temperature: 300 K, length: 10 ps, seed: 1}\n"
    )
    from mdflash.runs.prepare import prepare

    np.testing.assert_array_equal(prepare(load_run(source)).start.numpy(), sim.replicas[0].positions)


def test_a_potential_of_ones_own() -> None:
    class Spring(Rest):
        name = "spring"

        def energy_and_forces(self, positions, layout, pairs):  # type: ignore[no-untyped-def]
            x = layout.view(positions, 0)
            forces = torch.zeros_like(positions)
            layout.view(forces, 0)[:, 0] = -3.0 * x[:, 0]
            return mdflash.EnergyForces(1.5 * (x[:, 0] ** 2).sum(-1), forces)

    plain, biased = small(), small(biases=[Spring()])
    x = plain.replicas[0].positions[0]
    assert biased.replicas[0].energy - plain.replicas[0].energy == pytest.approx(1.5 * (x**2).sum())
    np.testing.assert_allclose(biased.replicas[0].forces[0] - plain.replicas[0].forces[0], -3.0 * x, rtol=1e-12)
    biased.run(10)
    assert not np.array_equal(positions(biased), positions(plain))
    rest = small(biases=[Rest()])
    rest.run(10)
    plain.run(10)
    np.testing.assert_array_equal(positions(rest), positions(plain))


def test_run_takes_steps_or_a_time() -> None:
    sim = small()
    assert sim.run(7) == 7
    assert sim.run("30 fs") == 3
    assert sim.run(0.5e1) == 5
    assert sim.run(np.int64(2)) == 2
    assert sim.state.step == 17 and sim.steps_in("1 ns") == 100_000
    for wrong, text in (
        ("15 fs", r"15 fs is 1.5 steps of 10 fs.*write `steps='20 fs'`"),
        (1.5, "whole number of steps or a time"),
        (-1, "whole number of steps or a time"),
        (True, "whole number of steps or a time"),
        ("3 K", "unknown unit 'K' of time"),
    ):
        with pytest.raises(InputError, match=text):
            sim.run(wrong)


def test_minimize() -> None:
    sim = small(start=small().replicas[0].positions + np.random.default_rng(2).normal(scale=0.5, size=(10, 3)))
    result = sim.minimize(2000, "0.5 kcal/mol/angstrom")
    assert (result.after < result.before).all() and (result.largest_force <= 0.5).all()
    assert sim.replicas[0].energy == result.after[0]
    with pytest.raises(InputError, match="argument 'tolerance' of minimize: unknown unit 'K'"):
        sim.minimize(10, "3 K")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"timestep": "4"}, r"'timestep' of Simulation: '4' has no unit; write `timestep='4 fs'`"),
        ({"timestep": "-1 fs"}, "must be more than 0"),
        ({"timestep": 4}, r"'timestep' of Simulation: 4 has no unit; write `timestep='4 fs'` or `timestep='4 ps'`"),
        ({"timestep": np.float64(0.004)}, r"0.004 has no unit; write `timestep='0.004 fs'` or `timestep='0.004 ps'`"),
        (
            {"exchange": {"temperatures": [300, 310], "interval": 2}},
            r"'exchange.interval' of Simulation: 2 has no unit; write `'interval': '2 fs'` or `'interval': '2 ps'`",
        ),
        ({"temperature": 300, "temperatures": 300}, "'temperature' of Simulation: means the same as `temperatures`"),
        ({"timestep": float("nan")}, "expected a finite time"),
        ({"temperatures": [300, 310], "replicas": 3}, r"lists 2 temperatures for 3 replicas.*`replicas=2`"),
        ({"temperatures": 300, "exchange": {}}, r"the ladder of `exchange` sets them"),
        ({"exchange": {}}, r"'exchange.temperatures' of Simulation: is missing"),
        ({"exchange": {"temperatures": [300, 310, 320]}, "replicas": 4}, r"do not fill ladders.*write `replicas=6`"),
        ({"exchange": {"temperatures": [300, 310], "interval": "15 fs"}}, r"write `'interval': '20 fs'`"),
        ({"exchange": {"temperatures": [300, 310], "schema": "gibbs"}}, "did you mean 'scheme'"),
        ({"integrator": "verlett"}, r"write `integrator='verlet'`"),
        ({"guard": "sto"}, "'guard' of Simulation: expected one of stop, freeze, retry.*`guard='stop'`"),
        ({"guard": {"spread": 2}}, "'guard' of Simulation: `spread` is of the frames that `mdflash run` writes"),
        ({"guard": {"max_force": "3 K"}}, "'guard.max_force' of Simulation: unknown unit 'K' of force"),
        ({"box": [3, 4]}, "three lengths"),
        ({"box": [50, "4 K", 50]}, r"'box\[1\]' of Simulation: unknown unit 'K' of length"),
        ({"seed": -1}, "from 0 to 4294967295"),
        ({"replicas": 0}, "'replicas' of Simulation: expected a whole number from 1"),
        ({"replicas": [1, 2]}, "lists 2 numbers for 1 systems"),
        ({"precision": "fp16"}, "expected one of"),
        ({"threads": 0}, "'threads' of Simulation"),
        ({"biases": [3]}, "'biases' of Simulation: expected dicts or potentials, found int"),
        ({"biases": {"name": "pull"}}, r"write `biases=\[...\]`"),
        (
            {"biases": [{"name": "pull", "variable": "distanc"}]},
            r"'biases\[0\].variable' of Simulation: expected",
        ),
        ({"network_every": 3}, "no force field of this run has a network"),
        ({"start": np.zeros((3, 3))}, r"needs \[10, 3\] or \[F, 10, 3\] in Å, found \[1, 3, 3\]"),
        ({"start": np.full((10, 3), np.nan)}, r"TYR 1 CA \(bead 0\) in replica 0"),
    ],
)
def test_wrong_arguments_are_named(options: dict[str, object], text: str) -> None:
    with pytest.raises(InputError, match=text):
        small(**options)


def test_wrong_molecules_are_named(tmp_path: Path) -> None:
    for systems, text in (
        ("foo", "neither a structure file nor a molecule of the force field 'go-chignolin', which holds"),
        ("foo.pdb", "foo.pdb: no such file"),
        (3, "expected a System, a structure file or a name, found int"),
        ([], "the list is empty"),
        (["chignolin", "chignolin"], "2 systems are called 'chignolin'"),
    ):
        with pytest.raises(InputError, match=text):
            Simulation(systems, "go-chignolin")
    with pytest.raises(ForceFieldError, match="shipped force fields"):
        Simulation("chignolin", "go-chignolinn")
    with pytest.raises(InputError, match="found int"):
        Simulation("chignolin", 3)
    with pytest.raises(InputError, match="one entry for each of the 1 molecules, found 2 entries"):
        Simulation("chignolin", ["go-chignolin"] * 2)
    system, ff = go_helix(6, "other")
    with pytest.raises(InputError, match="no positions are known for 'nameless'"):
        import dataclasses

        Simulation(dataclasses.replace(system, name="nameless"), dataclasses.replace(ff, systems=()))


def test_odd_settings_warn() -> None:
    with pytest.warns(UserWarning, match="above 20 fs"):
        sim = small(timestep="25 fs")
    assert any("above 20 fs" in note for note in sim.notes)


def test_a_fresh_seed_is_drawn_and_told() -> None:
    one, two = (small(seed=None) for _ in range(2))
    assert one.seed != two.seed
    again = small(seed=one.seed)
    for sim in (one, again):
        sim.run(5)
    np.testing.assert_array_equal(positions(one), positions(again))


def test_a_reporter_of_openmm_is_refused_with_advice() -> None:
    class Foreign:
        def describeNextReport(self, simulation: object) -> dict[str, int]:
            return {"steps": 1}

        def report(self, simulation: object, state: object) -> None: ...

    sim = small()
    sim.reporters.append(Foreign())  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"Foreign.*use mdflash\.StateDataReporter"):
        sim.run(1)


def test_arrays_of_another_kind_and_misspelled_attributes() -> None:
    sim = small()
    replica = sim.replicas[0]
    x = replica.positions.copy()
    masked = np.ma.masked_greater(x, float(np.median(x)))
    for wrong, why in ((x * (1 + 0j), "complex"), (x.astype(str), "text"), (masked, "masked")):
        with pytest.raises(InputError, match=f"positions.*{why}"):
            replica.positions = wrong
        with pytest.raises(InputError, match=f"velocities.*{why}"):
            replica.velocities = wrong
        with pytest.raises(InputError, match=f"start.*{why}"):
            small(start=wrong)
    replica.positions = torch.tensor(x, requires_grad=True)
    assert (replica.positions == x).all()
    with pytest.raises(AttributeError):
        replica.position = x  # type: ignore[attr-defined]
    bias = {"name": "d", "variable": "distance", "center": "5 angstrom", "force_constant": "1 kcal/mol/angstrom^2"}
    energies = [
        small(biases=[bias | {"beads": given}]).energies[0]
        for given in ([0, 9], np.array([0, 9]), torch.tensor([0, 9]), (np.int64(0), 9))
    ]
    assert len(set(energies)) == 1
    for steps in ("-1 ps", "-3 fs", b"1 ps"):
        with pytest.raises(InputError, match="argument 'steps' of run: expected"):
            sim.run(steps)  # type: ignore[arg-type]

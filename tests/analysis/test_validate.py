"""Validation: distances of known distributions, coordinates of known structures, and the whole road."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mdflash.analysis.against.compare import Axis, compare
from mdflash.analysis.against.coordinates import Tica, coordinates, fraction_of_contacts, radius_of_gyration, rmsd
from mdflash.analysis.against.simulate import SimulationPlan, simulate
from mdflash.analysis.against.validate import validate
from mdflash.cli.app import app
from mdflash.core.system import System
from mdflash.errors import InputError
from mdflash.forcefields.forcefield import save_forcefield
from mdflash.sampling.dataset import load_dataset
from tests.helpers import beads, go_helix, helix
from tests.training.datasets import write_dataset

KT = 0.6


def _blocks(rng: np.random.Generator, n: int = 40_000) -> list[np.ndarray]:
    return list(rng.normal(0.0, 1.0, (20, n // 20, 1)))


def test_divergence_and_rmse_of_two_gaussians() -> None:
    """Against the same numbers by integration over the same bins."""
    from scipy.stats import norm

    axis = Axis("x", np.linspace(-6, 6, 61))
    x = np.random.default_rng(1).permutation(norm.ppf((np.arange(800_000) + 0.5) / 800_000)).reshape(20, -1, 1)
    found = compare("x", [axis], list(x), list(x + 0.5), KT)
    p, q = (np.diff(norm.cdf(axis.edges, m)) for m in (0.0, 0.5))
    m = 0.5 * (p + q)
    jsd = 0.5 * (p * np.log(p / m) + q * np.log(q / m)).sum()
    populated = p > p.max() * np.exp(-4.0 / KT)
    rmse = np.sqrt(((KT * np.log(q / p))[populated] ** 2).mean())
    assert found.jsd == pytest.approx(jsd, rel=1e-3)
    assert found.rmse == pytest.approx(rmse, rel=2e-3)
    assert found.bins == pytest.approx(populated.sum(), abs=0) and found.empty == 0


def test_samples_of_one_distribution_are_as_far_apart_as_their_errors_say() -> None:
    rng = np.random.default_rng(2)
    axis = Axis("x", np.linspace(-2, 2, 21))
    found = [compare("x", [axis], _blocks(rng), _blocks(rng), KT) for _ in range(6)]
    assert max(f.jsd for f in found) < 1e-3
    assert 0.002 < np.mean([f.rmse for f in found]) < 0.05
    assert all(f.rmse_error < 0.05 for f in found)


def test_a_place_never_visited_counts_and_is_told() -> None:
    rng = np.random.default_rng(3)
    data = [rng.choice([-1.0, 1.0], (500, 1)) for _ in range(10)]
    model = [-np.ones((500, 1)) for _ in range(10)]
    found = compare("x", [Axis("x", np.linspace(-2, 2, 5))], data, model, KT)
    assert found.bins == 2 and found.empty == 1
    assert found.rmse > 2.0  # half a frame of 5000 against half of them
    assert found.jsd == pytest.approx(0.5 * (np.log(4 / 3) + 0.5 * np.log(2 / 3) + 0.5 * np.log(2.0)), abs=0.02)


def test_values_beyond_the_axis_count_in_its_end_bins() -> None:
    data = [np.array([[0.5], [99.0], [-99.0]])] * 4
    found = compare("x", [Axis("x", np.linspace(0, 1, 3))], data, data, KT)
    np.testing.assert_allclose(found.reference, [1 / 3, 2 / 3])
    assert found.jsd == 0.0 and found.rmse == 0.0


def test_rmsd_does_not_see_motion_but_sees_the_mirror() -> None:
    from scipy.spatial.transform import Rotation

    native = helix(12)
    rng = np.random.default_rng(4)
    moved = Rotation.random(random_state=1).apply(native) + rng.normal(size=3)
    noise = 0.3 * rng.normal(size=(2000, 12, 3))
    assert rmsd(moved[None], native)[0] < 1e-6
    assert rmsd((native * [1, 1, -1])[None], native)[0] > 1.0
    # 3 N - 6 of 3 N directions of the noise are left after superposition
    assert np.sqrt((rmsd(native + noise, native) ** 2).mean()) == pytest.approx(0.3 * np.sqrt(3 - 6 / 12), rel=0.03)


def test_radius_and_contacts() -> None:
    x = np.zeros((1, 2, 3))
    x[0, 1, 0] = 3.0
    assert radius_of_gyration(x, np.array([1.0, 2.0]))[0, 0] == pytest.approx(np.sqrt(2.0))
    pairs, r0 = np.array([[0, 1]]), np.array([3.0])
    assert fraction_of_contacts(x, pairs, r0)[0] > 0.9
    assert fraction_of_contacts(4 * x, pairs, r0)[0] < 0.01


def _peptide() -> System:
    """ACE-ALA-NME's heavy atoms, as far as phi and psi need them."""
    return System(
        name="ala2", types=("C", "N", "CA", "C", "N"), bead_names=("C", "N", "CA", "C", "N"),
        residue_index=np.array([0, 1, 1, 1, 2]), residue_names=("ACE", "ALA", "NME"), residue_ids=(1, 2, 3),
        chain_ids=("A",) * 3, masses=np.full(5, 12.0), bonds=np.array([[0, 1], [1, 2], [2, 3], [3, 4]]),
    )  # fmt: skip


def test_phi_and_psi_are_found_by_name() -> None:
    found = {c.name: c for c in coordinates(_peptide(), None)}
    ramachandran = found["phi, psi of ALA 2"]
    x = np.random.default_rng(5).normal(size=(50, 5, 3))
    import mdtraj

    expected = np.degrees(mdtraj.compute_dihedrals(_named(x), [[0, 1, 2, 3], [1, 2, 3, 4]]))
    np.testing.assert_allclose(ramachandran.values(x), expected, atol=1e-3)


def _named(x: np.ndarray):  # type: ignore[no-untyped-def]
    import mdtraj

    topology = mdtraj.Topology()
    residue = topology.add_residue("ALA", topology.add_chain())
    for _ in range(x.shape[1]):
        topology.add_atom("C", mdtraj.element.carbon, residue)
    return mdtraj.Trajectory(x / 10, topology)


def test_tica_finds_the_slow_coordinate() -> None:
    """A chain whose last dihedral hops slowly while everything else is white noise."""
    rng = np.random.default_rng(6)
    x = np.tile(helix(6), (4000, 1, 1)) + 0.1 * rng.normal(size=(4000, 6, 3))
    state = np.cumsum(rng.random(4000) < 0.005) % 2
    x[state == 1, 5] += [0.0, 0.0, 3.0]
    tica = Tica(beads("slow", 6), [x[:2000], x[2000:]], 10)
    first = tica(x)[:, 0]
    assert abs(np.corrcoef(first, state)[0, 1]) > 0.95
    assert 0.8 < tica.eigenvalues[0] < 1.0 and abs(tica.eigenvalues[1]) < 0.2


@pytest.mark.slow
def test_the_truth_validates_and_a_wrong_force_field_does_not(tmp_path: Path) -> None:
    """The Gō model that made the data, and one with half its strength, through the command line."""
    _, truth = write_dataset(tmp_path / "data", trajectories=6, frames=400)
    _, weak = go_helix(7, "helix", epsilon=0.5)
    found = {}
    for name, ff in (("truth", truth), ("weak", weak)):
        save_forcefield(tmp_path / name, ff)
        out = tmp_path / f"report-{name}"
        arguments = ["validate", str(tmp_path / name), "--against", str(tmp_path / "data"), "--replicas", "6"]
        arguments += [
            "--length",
            "200 ps",
            "--settling",
            "8 ps",
            "--interval",
            "0.4 ps",
            "--friction",
            "20 /ps",
            "--out",
            str(out),
        ]
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.output
        assert "JSD" in done.output
        page = (out / "report.html").read_text()
        assert "data:image/png;base64" in page and "2,400 frames in 6 trajectories" in page
        report = json.loads((out / "report.json").read_text())["molecules"][0]
        assert report["model_frames"] == 6 * 500 and report["replicas_left_finite_numbers"] == 0
        found[name] = report["coordinates"]
    bonds = {
        name: np.median([c["model_against_data"]["jsd_nats"] for c in every.values() if c["group"] == "bonds"])
        for name, every in found.items()
    }
    assert bonds["truth"] < 0.02 < bonds["weak"]
    rg = {name: every["Rg"]["model_against_data"]["jsd_nats"] for name, every in found.items()}
    assert rg["truth"] < rg["weak"]


def test_frames_of_ladders_are_those_at_the_temperature() -> None:
    """Replicas exchange with hotter ones; bonds are as long, and as stiff, as without."""
    system, ff = go_helix(8)[:2]
    start = helix(8)[None]
    told: list[int] = []
    plan = SimulationPlan(300.0, 6, length=200.0, settling=20.0, interval=0.4)
    alone, _ = simulate(ff, system, start, plan, told.append)
    ladders, lost = simulate(ff, system, start, dataclasses.replace(plan, ladder=(400.0, 530.0)), told.append)
    assert lost == 0 and len(ladders) == 6 and {own.shape for own in ladders} == {(500, 8, 3)}
    spread = []
    for frames in (np.concatenate(alone), np.concatenate(ladders)):
        r = np.linalg.norm(np.diff(frames.astype(np.float64), axis=1), axis=-1)
        spread.append(r.var(axis=0).mean())
    assert spread[1] == pytest.approx(spread[0], rel=0.1)  # at 400 K bonds would vary by a third more


def test_frames_of_windows_are_no_measure(tmp_path: Path) -> None:
    _, ff = write_dataset(tmp_path / "mixed", frames=40, biased=(0, 2))
    plan = SimulationPlan(temperature=300.0, replicas=2, length=20.0, settling=1.0, interval=0.4)
    (found,) = validate(ff, load_dataset(tmp_path / "mixed"), plan, lambda molecule, step: None)
    assert (found.result.reference_frames, found.data_trajectories) == (40, 1)
    assert found.coarse is None
    (long,) = validate(
        ff, load_dataset(tmp_path / "mixed"), dataclasses.replace(plan, timestep=0.02), lambda molecule, step: None
    )
    assert long.coarse is not None and "steps of 20 fs are more than a tenth" in long.coarse
    write_dataset(tmp_path / "held", frames=40, biased=(0, 1, 2))
    with pytest.raises(InputError, match=r"windows alone.*without `windows:`"):
        validate(ff, load_dataset(tmp_path / "held"), plan, lambda molecule, step: None)


def test_frames_that_are_close_in_time_are_left_out(tmp_path: Path) -> None:
    """Of frames every 0.02 ps, one in 25 is looked at; TICA's lag is a time, 10 ps."""
    _, ff = write_dataset(tmp_path / "close", trajectories=2, frames=5200, every=5)
    plan = SimulationPlan(temperature=300.0, replicas=2, length=20.0, settling=1.0, interval=0.4)
    (found,) = validate(ff, load_dataset(tmp_path / "close"), plan, lambda molecule, step: None)
    assert (found.result.reference_frames, found.result.tica_lag) == (2 * 208, 20)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "helix"
    write_dataset(folder, frames=40)
    return folder


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--temperature", "350 K"], "no data at 350 K; there are frames at 300 K"),
        (["--length", "10"], "key '--length': '10' has no unit"),
        (["--ladder", "350 K, 320 K"], "must rise and start above --temperature, 300 K"),
        (["--length", "10 ps", "--interval", "2 ps"], "less than 10 frames"),
    ],
)
def test_mistakes(dataset: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    save_forcefield(tmp_path / "ff", go_helix(7)[1])
    done = CliRunner().invoke(app, ["validate", str(tmp_path / "ff"), "--against", str(dataset), *arguments])
    assert message in str(done.exception)

"""Weights of frames: MBAR against exact ones for new kinds of windows and ladders, columns, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml

from mdflash.cli.weighed import rows
from mdflash.config.biases import BiasEntry
from mdflash.core.system import System
from mdflash.errors import InputError
from mdflash.sampling.dataset import create_dataset, load_dataset
from mdflash.sampling.restraint import Restraint, make_restraint
from mdflash.sampling.trajectory import TrajectoryWriter, open_trajectory
from mdflash.training import weights
from mdflash.training.entropy.weighed import groups_of, weigh
from mdflash.training.frames import load_frames
from mdflash.training.priors import fit_priors
from mdflash.training.recipe import Data, Priors, load_recipe
from mdflash.training.redrawn import Redrawn, block_counts
from mdflash.training.split import hold_out, parts_of
from mdflash.training.weights import frame_weights, load_weighted
from mdflash.units import kT
from tests.helpers import beads, evenly

FRAMES = 400


@dataclass(frozen=True)
class Kind:
    """A molecule of two or four beads, sampled exactly along one coordinate from its own energy and windows."""

    variable: str
    system: System
    place: Callable[[np.ndarray], np.ndarray]  # values [F] to positions [F, N, 3]
    span: tuple[float, float]
    centers: np.ndarray
    constant: float


def _pair(r: np.ndarray) -> np.ndarray:
    x = np.zeros((len(r), 2, 3))
    x[:, 1, 0] = r
    return x


def _bent(q: np.ndarray) -> np.ndarray:
    x = np.zeros((len(q), 3, 3))
    x[:, 0, 0] = x[:, 2, 0] = 4.0
    x[:, 2] = 4.0 * np.stack([np.cos(q), np.sin(q), np.zeros(len(q))], axis=1)
    return x[:, [0, 1, 2]]


def _twisted(q: np.ndarray) -> np.ndarray:
    x = np.zeros((len(q), 4, 3))
    x[:, 0] = [1.5, 0.0, -1.0]
    x[:, 2, 2] = 4.0
    x[:, 3] = np.stack([1.5 * np.cos(q), 1.5 * np.sin(q), np.full(len(q), 5.0)], axis=1)
    return x


KINDS = {
    "distance": Kind("distance", beads("pair", 2), _pair, (3.0, 9.0), np.linspace(3.25, 8.75, 12), 6.0),
    "angle": Kind("angle", beads("bent", 3), _bent, (0.6, 2.9), np.linspace(0.7, 2.8, 12), 30.0),
    "dihedral": Kind(
        "dihedral", beads("twisted", 4), _twisted, (-np.pi, np.pi), np.linspace(-np.pi, np.pi, 13)[:-1], 10.0
    ),
}


def draw(
    kind: Kind,
    rng: np.random.Generator,
    folder: Path,
    kelvin: tuple[float, ...],
    stored: bool,
    own: np.random.Generator | None = None,
) -> tuple[Callable[[np.ndarray], np.ndarray], Path]:
    """A dataset of windows, and free ones where there are several temperatures; and the energy that made it.

    Frames are drawn evenly, or from `own` as independent ones.
    """
    a, b, low, high = *rng.uniform(0.8, 2.0, 2), *kind.span
    phase = rng.uniform(0.0, 2.0 * np.pi)

    def energy(q: np.ndarray) -> np.ndarray:
        s = 2.0 * np.pi * (q - low) / (high - low)
        return a * np.cos(s + phase) + b * np.cos(2.0 * s)

    name = kind.system.name
    create_dataset(folder, {name: (kind.system, None)}, "ca", {"made_for": "tests"})
    grid = np.linspace(low, high, 20_001)
    centers = [None] if len(kelvin) > 1 else list(kind.centers)
    number = 0
    for center in centers:
        for t in kelvin:
            u = energy(grid)
            restraint = None
            if center is not None:
                restraint = make_restraint(
                    kind.variable, list(range(kind.system.n_beads)), float(center), kind.constant
                )
                u = u + restraint.energy(grid)
            p = np.exp(-(u - u.min()) / kT(t))
            q = np.interp(evenly(FRAMES, rng) if own is None else own.random(FRAMES), np.cumsum(p) / p.sum(), grid)
            with TrajectoryWriter(
                folder / name / f"{number:03d}.h5", kind.system.n_beads, seed=1, aggregation="basic",
                potential=True, biased=restraint is not None, restraint=restraint if stored else None,
            ) as writer:  # fmt: skip
                for k, (x, e) in enumerate(zip(kind.place(q), energy(q), strict=True)):
                    writer.append(x, np.zeros_like(x), t, float(k + 1), potential=float(e))
            number += 1
    return energy, folder


def profile_error(
    kind: Kind, energy: Callable[[np.ndarray], np.ndarray], q: np.ndarray, w: np.ndarray, t: float
) -> float:
    """Root mean square error of -kT ln p over bins within 3 kcal/mol, kcal/mol."""
    edges = np.linspace(*kind.span, 16)
    fine = np.linspace(*kind.span, 15 * 200 + 1)[:-1] + (edges[1] - edges[0]) / 400
    exact = -kT(t) * np.log(np.exp(-energy(fine) / kT(t)).reshape(15, 200).sum(axis=1))
    with np.errstate(divide="ignore"):
        found = -kT(t) * np.log(np.histogram(q, edges, weights=w)[0])
    use = np.isfinite(found) & (exact < exact.min() + 3.0)
    d = (found - exact)[use]
    return float(d.std())


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("stored", [True, False])
def test_windows_are_weighed_as_if_there_were_none(name: str, stored: bool, tmp_path: Path) -> None:
    """Frames drawn exactly in windows of a molecule that is new each time have its free energy without them."""
    kind, rng = KINDS[name], np.random.default_rng()
    energy, folder = draw(kind, rng, tmp_path / "data", (310.0,), stored)
    given = BiasEntry.model_validate(
        {
            "name": "held", "variable": kind.variable, "beads": list(range(kind.system.n_beads)),
            "center": [f"{c!r} {'angstrom' if name == 'distance' else 'rad'}" for c in kind.centers.tolist()],
            "force_constant": f"{kind.constant} kcal/mol/{'angstrom' if name == 'distance' else 'rad'}^2",
        }
    )  # fmt: skip
    data = load_frames([folder], 0.1, windows=() if stored else (given,))
    found = frame_weights(data.molecules[0], 310.0)
    assert found.values.dtype == np.float64 and found.values.sum() == pytest.approx(1.0)
    assert len(found.states) == len(kind.centers) and 0.02 < found.overlap < 0.5 and not found.notes
    assert 50 < found.effective < len(found.values)
    (along,) = found.along
    assert profile_error(kind, energy, along.values, found.values, 310.0) < 0.05
    assert len(rows("one", found) | rows("other", found)) == 4  # each has its lines in the plan
    flat = np.full(len(along.values), 1.0 / len(along.values))
    assert profile_error(kind, energy, along.values, flat, 310.0) > 0.3


def test_priors_of_windows_alone_are_those_of_the_free_molecule(tmp_path: Path) -> None:
    kind = KINDS["dihedral"]
    energy, folder = draw(kind, np.random.default_rng(), tmp_path / "data", (310.0,), True)
    molecules = load_frames([folder], 0.1).molecules
    _, fitted = fit_priors(molecules, Priors.model_validate({"repulsion": "none"}), "ca", "twisted")
    (row,) = (row for row in fitted if row.term == "dihedrals")
    q, n = np.linspace(-np.pi, np.pi, 200), np.arange(1, 4)
    angles = q[:, None] * n
    series = np.sin(angles) @ row.parameters["k1"] + np.cos(angles) @ row.parameters["k2"]
    use = energy(q) < energy(q).min() + 2.0
    assert (series - energy(q))[use].std() < 0.15
    assert energy(q)[use].std() > 0.4


def test_a_ladder_is_weighed_at_each_of_its_temperatures_and_between(tmp_path: Path) -> None:
    kind, rng = KINDS["distance"], np.random.default_rng()
    energy, folder = draw(kind, rng, tmp_path / "data", (290.0, 350.0, 430.0, 520.0), stored=True)
    molecule = load_frames([folder], 0.1).molecules[0]
    for t in (290.0, 320.0, 430.0):
        found = frame_weights(molecule, t)
        q = molecule.positions[:, 1, 0] - molecule.positions[:, 0, 0]
        assert profile_error(kind, energy, q, found.values, t) < 0.15
        assert found.effective > len(molecule.files) * FRAMES / 4


def test_a_part_is_weighed_by_its_own_states(tmp_path: Path) -> None:
    """Frames of one temperature count alike there, whatever was sampled beside them; others as their states have it."""
    kind, rng = KINDS["distance"], np.random.default_rng()
    energy, folder = draw(kind, rng, tmp_path / "data", (290.0, 350.0, 430.0), stored=True)
    molecule = load_frames([folder], 0.1).molecules[0]
    q = molecule.positions[:, 1, 0] - molecule.positions[:, 0, 0]
    found = frame_weights(molecule, 290.0)
    np.testing.assert_allclose(found.of(molecule.source == 0), 1.0 / FRAMES, rtol=1e-9)
    np.testing.assert_allclose(found.of(molecule.source >= 0), found.values, rtol=1e-12)
    for part in (molecule.source > 0, molecule.source < 2):
        assert profile_error(kind, energy, q[part], found.of(part), 290.0) < 0.25


def test_every_temperature_is_learned_from_and_held_out(tmp_path: Path) -> None:
    """Where each has one trajectory, so that the last one as a whole would be all that is held out."""
    _, folder = draw(KINDS["distance"], np.random.default_rng(5), tmp_path / "data", (300.0, 330.0, 360.0), stored=True)
    molecule = load_frames([folder], 0.1, weights="mbar").molecules[0]
    found = tuple(frame_weights(molecule, t) for t in (300.0, 330.0, 360.0))
    for group in groups_of([molecule], [found]):
        assert len(group.held_out.weights) == 3 * FRAMES // 10
        assert group.held_out.effective > 0.5 * len(group.held_out.weights)


def test_how_uncertain_weighted_frames_are(tmp_path: Path) -> None:
    """As far as frames drawn anew from the same molecule are apart; the mean of three molecules."""
    kind = KINDS["distance"]
    ratios: list[float] = []
    edges = np.linspace(*kind.span, 12)
    for seed in np.random.default_rng().integers(2**32, size=3).tolist():
        free: list[np.ndarray] = []
        said: list[np.ndarray] = []
        for k in range(3):
            energy, own = np.random.default_rng(seed), np.random.default_rng([seed, k])
            _, folder = draw(kind, energy, tmp_path / f"{seed} {k}", (310.0,), stored=True, own=own)
            found = frame_weights(load_frames([folder], 0.1, weights="mbar").molecules[0], 310.0)
            (along,) = found.along
            p = np.histogram(along.values, edges, weights=found.values)[0]
            with np.errstate(divide="ignore"):
                free.append(-kT(310.0) * np.log(p))
            said.append(found.error(along.values, edges))
        use = np.isfinite(free).all(axis=0) & np.isfinite(said).all(axis=0)
        f = np.array(free)[:, use]
        w = np.exp(-f.mean(axis=0) / kT(310.0))
        f -= (f @ w / w.sum())[:, None]
        apart, predicted = (np.sqrt(np.square(v).mean()) for v in (f.std(axis=0, ddof=1), np.array(said)[:, use]))
        ratios.append(predicted / apart)
    assert 0.4 < np.exp(np.log(ratios).mean()) < 2.5


def test_forces_and_places_hold_out_the_same_frames(tmp_path: Path) -> None:
    """What relative entropy is judged by is not among the frames whose forces are learned."""
    rng = np.random.default_rng()
    source = np.repeat(np.arange(6), 50)
    kelvin = np.where(source < 3, 300.0, 340.0)
    biased = np.isin(source, [1, 4])
    windows = np.where(biased, 1, 0)
    parts = parts_of(windows, kelvin)
    assert len(np.unique(parts)) == 4
    whole = hold_out(source, biased, 0.25)
    assert np.unique(source[whole]).tolist() == [1, 4, 5] and (source[whole] == 5).sum() == 50
    held = hold_out(source, biased, 0.25, parts)  # at 300 K no trajectory without a window would be held out
    for k in range(6):
        assert np.flatnonzero(held[source == k]).tolist() == list(range(38, 50))
    swapped = rng.permutation([300.0, 340.0])[np.arange(300) % 2]  # trajectories that are at every temperature
    np.testing.assert_array_equal(hold_out(source, biased, 0.25, parts_of(windows, swapped)), whole)


def test_parts_with_few_frames_are_named(tmp_path: Path) -> None:
    _, folder = draw(KINDS["distance"], np.random.default_rng(5), tmp_path / "data", (300.0, 330.0), stored=True)
    few = load_frames([folder], 0.1, weights="mbar").molecules[0]
    keep = (few.source == 0) | (np.arange(len(few.source)) >= len(few.source) - 40)
    names = ("positions", "forces", "temperature", "source", "validation", "biased", "potential")
    few = replace(few, **{name: getattr(few, name)[keep] for name in names})
    (note,) = (n for n in frame_weights(few, 300.0).notes if "uncertain" in n)
    assert "330 K has 40 frames (in 0" in note and "sample it longer" in note
    with pytest.raises(InputError, match=r"40 effective frames to learn from at 300 K .*hold out a smaller share"):
        part = replace(few, validation=np.arange(len(few.source)) >= 40)
        groups_of([part], [[frame_weights(part, 300.0, "equal")]])
    section = Data.model_validate({"dataset": [folder]}, context={"folder": tmp_path})
    notes = weigh(section, load_frames([folder], 0.01, weights="mbar")).notes
    assert sum("hardly tell when to stop" in note for note in notes) == 2


def test_free_energies_come_from_frames_at_random(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are too many: those at even distances can be of one replica alone."""
    state = np.array([0, 1, 2, 3] * 500 + [4] * 7)
    few = weights._some(state, 400)
    assert 390 < len(few) < 410 and len(np.unique(few)) == len(few)
    assert (np.bincount(state[few])[:4] == 100).all() and (state[few] == 4).sum() == 1
    assert len(np.unique(np.diff(few))) > 5
    _, folder = draw(KINDS["distance"], np.random.default_rng(6), tmp_path / "data", (300.0, 330.0), stored=True)
    molecule = load_frames([folder], 0.1, weights="mbar").molecules[0]
    whole = frame_weights(molecule, 300.0).values
    monkeypatch.setattr(weights, "MOST", 2 * len(whole) // 2)
    np.testing.assert_allclose(frame_weights(molecule, 300.0).values, whole, rtol=0.3)


def test_without_energies_only_frames_of_the_temperature_count(tmp_path: Path) -> None:
    kind = KINDS["distance"]
    _, folder = draw(kind, np.random.default_rng(2), tmp_path / "data", (300.0, 400.0), stored=True)
    with h5py.File(folder / "pair" / "001.h5", "r+") as f:
        del f["potential"]
    molecule = load_frames([folder], 0.1).molecules[0]
    found = frame_weights(molecule, 300.0)
    assert found.effective == pytest.approx(FRAMES) and not found.values[FRAMES:].any()
    assert "only the 400 of 800 frames at 300 K" in found.notes[0] and "001.h5 has no energies" in found.notes[0]
    with pytest.raises(InputError, match=r"no frames at 350 K; its temperatures are 300 K, 400 K"):
        frame_weights(molecule, 350.0)


def test_what_a_trajectory_was_held_by_comes_back(tmp_path: Path) -> None:
    rng = np.random.default_rng()
    reference = rng.normal(0, 3, (5, 3))
    center, constant = float(rng.uniform(0.1, 8)), float(rng.uniform(0.1, 80))
    system = beads("five", 5)
    create_dataset(tmp_path / "data", {"five": (system, None)}, "ca", {})
    given = make_restraint("rmsd", "all", center, constant, reference)
    for frames in (3, 5):  # and goes on
        with TrajectoryWriter(
            tmp_path / "data" / "five" / "000.h5", 5, seed=1, aggregation="basic", frames=frames - 3 and 3,
            potential=True, restraint=given,
        ) as writer:  # fmt: skip
            for k in range(writer.frames, frames):
                writer.append(rng.normal(0, 3, (5, 3)), np.zeros((5, 3)), 300.0, k + 1.0, potential=-1.5e4 - k)
    (trajectory,) = load_dataset(tmp_path / "data").molecules[0].trajectories
    found = trajectory.restraint
    assert isinstance(found, Restraint) and trajectory.biased and found.words == given.words
    assert found.entry.center[0] == center and found.entry.force_constant[0] == constant
    np.testing.assert_array_equal(found.reference, reference)
    np.testing.assert_array_equal(trajectory.read().potential, -1.5e4 - np.arange(5))


def spoil(folder: Path, number: int, change: Callable[[h5py.File], None]) -> None:
    with h5py.File(next(folder.glob("*/")) / f"{number:03d}.h5", "r+") as f:
        change(f)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: f.attrs.__delitem__("window"), r"001.h5.*was held in a window.*data.windows"),
        (lambda f: f.attrs.__setitem__("window", '{"variable": "hue"}'), r"001.h5.*variable.*distance"),
        (lambda f: f.attrs.__setitem__("window", "nonsense"), r"001.h5.*as JSON"),
        (
            lambda f: f.attrs.__setitem__(
                "window",
                '{"variable": "distance", "beads": [0, 9], "center": "3 angstrom", '
                '"force_constant": "1 kcal/mol/angstrom^2"}',
            ),
            r"bead 9 is not in system 'pair'",
        ),
        (
            lambda f: f.attrs.__setitem__(
                "window",
                '{"variable": "distance", "beads": [0, 1], "center": "40 angstrom", '
                '"force_constant": "500 kcal/mol/angstrom^2"}',
            ),
            r"000.h5\) and .*001.h5\) do not overlap.*sample windows or temperatures between",
        ),
    ],
)
def test_windows_that_say_nothing_are_refused(change: Callable[[h5py.File], None], said: str, tmp_path: Path) -> None:
    draw(KINDS["distance"], np.random.default_rng(4), tmp_path / "data", (300.0,), stored=True)
    spoil(tmp_path / "data", 1, change)
    with pytest.raises(InputError, match=said) as error:
        frame_weights(load_frames([tmp_path / "data"], 0.1).molecules[0], 300.0)
    assert "Traceback" not in str(error.value)


def test_temperatures_that_do_not_overlap_are_refused(tmp_path: Path) -> None:
    kind = KINDS["distance"]
    draw(kind, np.random.default_rng(3), tmp_path / "data", (300.0, 320.0), stored=True)
    spoil(tmp_path / "data", 1, lambda f: f["potential"].write_direct(f["potential"][:] + 500.0))
    spoil(tmp_path / "data", 1, lambda f: f["temperature"].write_direct(np.full(FRAMES, 900.0, np.float32)))
    with pytest.raises(InputError, match=r"300 K \(000.h5\) and 900 K \(001.h5\) do not overlap"):
        frame_weights(load_frames([tmp_path / "data"], 0.1).molecules[0], 300.0)


def test_too_few_effective_frames_are_refused(tmp_path: Path) -> None:
    """Windows alone that are far from where the molecule is at home."""
    kind = KINDS["distance"]
    draw(kind, np.random.default_rng(3), tmp_path / "data", (300.0,), stored=True)

    def grow(f: h5py.File) -> None:
        f["potential"][:] = 0.0
        f["potential"][7] = -6.0

    spoil(tmp_path / "data", 0, grow)
    for k in range(1, 12):
        (tmp_path / "data" / "pair" / f"{k:03d}.h5").unlink()
    spoil(tmp_path / "data", 0, lambda f: f["temperature"].__setitem__(0, 302.0))
    with pytest.raises(InputError, match=r"effective frames at 300 K \(of 400.*fewer than 50"):
        frame_weights(load_frames([tmp_path / "data"], 0.1).molecules[0], 300.0)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (None, r"has no column /mine; its columns: none beside its own"),
        (np.r_[np.ones(99), -1.0, np.ones(300)], r"000.h5.*weights must be 0 or more: frame 99 of column /mine is -1"),
        (np.r_[np.ones(99), np.nan, np.ones(300)], r"000.h5.*weights must be finite: frame 99"),
        (np.zeros(400), r"column /mine is 0 in every frame"),
        (np.ones(399), r"column /mine has 399 rows for 400 frames"),
        (np.ones((400, 2)), r"dataset /mine: expected real numbers \[frames\]"),
        (np.r_[np.ones(20), np.zeros(380)], r"20 effective frames at 300 K.*look at the numbers of /mine"),
    ],
)
def test_columns(rows: np.ndarray | None, said: str, tmp_path: Path) -> None:
    _, folder = draw(KINDS["distance"], np.random.default_rng(4), tmp_path / "data", (300.0, 340.0), stored=True)
    for k in range(2):
        if rows is not None:
            spoil(folder, k, lambda f, k=k: f.create_dataset("mine", data=rows if k == 0 else np.zeros(400)))
    section = Data.model_validate(
        {"dataset": [folder], "temperature": "300 K", "weights": "mine"}, context={"folder": tmp_path}
    )
    with pytest.raises(InputError, match=said):
        load_weighted(section)


def test_a_column_is_the_weights(tmp_path: Path) -> None:
    _, folder = draw(KINDS["distance"], np.random.default_rng(4), tmp_path / "data", (300.0, 340.0), stored=True)
    rows = np.random.default_rng().uniform(0.0, 2.0, 2 * FRAMES)
    for k in range(2):
        spoil(folder, k, lambda f, k=k: f.create_dataset("mine", data=rows[k * FRAMES :][:FRAMES]))
    section = Data.model_validate(
        {"dataset": [folder], "temperature": "300 K", "weights": "mine"}, context={"folder": tmp_path}
    )
    data, (found,) = load_weighted(section)
    np.testing.assert_allclose(found.values, np.r_[rows[:FRAMES], np.zeros(FRAMES)] / rows[:FRAMES].sum())
    held = data.molecules[0].validation
    assert found.of(~held).sum() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("windows", "said"),
    [
        ({"variable": "distance", "beads": [0, 1], "center": ["3 angstrom"] * 5}, r"has 5 windows for 12 held traj"),
        ({"variable": "radius_of_gyration", "center": "3 angstrom"}, r"000.h5.*held at distance.*says radius of"),
        ({"variable": "rmsd", "center": "3 angstrom"}, r"has no start frames; name a file"),
        ({"variable": "distance", "beads": [0, 1], "center": "3 angstrom", "system": "other"}, r"'other' is no molec"),
    ],
)
def test_a_schedule_that_does_not_fit(windows: dict[str, object], said: str, tmp_path: Path) -> None:
    _, folder = draw(KINDS["distance"], np.random.default_rng(4), tmp_path / "data", (300.0,), stored=True)
    entry = {"name": "held", "force_constant": "2 kcal/mol/angstrom^2", **windows}
    file = tmp_path / "recipe.yaml"
    file.write_text(
        yaml.safe_dump({"mdflash": 1, "data": {"dataset": str(folder), "weights": "mbar", "windows": entry}})
    )
    section = load_recipe(file).data
    with pytest.raises(InputError, match=said):
        load_weighted(section)


def test_a_file_from_before_potentials_goes_on_as_it_began(tmp_path: Path) -> None:
    file, x = tmp_path / "000.h5", np.zeros((5, 3))
    with TrajectoryWriter(file, 5, seed=1, aggregation="basic", biased=True) as writer:
        writer.append(x, x, 300.0, 1.0)
    held = make_restraint("rmsd", "all", 1.0, 2.0, np.eye(5, 3))
    with TrajectoryWriter(file, 5, seed=1, aggregation="basic", frames=1, potential=True, restraint=held) as writer:
        writer.append(x, x, 300.0, 2.0, potential=-3.0)
    found = open_trajectory(file, "five")
    assert found.n_frames == 2 and found.biased and found.restraint is None and found.read().potential is None


def test_no_trajectory_is_left_without_frames_when_they_are_drawn_anew() -> None:
    source = np.repeat([0, 1, 2], [1, 5, 40])
    for draw in range(50):
        counts = block_counts(source, draw)
        assert counts[0] == 1.0 and counts[1:6].sum() == 5.0 and counts[6:].sum() == 40.0


def test_a_bin_that_a_draw_leaves_empty_says_nothing_of_the_others() -> None:
    rng = np.random.default_rng()
    values, w = rng.integers(0, 5, 4000) + 0.5, rng.random((24, 4000))
    edges = np.arange(6.0)
    whole = Redrawn(np.arange(4000), w).error(values, edges, 300.0)
    assert np.isfinite(whole).all()
    w[3, values == 4.5] = 0.0
    found = Redrawn(np.arange(4000), w).error(values, edges, 300.0)
    assert np.isinf(found[4]) and found[:4] == pytest.approx(whole[:4], rel=0.5)

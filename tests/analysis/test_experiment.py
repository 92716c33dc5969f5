"""Experiments: form factors and Debye's sum, maximum entropy in cases with an answer, files, and the whole road."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas
import pytest
from scipy.optimize import minimize

import mdflash
from mdflash.analysis.analyze import analyze
from mdflash.analysis.experiment.bme import Points, bme, choose_theta, chosen_theta, fit, scan_theta
from mdflash.analysis.experiment.compare import collect_data
from mdflash.analysis.experiment.debye import debye
from mdflash.analysis.experiment.file import KINDS, load_experiment
from mdflash.analysis.experiment.form_factors import WATER, form_factors
from mdflash.analysis.experiment.saxs import read_curve
from mdflash.analysis.measures import hydrodynamic_radius, radius_of_gyration
from mdflash.analysis.molecule import Molecule
from mdflash.analysis.report.page import page
from mdflash.errors import InputError
from mdflash.mapping.residues import RESIDUE_MASS
from tests.analysis.test_analyze import PLAIN, make
from tests.helpers import beads, walk


def test_form_factors_are_of_electrons_and_water() -> None:
    """At q = 0 they are the electrons of a residue less those of the water that it takes the place of."""
    electrons = {"GLY": 30, "ALA": 38, "TRP": 98, "LYS": 71, "GLU": 67}
    for name, count in electrons.items():
        assert form_factors([name], np.zeros(1), solvent=0.0)[0, 0] == pytest.approx(count, abs=0.05)
    q = np.linspace(0.0, 0.3, 31)
    every = form_factors(list(RESIDUE_MASS), q)
    assert every.shape == (31, 20) and (every > 0).all()
    assert (every[0] < form_factors(list(RESIDUE_MASS), np.zeros(1), 0.0)[0]).all() and WATER == 0.334
    np.testing.assert_array_equal(form_factors(["HSD"], q), form_factors(["HIS"], q))
    with pytest.raises(InputError, match="no form factor is known for UNK"):
        form_factors(["ALA", "UNK"], q)
    with pytest.raises(InputError, match=r"hold from q = 0 to 0\.3"):
        form_factors(["ALA"], np.array([0.31]))


def test_debye_is_the_double_sum() -> None:
    rng = np.random.default_rng()
    x = rng.normal(size=(3, 30, 3)) * rng.uniform(5, 30)
    q = np.linspace(0.0, 0.3, 7)
    factors = form_factors(rng.choice(list(RESIDUE_MASS), 30).tolist(), q)
    r = np.linalg.norm(x[:, :, None] - x[:, None], axis=3)
    direct = np.array(
        [[(np.outer(f, f) * np.sinc(k * d / np.pi)).sum() for k, f in zip(q, factors, strict=True)] for d in r]
    )
    np.testing.assert_allclose(debye(x, factors, q), direct, rtol=1e-5, atol=1e-6 * direct[0, 0])


def test_a_curve_has_the_radius_that_guinier_reads_off() -> None:
    """ln I = ln I0 - q² Rg² / 3 at small q, for beads that scatter alike."""
    x = 3.0 * np.random.default_rng(1).normal(size=(1, 40, 3))
    q = np.linspace(0.0, 0.02, 5)
    curve = debye(x, np.ones((5, 40)), q)[0]
    slope = np.polyfit(q**2, np.log(curve), 1)[0]
    assert np.sqrt(-3.0 * slope) == pytest.approx(radius_of_gyration(x)[0], rel=2e-3)


def test_entropy_of_a_gaussian() -> None:
    """Of a normal prior with mean 0 the mean becomes m / (1 + theta s²), and the fraction exp(-mean² / 2)."""
    from scipy.stats import norm

    x = norm.ppf((np.arange(40_000) + 0.5) / 40_000)[:, None]
    m, s, theta = 0.9, 0.3, 4.0
    found = bme([Points(x, np.array([m]), np.array([s]))], theta)
    mean = m / (1.0 + theta * s**2)
    assert found.weights @ x[:, 0] == pytest.approx(mean, rel=2e-3)
    assert found.fraction == pytest.approx(np.exp(-(mean**2) / 2.0), rel=2e-3)
    assert found.chi2 == pytest.approx(((mean - m) / s) ** 2, rel=2e-2)


@pytest.mark.parametrize("points", [3, 80])  # of many, the space of the frames is looked for first
def test_entropy_against_a_minimizer_of_the_weights(points: int) -> None:
    """m/2 chi² + theta sum w ln(w / w0) over the weights themselves, with a prior that is not even."""
    rng = np.random.default_rng(points)
    x = rng.normal(size=(12, points)) + rng.normal(size=points)
    m, s = rng.normal(size=points), rng.uniform(0.5, 2.0, points)
    prior = rng.dirichlet(np.full(12, 5.0))
    theta = 2.0 * points

    def cost(free: np.ndarray) -> float:
        w = np.exp(free - free.max())
        w /= w.sum()
        return float(0.5 * (((w @ x - m) / s) ** 2).sum() + theta * (w * np.log(w / prior)).sum())

    best = minimize(cost, np.log(prior), method="BFGS", options={"gtol": 1e-9, "maxiter": 2000})
    weights = np.exp(best.x - best.x.max())
    found = bme([Points(x, m, s)], theta, prior)
    np.testing.assert_allclose(found.weights, weights / weights.sum(), atol=2e-5)


def test_a_curve_knows_neither_its_scale_nor_its_background() -> None:
    rng = np.random.default_rng(3)
    curves = np.exp(-np.linspace(0, 3, 30) * np.sort(rng.uniform(0.5, 2.0, (400, 1)), axis=0))
    true = rng.dirichlet(np.where(np.arange(400) < 200, 5.0, 0.5))
    error = np.full(30, 0.02)
    data = Points(curves, 7.0 * (true @ curves) + 0.3, error, fitted=True)
    even = np.full(400, 1 / 400)
    assert fit(data, true).scale == pytest.approx(7.0) and fit(data, true).offset == pytest.approx(0.3)
    found = scan_theta([data])
    assert fit(data, even).chi2 > 3.0
    chi2, phi = [r.chi2 for r in found], [r.fraction for r in found]
    assert (np.diff(chi2) < 1e-9).all() and (np.diff(phi) < 1e-9).all() and phi[0] > 0.99
    used = found[choose_theta(found)]
    assert used.chi2 <= 1.0 < found[choose_theta(found) - 1].chi2 and used.fraction > 0.3
    finer, k = chosen_theta([data])
    assert used.chi2 <= finer[k].chi2 <= 1.0 < finer[k - 1].chi2 and finer[k].fraction >= used.fraction
    assert finer[k - 1].theta > finer[k].theta > finer[k + 1].theta
    one = Points(np.linspace(-3, 3, 200)[:, None], np.array([1.0]), np.array([0.1]))
    finer, k = chosen_theta([one])
    assert len(finer) == len(scan_theta([one])) + 1 and 0.9 < finer[k].chi2 <= 1.0


def test_the_elbow_where_nothing_fits() -> None:
    """Two measurements that contradict each other."""
    x = np.random.default_rng(4).normal(size=(500, 1))
    found = scan_theta([Points(np.tile(x, 2), np.array([1.0, -0.2]), np.array([0.05, 0.05]))])
    assert min(r.chi2 for r in found) > 1.0
    k = choose_theta(found)
    assert 0 < k < len(found) - 1 and found[k].chi2 < 0.5 * (found[0].chi2 + found[-1].chi2)


def test_size_and_transfer_of_frames() -> None:
    rng = np.random.default_rng(5)
    m = Molecule(beads("chain", 20))
    x = np.stack([walk(20, rng) for _ in range(6)])
    given = ["rg=1.4 +- 0.1 nm", "rh=12 ± 1 angstrom", "theta=3", "temperature=300 K"]
    given += ["fret={residues: [1, 20], efficiency: 0.5 +- 0.05, R0: 5.4 nm, linker: 9}"]
    given += ["fret={residues: [A:3, 15], efficiency: 0.7+/-0.05, R0: 54 angstrom}"]
    found = load_experiment(given)
    assert found.theta == 3 and found.temperature == 300
    fret, rg, rh = collect_data(found, m)
    assert [d.name for d in (fret, rg, rh)] == ["fret", "rg", "rh"] and fret.labels == ("1-20", "A:3-15")
    np.testing.assert_allclose(rg.shown(rg.values(x))[:, 0], radius_of_gyration(x, m.system.masses))
    ends = np.linalg.norm(x[:, 19] - x[:, 0], axis=1) * np.sqrt(28 / 19)
    np.testing.assert_allclose(fret.values(x)[:, 0], 1 / (1 + (ends / 54.0) ** 6))
    i, j = np.triu_indices(20, 1)
    inverse = (1 / np.linalg.norm(x[:, i] - x[:, j], axis=2)).mean(axis=1)
    np.testing.assert_allclose(rh.shown(rh.values(x))[:, 0], [hydrodynamic_radius(v, 20) for v in inverse])
    for d in (fret, rg, rh):  # from what is shown to what is averaged, and its slope
        h = 1e-6
        np.testing.assert_allclose(d.shown(d.averaged(d.measured)), d.measured)
        steep = (d.averaged(d.measured + h) - d.averaged(d.measured - h)) / (2 * h)
        np.testing.assert_allclose(d.slope(d.measured), steep, rtol=1e-5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rg=2.1 nm", r"key 'rg': expected a value with its error, found '2.1 nm'; for example `rg: 2.1 \+- 0.1 nm`"),
        ("rg=2.1 +- 0.1", "has no unit"),
        ("rg=2.1 +- 0 nm", "the error must be more than 0"),
        ("rgg=2.1 +- 0.1 nm", "did you mean 'rg'"),
        ("fret={residues: [1], efficiency: 0.5 +- 0.1, R0: 5 nm}", "expected the two residues"),
        ("fret={residues: [1, 2], efficiency: 0.5 +- 0.1}", "R0"),
        ("saxs=nowhere.dat", "no such file"),
        ("temperature=300 K", "nothing was measured"),
    ],
)
def test_mistakes(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_experiment([text])


def test_a_residue_that_is_not_there() -> None:
    given = load_experiment(["fret={residues: [1, 99], efficiency: 0.5 +- 0.1, R0: 5 nm}"])
    with pytest.raises(InputError, match="there is no residue '99' in chain, whose residues are ALA 1 to ALA 20"):
        collect_data(given, Molecule(beads("chain", 20)))


def test_the_curve_of_a_long_molecule_is_that_of_every_q(tmp_path: Path) -> None:
    """Few values of q are computed; splines lead to the others, also where the curve falls steeply."""
    rng, q = np.random.default_rng(), np.linspace(0.004, 0.3, 200)
    rod = np.cumsum(np.tile([3.3, 0.0, 0.0], (1, 120, 1)) + rng.normal(size=(1, 120, 3)), axis=1)  # Rg 110 Å
    file = tmp_path / "curve.dat"
    file.write_text("\n".join(f"{a:.6f} 1.0 0.1" for a in q))
    given, m = load_experiment([f"saxs={{file: {file}, unit: /angstrom}}"]), Molecule(beads("chain", 120))
    (data,) = collect_data(given, m)
    exact = debye(rod, form_factors(m.system.residue_names, q), q)
    np.testing.assert_allclose(data.values(rod), exact, rtol=5e-3)


def test_dyes_on_two_chains_have_no_linker() -> None:
    one = beads("chain", 20)
    two = dataclasses.replace(one, chain_ids=("A",) * 10 + ("B",) * 10)
    given = load_experiment(["fret={residues: [1, 20], efficiency: 0.5 +- 0.1, R0: 5 nm, linker: 9}"])
    with pytest.raises(InputError, match="residues 1 and 20 are in two chains"):
        collect_data(given, Molecule(two))


def test_files_of_curves(tmp_path: Path) -> None:
    q = np.linspace(0.1, 4.0, 40)  # 1/nm
    lines = [
        "Sample: something 12",
        "q I sigma",
        *(f"{a:.4f}  {np.exp(-a):.5f}\t{0.01 if k else 0.0}" for k, a in enumerate(q)),
    ]
    file = tmp_path / "curve.dat"
    file.write_text("\n".join(lines))
    found, intensity, error, notes = read_curve(file)
    assert len(found) == len(intensity) == len(error) == 29 and found[0] == pytest.approx(0.02) and found[-1] <= 0.3
    assert [n.split(" ")[0] for n in notes] == ["q", "1", "10"] and "/nm" in notes[0]
    file.write_text("\n".join(f"{a:.4f} 1.0 0.1" for a in np.linspace(0.05, 4.0, 80)))
    (doubt,) = read_curve(file, "/angstrom")[3]
    assert doubt.startswith("74 of 80 points") and doubt.endswith("is q in /nm? then write `unit: /nm`")
    file.write_text("\n".join(f"{a} 1.0" for a in q))
    with pytest.raises(InputError, match="the errors are missing"):
        read_curve(file)
    file.write_text("q I error\n" + "\n".join(f"{a:.4f} 1.0 0.1" for a in q).replace(".", ","))
    with pytest.raises(InputError, match="line 2: has decimal commas, as in '0,1000'"):
        read_curve(file)
    file.write_text("\n".join(f"{a:.4f}, 1.0, 0.1" for a in q))
    assert len(read_curve(file)[0]) == 30


def test_a_file_names_the_line(tmp_path: Path) -> None:
    file = tmp_path / "experiment.yaml"
    file.write_text("mdflash_experiment: 1\ntemperature: 298 K\nrg: 2.1 nm\n")
    with pytest.raises(InputError, match=r"experiment.yaml, line 3, key 'rg'"):
        load_experiment([str(file)])


def test_every_kind_has_words() -> None:
    assert len({k.name for k in KINDS}) == len(KINDS)
    for k in KINDS:
        assert k.description and k.example.startswith(f"{k.name}:")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("plain"), PLAIN, count=4, steps=10000, format="xtc")


def test_a_run_against_experiments(plain: Path, tmp_path: Path) -> None:
    """A curve of the run itself, and a radius that it does not have."""
    run = mdflash.open_run(plain)
    before = analyze(run).molecules["chignolin"]
    radius = before.measured["rg"].states[0].mean.value
    m = before.sample.molecule
    q = np.linspace(0.01, 0.28, 60)
    factors = form_factors(m.system.residue_names, q)
    curve = 1e-3 * debye(run.positions[0][:][:, m.trace], factors, q).mean(axis=0)
    rng = np.random.default_rng(6)
    error = 0.01 * curve[0] * np.ones_like(curve)
    np.savetxt(tmp_path / "curve.dat", np.stack([q, curve + error * rng.normal(size=len(q)), error], axis=1))
    file = tmp_path / "experiment.yaml"
    file.write_text(f"rg: {1.05 * radius:.4f} +- {0.005 * radius:.4f} angstrom\nsaxs: curve.dat\ntheta: 1\n")
    given = load_experiment([str(file), "theta=0.5"])
    found = analyze(run, experiment=given)
    e = found.molecules["chignolin"].experiment
    assert e is not None and e.used.theta == 0.5 and [a.data.name for a in e.kinds] == ["saxs", "rg"]
    saxs, rg = e.kinds
    assert saxs.before.chi2 == pytest.approx(1.0, abs=0.6) and rg.before.chi2 > 30 > rg.after.chi2
    assert e.observables["rg"][0] == pytest.approx(radius, rel=0.02) and e.observables["rg"][1] > 1.02 * radius
    assert not any("is its unit right?" in note for note in e.notes)
    assert e.used.fraction < 0.9 and e.used.weights.sum() == pytest.approx(1.0)
    assert any("Against experiment chi² is" in s for s in found.molecules["chignolin"].sentences)
    found.write(tmp_path)
    weights = pandas.read_csv(tmp_path / "weights.csv")
    assert list(weights.columns) == ["replica", "step", "weight"] and len(weights) == len(e.steps)
    wrong = analyze(run, experiment=load_experiment([f"rg={radius:.3f} +- 0.1 nm"])).molecules["chignolin"].experiment
    assert wrong is not None and wrong.notes[-1].endswith("so no weights reach it; is its unit right?")
    row = pandas.read_csv(tmp_path / "properties.csv").iloc[0]
    assert row.chi2_reweighted < row.chi2 and row.theta == 0.5 and row.rg_A_reweighted > row.rg_A
    numbers = json.loads((tmp_path / "analysis.json").read_text())["molecules"]["chignolin"]["experiment"]
    assert set(numbers["data"]) == {"saxs", "rg"}
    (light,) = (x for x in found.molecules["chignolin"].lights if x.name.startswith("Frames still count"))
    assert light.rule == "an effective fraction of 30 % or more (care: 10 %)"
    analyze(run).write(tmp_path)
    assert not (tmp_path / "weights.csv").exists(), "of an earlier analysis"
    (tmp_path / "weights.csv").write_text("mine\n")
    analyze(run).write(tmp_path)
    assert (tmp_path / "weights.csv").read_text() == "mine\n"
    text = page(found)
    assert all(key in text for key in ("figure-saxs-curve", "figure-saxs-residuals", "figure-rg-weights"))

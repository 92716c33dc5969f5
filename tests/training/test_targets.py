"""Targets of a training by relative entropy: the exact gradient of every kind, the price, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from scipy.special import ndtri

from mdflash.analysis.experiment.data import Data
from mdflash.errors import InputError
from mdflash.potentials.variables.angle import Angle
from mdflash.potentials.variables.base import Variable
from mdflash.potentials.variables.distance import Distance
from mdflash.potentials.variables.radius_of_gyration import RadiusOfGyration
from mdflash.training.entropy.loss import Group, Known, add_gradient
from mdflash.training.entropy.measured import MeasuredTarget, Measurement, load_measurements
from mdflash.training.entropy.pool import Pool
from mdflash.training.entropy.targets import (
    Target,
    VariableTarget,
    price,
    price_slopes,
    reached,
    target_slopes,
    with_target_groups,
)
from mdflash.training.forces import PlainForces
from mdflash.training.frames import load_frames
from mdflash.training.recipe import load_recipe
from mdflash.units import kT
from tests.helpers import beads, evenly
from tests.training.test_entropy_loss import _network, _springs, _trimer

KELVIN = 320.0
THERMAL = kT(KELVIN)
SYSTEM = beads("trimer", 3)


def _curve(rng: np.random.Generator, fitted: bool) -> Data:
    """Averages of cosines of a distance, measured somewhere."""
    q, points = rng.uniform(0.1, 1.0, 6), rng.uniform(0.2, 0.9, 6)

    def values(x: np.ndarray) -> np.ndarray:
        return np.asarray(np.cos(q * np.linalg.norm(x[:, 2] - x[:, 0], axis=1)[:, None]))

    return Data("curve", "curve", "", points, rng.uniform(0.1, 0.5, 6), values, 6, "curve", "cosines", fitted=fitted)


def some_targets(rng: np.random.Generator) -> tuple[Target, ...]:
    """Means, populations and measurements, new each time; the last one is of another group."""
    variables: list[Variable] = [Distance(SYSTEM, 0, 2), Angle(SYSTEM, 0, 1, 2), RadiusOfGyration(SYSTEM, [0, 1, 2])]
    low, high = (4.0, 1.0, 2.0), (6.0, 2.0, 3.0)
    found = list[Target]()
    for k, variable in enumerate(variables):
        at = rng.uniform(low[k], high[k])
        found.append(VariableTarget(f"mean{k}", variable, 0, at, rng.uniform(0.05, 0.5)))
        span = (-np.inf, at) if rng.random() < 0.5 else (at, np.inf)
        found.append(VariableTarget(f"share{k}", variable, 0, rng.uniform(0.05, 0.95), rng.uniform(0.01, 0.2), span))
    for fitted in (False, True):  # a few points, and a curve in arbitrary units
        found.append(MeasuredTarget(f"curve{fitted}", 0, _curve(rng, fitted)))
    return (*found, VariableTarget("other", variables[0], 1, 3.0, 0.1))


@pytest.mark.parametrize("kernels", ["plain", "compiled"])
@pytest.mark.parametrize("held", [False, True])
def test_the_gradient_is_that_of_exact_averages(kernels: str, held: bool) -> None:
    """By quadrature over all shapes of three beads; with the price of leaving the start, and without."""
    x, volume = _trimer()
    model, forces = _network(kernels)
    exact = PlainForces(model, forces.topologies)  # type: ignore[attr-defined]
    rng = np.random.default_rng()
    targets = some_targets(rng)

    def energies() -> np.ndarray:
        with torch.no_grad():
            return np.asarray(exact.energies(0, x).numpy())

    def weights() -> tuple[np.ndarray, float]:
        """Exact weights of the points, and the free energy of the molecule."""
        p = np.exp(-(_springs(x) + energies()) / THERMAL) * volume
        return p / p.sum(), float(-THERMAL * np.log(p.sum()))

    start, (p_start, free_start) = energies(), weights()
    parameters = list(model.parameters())
    with torch.no_grad():
        for p in parameters:
            p += 0.1 * torch.from_numpy(rng.standard_normal(p.shape))

    def cost() -> float:
        w, free = weights()
        mine = [t for t in targets if t.group == 0]
        found = reached(mine, [t.observe(x) for t in mine], [w]).cost
        if held:
            paid = price(THERMAL, start, energies(), w, free - free_start)
            assert paid == pytest.approx(float(w @ np.log(w / p_start)), abs=1e-9) and paid > 0.0
            found += paid
        return found

    w, _ = weights()
    slopes = target_slopes(targets, 0, THERMAL, [t.observe(x) for t in targets], w)
    if held:
        slopes = slopes + price_slopes(THERMAL, start, energies(), w)
    for p in parameters:
        p.grad = torch.zeros_like(p)
    add_gradient(forces, 0, x, torch.from_numpy(w * slopes))
    step = 1e-5
    for _ in range(3):
        along = [torch.from_numpy(rng.standard_normal(p.shape)) for p in parameters]
        found = sum(float((p.grad * d).sum()) for p, d in zip(parameters, along, strict=True) if p.grad is not None)
        ends = []
        for sign in (1.0, -2.0, 1.0):
            with torch.no_grad():
                for p, d in zip(parameters, along, strict=True):
                    p += sign * step * d
            ends.append(cost())
        scale = sum(float((p.grad**2).sum()) for p in parameters if p.grad is not None) ** 0.5
        assert found == pytest.approx((ends[0] - ends[1]) / (2.0 * step), rel=1e-4, abs=1e-4 * scale)


def test_a_population_that_is_never_seen_has_a_finite_cost() -> None:
    target = VariableTarget("folded", Distance(SYSTEM, 0, 2), 0, 0.6, 0.02, (8.0, np.inf))
    for mean in (0.0, 1e-9, 0.01, 0.6, 0.99, 1.0):
        cost, (slope,) = target.cost(np.array([mean]))
        assert np.isfinite([cost, slope]).all() and (mean == 0.6) == (cost < 1e-9)
        assert np.sign(slope) == np.sign(round(mean - 0.6, 9))


def test_the_price_of_samples_is_that_of_a_spring() -> None:
    """Samples of a spring, reweighted to one that is stiffer: D = (k/k0 - 1 - ln(k/k0)) of variances, in nats."""
    rng = np.random.default_rng()
    stiff = 1.3
    x = torch.from_numpy(THERMAL**0.5 * ndtri(evenly(20_000, rng)).reshape(-1, 1, 1))
    start = 0.5 * x.double().square().sum(dim=(1, 2)).numpy()
    pool = Pool(THERMAL, 4)
    pool.add(x, np.zeros((0, 0)), start)
    w, free = pool.weigh(stiff * start)
    exact = 0.5 * (1.0 / stiff - 1.0 + np.log(stiff))
    assert price(THERMAL, start, stiff * start, w, free) == pytest.approx(exact, rel=0.005)
    assert price(THERMAL, start, start, np.full(len(w), 1.0 / len(w)), 0.0) == 0.0


def test_temperatures_without_data_are_simulated_too() -> None:
    known = Known(torch.zeros(1, 3, 3), np.ones(1))
    groups = (Group(0, 300.0, 0.6, known, known), Group(0, 360.0, 0.4, known, known))
    found = with_target_groups(groups, [(0, t) for t in (300.0, 345.0, 345.2, 420.0)])
    assert [(g.kelvin, g.share) for g in found] == [(300.0, 0.6), (360.0, 0.4), (345.0, 0.0), (420.0, 0.0)]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"error": "0.1 angstrom"}, r"give either `mean:` or `population:`"),
        ({"mean": "5 angstrom", "population": 0.5, "above": "5 angstrom"}, r"give either `mean:` or `population:`"),
        ({"mean": "5 angstrom", "error": 0.1}, r"has no unit"),
        ({"mean": "5 angstrom", "error": "0.1 angstrom", "above": "3 angstrom"}, r"a mean has no range"),
        ({"population": 0.5}, r"of which range\? Add for example"),
        ({"population": 1.0, "above": "3 angstrom"}, r"population"),
        ({"population": 0.5, "above": "3 angstrom", "below": "2 angstrom"}, r"`above` must be less than `below`"),
        ({"population": 0.5, "above": "3 angstrom", "error": 0}, r"must be more than 0"),
    ],
)
def test_mistakes_in_a_target(keys: dict[str, object], said: str, dataset: Path, tmp_path: Path) -> None:
    target = {"name": "t", "variable": "distance", "beads": [0, 2], "temperature": "320 K", "error": 0.01} | keys
    recipe = {
        "mdflash": 1, "data": {"dataset": str(dataset)}, "start": "go-chignolin", "relative_entropy": {},
        "targets": target,
    }  # fmt: skip
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe))
    with pytest.raises(InputError, match=said) as error:
        load_recipe(file)
    assert "targets" in str(error.value)


def test_targets_need_a_simulation_and_hold_needs_targets(dataset: Path, tmp_path: Path) -> None:
    target = {"name": "t", "variable": "distance", "beads": [0, 2], "temperature": "320 K", "error": 0.01,
              "population": 0.5, "above": "5 angstrom"}  # fmt: skip
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump({"mdflash": 1, "data": {"dataset": str(dataset)}, "targets": target}))
    with pytest.raises(InputError, match=r"key 'targets': are learned by simulating"):
        load_recipe(file)
    said = {"mdflash": 1, "data": {"dataset": str(dataset)}, "start": "go-chignolin",
            "relative_entropy": {"hold": "start"}}  # fmt: skip
    file.write_text(yaml.safe_dump(said))
    with pytest.raises(InputError, match=r"key 'relative_entropy\.hold': without targets nothing would be learned"):
        load_recipe(file)


def test_experiments_that_are_not_clear_are_refused(dataset: Path, tmp_path: Path) -> None:
    molecule = load_frames([dataset], 0.3).molecules[0]
    file = tmp_path / "lab.yaml"

    def load(text: str, kelvin: tuple[float, ...] = (300.0,), files: int = 1) -> tuple[Measurement, ...]:
        file.write_text(text)
        return load_measurements([file] * files, [molecule], kelvin)

    (rg,) = load("rg: 0.7 +- 0.1 nm")
    assert (rg.name, rg.molecule, rg.kelvin) == ("lab_rg", 0, 300.0)
    assert rg.said == "radius of gyration 7 ± 1 Å, at 300 K"
    assert load("rg: 0.7 +- 0.1 nm\ntemperature: 330 K")[0].kelvin == 330.0
    assert load("rg: 0.7 +- 0.2 nm")[0].digest != rg.digest
    with pytest.raises(InputError, match=r"lab\.yaml.*key 'temperature'.*the data has 300 K, 360 K"):
        load("rg: 0.7 +- 0.1 nm", (300.0, 360.0))
    with pytest.raises(InputError, match=r"lab\.yaml.*there is no residue '99'"):
        load("fret: {residues: [1, 99], efficiency: 0.5 +- 0.1, R0: 2 nm}")
    with pytest.raises(InputError, match=r"lab\.yaml.*there is no 'other'; write `molecule: helix`"):
        load("rg: 0.7 +- 0.1 nm\nmolecule: other")
    with pytest.raises(InputError, match=r"key 'experiments'.*called 'lab_rg'"):
        load("rg: 0.7 +- 0.1 nm", files=2)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"mdflash": 1, "data": {"dataset": str(dataset)}, "experiments": str(file)}))
    with pytest.raises(InputError, match=r"key 'experiments': are learned by simulating"):
        load_recipe(recipe)

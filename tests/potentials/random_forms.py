"""Random terms of every functional form, and beads at a given place of a coordinate."""

from __future__ import annotations

import numpy as np
import torch

from mdflash.core.ranges import ANY
from mdflash.core.state import Layout
from mdflash.core.types import FloatArray
from mdflash.forcefields.build import build_potential
from mdflash.forcefields.model import Term
from mdflash.potentials.base import SumPotential
from mdflash.potentials.forms import FORMS
from mdflash.potentials.forms.form import Form
from tests.helpers import beads, toy, walk

LISTED = sorted(name for name, form in FORMS.items() if form.on != "pair")
PAIRS = sorted(name for name, form in FORMS.items() if form.on == "pair")
SIZES, COUNTS = (11, 5, 24), (3, 1, 4)
CUTOFF = 9.0
RANGES = {
    "Å": (3.0, 6.0), "1/Å": (0.5, 2.0), "rad": (-2.0, 2.0), "1": (-1.0, 1.0), "kcal/mol": (0.5, 2.0),
    "kcal/mol/Å^2": (10.0, 100.0), "kcal/mol/rad^2": (0.5, 2.0), "kcal/mol*Å": (-20.0, 20.0),
}  # fmt: skip
"""Of scalars, by unit."""


def _within(form: Form, parameter: str, low: float, high: float) -> tuple[float, float]:
    rule = form.ranges.get(parameter, ANY)
    return max(low, rule.least), min(high, rule.most)


def random_parameters(form: Form, m: int, rng: np.random.Generator, degree: int | None = None) -> dict[str, FloatArray]:
    """m rows; series of a random length, or of `degree`."""
    degree = int(rng.integers(1, 7)) if degree is None else degree
    found = {p: rng.uniform(*_within(form, p, *RANGES[unit]), m) for p, unit in form.scalars.items()}
    found |= {p: rng.choice(allowed, m).astype(float) for p, allowed in form.whole.items()}
    if form.ends is not None:
        shrink = np.minimum(1.0, CUTOFF / form.ends(found))
        found |= {p: found[p] * shrink for p, unit in form.scalars.items() if unit == "Å"}
    return found | {p: rng.uniform(-2.0, 2.0, (m, degree)) for p in form.series}


def random_term(name: str, n: int, rng: np.random.Generator) -> Term:
    """Random beads (or types A and B) in random order with random parameters."""
    form = FORMS[name]
    if form.on == "pair":
        keys = np.array([[0, 0], [1, 0], [1, 1]])
        return Term("term", name, "neighbors", keys, random_parameters(form, 3, rng), CUTOFF, exclude_bonds=2)
    rows = np.stack([rng.choice(n, form.order, replace=False) for _ in range(3 * n)])
    if form.order > 2:  # along the chain, so that no angle is straight
        first = rng.integers(0, n - form.order + 1, 3 * n)
        rows = first[:, None] + np.arange(form.order)
        backwards = rng.random(3 * n) < 0.5
        rows[backwards] = rows[backwards, ::-1]
    return Term("term", name, "beads", rows, random_parameters(form, len(rows), rng))


def scattered(n: int, rng: np.random.Generator) -> FloatArray:
    """[n, 3] beads that do not clash: on a cubic grid of 4.6 Å, in random order, each a little off its place."""
    side = int(np.ceil(n ** (1 / 3)))
    places = np.stack(np.meshgrid(*[np.arange(side)] * 3), axis=-1).reshape(-1, 3)
    return 4.6 * rng.permutation(places)[:n] + rng.uniform(-0.6, 0.6, (n, 3))


def batch(
    name: str, seed: int, sizes: tuple[int, ...] = SIZES, counts: tuple[int, ...] = COUNTS
) -> tuple[Layout, SumPotential, torch.Tensor]:
    """Molecules of two types with one random term of a form: chains, or scattered beads for functions of a distance."""
    rng = np.random.default_rng([seed, *name.encode()])
    layout = Layout(tuple(beads(f"m{n}", n, types="AB") for n in sizes), counts)
    potential = build_potential([toy(random_term(name, n, rng), types="AB") for n in sizes], layout)
    draw = scattered if FORMS[name].on in ("distance", "pair") else walk
    x = np.concatenate([draw(n, rng) for n, count in zip(sizes, counts, strict=True) for _ in range(count)])
    return layout, potential, torch.from_numpy(x + rng.normal(size=3) * 20)


def at_place(name: str, q: float, seed: int) -> tuple[Layout, SumPotential, torch.Tensor]:
    """The beads of one interaction, with random arms, where its coordinate is exactly q."""
    form, rng = FORMS[name], np.random.default_rng([seed, *name.encode()])
    n = form.order
    keys = np.arange(n)[None]
    term = Term("term", name, "beads", keys, random_parameters(form, 1, rng))
    layout = Layout((beads("m", n),), (1,))
    x = np.zeros((n, 3))
    if form.on == "distance":
        x[1, 1] = q
    elif form.on in ("angle", "angle_cosine"):
        cosine = q if form.on == "angle_cosine" else np.cos(q)
        arm = rng.uniform(3, 5)
        x[0, 0], x[2] = rng.uniform(3, 5), (arm * cosine, arm * np.sqrt(1.0 - cosine**2), 0.0)
    else:
        x[0, :2], x[2, 0] = rng.uniform(-4, -2, 2), rng.uniform(3, 5)
        x[3] = x[2] + rng.uniform(2, 4) * np.array([0.7, -np.cos(q), -np.sin(q) if abs(q) < 3.14 else 0.0])
    return layout, build_potential([toy(term)], layout), torch.from_numpy(x)


SAFE = [(name, q) for name, form in sorted(FORMS.items()) for q in form.safe]

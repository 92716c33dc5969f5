"""Prior terms fitted to data: which beads they act on, which samples make a row, and the terms themselves."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from mdflash.core.geometry import bond_angles, distances, torsions
from mdflash.core.types import FloatArray
from mdflash.errors import InputError
from mdflash.forcefields.build import excluded_pairs
from mdflash.forcefields.model import BeadType, ForceField, Term
from mdflash.mapping.interactions import with_interactions
from mdflash.potentials.forms import FORMS
from mdflash.training.entropy.loss import systematic
from mdflash.training.frames import MoleculeFrames
from mdflash.training.inversion import Parameters, fourier, harmonic, restricted_quartic
from mdflash.training.recipe import Priors
from mdflash.training.split import SAME_TEMPERATURE
from mdflash.training.weights import frame_weights
from mdflash.units import kT

MOST_FRAMES = 20_000
"""Frames of a molecule that are looked at, evenly spaced; more change a prior in the third digit."""
FEWEST = 500
"""Samples that a row of a table needs."""
WALL = 1.0
"""kcal/mol of repulsion at the closest approach."""
WIDEST_WALL = 6.0
"""Å; beads that never come nearer than this are repelled as if they did."""
NEAREST = 0.25
"""Quantile of the closest approaches of all pairs of types above which a wall is as wide as there."""
CLOSEST_SHARE = 1e-4
"""Share of the samples that may lie nearer than the closest approach."""

Listed = Literal["bonds", "angles", "dihedrals", "impropers"]
Key = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Samples:
    """One row of a prior and what it was fitted to.

    Attributes:
        term: name of the term.
        label: its bead types or beads, for the user.
        coordinate: "distance", "angle" or "dihedral".
        values: [S] samples, Å or rad.
        temperature: temperature of the samples, K.
        parameters: what was found.
    """

    term: str
    label: str
    coordinate: str
    values: FloatArray
    temperature: float
    parameters: Parameters


def fit_priors(
    molecules: Sequence[MoleculeFrames], settings: Priors, mapping: str, name: str
) -> tuple[ForceField, tuple[Samples, ...]]:
    """A force field of priors alone, from the frames of one temperature (training and validation alike).

    Frames of windows do not count, where a molecule has others. Where it has none, they count by their MBAR weights.

    Raises:
        InputError: too little data for a row, which is named; frames of windows alone that cannot be weighed; several
            molecules with `key: beads`.
    """
    if settings.key == "beads" and len(molecules) > 1:
        raise InputError(f"priors.key: beads is for one molecule, the data has {len(molecules)}; write `key: types`")
    lowest = min(float(m.temperature[~m.biased | m.biased.all()].min()) for m in molecules)
    temperature = lowest if settings.temperature is None else settings.temperature
    molecules = [dataclasses.replace(m, system=with_interactions(m.system)) for m in molecules]
    types = tuple(sorted({t for m in molecules for t in m.system.types}))
    masses = {t: float(w) for m in molecules for t, w in zip(m.system.types, m.system.masses, strict=True)}
    bead_types = tuple(BeadType(t, k, masses[t]) for k, t in enumerate(types))
    ff = ForceField(
        name=name, bead_types=bead_types, mapping=mapping, systems=tuple((m.system, m.start) for m in molecules)
    )
    frames = [_frames_at(m, temperature) for m in molecules]
    rows: list[Samples] = []
    terms: list[Term] = []
    for listed, form in (
        ("bonds", "harmonic_bond"),
        ("angles", "harmonic_angle" if settings.angles == "harmonic" else "restricted_quartic_angle"),
        ("dihedrals", "fourier_dihedral"),
        ("impropers", "fourier_dihedral"),
    ):
        if getattr(settings, listed) == "none":
            continue
        found = list(_rows(ff, listed, form, settings, molecules, frames, temperature))  # type: ignore[arg-type]
        if found:
            terms.append(_term(listed, form, settings.key, found))
            rows += [samples for _, samples in found]
    if settings.repulsion != "none":
        terms.append(_repulsion(ff, settings, molecules))
    return dataclasses.replace(ff, terms=tuple(terms), provenance={"priors_temperature": f"{temperature:g} K"}), tuple(
        rows
    )


def _frames_at(molecule: MoleculeFrames, temperature: float) -> FloatArray:
    near = np.abs(molecule.temperature - temperature) <= SAME_TEMPERATURE
    near &= ~molecule.biased | molecule.biased.all()
    if molecule.biased.all() and molecule.force_error is not None:
        raise InputError(
            f"molecule '{molecule.system.name}' has mean forces at held beads, and no frames of free ones to fit "
            "priors to: add the dataset that the held frames are from to data.dataset, or take priors that were fitted "
            "to it (mdflash fit) with priors.forcefield"
        )
    if near.sum() < FEWEST:
        raise InputError(
            f"molecule '{molecule.system.name}' has {near.sum()} frames at {temperature:g} K; fitting "
            f"priors takes at least {FEWEST}. Its temperatures are from {molecule.temperature.min():g} K to "
            f"{molecule.temperature.max():g} K: set priors.temperature, or take priors from elsewhere with "
            "priors.forcefield"
        )
    if not molecule.biased.all():
        return _some(molecule.positions[near])
    try:
        w = frame_weights(molecule, temperature).values
    except InputError as error:
        raise InputError(
            f"molecule '{molecule.system.name}' has frames of umbrella windows alone, to which priors are fitted by "
            f"their weights: {error}. Or add a dataset that was sampled without `windows:`, or take priors from "
            "elsewhere with priors.forcefield"
        ) from None
    return _some(molecule.positions[systematic(w, int(near.sum()), np.random.default_rng(0))])


def _some(positions: npt.NDArray[np.float32]) -> FloatArray:
    """At most `MOST_FRAMES` of the frames [F, N, 3], evenly spaced."""
    pick = np.unique(np.linspace(0, len(positions) - 1, min(MOST_FRAMES, len(positions))).astype(int))
    return np.asarray(positions[pick], np.float64)


def _rows(
    ff: ForceField, listed: Listed, form: str, settings: Priors, molecules: Sequence[MoleculeFrames],
    frames: Sequence[FloatArray], temperature: float,
) -> Iterator[tuple[Key, Samples]]:  # fmt: skip
    """Each row of a term's table with its samples, sorted by key."""
    measure = {"bonds": distances, "angles": bond_angles}.get(listed, torsions)
    samples: dict[Key, list[FloatArray]] = {}
    labels: dict[Key, str] = {}
    for molecule, positions in zip(molecules, frames, strict=True):
        system = molecule.system
        index = system.interactions.get(listed, np.zeros((0, 2), np.int64))
        types = ff.type_indices(system)
        for beads in index.tolist():
            key = tuple(beads)
            if settings.key == "types":
                own = tuple(int(types[b]) for b in beads)
                key = min(own, own[::-1])
                labels[key] = "-".join(ff.bead_types[t].name for t in key)
            else:
                labels[key] = ", ".join(system.bead_label(b) for b in beads)
            samples.setdefault(key, []).append(measure(positions, np.array([beads]))[:, 0])
    for key in sorted(samples):
        values = np.concatenate(samples[key])
        if len(values) < FEWEST:
            raise InputError(
                f"too little data for the prior '{listed}' of {labels[key]}: {len(values)} samples, at least {FEWEST} "
                f"are needed; sample longer, or write `{listed}: none` under `priors:`"
            )
        coordinate = FORMS[form].on
        found = _fit(form, values, kT(temperature), settings.degree)
        yield key, Samples(listed, labels[key], coordinate, values, temperature, found)


def _fit(form: str, values: FloatArray, energy: float, degree: int) -> Parameters:
    if form == "harmonic_bond":
        return harmonic(values, values**2, energy)
    if form == "harmonic_angle":
        return harmonic(values, np.sin(values), energy)
    if form == "restricted_quartic_angle":
        return restricted_quartic(values, energy)
    return fourier(values, energy, degree)


def _term(name: str, form: str, keyed_by: Literal["types", "beads"], rows: Sequence[tuple[Key, Samples]]) -> Term:
    keys = np.array([key for key, _ in rows], np.int64)
    columns = {p: np.array([s.parameters[p] for _, s in rows], np.float64) for p in FORMS[form].parameters}
    return Term(name, form, keyed_by, keys, columns)


def _repulsion(ff: ForceField, settings: Priors, molecules: Sequence[MoleculeFrames]) -> Term:
    """epsilon (sigma / r)^12 with sigma the closest approach of each pair of types and epsilon `WALL`.

    Closest over all temperatures. A pair of types that was never seen near each other would get a wall where a longer
    simulation has frames, so no wall is wider than those of the quarter of the pairs that come nearest.
    """
    n = len(ff.bead_types)
    closest = np.full((n, n), np.inf)
    shape = Term("repulsion", "excluded_volume", "neighbors", np.zeros((0, 2), np.int64), {},
                 cutoff=2.0 * WIDEST_WALL, exclude_bonds=settings.exclude_bonds)  # fmt: skip
    for molecule in molecules:
        system, positions = molecule.system, _some(molecule.positions)
        types = ff.type_indices(system)
        excluded = {tuple(pair) for pair in excluded_pairs(ff, shape, system).tolist()}
        for pair in np.stack(np.triu_indices(system.n_beads, 1), axis=1).tolist():
            if tuple(pair) not in excluded:
                r = distances(positions, np.array([pair]))[:, 0]
                i, j = sorted((int(types[pair[0]]), int(types[pair[1]])))
                closest[i, j] = min(closest[i, j], np.quantile(r, CLOSEST_SHARE))
    if not np.isfinite(closest).any():
        raise InputError(
            f"too little data for the prior 'repulsion': no molecule has two beads more than {settings.exclude_bonds} "
            "bonds apart; write `repulsion: none` under `priors:`"
        )
    met = closest[np.isfinite(closest)]
    sigma = np.minimum(closest, min(float(np.quantile(met, NEAREST)), WIDEST_WALL))
    keys = np.stack(np.triu_indices(n), axis=1)
    sigma = sigma[keys[:, 0], keys[:, 1]]
    parameters = {"epsilon": np.full(len(keys), WALL), "sigma": sigma}
    return dataclasses.replace(shape, keys=keys, parameters=parameters, cutoff=2.0 * float(sigma.max()))

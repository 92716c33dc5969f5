"""The phases of a box of many chains, as a run has sampled them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from mdflash.analysis.condensate import (
    FEWEST,
    MG_PER_ML,
    OUTSIDE,
    Interface,
    Profiles,
    bin_mass,
    dense_phase,
    dilute_phase,
    fit_interface,
    mean_profile,
    profiles,
    transfer_free_energy,
)
from mdflash.analysis.molecule import Molecule
from mdflash.analysis.numbers import AtState, Measured, measure
from mdflash.analysis.open_run import Run
from mdflash.analysis.sample import CHUNK_NUMBERS, Progress, Sample
from mdflash.analysis.verdict import Light, grade, measured
from mdflash.core.plural import plural
from mdflash.core.types import FloatArray
from mdflash.io.read import iter_frames

LONG: Final = 2.0
"""Times that the longest edge of a box must be as long as the others for a slab in it."""
FEW: Final = 20
"""Independent samples of the dilute phase; fewer say little."""


@dataclass(eq=False)
class Phases:
    """Dense and dilute phase of a molecule's replicas at one state.

    Attributes:
        profiles: of all frames, track by track.
        density, error: [Z] mg/mL, of frames from the first step on.
        by_species: [S, Z] mg/mL.
        interface: where the slab ends; None: there is no slab.
        why: no concentrations are known, in a sentence; "" where they are.
        dense, dilute: by species, mM; the dilute ones are saturation concentrations. No dense ones of a thin slab.
        dense_mass, dilute_mass: mg/mL of all species.
    """

    profiles: Profiles
    density: FloatArray
    error: FloatArray
    by_species: FloatArray
    interface: Interface | None = None
    why: str = ""
    dense: dict[str, Measured] = field(default_factory=dict)
    dilute: dict[str, Measured] = field(default_factory=dict)
    dense_mass: Measured | None = None
    dilute_mass: Measured | None = None


def measure_phases(
    run: Run, sample: Sample, state: int, first_step: int, progress: Progress = lambda what, done, total: None
) -> Phases | None:
    """Profiles and concentrations of a box of many; None for another molecule, or without a frame at `state`.

    Args:
        run: from `open_run`.
        sample: its frames; concentrations of every frame are added to the values of its tracks.
        state: of the frames that count.
        first_step: frames from it on count.
        progress: called with what is done.
    """
    molecule = sample.molecule
    if not molecule.many:
        return None
    parts = []
    sources = {s.replica: s for s in run.sources()}
    chunk = max(1, CHUNK_NUMBERS // (3 * molecule.system.n_beads))
    for done, track in enumerate(sample.tracks):
        progress("density profiles", done, len(sample.tracks))
        own = [np.zeros((0, len(molecule.species), 1))]
        for frames in iter_frames(sources[track.replica].path, track.replica, chunk=chunk):
            keep = np.isin(frames.steps, track.steps)
            if keep.any():
                own.append(bin_mass(molecule, frames.positions[keep]))
        if len(own) > 1:
            parts.append(np.concatenate(own[1:]))
    progress("density profiles", len(sample.tracks), len(sample.tracks))
    counted = [(t.states == state) & (t.steps >= first_step) for t in sample.tracks if len(t)]
    if not parts or not any(c.any() for c in counted):
        return None
    all_of = profiles(molecule, np.concatenate(parts))
    counts = np.concatenate(counted)
    density, error = mean_profile(all_of.density[counts], [int(c.sum()) for c in counted])
    by_species = all_of.mass[counts].mean(axis=0) * (MG_PER_ML / all_of.volume)
    found = Phases(all_of, density, error, by_species, fit_interface(all_of.z, density))
    if found.interface is not None:
        slab = (all_of.z > -found.interface.middle[0]) & (all_of.z < found.interface.middle[1])
        inside = all_of.mass[counts].mean(axis=0)[:, slab].sum(axis=1)
        if (inside / all_of.masses).sum() < FEWEST:
            found.interface = None
    short = _too_short(molecule)
    if short:
        found.interface, found.why = None, short
        return found
    if found.interface is None:
        found.why = "the density along the longest edge shows no slab: all is one phase, or several droplets"
        return found
    dense, dilute = dense_phase(all_of.z, found.interface), dilute_phase(all_of.z, found.interface)
    if not dilute.any():
        found.why = (
            f"the slab and its interfaces fill the box, so there is no dilute phase: make the longest edge longer than "
            f"{2 * float((found.interface.middle + OUTSIDE * found.interface.width).max()) / 10:.0f} nm by a few ten nm"
        )
        return found
    columns = {}
    for phase, where in (("dense", dense), ("dilute", dilute)):
        if not where.any():  # a slab that is thinner than its interfaces
            continue
        columns[phase] = all_of.density[:, where].mean(axis=1)
        for s, name in enumerate(all_of.names):
            columns[f"{phase} {name}"] = all_of.concentrations(where)[:, s]
    _attach(sample, columns)
    found.dilute_mass = measure(sample, "dilute", first_step)
    found.dilute = {name: measure(sample, f"dilute {name}", first_step) for name in all_of.names}
    if dense.any():
        found.dense_mass = measure(sample, "dense", first_step)
        found.dense = {name: measure(sample, f"dense {name}", first_step) for name in all_of.names}
    return found


def _too_short(molecule: Molecule) -> str:
    """Why a box can hold no slab beside a dilute phase; "" where it can."""
    assert molecule.box is not None
    longest, second = sorted(molecule.box, reverse=True)[:2]
    if longest >= LONG * second:
        return ""
    edges = " x ".join(f"{edge / 10:.3g}" for edge in molecule.box)
    return (
        f"a box of {edges} nm is too short for a slab beside a dilute phase, so it has no concentrations: make "
        f"one edge at least {LONG:g} times as long as the others (`mdflash init --slab` chooses such a box)"
    )


def _attach(sample: Sample, columns: dict[str, FloatArray]) -> None:
    """Columns of all frames as values of the tracks that they are of."""
    at = 0
    for track in sample.tracks:
        for name, values in columns.items():
            track.values[name] = values[at : at + len(track)]
        at += len(track)


def phase_lights(phases: Phases, state: int) -> list[Light]:
    """What must hold before concentrations are believed."""
    if phases.why:
        return [Light("Two phases", "unknown", "not seen", "a slab with a dilute phase beside it", f"{phases.why}.")]
    lights = []
    for name, at in _at(phases.dilute, state):
        lights.append(
            Light(
                f"Samples of the dilute phase, {name}", grade(at.effective, 100, FEW, more=True),
                f"{at.effective:,.0f}", f"100 independent ones or more (care: {FEW})",
                "Molecules must leave the slab and come back many times; this counts how often they did, roughly.",
            )
        )  # fmt: skip
        lights.append(
            Light(
                f"Halves of the dilute phase, {name}", grade(at.drift, 2.0, 3.0, more=False),
                "-" if math.isnan(at.drift) else f"{at.drift:.1f} σ",
                "means of the first and second half within 2 standard errors (care: 3)",
                "Its concentration: " + " then ".join(measured(*half, "mM") for half in at.halves) + ".",
            )
        )  # fmt: skip
    return lights


def phase_words(phases: Phases, state: int, kelvin: float) -> list[str]:
    """The phases in words, as parts of a sentence."""
    if phases.why:
        return [phases.why]
    parts = []
    dense = dict(_at(phases.dense, state))
    for name, dilute in _at(phases.dilute, state):
        saturation = measured(*dilute.mean, "mM")
        if not dilute.mean.value > 0:
            saturation = "too small to be seen, for no molecule was in the dilute phase"
        if dilute.effective < FEW:
            saturation += f" by only {plural(max(1, round(dilute.effective)), 'independent sample')}"
        text = f"the saturation concentration of {name} is {saturation}"
        if name in dense:
            free = transfer_free_energy(dilute.mean.value, dense[name].mean.value, kelvin)
            gain = f" ({free:.1f} kcal/mol for a molecule that joins it)" if math.isfinite(free) else ""
            text += f", beside a dense phase of {measured(*dense[name].mean, 'mM')}{gain}"
        parts.append(text)
    if not dense:
        parts.append("the slab is thinner than its interfaces, so it has no inside: take more molecules, or less area")
    return parts


def _at(found: dict[str, Measured], state: int) -> list[tuple[str, AtState]]:
    return [(name, m.states[state]) for name, m in found.items() if state in m.states]

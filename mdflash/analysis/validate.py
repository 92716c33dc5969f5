"""A force field against data: CG simulations, and how far their distributions are from the data's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mdflash.analysis.validate_compare import Axis, Comparison, compare
from mdflash.analysis.validate_coordinates import Coordinate, Tica, coordinates
from mdflash.analysis.validate_simulate import SimulationPlan, simulate
from mdflash.core.state import Layout
from mdflash.core.types import FloatArray
from mdflash.errors import ForceFieldError, InputError, UnstableError
from mdflash.forcefields.build import build_potential
from mdflash.forcefields.forcefield import ForceField
from mdflash.integrators.timestep_check import coarse_step
from mdflash.mapping.interactions import with_interactions
from mdflash.sampling.dataset import Dataset, Molecule
from mdflash.units import kT

BINS, BINS_2D = 60, 36
BLOCKS = 20
"""Stretches that the data is cut into for its errors, at least one for each trajectory."""
SAME_TEMPERATURE = 1.0
SPACING = 0.5
"""ps; frames of the data that are nearer in time add little, and are left out."""
LAG = 10.0
"""ps, for TICA."""


@dataclass(frozen=True, eq=False)
class Finding:
    """One coordinate: the simulation against the data, and the data's second half against its first."""

    coordinate: Coordinate
    model: Comparison
    halves: Comparison


@dataclass(frozen=True, eq=False)
class Validation:
    """All findings about one molecule.

    Attributes:
        molecule: its name.
        plan: of the simulation.
        findings: by coordinate.
        data_frames, data_trajectories, model_frames: sample sizes.
        frozen: replicas that became NaN or infinite; they are left out.
        tica_lag: frames.
        coarse: that steps are long for the stiffest bond, or None.
    """

    molecule: str
    plan: SimulationPlan
    findings: tuple[Finding, ...]
    data_frames: int
    data_trajectories: int
    model_frames: int
    frozen: int
    tica_lag: int
    coarse: str | None

    def numbers(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "molecule": self.molecule,
            "simulation": dataclasses.asdict(self.plan),
            "data_frames": self.data_frames,
            "data_trajectories": self.data_trajectories,
            "model_frames": self.model_frames,
            "replicas_left_finite_numbers": self.frozen,
            "steps_are_long": self.coarse,
            "tica_lag_frames": self.tica_lag,
            "coordinates": {
                f.coordinate.name: {
                    "group": f.coordinate.group or "surface",
                    "model_against_data": f.model.numbers(),
                    "half_of_data_against_other_half": f.halves.numbers(),
                }
                for f in self.findings
            },
        }


def validate(
    ff: ForceField,
    dataset: Dataset,
    plan: SimulationPlan,
    progress: Callable[[str, int], None] = lambda name, step: None,
) -> list[Validation]:
    """Simulate every molecule of a dataset and compare.

    Args:
        ff: the force field.
        dataset: the data; frames within 1 K of the plan's temperature are used.
        plan: of the simulations.
        progress: called with molecule and step from time to time.

    Raises:
        ForceFieldError: the force field is for another mapping, or does not fit a molecule.
        InputError: no data at this temperature.
        UnstableError: no replica stayed finite.
    """
    if ff.mapping != dataset.mapping:
        raise ForceFieldError(
            f"force field '{ff.name}' is for the mapping '{ff.mapping}', but the data is mapped by '{dataset.mapping}'",
            file=dataset.folder,
        )
    return [_validate(ff, molecule, plan, progress) for molecule in dataset.molecules]


def _validate(
    ff: ForceField, molecule: Molecule, plan: SimulationPlan, progress: Callable[[str, int], None]
) -> Validation:
    data, spacing = _at_temperature(molecule, plan.temperature)
    own = {s.name: s for s, _ in ff.systems}
    system = own.get(molecule.system.name, molecule.system)
    if system.types != molecule.system.types:
        raise ForceFieldError(f"force field '{ff.name}' was made for another molecule of the name '{molecule.name}'")
    system = with_interactions(system)
    frames, frozen = simulate(ff, system, np.concatenate(data), plan, lambda step: progress(molecule.name, step))
    if not frames:
        raise UnstableError(
            f"'{molecule.name}': none of {plan.replicas} replicas stayed finite with steps of "
            f"{plan.timestep * 1e3:g} fs; try a shorter --timestep"
        )
    native = None if molecule.start is None else molecule.start[0]
    found = coordinates(system, native)
    lag = min(max(1, round(LAG / spacing)), max(1, min(len(x) for x in data) // 10))
    if system.n_beads > 3:
        found.insert(0, Coordinate("TICA", ("TIC 1", "TIC 2"), Tica(system, data, lag)))
    blocks = _blocks(data)
    findings = tuple(_finding(c, blocks, frames, kT(plan.temperature)) for c in found)
    layout = Layout((system,), (1,))
    coarse = coarse_step(build_potential([ff], layout).terms, layout, plan.timestep)
    return Validation(
        molecule.name, plan, findings, sum(map(len, data)), len(data), sum(map(len, frames)), frozen, lag, coarse
    )  # fmt: skip


def _at_temperature(molecule: Molecule, temperature: float) -> tuple[list[FloatArray], float]:
    """Positions [F, N, 3] of every trajectory with frames of this temperature and no window, and ps between them."""
    found, seen, spacings = [], set(), []
    free = [trajectory for trajectory in molecule.trajectories if not trajectory.biased]
    if not free:
        raise InputError(
            f"molecule '{molecule.name}' has frames of umbrella windows alone, which do not measure how often a "
            "simulation is where; compare with a dataset that was sampled without `windows:`"
        )
    for trajectory in free:
        frames = trajectory.read()
        seen |= {round(float(t)) for t in np.unique(frames.temperature)}
        keep = np.abs(frames.temperature - temperature) <= SAME_TEMPERATURE
        if keep.any():
            step = float(np.median(np.diff(frames.time[keep]))) if keep.sum() > 1 else 0.0
            step = step or SPACING  # of a single frame, and of frames that all say the same time
            every = max(1, round(SPACING / step))
            found.append(frames.positions[keep][::every])
            spacings.append(every * step)
    if not found:
        raise InputError(
            f"molecule '{molecule.name}' has no data at {temperature:g} K; there are frames at "
            f"{', '.join(f'{t} K' for t in sorted(seen))}: give one of these with --temperature"
        )
    return found, float(np.median(spacings))


def _blocks(trajectories: Sequence[FloatArray]) -> list[FloatArray]:
    """The trajectories cut into `BLOCKS` stretches or a little more, in order."""
    each = -(-BLOCKS // len(trajectories))
    return [part for x in trajectories for part in np.array_split(x, each) if len(part)]


def _finding(c: Coordinate, data: Sequence[FloatArray], model: Sequence[FloatArray], energy: float) -> Finding:
    reference, other = [c.values(x) for x in data], [c.values(x) for x in model]
    axes = []
    for k, label in enumerate(c.labels):
        low, high = c.span or _range([v[:, k] for v in (*reference, *other)])
        axes.append(Axis(label, np.linspace(low, high, (BINS if len(c.labels) == 1 else BINS_2D) + 1)))
    half = len(reference) // 2
    return Finding(
        c,
        compare(c.name, axes, reference, other, energy),
        compare(c.name, axes, reference[:half], reference[half:], energy),
    )


def _range(values: Sequence[FloatArray]) -> tuple[float, float]:
    everything = np.concatenate(values)
    low, high = np.quantile(everything, [1e-4, 1.0 - 1e-4])
    margin = 0.02 * (high - low) + 1e-6
    return float(low - margin), float(high + margin)

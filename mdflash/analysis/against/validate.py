"""A force field against data: CG simulations, and how far their distributions are from the data's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mdflash.analysis.against.ensemble import Ensemble, of_dataset
from mdflash.analysis.against.findings import EnsembleResult, compare_ensembles
from mdflash.analysis.against.simulate import SimulationPlan, simulate
from mdflash.core.state import Layout
from mdflash.errors import ForceFieldError, UnstableError
from mdflash.forcefields.build import build_potential
from mdflash.forcefields.model import ForceField
from mdflash.integrators.timestep_check import coarse_step
from mdflash.mapping.interactions import with_interactions
from mdflash.sampling.dataset import Dataset, Molecule


@dataclass(frozen=True, eq=False)
class Validation:
    """All findings about one molecule.

    Attributes:
        molecule: its name.
        plan: of the simulation.
        result: the simulation against the data.
        data_trajectories: how many.
        frozen: replicas that became NaN or infinite; they are left out.
        coarse: that steps are long for the stiffest bond, or None.
    """

    molecule: str
    plan: SimulationPlan
    result: EnsembleResult
    data_trajectories: int
    frozen: int
    coarse: str | None

    def numbers(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "molecule": self.molecule,
            "simulation": dataclasses.asdict(self.plan),
            "data_frames": self.result.reference_frames,
            "data_trajectories": self.data_trajectories,
            "model_frames": self.result.frames,
            "replicas_left_finite_numbers": self.frozen,
            "steps_are_long": self.coarse,
            "tica_lag_frames": self.result.tica_lag,
            "coordinates": self.result.numbers(),
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
    data = of_dataset(molecule, molecule.system, plan.temperature)
    own = {s.name: s for s, _ in ff.systems}
    system = own.get(molecule.system.name, molecule.system)
    if system.types != molecule.system.types:
        raise ForceFieldError(f"force field '{ff.name}' was made for another molecule of the name '{molecule.name}'")
    system = with_interactions(system)
    start = np.concatenate(data.trajectories)
    frames, frozen = simulate(ff, system, start, plan, lambda step: progress(molecule.name, step))
    if not frames:
        raise UnstableError(
            f"'{molecule.name}': none of {plan.replicas} replicas stayed finite with steps of "
            f"{plan.timestep * 1e3:g} fs; try a shorter --timestep"
        )
    model = Ensemble("the simulation", tuple(frames), plan.temperature, plan.interval, tuple(frames))
    native = None if molecule.start is None else molecule.start[0]
    result = compare_ensembles(system, native, data, model, plan.temperature)
    layout = Layout((system,), (1,))
    coarse = coarse_step(build_potential([ff], layout).terms, layout, plan.timestep)
    return Validation(molecule.name, plan, result, len(data.trajectories), frozen, coarse)

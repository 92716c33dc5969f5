"""Free energies from pulling: Jarzynski's average of the work that moving biases have done.

    dF(t) = -kT ln < exp(-W(t) / kT) >        over replicas

dF is that of the biased ensemble at the parameters of the time t less that at the first ones, so with a stiff restraint
about the free energy along its center. It is exact for replicas that were at equilibrium when the bias began to move;
errors are those of a bootstrap over replicas. An average of exponentials hangs on its few smallest works: where the
spread of W is several kT, it is too high however small its error looks. Jarzynski, Phys. Rev. Lett. 78, 2690 (1997).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mdflash.analysis.open_run import Run
from mdflash.analysis.statistics import resample
from mdflash.config.load import load_run
from mdflash.config.untold import biases_on, untold
from mdflash.core.types import FloatArray
from mdflash.errors import MdflashError
from mdflash.potentials.variables import VARIABLES
from mdflash.potentials.variables.base import AXES
from mdflash.units import kT

RESAMPLES = 200


@dataclass(frozen=True, eq=False)
class Pulled:
    """One bias that moves.

    Attributes:
        name: of the bias.
        variable: what it acts on, in words with its unit.
        what: "center" or "force constant", whichever moves (center, where both do).
        times: [T] ps.
        parameter: [T] of that.
        free: [T] kcal/mol, dF.
        error: [T] its standard error.
        mean: [T] kcal/mol, the mean work.
        spread: kcal/mol, standard deviation of the work at the end.
        replicas: how many did work.
        kelvin: temperature.
    """

    name: str
    variable: str
    what: str
    times: FloatArray
    parameter: FloatArray
    free: FloatArray
    error: FloatArray
    mean: FloatArray
    spread: float
    replicas: int
    kelvin: float


def jarzynski(work: FloatArray, thermal: float) -> FloatArray:
    """[T] free energy differences from works [R, T]; both and kT in one unit."""
    least = work.min(axis=0)
    return np.asarray(least - thermal * np.log(np.exp(-(work - least) / thermal).mean(axis=0)))


def find_pulled(run: Run, name: str) -> tuple[list[Pulled], list[str]]:
    """Of one molecule, every bias that moves; and sentences on those whose work is not averaged."""
    if not (run.folder / "colvars.csv").is_file():
        return [], []
    try:
        config = load_run(run.folder)
        mine = [b for b in biases_on(config, name) if b.moving is not None]
        rows = run.colvars if mine else None
    except MdflashError as error:
        return [], [f"works could not be read ({error})"]
    found, lacking, untold_why = [], [], untold(config, name)
    for entry in mine:
        assert rows is not None
        own = rows[rows["system"] == name]
        kelvin = sorted(set(own["target_K"]))
        tables = {
            column: own.pivot_table(index="replica", columns="time_ps", values=f"{entry.name}_{column}", dropna=False)
            for column in ("work_kcal_mol", "center", "force_constant")
        }
        work = tables["work_kcal_mol"].dropna()
        why = untold_why.get(entry.name)
        if why is None and len(kelvin) > 1:
            why = "its replicas have several temperatures"
        if why is None and len(work) < 2:
            why = "it needs two replicas or more"
        if why is not None:
            lacking.append(f"the work of {entry.name} is not averaged: {why}")
            continue
        w = work.to_numpy(np.float64)
        thermal = kT(float(kelvin[0]))
        drawn = np.array([jarzynski(np.repeat(w, often, axis=0), thermal) for often in resample(len(w), RESAMPLES)])
        what = "force constant" if entry.center_to is None else "center"
        variable = VARIABLES[entry.variable]
        unit = AXES[variable.dimension] if what == "center" else ""
        moved = tables[what.replace(" ", "_")].loc[work.index[0]].to_numpy(np.float64)
        found.append(
            Pulled(
                entry.name, f"{what} of {entry.name}, {variable.name.replace('_', ' ')}{unit}", what,
                work.columns.to_numpy(np.float64), moved,
                jarzynski(w, thermal), drawn.std(axis=0, ddof=1), w.mean(axis=0), float(w[:, -1].std(ddof=1)), len(w),
                float(kelvin[0]),
            )
        )  # fmt: skip
    return found, lacking

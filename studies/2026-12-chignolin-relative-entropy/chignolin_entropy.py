"""Force fields of chignolin beside its all-atom frames: free energies by windows on both sides, and forces.

    python chignolin_entropy.py examples/chignolin/refine.yaml --forcefield examples/chignolin/forces \
        --forcefield forcefields/chignolin-ca --frames data/chignolin-windows --out chignolin_entropy.json

Each force field is simulated in the windows of the frames (`windows: hold`), five replicas in each; MBAR gives the free
molecule. `--frames`: all frames, of which those that were not learned from judge the forces.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from mdflash.analysis.measures import radius_of_gyration, rmsd
from mdflash.core.geometry import distances
from mdflash.core.types import FloatArray
from mdflash.forcefields.forcefield import load_forcefield
from mdflash.sampling.dataset import load_dataset
from mdflash.training.entropy.pool import Pool
from mdflash.training.entropy.run import make_entropy_trainer
from mdflash.training.recipe import load_recipe
from mdflash.training.run import prepare_training
from mdflash.units import kT

KELVIN, FOLDED = 340.0, 2.0
EDGES = np.arange(0.0, 8.01, 0.5)  # Å of RMSD
SETTINGS = ("length=1600 ps", "settle=200 ps", "every=2 ps", "seed=77")
SPACING = 30, 15  # of frames that were learned from, and how far from these are those that judge the forces
AFTER = 400.0  # ps


def profile(values: FloatArray, w: FloatArray, edges: FloatArray) -> FloatArray:
    """[bins] kcal/mol from the lowest."""
    p = np.histogram(values, edges, weights=w)[0]
    with np.errstate(divide="ignore"):
        f = -kT(KELVIN) * np.log(p)
    return np.asarray(f - f.min())


def off(found: FloatArray, truth: FloatArray, most: float = 4.0) -> float:
    """RMSE in kcal/mol over bins within `most` of the minimum, shifted to each other by populations."""
    both = (truth < most) & np.isfinite(found)
    d = found[both] - truth[both]
    d -= np.average(d, weights=np.exp(-truth[both] / kT(KELVIN)))
    return float(np.sqrt((d**2).mean()))


class Look:
    """What frames are looked at by: RMSD, Rg, and the first two principal components of all distances of the data."""

    def __init__(self, native: FloatArray, masses: FloatArray, x: FloatArray, w: FloatArray) -> None:
        self.native, self.masses = native, masses
        self.pairs = np.stack(np.triu_indices(x.shape[1], 3), axis=1)
        d = distances(x, self.pairs)
        self.middle = w @ d
        self.axes = np.linalg.eigh((d - self.middle).T @ (w[:, None] * (d - self.middle)))[1][:, :-3:-1]
        self.edges = {name: np.linspace(*np.quantile(v, (0.002, 0.998)), 21) for name, v in self(x).items()}
        self.edges["rmsd"] = EDGES

    def __call__(self, x: FloatArray) -> dict[str, FloatArray]:
        first, second = ((distances(x, self.pairs) - self.middle) @ self.axes).T
        rg = radius_of_gyration(x, self.masses)
        return {"rmsd": rmsd(x, self.native), "rg": rg, "pc1": first, "pc2": second}

    def describe(self, x: FloatArray, w: FloatArray) -> dict[str, FloatArray]:
        values = self(x)
        found = {name: profile(values[name], w, edges) for name, edges in self.edges.items()}
        found["folded"] = np.array(w[values["rmsd"] < FOLDED].sum())
        return found


def simulated(recipe: Path, forcefield: Path, look: Look) -> tuple[dict[str, FloatArray], list[dict[str, FloatArray]]]:
    """What all replicas say, and each half of them."""
    overrides = [f"start={forcefield.absolute()}", "relative_entropy.priors=fixed"]
    overrides += [f"relative_entropy.{said}" for said in SETTINGS]
    prepared = prepare_training(load_recipe(recipe, [*overrides, "folder=/nowhere"]))
    trainer = make_entropy_trainer(prepared)
    sampler, (group,) = trainer.material.sampler, trainer.material.groups
    samples = sampler.simulate(load_forcefield(forcefield), sampler.starts(), 0, trainer.settings.settle)
    x, states = samples.positions[0], sampler.states[0]
    replica = np.arange(len(x)) % len(states)
    found = []
    for part in (replica >= 0, replica % 2 == 0, replica % 2 == 1):
        own = x[torch.from_numpy(part)]
        pool = Pool(kT(KELVIN), 1)
        counts = np.bincount(states[replica[part]], minlength=group.windows.states)
        pool.add(own, np.zeros((0, 0)), np.zeros(len(own)), group.windows.energies(own), counts, group.shares)
        found.append(look.describe(own.double().numpy(), pool.weigh(np.zeros(len(own)))[0]))
    return found[0], found[1:]


def force_loss(recipe: Path, forcefield: Path, frames: Path) -> float:
    """(kcal/mol/Å)² of a component, over frames that were not learned from."""
    prepared = prepare_training(load_recipe(recipe, [f"start={forcefield.absolute()}", "folder=/nowhere"]))
    trainer = make_entropy_trainer(prepared)
    from mdflash.training.frames import prior_forces

    (molecule,) = load_dataset(frames).molecules
    squares, count = 0.0, 0
    for trajectory in molecule.trajectories:
        own = trajectory.read()
        late = np.flatnonzero(own.time >= AFTER)[SPACING[1] :: SPACING[0]]
        x = torch.from_numpy(np.ascontiguousarray(own.positions[late]))
        priors = prior_forces(prepared.priors, prepared.data.molecules[0].system, x.numpy())[0]
        rest = own.forces[late] - priors - trainer.material.forces.predict(0, x).numpy()
        squares, count = squares + float(np.square(rest, dtype=np.float64).sum()), count + rest.size
    return squares / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--forcefield", type=Path, action="append", required=True)
    parser.add_argument("--frames", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    o = parser.parse_args()
    prepared = prepare_training(load_recipe(o.recipe))
    assert prepared.weighed is not None
    molecule, ((known,),) = prepared.data.molecules[0], prepared.weighed.weights
    x = molecule.positions.astype(np.float64)
    assert molecule.start is not None
    look = Look(molecule.start[0], molecule.system.masses, x, known.values)
    truth = look.describe(x, known.values)
    report: dict[str, object] = {"rmsd_from": EDGES[:-1].tolist(), "data": {"rmsd": truth["rmsd"].round(2).tolist(),
                                 "folded_percent": round(100 * float(truth["folded"]), 3)}}  # fmt: skip
    for folder in o.forcefield:
        own, halves = simulated(o.recipe, folder, look)
        said: dict[str, object] = {
            "digest": load_forcefield(folder).digest[:16],
            "rmsd": own["rmsd"].round(2).tolist(),
            "halves_differ": (halves[0]["rmsd"] - halves[1]["rmsd"]).round(2).tolist(),
            "folded_percent": round(100 * float(own["folded"]), 3),
            "folded_percent_of_halves": [round(100 * float(h["folded"]), 3) for h in halves],
            "off_kcal_mol": {name: round(off(own[name], truth[name]), 3) for name in look.edges},
        }
        if o.frames is not None:
            said["force_loss"] = round(force_loss(o.recipe, folder, o.frames), 4)
        report[str(folder)] = said
        print(json.dumps({str(folder): said}), flush=True)
    o.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()

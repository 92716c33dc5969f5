"""Folding free energy of a force field against its Gō teacher, where folding is too rare to wait for.

pip install 'mdflash[analysis]'
python examples/teacher/folding_profile.py runs/teacher/bundle/forcefield --teacher runs/teacher/go-bundle

Umbrella windows along the fraction of native contacts Q exchange their places at one temperature; MBAR joins them, and
gives other temperatures nearby from the energies of the frames. M. R. Shirts and J. D. Chodera, J. Chem. Phys. 129,
124105 (2008). From the same frames follows the free energy of the other force field, whose energies are evaluated there
too: that tells the two apart far below what either simulation leaves open. The student starts where the teacher's
windows ended; what is compared is where it goes from there.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pymbar import MBAR
from teacher import BINS, rmse

from mdflash import (
    Dynamics,
    Engine,
    ForceField,
    LangevinMiddle,
    Layout,
    Simulation,
    State,
    build_potential,
    load_forcefield,
)
from mdflash.analysis.against.coordinates import Coordinate, coordinates
from mdflash.units import kT

CENTERS = np.linspace(0.05, 0.95, 16)
STIFFNESS = 250.0  # kcal/mol: a window is 0.05 wide, as wide as the step to the next
SETTLING = 0.1
IMPOSSIBLE = 10.0  # robust standard deviations of the energy above its median


@dataclass(frozen=True)
class Sampled:
    """Frames of a simulation in windows.

    Attributes:
        q: [F, W] fraction of native contacts.
        energy, other: [F, W] kcal/mol without windows, of the force field that was simulated and of the other one.
        last: [W, N, 3] the last frame, Å.
    """

    q: np.ndarray
    energy: np.ndarray
    other: np.ndarray
    last: np.ndarray

    def part(self, rows: slice) -> Sampled:
        return Sampled(self.q[rows], self.energy[rows], self.other[rows], self.last)


def sample(
    ff: ForceField, other: ForceField, q: Coordinate, native: Path, start: np.ndarray, temperature: float,
    length: float, seed: int,
) -> Sampled:  # fmt: skip
    """A simulation of `length` ns in every window, from frames [F, N, 3]; contacts are those of the file `native`."""
    system, _ = ff.system()
    fold = {
        "name": "fold",
        "variable": "native_contacts",
        "reference": str(native),
        "force_constant": f"{STIFFNESS} kcal/mol",
        "center": {"min": float(CENTERS[0]), "max": float(CENTERS[-1]), "count": len(CENTERS)},
    }
    sim = Simulation(
        system, ff, replicas=len(CENTERS), temperatures=f"{temperature} K", timestep="10 fs", start=start,
        seed=seed, biases=[fold], exchange={"biases": ["fold"], "interval": "1 ps"},
    )  # fmt: skip
    layout = Layout((system,), (len(CENTERS),))
    state = State.at(layout, sim.positions.reshape(-1, 3).copy(), temperature)
    free = [
        Engine(layout, build_potential([given], layout), state, Dynamics(LangevinMiddle(0.01, 1.0), seed=0))
        for given in (ff, other)
    ]
    values, energies = [], []
    for k in range(round(length * 500)):
        sim.run("2 ps")
        if k >= SETTLING * length * 500:
            values.append(q.values(sim.positions)[:, 0])
            state.positions.copy_(sim.state.positions)
            found = []
            for engine in free:
                engine.evaluate()
                found.append(state.energy.numpy().copy())
            energies.append(found)
    both = np.array(energies)
    return Sampled(np.array(values), both[:, 0], both[:, 1], sim.positions.copy())


def profiles(sampled: Sampled, temperature: float, wanted: list[float], other: bool = False) -> np.ndarray:
    """[temperatures, bins] -kT ln p along Q in kcal/mol, of the force field or of the `other`; inf where nothing was.

    Frames of an energy that no temperature gives are left out: in the Gō teacher three beads can come into line, where
    a dihedral's force has no bound, and for a step or two that is an energy of thousands of kcal/mol.
    """
    possible = np.ones(sampled.q.shape, bool)  # [F, W]
    for energy in (sampled.energy, sampled.other):
        away = energy - np.median(energy)
        possible &= away < IMPOSSIBLE * 1.48 * np.median(np.abs(away))
    counts, q = possible.sum(axis=0), sampled.q[possible]
    energy, aim = (e[possible] - np.median(e) for e in (sampled.energy, sampled.other if other else sampled.energy))
    reduced = 0.5 * STIFFNESS * (q - CENTERS[:, None]) ** 2 / kT(temperature)  # [windows, samples]
    free = MBAR(reduced, counts).f_k
    outside = (counts[:, None] * np.exp(free[:, None] - reduced)).sum(axis=0)
    found = []
    for t in wanted:
        weights = np.exp(energy / kT(temperature) - aim / kT(t)) / outside
        p = np.histogram(q, bins=BINS, range=(0, 1), weights=weights / weights.sum())[0]
        with np.errstate(divide="ignore"):
            found.append(-kT(t) * np.log(p))
    return np.array(found)


def folded(f: np.ndarray, temperature: float) -> float:
    """Share of Q > 0.5."""
    p = np.exp(-f / kT(temperature))
    return float(p[BINS // 2 :].sum() / p.sum())


def listed(f: np.ndarray) -> list[float | None]:
    """From its minimum on, as JSON has it."""
    return [round(v, 3) if np.isfinite(v) else None for v in (f - f.min()).tolist()]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="the student's force field")
    parser.add_argument("--teacher", default="go-chignolin", help="force field folder, or the name of a shipped one")
    parser.add_argument("--temperature", type=float, default=345.0, help="K, of the simulations")
    parser.add_argument("--at", type=float, nargs="+", default=[335.0, 345.0, 355.0], help="K, of the free energies")
    parser.add_argument("--lengths", type=float, nargs=2, default=[4.0, 1.5], help="ns of each window, of the two")
    options = parser.parse_args()
    teacher, student = load_forcefield(options.teacher), load_forcefield(options.folder)
    system, native = teacher.system()
    fold = next(c for c in coordinates(system, native[0]) if c.name == "Q")
    hot, wanted = options.temperature, options.at
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "native.npy"
        np.save(file, native[:1])
        truth = sample(teacher, student, fold, file, native[:1], hot, options.lengths[0], seed=21)
        settled = truth.last[np.argsort(truth.q[-1])]  # each near its window
        learned = sample(student, teacher, fold, file, settled, hot, options.lengths[1], seed=22)
    f = {"teacher": profiles(truth, hot, wanted), "student": profiles(learned, hot, wanted)}
    same = {
        "teacher": profiles(truth, hot, wanted, other=True), "student": profiles(learned, hot, wanted, other=True)
    }  # fmt: skip
    halves = {}
    for name, own in (("teacher", truth), ("student", learned)):
        middle = len(own.q) // 2
        halves[name] = [profiles(own.part(rows), hot, wanted) for rows in np.s_[:middle, middle:]]
    text = json.dumps(
        {
            "teacher": teacher.name,
            "ns_of_each_window": dict(zip(("teacher", "student"), options.lengths, strict=True)),
            "windows": len(CENTERS),
            "sampled_at_K": hot,
            "at": [
                {
                    "temperature_K": t,
                    "rmse_kcal_mol": round(rmse(f["teacher"][k], f["student"][k])[0], 3),
                    "bins_missed": rmse(f["teacher"][k], f["student"][k])[1],
                    **{
                        f"rmse_between_halves_of_the_{name}": round(rmse(first[k], second[k])[0], 3)
                        for name, (first, second) in halves.items()
                    },
                    **{f"rmse_on_the_frames_of_the_{name}": round(rmse(f[name][k], same[name][k])[0], 3) for name in f},
                    **{f"folded_{name}": round(folded(f[name][k], t), 3) for name in f},
                    **{f"free_energy_{name}": listed(f[name][k]) for name in f},
                }
                for k, t in enumerate(wanted)
            ],
        },
        indent=1,
    )
    print(text)
    (options.folder.parent / "profile.json").write_text(text + "\n")

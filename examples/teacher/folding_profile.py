"""Folding free energy of a force field against its Gō teacher, where folding is too rare to wait for.

pip install 'mdflash[analysis]'
python examples/teacher/folding_profile.py runs/teacher/train/forcefield --teacher runs/teacher/go-bundle

Umbrella windows along the fraction of native contacts Q exchange their places at one temperature; MBAR joins them, and
gives other temperatures nearby from the energies of the frames. M. R. Shirts and J. D. Chodera, J. Chem. Phys. 129,
124105 (2008).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from pymbar import MBAR
from teacher import BINS, rmse

from mdflash import Engine, ForceField, LangevinMiddle, Layout, Simulation, State, build_potential, load_forcefield
from mdflash.analysis.validate_coordinates import coordinates
from mdflash.units import kT

CENTERS = np.linspace(0.05, 0.95, 16)
STIFFNESS = 250.0  # kcal/mol: a window is 0.05 wide, as wide as the step to the next
SETTLING = 0.1
IMPOSSIBLE = 10.0  # robust standard deviations of the energy above its median


def frames(ff: ForceField, teacher: ForceField, temperature: float, length: float, seed: int) -> tuple[np.ndarray, ...]:
    """Q and energy in kcal/mol (without windows) [frames, windows] of a simulation of `length` ns in every window."""
    system, native = teacher.system()
    q = next(c for c in coordinates(system, native[0]) if c.name == "Q")
    fold = {
        "name": "fold",
        "variable": "native_contacts",
        "force_constant": f"{STIFFNESS} kcal/mol",
        "center": {"min": float(CENTERS[0]), "max": float(CENTERS[-1]), "count": len(CENTERS)},
    }
    sim = Simulation(
        system, ff, replicas=len(CENTERS), temperatures=f"{temperature} K", timestep="10 fs", start=native[:1],
        seed=seed, biases=[fold], exchange={"biases": ["fold"], "interval": "1 ps"},
    )  # fmt: skip
    layout = Layout((system,), (len(CENTERS),))
    state = State.at(layout, np.tile(native[0], (len(CENTERS), 1)), temperature)
    free = Engine(layout, build_potential([ff], layout), state, LangevinMiddle(0.01, 1.0), seed=0)
    values, energies = [], []
    for k in range(round(length * 500)):
        sim.run("2 ps")
        if k >= SETTLING * length * 500:
            values.append(q.values(sim.positions())[:, 0])
            free.state.positions.copy_(sim.state.positions)
            free.evaluate()
            energies.append(free.state.energy.numpy().copy())
    return np.array(values), np.array(energies)


def profiles(q: np.ndarray, energy: np.ndarray, temperature: float, wanted: list[float]) -> np.ndarray:
    """[temperatures, bins] -kT ln p along Q in kcal/mol; inf where nothing was.

    Frames of an energy that no temperature gives are left out: in the Gō teacher three beads can come into line, where
    a dihedral's force has no bound, and for a step or two that is an energy of thousands of kcal/mol.
    """
    away = energy - np.median(energy)
    possible = away < IMPOSSIBLE * 1.48 * np.median(np.abs(away))  # [frames, windows]
    counts = possible.sum(axis=0)
    q, energy = q[possible], away[possible]
    reduced = 0.5 * STIFFNESS * (q - CENTERS[:, None]) ** 2 / kT(temperature)  # [windows, samples]
    free = MBAR(reduced, counts).f_k
    outside = (counts[:, None] * np.exp(free[:, None] - reduced)).sum(axis=0)
    found = []
    for t in wanted:
        weights = np.exp(-energy * (1.0 / kT(t) - 1.0 / kT(temperature))) / outside
        p = np.histogram(q, bins=BINS, range=(0, 1), weights=weights / weights.sum())[0]
        with np.errstate(divide="ignore"):
            found.append(-kT(t) * np.log(p))
    return np.array(found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="the student's force field")
    parser.add_argument("--teacher", default="go-chignolin", help="force field folder, or the name of a shipped one")
    parser.add_argument("--temperature", type=float, default=345.0, help="K, of the simulations")
    parser.add_argument("--at", type=float, nargs="+", default=[335.0, 345.0, 355.0], help="K, of the free energies")
    parser.add_argument("--length", type=float, default=3.0, help="ns of each window")
    options = parser.parse_args()
    teacher, student = load_forcefield(options.teacher), load_forcefield(options.folder)
    found = {
        name: frames(ff, teacher, options.temperature, options.length, seed)
        for name, ff, seed in (("teacher", teacher, 21), ("student", student, 22))
    }
    f = {name: profiles(*values, options.temperature, options.at) for name, values in found.items()}
    middle = len(found["teacher"][0]) // 2
    halves = {
        name: [profiles(x[part], e[part], options.temperature, options.at) for part in np.s_[:middle, middle:]]
        for name, (x, e) in found.items()
    }
    text = json.dumps(
        {
            "teacher": teacher.name,
            "ns_of_each_window": options.length,
            "windows": len(CENTERS),
            "sampled_at_K": options.temperature,
            "at": [
                {
                    "temperature_K": t,
                    "rmse_kcal_mol": round(rmse(f["teacher"][k], f["student"][k])[0], 3),
                    "bins_missed": rmse(f["teacher"][k], f["student"][k])[1],
                    **{
                        f"rmse_between_halves_of_the_{name}": round(rmse(first[k], second[k])[0], 3)
                        for name, (first, second) in halves.items()
                    },
                    **{
                        f"free_energy_{name}": [round(v, 3) if np.isfinite(v) else None for v in (f[name][k]).tolist()]
                        for name in f
                    },
                }
                for k, t in enumerate(options.at)
            ],
        },
        indent=2,
    )
    print(text)
    (options.folder.parent / "profile.json").write_text(text + "\n")

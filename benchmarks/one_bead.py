"""One bead per residue: CALVADOS 2 in mdflash and in OpenMM, on the processor:

    python benchmarks/one_bead.py [--seconds 3] [--out benchmarks/results]

measures, in one run on one machine:

- single chains of 50 and 137 residues (of the low-complexity domain of hnRNPA1), one thread each;
- 64 disordered chains of 24 to 140 residues as one batch on two threads, against one OpenMM context a chain;
- 1,370 and 13,700 beads at the density of a condensate in a periodic box: what a bead costs, and a list of a bead.

Numbers are whole Langevin steps of 10 fs. They are the time that the process spends on the processor, the best of many
short measurements, so that other programs on the machine disturb little. OpenMM has one thread, and the same potential
as custom forces; the energies of both programs at the start are compared.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numba
import numpy as np

from mdflash import __version__
from mdflash.bench.machine import cpu_name
from mdflash.compiled.jit import njit
from mdflash.core.state import Layout, State
from mdflash.core.system import System
from mdflash.core.types import FloatArray, IntArray
from mdflash.engine.blocks.compiled import CompiledPropagator, set_threads
from mdflash.engine.engine import Engine
from mdflash.engine.minimize import minimize
from mdflash.engine.settings import Dynamics
from mdflash.forcefields.build import build_potential
from mdflash.forcefields.model import BeadType, ForceField, Term
from mdflash.integrators.langevin import LangevinMiddle
from mdflash.potentials.priors.cpu import Nonbonded, add_nonbonded, find_near

TEMPERATURE, SALT = 293.15, 0.15  # K, mol/L
TIMESTEP, FRICTION = 0.01, 0.01  # ps, 1/ps
SKIN = 4.0
KJ = 4.184

RESIDUES = {
    "A": (71.07, 5.04, 0.0, 0.274329796904035), "R": (156.19, 6.56, 1.0, 0.730762476751717),
    "N": (114.1, 5.68, 0.0, 0.425585900978771), "D": (115.09, 5.58, -1.0, 0.0416040480605567),
    "C": (103.14, 5.48, 0.0, 0.561543509914178), "Q": (128.13, 6.02, 0.0, 0.393431855105604),
    "E": (129.11, 5.92, -1.0, 0.0006935460962935), "G": (57.05, 4.5, 0.0, 0.70588437336664),
    "H": (137.14, 6.08, 0.03, 0.466366729055799), "I": (113.16, 6.18, 0.0, 0.542362361067189),
    "L": (113.16, 6.18, 0.0, 0.644000500778223), "K": (128.17, 6.36, 1.0, 0.179021173899058),
    "M": (131.2, 6.18, 0.0, 0.53084811343375), "F": (147.18, 6.36, 0.0, 0.867235898206298),
    "P": (97.12, 5.56, 0.0, 0.359312657636464), "S": (87.08, 5.18, 0.0, 0.462541681161154),
    "T": (101.11, 5.62, 0.0, 0.371316297627396), "W": (186.22, 6.78, 0.0, 0.989376474037164),
    "Y": (163.18, 6.46, 0.0, 0.977461144934346), "V": (99.13, 5.86, 0.0, 0.208376960817448),
}  # fmt: skip
"""Mass in Da, sigma in Å, charge, lambda of CALVADOS 2: Tesei & Lindorff-Larsen, Open Res. Europe 2, 94 (2023); numbers
from KULL-Centre/_2024_Cao_CALVADOSCOM (MIT)."""

A1 = (
    "GSMASASSSQRGRSGSGNFGGGRGGGFGGNDNFGRGGNFSGRGGFGGSRGGGGYGGSGDGYNGFGNDGSNFGGGGSYNDFGNYNNQSSNFGPMKGGNFGGRSSGGSGGGGQYFAKPRNQGGY"
    "GGSSSSSSYGSGRRF"
)
SYNUCLEIN = (
    "MDVFMKGLSKAKEGVVAAAEKTKQGVAEAAGKTKEGVLYVGSKTKEGVVHGVATVAEKTKEQVTNVGGAVVTGVTAVAQKTVEGAGSIAAATGFVKKDQLGKNEEGAPQEGILEDMPVDP"
    "DNEAYEMPSEEGYQDYEPEA"
)


def electrostatics() -> tuple[float, float]:
    """K in kcal/mol*Å and kappa in 1/Å of water at the temperature and ionic strength."""
    t = TEMPERATURE
    dielectric = 5321 / t + 233.76 - 0.9297 * t + 1.417e-3 * t**2 - 8.292e-7 * t**3
    rt = 8.3145e-3 * t
    bjerrum = 1.6021766**2 / (4 * np.pi * 8.854188 * dielectric) * 6.02214076e3 / rt  # nm
    return 10 / KJ * bjerrum * rt, 0.1 * float(np.sqrt(8 * np.pi * bjerrum * SALT * 6.02214076 / 10))


def calvados(sequences: list[str], name: str) -> tuple[System, ForceField]:
    """Chains as one molecule; their ends are not charged."""
    sequence = "".join(sequences)
    n = len(sequence)
    kinds = sorted(set(sequence))
    keys: IntArray = np.stack(np.triu_indices(len(kinds)), axis=1)
    mass, sigma, charge, scale = (np.array([RESIDUES[k][c] for k in kinds]) for c in range(4))
    ends = np.cumsum([len(s) for s in sequences])
    first = np.setdiff1d(np.arange(n - 1), ends - 1)
    bonds = np.stack([first, first + 1], axis=1)
    prefactor, kappa = electrostatics()
    i, j = keys.T
    near = {
        "epsilon": np.full(len(keys), 0.2), "sigma": (sigma[i] + sigma[j]) / 2, "lambda": (scale[i] + scale[j]) / 2
    }  # fmt: skip
    far = {"prefactor": prefactor * charge[i] * charge[j], "kappa": np.full(len(keys), kappa)}
    spring = {"k": np.full(len(bonds), 8033 / 2 / KJ / 100), "x0": np.full(len(bonds), 3.8)}
    ff = ForceField(
        "calvados2",
        tuple(BeadType(k, row, m) for row, (k, m) in enumerate(zip(kinds, mass.tolist(), strict=True))),
        terms=(
            Term("bonds", "harmonic_bond", "beads", bonds, spring),
            Term("charges", "yukawa_shifted", "neighbors", keys, far, 40.0, exclude_bonds=1),
            Term("near", "ashbaugh_hatch", "neighbors", keys, near, 20.0, exclude_bonds=1),
        ),
    )
    system = System(
        name=name, types=tuple(sequence), bead_names=("CA",) * n, residue_index=np.arange(n),
        residue_names=("ALA",) * n, residue_ids=tuple(range(1, n + 1)), chain_ids=("A",) * n,
        masses=np.array([RESIDUES[r][0] for r in sequence]), bonds=bonds,
    )  # fmt: skip
    return system, ff


def random_chain(n: int, rng: np.random.Generator) -> FloatArray:
    """[n, 3] Å: a walk whose beads keep 4.5 Å from each other, where that is possible."""
    x = np.zeros((n, 3))
    for k in range(1, n):
        for _ in range(200):
            step = rng.normal(size=3)
            x[k] = x[k - 1] + 3.8 * step / np.linalg.norm(step)
            if k < 2 or np.linalg.norm(x[: k - 1] - x[k], axis=1).min() > 4.5:
                break
    return x


def engine(
    cases: list[tuple[System, ForceField]], x: FloatArray, box: tuple[float, float, float] | None = None
) -> Engine:
    """A batch of one replica of each molecule, evaluated."""
    layout = Layout(tuple(system for system, _ in cases), (1,) * len(cases))
    dynamics = Dynamics(LangevinMiddle(TIMESTEP, FRICTION), 2026, skin=SKIN)
    state = State.at(layout, x, TEMPERATURE, box)
    made = Engine(layout, build_potential([ff for _, ff in cases], layout), state, dynamics)
    made.draw_velocities()
    made.evaluate()
    return made


def best(work: Callable[[], object], seconds: float) -> float:
    """Least processor time of a call, among those that fit into so many seconds."""
    work()
    least, end = np.inf, time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.process_time()
        work()
        least = min(least, time.process_time() - began)
    return float(least)


def step_time(made: Engine, seconds: float, steps: int) -> float:
    """Seconds of processor time of a step of the whole batch, without what follows a block of steps."""
    made.propagator.advance(made.state, steps)
    return best(lambda: made.propagator.advance(made.state, steps), seconds) / steps


class OpenMM:
    """One chain in OpenMM, as CALVADOS states it; one thread."""

    def __init__(self, system: System, x: FloatArray) -> None:
        import openmm

        prefactor, kappa = (electrostatics()[0] * KJ / 10, electrostatics()[1] * 10)
        out = openmm.System()
        bonds = openmm.HarmonicBondForce()
        near = openmm.CustomNonbondedForce(
            "select(step(r-2^(1/6)*s),l*(u-h),u+e*(1-l)-l*h);u=4*e*((s/r)^12-(s/r)^6);h=4*e*((s/2)^12-(s/2)^6);"
            f"s=0.5*(s1+s2);l=0.5*(l1+l2);e={0.2 * KJ}"
        )
        near.addPerParticleParameter("s")
        near.addPerParticleParameter("l")
        far = openmm.CustomNonbondedForce(f"{prefactor}*q1*q2*(exp(-{kappa}*r)/r-{np.exp(-4 * kappa) / 4})")
        far.addPerParticleParameter("q")
        for residue in system.types:
            mass, sigma, charge, scale = RESIDUES[residue]
            out.addParticle(mass)
            near.addParticle([sigma / 10, scale])
            far.addParticle([charge])
        for i, j in system.bonds.tolist():
            bonds.addBond(i, j, 0.38, 8033.0)
            near.addExclusion(i, j)
            far.addExclusion(i, j)
        for force, cutoff in ((near, 2.0), (far, 4.0)):
            force.setNonbondedMethod(openmm.CustomNonbondedForce.CutoffNonPeriodic)
            force.setCutoffDistance(cutoff)
        for force in (bonds, near, far):
            out.addForce(force)
        self.integrator = openmm.LangevinMiddleIntegrator(TEMPERATURE, FRICTION, TIMESTEP)
        platform = openmm.Platform.getPlatformByName("CPU")
        self.context = openmm.Context(out, self.integrator, platform, {"Threads": "1"})
        self.context.setPositions(x / 10)
        self.energy = self._energy()
        self.context.setVelocitiesToTemperature(TEMPERATURE, 1)

    def _energy(self) -> float:
        import openmm

        energy = self.context.getState(getEnergy=True).getPotentialEnergy()
        return float(energy.value_in_unit(openmm.unit.kilocalories_per_mole))

    def step_time(self, seconds: float, steps: int) -> float:
        """Seconds of processor time of a step."""

        def work() -> None:
            self.integrator.step(steps)
            self._energy()  # waits for the last step

        return best(work, seconds) / steps


@njit
def _evaluations(
    nonbonded: Nonbonded, box: FloatArray, start: IntArray, neighbor: IntArray, x: FloatArray, f: FloatArray, n: int
) -> None:
    for _ in range(n):
        add_nonbonded(nonbonded, 0, box, start, neighbor, x, f)


@njit
def _searches(
    nonbonded: Nonbonded, box: FloatArray, start: IntArray, neighbor: IntArray, x: FloatArray, n: int
) -> None:
    for _ in range(n):
        find_near(nonbonded, 0, SKIN, box, x, start, neighbor)


def near_pairs(made: Engine, seconds: float, count: int) -> dict[str, float]:
    """What the pairs of a lone replica cost, where it is now: their number, their forces, their lists."""
    propagator = made.propagator
    assert isinstance(propagator, CompiledPropagator)
    nonbonded = propagator.packed.nonbonded
    x = made.state.positions.numpy()
    box = np.zeros(3) if made.state.box is None else np.array(made.state.box)
    start, neighbor = np.zeros(nonbonded.rows[0], np.int64), np.zeros(400 * len(x), np.int64)
    f = np.zeros_like(x)
    _evaluations(nonbonded, box, start, neighbor, x, f, 0)
    lists = best(lambda: _searches(nonbonded, box, start, neighbor, x, count), seconds) / count
    in_list = find_near(nonbonded, 0, SKIN, box, x, start, neighbor)
    forces = best(lambda: _evaluations(nonbonded, box, start, neighbor, x, f, count), seconds) / count
    entries = find_near(nonbonded, 0, 0.0, box, x, start, neighbor)
    lanes = sum(int(e & 255).bit_count() for e in neighbor[:entries])
    return {"pairs": lanes, "eights": entries, "eights_in_list": in_list, "forces_s": forces, "list_s": lists}


def single(n: int, seconds: float) -> dict[str, Any]:
    """One chain in both programs."""
    system, ff = calvados([A1[:n]], f"a1-{n}")
    x = random_chain(n, np.random.default_rng(7))
    relaxed = engine([(system, ff)], x)
    minimize(relaxed.layout, relaxed.state, relaxed.propagator.evaluate, 500)
    x = relaxed.state.positions.numpy().copy()
    made = engine([(system, ff)], x)
    energy = float(made.state.energy[0])
    other = OpenMM(system, x)
    mine, theirs = [], []
    for _ in range(3):  # by turns, so that neither has the quieter machine
        mine.append(step_time(made, seconds / 3, 2000))
        theirs.append(other.step_time(seconds / 3, 200))
    return {
        "beads": n, "mdflash_s": min(mine), "openmm_s": min(theirs), "ratio": min(theirs) / min(mine),
        "energy": energy, "openmm_energy": other.energy, **near_pairs(made, seconds / 3, 100),
    }  # fmt: skip


def batch(seconds: float) -> dict[str, Any]:
    """64 chains of different length."""
    rng = np.random.default_rng(11)
    cases, places, theirs = [], [], 0.0
    source = A1 + SYNUCLEIN
    for k in range(64):
        n = int(rng.integers(24, 141))
        at = int(rng.integers(0, len(source) - n))
        cases.append(calvados([source[at : at + n]], f"idp-{k}"))
        places.append(random_chain(n, rng))
    relaxed = engine(cases, np.concatenate(places))
    minimize(relaxed.layout, relaxed.state, relaxed.propagator.evaluate, 300)
    x = relaxed.state.positions.numpy().copy()
    made = engine(cases, x)
    for r, (system, _) in enumerate(cases):
        theirs += OpenMM(system, x[made.layout.rows(r)]).step_time(seconds / 10, 100)
    mine = step_time(made, seconds, 200)
    began = time.perf_counter()
    made.run(1000)
    wall = (time.perf_counter() - began) / 1000
    return {"chains": 64, "beads": made.layout.n_beads, "mdflash_s": mine, "openmm_s": theirs, "ratio": theirs / mine,
            "mdflash_wall_s": wall}  # fmt: skip


def condensate(seconds: float) -> list[dict[str, Any]]:
    """Ten chains in a box, and the same box ten times in a row."""
    rng = np.random.default_rng(3)
    edge, found = 90.0, []
    places = [random_chain(len(A1), rng) for _ in range(10)]
    x = np.concatenate([p - p.mean(axis=0) + rng.uniform(0.0, edge, 3) for p in places])
    case = calvados([A1] * 10, "dense")
    relaxed = engine([case], x, (edge, edge, edge))
    minimize(relaxed.layout, relaxed.state, relaxed.propagator.evaluate, 1500)
    relaxed.run(2000)
    x = relaxed.state.positions.numpy().copy()
    for copies in (1, 10):
        many = np.concatenate([x + np.array([0.0, 0.0, edge * c]) for c in range(copies)])
        made = engine([calvados([A1] * 10 * copies, "dense")], many, (edge, edge, edge * copies))
        count = 60 // copies  # evaluations; steps are five times as many
        mine = step_time(made, 3 * seconds, 5 * count)
        found.append({"beads": len(many), "mdflash_s": mine, "per_bead_s": mine / len(many),
                      **near_pairs(made, seconds / 3, count)})  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="of a measurement")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    set_threads(1)
    result: dict[str, Any] = {"version": __version__, "date": str(date.today()), "cpu": cpu_name(),
                              "kernels_for": str(numba.config.CPU_NAME), "single": []}  # fmt: skip
    for n in (50, 137):
        result["single"].append(single(n, arguments.seconds))
        print(result["single"][-1], flush=True)
    result["condensate"] = condensate(arguments.seconds)
    print(result["condensate"], flush=True)
    set_threads(2)
    result["batch"] = batch(arguments.seconds)
    print(result["batch"], flush=True)
    file = arguments.out / f"one_bead_{date.today()}.json"
    file.write_text(json.dumps(result, indent=1) + "\n")
    print(f"written to {file}")


if __name__ == "__main__":
    main()

"""A case with an exactly known truth: SchNet learns the forces of a Gō force field, and must fold like it.

python examples/teacher/teacher.py data runs/teacher/data --temperatures 300 330 360 400 450
mdflash train examples/teacher/train.yaml
python examples/teacher/teacher.py compare runs/teacher/train/forcefield --temperatures 320 345 370
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from mdflash import (
    Backend,
    Dynamics,
    Engine,
    ForceField,
    LangevinMiddle,
    Layout,
    State,
    build_potential,
    load_forcefield,
)
from mdflash.analysis.contacts import fraction
from mdflash.sampling.dataset import create_dataset
from mdflash.sampling.trajectory import TrajectoryWriter
from mdflash.units import kT

TIMESTEP, FRICTION = 0.010, 1.0  # ps, 1/ps
BINS, POPULATED = 20, 4.0  # of Q; kcal/mol
HOT, HEATING = 600.0, 20_000  # K, steps: after that nothing of the fold is left
LARGEST = 60.0  # kcal/mol/Å on one component; 99.9 % of the bundle's own frames stay below 47


def engine(ff: ForceField, temperatures: list[float], seed: int, positions: np.ndarray | None = None) -> Engine:
    """One replica at each temperature, from `positions` [R, N, 3] or the native structure."""
    system, native = ff.system()
    layout = Layout((system,), (len(temperatures),))
    if positions is None:
        positions = np.repeat(native[:1], len(temperatures), axis=0)
    start = State.at(layout, positions.reshape(-1, 3), temperatures)
    dynamics = Dynamics(LangevinMiddle(TIMESTEP, FRICTION), seed=seed)
    simulation = Engine(layout, build_potential([ff], layout), start, dynamics, Backend(precision="fp32"))
    simulation.draw_velocities()
    return simulation


def starts(teacher: ForceField, kelvin: list[float], seed: int) -> np.ndarray:
    """[R, N, 3] the native structure, and for every other walker one that the teacher unfolded."""
    hot = engine(teacher, [HOT] * len(kelvin), seed)
    positions = hot.layout.view(hot.state.positions, 0).numpy().copy()
    hot.run(HEATING)
    odd = np.arange(len(kelvin)) // len(set(kelvin)) % 2 == 1
    positions[odd] = hot.layout.view(hot.state.positions, 0).numpy()[odd]
    return positions


def write_data(
    teacher: ForceField, student: ForceField | None, out: Path, temperatures: list[float], frames: int, every: int,
    walkers: int,
) -> None:  # fmt: skip
    """A dataset of the teacher's forces, on frames of its own or of a student, who goes where it should not.

    `every` steps lie between frames, and there are `walkers` at each temperature. What a student takes for stable is
    in no data of the teacher; such frames correct it. S. Ross, G. Gordon and D. Bagnell, AISTATS 15, 627 (2011).
    Frames of a student with a force above `LARGEST` are left out: there beads overlap, and a few would rule the loss.
    """
    system, native = teacher.system()
    kelvin = temperatures * walkers
    simulation = engine(student or teacher, kelvin, 1, starts(teacher, kelvin, 1) if student else None)
    simulation.run(frames * every // 20)  # away from the start
    labels = engine(teacher, kelvin, 1)
    create_dataset(out, {system.name: (system, native)}, "ca", {"teacher": teacher.name, "digest": teacher.digest})
    writers = [
        TrajectoryWriter(out / system.name / f"{r:03d}.h5", system.n_beads, seed=1, aggregation="basic", energy=True)
        for r in range(len(kelvin))
    ]
    for _ in range(frames):
        simulation.run(every)
        labels.state.positions.copy_(simulation.state.positions)
        labels.evaluate()
        x, f = (labels.layout.view(t, 0).numpy() for t in (labels.state.positions, labels.state.forces))
        for r, writer in enumerate(writers):
            if student and np.abs(f[r]).max() > LARGEST:
                continue
            writer.append(x[r], f[r], kelvin[r], simulation.time, energy=float(labels.state.energy[r]))
    for writer in writers:
        writer.close()


class WatchQ:
    """Keeps the smooth fraction of native contacts of every replica."""

    def __init__(self, teacher: ForceField, every: int, first: int) -> None:
        contacts = next(t for t in teacher.terms if t.name == "contacts")
        self.pairs, self.r0 = contacts.keys, contacts.parameters["r0"]
        self.every, self.first, self.q = every, first, []

    def next_report(self, step: int) -> int:
        return (step // self.every + 1) * self.every

    def report(self, simulation: Engine) -> None:
        if simulation.state.step > self.first:
            x = simulation.layout.view(simulation.state.positions, 0).numpy()
            self.q.append(fraction(x, self.pairs, self.r0))


def folding(ff: ForceField, teacher: ForceField, kelvin: list[float], steps: int, seed: int) -> np.ndarray:
    """Q [frames, replicas] of a force field, the first tenth left out; every other replica begins unfolded."""
    simulation = engine(ff, kelvin, seed, starts(teacher, kelvin, seed))
    watcher = WatchQ(teacher, 100, steps // 10)
    simulation.reporters.append(watcher)
    simulation.run(steps)
    return np.array(watcher.q)


def free_energy(q: np.ndarray, energy: float) -> np.ndarray:
    """[BINS] -kT ln p along Q, kcal/mol; inf where nothing was."""
    counts = np.histogram(q, bins=BINS, range=(0, 1))[0]
    with np.errstate(divide="ignore"):
        return -energy * np.log(counts / counts.sum())


def rmse(reference: np.ndarray, other: np.ndarray) -> tuple[float, int]:
    """Over bins within 4 kcal/mol of the reference's minimum and visited by both; and how many the other missed."""
    populated = reference < reference.min() + POPULATED
    both = populated & np.isfinite(other)
    return float(np.sqrt(((other[both] - reference[both]) ** 2).mean())), int((populated & ~both).sum())


def compare(teacher: ForceField, student: ForceField, temperatures: list[float], steps: int, walkers: int) -> dict:
    """Free energies along Q of both, and of two halves of the teacher's replicas, at each temperature."""
    kelvin = temperatures * walkers
    q = {
        "teacher": folding(teacher, teacher, kelvin, steps, 11),
        "student": folding(student, teacher, kelvin, steps, 12),
    }
    found = []
    for k, t in enumerate(temperatures):
        mine = {name: values[:, k :: len(temperatures)] for name, values in q.items()}
        f = {name: free_energy(values, kT(t)) for name, values in mine.items()}
        middle = walkers // 2  # each half has both starts
        halves = [free_energy(part, kT(t)) for part in np.split(mine["teacher"], [middle], axis=1)]
        error, missed = rmse(f["teacher"], f["student"])
        found.append(
            {
                "temperature_K": t,
                "rmse_kcal_mol": round(error, 3),
                "bins_missed": missed,
                "rmse_between_halves_of_the_teacher": round(rmse(*halves)[0], 3),
                "folded_teacher": round(float((mine["teacher"] > 0.5).mean()), 3),
                "folded_student": round(float((mine["student"] > 0.5).mean()), 3),
                "frames": int(mine["student"].size),
            }
        )
    return {
        "teacher": teacher.name,
        "replicas_per_temperature": walkers,
        "ns_each": steps * TIMESTEP / 1e3,
        "at": found,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["data", "compare"])
    parser.add_argument("folder", type=Path, help="the dataset to write, or the student's force field")
    parser.add_argument("--teacher", default="go-chignolin", help="force field folder, or the name of a shipped one")
    parser.add_argument("--student", help="force field folder whose frames are labeled (data)")
    parser.add_argument("--temperatures", type=float, nargs="+", default=[300.0, 330.0, 360.0, 400.0, 450.0])
    parser.add_argument("--walkers", type=int, default=2, help="replicas at each temperature")
    parser.add_argument("--frames", type=int, default=4000, help="of each replica (data)")
    parser.add_argument("--every", type=int, default=100, help="steps between frames (data)")
    parser.add_argument("--steps", type=int, default=2_000_000, help="of each replica (compare)")
    options = parser.parse_args()
    teacher_ff = load_forcefield(options.teacher)
    if options.what == "data":
        student_ff = load_forcefield(options.student) if options.student else None
        write_data(
            teacher_ff, student_ff, options.folder, options.temperatures, options.frames, options.every, options.walkers
        )
    else:
        result = compare(
            teacher_ff, load_forcefield(options.folder), options.temperatures, options.steps, options.walkers
        )
        text = json.dumps(result, indent=2)
        print(text)
        (options.folder.parent / "folding.json").write_text(text + "\n")

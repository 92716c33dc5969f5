"""Frames where a Gō teacher hardly goes, with the teacher's forces: between its basins, and in folds of other contacts.

python examples/teacher/decoys.py runs/teacher/bundle-decoys --teacher runs/teacher/go-bundle

A student that saw its teacher's frames alone is free where there were none, and takes compact structures that the
teacher never visits for stable. Here other force fields go there: the teacher with contacts of random strengths, with
other contacts between distant residues, with other contacts altogether; and the teacher itself held in windows of Q.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from teacher import FRICTION, LARGEST, TIMESTEP, engine, starts

from mdflash import Engine, ForceField, Simulation, load_forcefield
from mdflash.errors import UnstableError
from mdflash.sampling.dataset import create_dataset
from mdflash.sampling.trajectory import TrajectoryWriter

REPLICAS, SETTLING = 64, 8_000  # steps
COLDEST, HOTTEST, WINDOWS_AT = 300.0, 420.0, 345.0  # K
LOCAL = 12  # residues; contacts of more distant ones make the fold
WEAK = 0.05, 0.5  # of a contact's strength, for a native one that is not wanted: its wall stays
KINDS = "strengths", "between", "windows", "others", "many"
NEW = {"between": (0.3, 1.3, 0.5, 1.5), "others": (0.7, 1.5, 0.6, 1.5), "many": (1.5, 3.5, 0.2, 0.7)}
"""Least and most new contacts, of the number of native ones; least and most strength, of a native one's."""


def other(teacher: ForceField, kind: str, rng: np.random.Generator) -> ForceField:
    """The teacher with other contacts, and where its own fold is not wanted with softer dihedrals."""
    terms = {t.name: t for t in teacher.terms}
    contacts, n = terms["contacts"], len(terms["contacts"].keys)
    keys, r0 = contacts.keys, contacts.parameters["r0"]
    full = contacts.parameters["epsilon"]
    if kind == "strengths":
        strength = full * rng.uniform(0.2, 1.3, n)
    else:
        local = keys[:, 1] - keys[:, 0] < LOCAL
        strength = full * rng.uniform(*WEAK, n)
        if kind == "between":
            strength[local] = full[local] * rng.uniform(0.6, 1.1)
        beads = teacher.system()[0].n_beads
        apart = LOCAL if kind == "between" else 4
        free = np.ones((beads, beads), bool)
        free[tuple(keys.T)] = False
        pairs = np.argwhere(np.triu(free, apart))
        fewest, most, weakest, strongest = NEW[kind]
        new = rng.permutation(pairs)[: round(rng.uniform(fewest, most) * n)]
        keys, r0 = np.concatenate([keys, new]), np.concatenate([r0, rng.uniform(4.8, 8.5, len(new))])
        strength = np.concatenate([strength, full.mean() * rng.uniform(weakest, strongest, len(new))])
        if kind != "between":
            dihedrals, softer = terms["dihedrals"], rng.uniform(0.2, 1.0)
            parameters = {name: softer * value for name, value in dihedrals.parameters.items()}
            terms["dihedrals"] = replace(dihedrals, parameters=parameters)
    order = np.lexsort((keys[:, 1], keys[:, 0]))
    parameters = {"epsilon": strength[order], "r0": r0[order]}
    terms["contacts"] = replace(contacts, keys=keys[order], parameters=parameters)
    return replace(teacher, terms=tuple(terms.values()))


def in_windows(teacher: ForceField, seed: int) -> Simulation:
    """The teacher itself, each replica held at its own fraction of native contacts."""
    system, native = teacher.system()
    center = {"min": 0.1, "max": 0.8, "count": REPLICAS}
    fold = {"name": "fold", "variable": "native_contacts", "force_constant": "150 kcal/mol", "center": center}
    return Simulation(
        system, teacher, replicas=REPLICAS, temperatures=f"{WINDOWS_AT} K", timestep=f"{TIMESTEP * 1e3} fs",
        friction=f"{FRICTION} /ps", start=native[:1], seed=seed, biases=[fold],
        exchange={"biases": ["fold"], "interval": "1 ps"},
    )  # fmt: skip


def write_decoys(teacher: ForceField, out: Path, rounds: int, frames: int, every: int, seed: int) -> None:
    """A dataset: in each round a force field of the next kind, 64 replicas, `frames` of each, `every` steps apart."""
    rng = np.random.default_rng(seed)
    system, native = teacher.system()
    kelvin = list(np.resize(np.linspace(COLDEST, HOTTEST, 8), REPLICAS))
    both = starts(teacher, kelvin, seed)  # folded and not
    labels = engine(teacher, kelvin, 1)
    create_dataset(out, {system.name: (system, native)}, "ca", {"teacher": teacher.name, "digest": teacher.digest})
    for number in range(rounds):
        kind = KINDS[number % len(KINDS)]
        if kind == "windows":
            simulation: Simulation | Engine = in_windows(teacher, seed + number)
        else:
            simulation = engine(other(teacher, kind, rng), kelvin, seed + number, rng.permutation(both))
        file, written = out / system.name / f"{number:03d}.h5", 0
        with TrajectoryWriter(file, system.n_beads, seed=1, aggregation="basic", energy=True) as writer:
            try:
                simulation.run(SETTLING)
                for k in range(frames):
                    simulation.run(every)
                    labels.state.positions.copy_(simulation.state.positions)
                    labels.evaluate()
                    x, f = (labels.layout.view(t, 0).numpy() for t in (labels.state.positions, labels.state.forces))
                    for r in np.flatnonzero(np.abs(f).max(axis=(1, 2)) < LARGEST):
                        writer.append(x[r], f[r], kelvin[r], float(k), energy=float(labels.state.energy[r]))
                        written += 1
            except UnstableError as error:  # contacts too tight for where it began
                print(f"{kind}: {error}")
        print(f"{number + 1} of {rounds}, {kind}: {written} frames", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="the dataset to write")
    parser.add_argument("--teacher", default="go-chignolin", help="force field folder, or the name of a shipped one")
    parser.add_argument("--rounds", type=int, default=60, help="force fields; in turn: " + ", ".join(KINDS))
    parser.add_argument("--frames", type=int, default=30, help="of each replica")
    parser.add_argument("--every", type=int, default=250, help="steps between frames")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    ff = load_forcefield(options.teacher)
    write_decoys(ff, options.folder, options.rounds, options.frames, options.every, options.seed)

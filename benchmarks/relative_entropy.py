"""Force matching, then relative entropy, on a case whose free energy is known: forces and frames of a Gō chignolin.

    python benchmarks/relative_entropy.py runs/relative-entropy --seeds 1 2 3

The truth is 64 replicas of 3 ns. The data is as for chignolin-ca: 14 umbrella windows of the RMSD with two replicas
each, 50 frames of each replica, and on every component of a force noise of variance 86 (kcal/mol/Å)². Prints, for each
seed, the error of the free energy along Q and the RMSD over bins within 4 kcal/mol of the minimum, and the folded
share, after each stage; writes results/relative_entropy.json beside this file.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

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
from mdflash.analysis.measures import fraction_of_contacts, rmsd
from mdflash.config.biases import BiasEntry
from mdflash.engine.blocks.compiled import set_threads
from mdflash.forcefields.forcefield import save_forcefield
from mdflash.potentials.base import Potential, SumPotential
from mdflash.potentials.bias.bias import Bias
from mdflash.potentials.variables.rmsd import Rmsd
from mdflash.sampling.dataset import create_dataset
from mdflash.sampling.restraint import Restraint
from mdflash.sampling.trajectory import TrajectoryWriter
from mdflash.training.entropy.run import train_entropy
from mdflash.training.recipe import load_recipe
from mdflash.training.run import prepare_training, train
from mdflash.units import kT

KELVIN = 340.0
TIMESTEP, FRICTION, EVERY = 0.010, 1.0, 200  # ps, 1/ps, steps between frames
CENTERS, STIFFNESS = np.linspace(0.5, 7.0, 14), 5.0  # Å, kcal/mol/Å²
NOISE = 86.0**0.5  # kcal/mol/Å
LARGEST = 60.0  # kcal/mol/Å; where beads are in line, a dihedral's force has no bound
BINS = {"Q": np.linspace(0.0, 1.0, 21), "RMSD": np.arange(0.0, 7.01, 0.5)}
POPULATED = 4.0  # kcal/mol
TEACHER = load_forcefield("go-chignolin")
SYSTEM, NATIVE = TEACHER.system()
N = SYSTEM.n_beads
CONTACTS = next(term for term in TEACHER.terms if term.name == "contacts")
RECIPE = Path(__file__).parents[1] / "examples" / "teacher" / "relative-entropy.yaml"
MATCH = """mdflash: 1
data: {{dataset: data, validation: 0.15}}
priors: {{forcefield: {priors}}}
network: {{cutoff: 12 angstrom, features: 32, blocks: 2}}
training: {{epochs: 30, batch: 128, optimizer: soap, learning_rate: 3e-3, clip: none, patience: none, seed: {seed}}}
folder: {folder}
"""
COLUMNS = {
    "Q": lambda x: fraction_of_contacts(np.asarray(x, np.float64), CONTACTS.keys, CONTACTS.parameters["r0"]),
    "RMSD": lambda x: rmsd(np.asarray(x, np.float64), NATIVE[0]),
}


def make_engine(ff: ForceField, x: np.ndarray, seed: int, held: bool = False, kelvin: float = KELVIN) -> Engine:
    """Replicas at positions [R, N, 3]; `held`: two in each window."""
    layout = Layout((SYSTEM,), (len(x),))
    potential: Potential = build_potential([ff], layout)
    if held:
        centers = np.repeat(CENTERS, 2).tolist()
        fold = Bias("fold", Rmsd(SYSTEM, list(range(N)), NATIVE[0]), layout, STIFFNESS, centers)
        potential = SumPotential([*potential.terms, fold])
    state = State.at(layout, np.ascontiguousarray(x, np.float64).reshape(-1, 3), kelvin)
    dynamics = Dynamics(LangevinMiddle(TIMESTEP, FRICTION), seed=seed)
    engine = Engine(layout, potential, state, dynamics, Backend(precision="fp32"))
    engine.draw_velocities()
    return engine


def sample(engine: Engine, frames: int, skip: int) -> np.ndarray:
    """[frames, R, N, 3] Å, one every `EVERY` steps, after `skip` steps."""
    engine.run(skip)
    found = []
    for _ in range(frames):
        engine.run(EVERY)
        found.append(engine.layout.view(engine.state.positions, 0).numpy().copy())
    return np.array(found)


def starts(replicas: int, seed: int) -> np.ndarray:
    """[R, N, 3]: native, and every other one unfolded by the teacher at 600 K."""
    x = np.repeat(NATIVE[:1], replicas, axis=0).astype(np.float64)
    hot = make_engine(TEACHER, x, seed, kelvin=600.0)
    hot.run(20_000)
    x[1::2] = hot.layout.view(hot.state.positions, 0).numpy()[1::2]
    return x


def profiles(x: np.ndarray, w: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """-kT ln p of each bin, kcal/mol, for frames [F, R, N, 3] with weights [F, R]."""
    found = {}
    for name, value in COLUMNS.items():
        values = np.stack([value(frame) for frame in x])
        p = np.histogram(values.ravel(), BINS[name], weights=None if w is None else w.ravel())[0].astype(float)
        with np.errstate(divide="ignore"):
            found[name] = -kT(KELVIN) * np.log(p / p.sum())
        if name == "Q":
            found["folded"] = np.array(np.average(values > 0.5, weights=w))
    return found


def errors(truth: dict[str, np.ndarray], found: dict[str, np.ndarray]) -> dict[str, float]:
    """RMSE and largest error along each column, and the folded share."""
    said = {"folded": round(float(found["folded"]), 3)}
    for name in COLUMNS:
        use = truth[name] < truth[name].min() + POPULATED
        both = use & np.isfinite(found[name])
        d = found[name][both] - truth[name][both]
        d -= np.average(d, weights=np.exp(-truth[name][both] / kT(KELVIN)))
        said |= {name: round(float(np.sqrt((d**2).mean())), 3), f"{name} worst": round(float(np.abs(d).max()), 2)}
        said |= {f"{name} missed": int((use & ~both).sum())} if (use & ~both).any() else {}
    return said


def write_truth(file: Path) -> dict[str, np.ndarray]:
    """Free energies of the teacher; simulated once."""
    if not file.exists():
        x = sample(make_engine(TEACHER, starts(64, 1), 2), 1500, 20_000)
        halves = errors(profiles(x[:, :32]), profiles(x[:, 32:]))
        print("truth: halves of the replicas differ by", halves, flush=True)
        np.savez(file, **profiles(x))
    return dict(np.load(file))


def write_data(folder: Path, seed: int, frames: int) -> None:
    """Frames of the windows, with noisy forces."""
    x = sample(make_engine(TEACHER, starts(28, 10 * seed), 10 * seed + 1, held=True), frames * 10, 20_000)[9::10]
    free = make_engine(TEACHER, x.reshape(-1, N, 3), 0)
    free.evaluate()
    f = free.layout.view(free.state.forces, 0).numpy().reshape(x.shape)
    good = np.abs(f).max(axis=(2, 3)) < LARGEST
    noisy = f + NOISE * np.random.default_rng(seed).standard_normal(f.shape)
    create_dataset(folder, {SYSTEM.name: (SYSTEM, NATIVE)}, "ca", {"teacher": TEACHER.name})
    for k in range(28):
        window = BiasEntry.model_validate(
            {"name": "fold", "variable": "rmsd", "center": f"{CENTERS[k // 2]} angstrom",
             "force_constant": f"{STIFFNESS} kcal/mol/angstrom^2"}
        )  # fmt: skip
        file, restraint = folder / SYSTEM.name / f"{k:03d}.h5", Restraint(window, NATIVE[0])
        with TrajectoryWriter(file, N, seed=seed, aggregation="basic", restraint=restraint) as writer:
            for t in np.flatnonzero(good[:, k]):
                writer.append(x[t, k], noisy[t, k], KELVIN, 20.0 * (t + 1))


def measure(ff: ForceField, truth: dict[str, np.ndarray], frames: int, seed: int = 5) -> dict[str, float]:
    """Errors of a force field, from 64 replicas of `frames` x 2 ps each after 200 ps."""
    x = sample(make_engine(ff, starts(64, seed), seed + 1), frames, 20_000)
    halves = errors(profiles(x[:, :32]), profiles(x[:, 32:]))
    return errors(truth, profiles(x)) | {f"halves of {name}": halves[name] for name in COLUMNS}


def one_seed(out: Path, seed: int, truth: dict[str, np.ndarray], frames: int) -> dict[str, Any]:
    """Data, force matching and relative entropy."""
    write_data(out / "data", seed, 50)
    (out / "match.yaml").write_text(MATCH.format(priors=out.parent / "priors", seed=seed, folder=out / "matched"))
    began = time.process_time()
    matched, _ = train(prepare_training(load_recipe(out / "match.yaml")))
    matching = time.process_time() - began
    given = {"data.dataset": out / "data", "start": matched, "folder": out / "refined", "relative_entropy.seed": seed}
    began = time.process_time()
    refined, trainer = train_entropy(prepare_training(load_recipe(RECIPE, [f"{k}={v}" for k, v in given.items()])))
    return {
        "seed": seed,
        "CPU s of force matching": round(matching, 1),
        "CPU s of relative entropy": round(time.process_time() - began, 1),
        "updates": trainer.progress.update,
        "simulations": trainer.progress.renewals,
        "held out, nats": round(trainer.progress.best, 3),
        "after force matching": measure(load_forcefield(matched), truth, frames),
        "after relative entropy": measure(load_forcefield(refined), truth, frames),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--frames", type=int, default=250, help="of each replica that measures a force field")
    options = parser.parse_args()
    out: Path = options.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(set_threads(1))
    truth = write_truth(out / "truth.npz")
    save_forcefield(out / "priors", replace(load_forcefield("teacher-chignolin"), networks=()))
    print("truth: folded", round(float(truth["folded"]), 3), flush=True)
    found = []
    for seed in options.seeds:
        (out / str(seed)).mkdir(exist_ok=True)
        found.append(one_seed(out / str(seed), seed, truth, options.frames))
        print(json.dumps(found[-1], indent=1), flush=True)
    said = {"date": str(datetime.date.today()), "processor": platform.processor(), "seeds": found}
    (Path(__file__).parent / "results" / "relative_entropy.json").write_text(json.dumps(said, indent=1) + "\n")


if __name__ == "__main__":
    main()

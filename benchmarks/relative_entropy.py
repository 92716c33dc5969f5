"""Force matching, then relative entropy, on cases whose free energy is known: forces and frames of a Gō model.

    python benchmarks/relative_entropy.py runs/relative-entropy --seeds 1 2 3
    python benchmarks/relative_entropy.py runs/relative-entropy-mixed --data mixed
    python benchmarks/relative_entropy.py runs/relative-entropy-cage --teacher runs/go-cage --kelvin 460 --seeds 1

The truth is 64 replicas of 3 ns. The data is 1,400 frames, 20 ps apart, of 28 replicas, with noise of variance 86
(kcal/mol/Å)² on every component of a force. `--data windows`: as for chignolin-ca, 14 umbrella windows of the RMSD with
two replicas each. `--data mixed`: one replica in each window, and as many in none.

Prints, for each seed, the error of the free energy along Q and the RMSD over bins within 4 kcal/mol of the minimum, and
the folded share: what the frames alone say (MBAR), after force matching, and after relative entropy. A force field is
measured by samples of its own and of the teacher together (MBAR of the two), so that both have the same noise. A seed
that is done is not done again; all seeds of FOLDER are written to results/relative_entropy_NAME.json beside this file.
"""

from __future__ import annotations

import argparse
import datetime
import json
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
from mdflash.core.mbar import log_mixture, mbar, weights
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

CHIGNOLIN = "go-chignolin"
TIMESTEP, FRICTION, EVERY = 0.010, 1.0, 200  # ps, 1/ps, steps between frames
CENTERS, STIFFNESS = np.linspace(0.5, 7.0, 14), 5.0  # Å, kcal/mol/Å²
NOISE = 86.0**0.5  # kcal/mol/Å
LARGEST = 60.0  # kcal/mol/Å; where beads are in line, a dihedral's force has no bound
BINS = {"Q": np.linspace(0.0, 1.0, 21), "RMSD": np.arange(0.0, 7.01, 0.5)}
POPULATED = 4.0  # kcal/mol
RECIPE = Path(__file__).parents[1] / "examples" / "teacher" / "relative-entropy.yaml"
MATCH = """mdflash: 1
data: {{dataset: data, validation: 0.15}}
priors: {priors}
network: {{cutoff: 12 angstrom, features: 32, blocks: 2}}
training: {{epochs: 30, batch: 128, optimizer: soap, learning_rate: 3e-3, clip: none, patience: none, seed: {seed}}}
folder: {folder}
"""


class Case:
    """A teacher, and what is compared with it."""

    def __init__(self, teacher: ForceField, kelvin: float) -> None:
        self.teacher, self.kelvin = teacher, kelvin
        self.system, self.native = teacher.system()
        self.beads = self.system.n_beads
        self.contacts = next(term for term in teacher.terms if term.name == "contacts")

    def columns(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """Q and the RMSD of frames [F, N, 3]."""
        x = np.asarray(x, np.float64)
        q = fraction_of_contacts(x, self.contacts.keys, self.contacts.parameters["r0"])
        return {"Q": q, "RMSD": rmsd(x, self.native[0])}


def make_engine(
    case: Case, ff: ForceField, x: np.ndarray, seed: int, held: np.ndarray | None = None, kelvin: float | None = None
) -> Engine:
    """Replicas at positions [R, N, 3]; `held`: [R] force constants of the windows, two replicas in each."""
    layout = Layout((case.system,), (len(x),))
    potential: Potential = build_potential([ff], layout)
    if held is not None:
        centers = np.repeat(CENTERS, 2).tolist()
        variable = Rmsd(case.system, list(range(case.beads)), case.native[0])
        fold = Bias("fold", variable, layout, held.tolist(), centers)
        potential = SumPotential([*potential.terms, fold])
    state = State.at(layout, np.ascontiguousarray(x, np.float64).reshape(-1, 3), kelvin or case.kelvin)
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


def starts(case: Case, replicas: int, seed: int) -> np.ndarray:
    """[R, N, 3]: native, and every other one unfolded by the teacher where it is hot."""
    x = np.repeat(case.native[:1], replicas, axis=0).astype(np.float64)
    hot = make_engine(case, case.teacher, x, seed, kelvin=600.0 / 340.0 * case.kelvin)
    hot.run(20_000)
    x[1::2] = hot.layout.view(hot.state.positions, 0).numpy()[1::2]
    return x


def profiles(case: Case, x: np.ndarray, w: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """-kT ln p of each bin, kcal/mol, for frames [F, N, 3] with weights [F]."""
    found = {}
    for name, values in case.columns(x).items():
        p = np.histogram(values, BINS[name], weights=w)[0].astype(float)
        with np.errstate(divide="ignore"):
            found[name] = -kT(case.kelvin) * np.log(p / p.sum())
        if name == "Q":
            found["folded"] = np.array(np.average(values > 0.5, weights=w))
    return found


def errors(case: Case, truth: dict[str, np.ndarray], found: dict[str, np.ndarray]) -> dict[str, float]:
    """RMSE and largest error along each column, and the folded share."""
    said = {"folded": round(float(found["folded"]), 3)}
    for name in BINS:
        use = truth[name] < truth[name].min() + POPULATED
        both = use & np.isfinite(found[name])
        d = found[name][both] - truth[name][both]
        d -= np.average(d, weights=np.exp(-truth[name][both] / kT(case.kelvin)))
        said |= {name: round(float(np.sqrt((d**2).mean())), 3), f"{name} worst": round(float(np.abs(d).max()), 2)}
        said |= {f"{name} missed": int((use & ~both).sum())} if (use & ~both).any() else {}
    return said


def write_truth(case: Case, file: Path) -> np.ndarray:
    """[F, N, 3] frames of the teacher; simulated once."""
    if not file.exists():
        x = sample(make_engine(case, case.teacher, starts(case, 64, 1), 2), 1500, 20_000)
        halves = [x[:, k::2].reshape(-1, case.beads, 3) for k in range(2)]
        print("truth: halves of the replicas differ by", errors(case, *(profiles(case, h) for h in halves)), flush=True)
        np.save(file, x.reshape(-1, case.beads, 3).astype(np.float32))
    return np.asarray(np.load(file), np.float64)


def write_data(case: Case, folder: Path, seed: int, data: str) -> None:
    """50 frames of each of 28 replicas, with noisy forces."""
    constants = np.full(28, STIFFNESS)
    if data == "mixed":
        constants[np.arange(0, 28, 2) + np.arange(14) % 2] = 0.0  # as many begin folded as not
    engine = make_engine(case, case.teacher, starts(case, 28, 10 * seed), 10 * seed + 1, constants)
    x = sample(engine, 500, 20_000)[9::10]
    free = make_engine(case, case.teacher, x.reshape(-1, case.beads, 3), 0)
    free.evaluate()
    f = free.layout.view(free.state.forces, 0).numpy().reshape(x.shape)
    good = np.abs(f).max(axis=(2, 3)) < LARGEST
    noisy = f + NOISE * np.random.default_rng(seed).standard_normal(f.shape)
    create_dataset(folder, {case.system.name: (case.system, case.native)}, "ca", {"teacher": case.teacher.name})
    for k in range(28):
        window = BiasEntry.model_validate(
            {"name": "fold", "variable": "rmsd", "center": f"{CENTERS[k // 2]} angstrom",
             "force_constant": f"{STIFFNESS} kcal/mol/angstrom^2"}
        )  # fmt: skip
        restraint = Restraint(window, case.native[0]) if constants[k] else None
        file = folder / case.system.name / f"{k:03d}.h5"
        with TrajectoryWriter(file, case.beads, seed=seed, aggregation="basic", restraint=restraint) as writer:
            for t in np.flatnonzero(good[:, k]):
                writer.append(x[t, k], noisy[t, k], case.kelvin, 20.0 * (t + 1))


def independent(case: Case, truth: np.ndarray, data: str) -> dict[str, float]:
    """Errors of 1,400 frames alone if they were independent: means over 20 draws, and how the folded share spreads."""
    r = case.columns(truth)["RMSD"]
    counts = np.full(15, 50.0 if data == "mixed" else 100.0)
    counts[-1] = 700.0 if data == "mixed" else 0.0  # held by nothing
    stiffness = np.append(np.full(14, STIFFNESS), 0.0)[:, None]
    u = 0.5 * stiffness * (r - np.append(CENTERS, 0.0)[:, None]) ** 2 / kT(case.kelvin)
    p = np.exp(-u)
    p /= p.sum(axis=1, keepdims=True)
    exact, rng, found = profiles(case, truth), np.random.default_rng(1), []
    for _ in range(20):
        drawn = [rng.choice(len(r), int(n), p=own) for n, own in zip(counts, p, strict=True)]
        frames = np.concatenate(drawn)
        free = mbar(u[:, frames], counts)
        w = weights(np.zeros(len(frames)), log_mixture(u[:, frames], counts, free))
        found.append(errors(case, exact, profiles(case, truth[frames], w)))
    mean = {name: round(float(np.mean([e[name] for e in found])), 3) for name in ("folded", *BINS)}
    return mean | {"spread of folded": round(float(np.std([e["folded"] for e in found])), 3)}


def reduced(case: Case, ff: ForceField, x: np.ndarray) -> np.ndarray:
    """[F] energies in kT of frames [F, N, 3]."""
    found = []
    for begin in range(0, len(x), 4096):
        engine = make_engine(case, ff, x[begin : begin + 4096], 0)
        engine.evaluate()
        found.append(engine.state.energy.numpy() / kT(case.kelvin))
    return np.concatenate(found)


def measure(case: Case, ff: ForceField, truth: np.ndarray, frames: int, seed: int = 5) -> dict[str, float]:
    """Errors of a force field, from 64 replicas of `frames` x 2 ps after 200 ps, and as many frames of the truth."""
    own = sample(make_engine(case, ff, starts(case, 64, seed), seed + 1), frames, 20_000)
    x = np.concatenate([truth[:: max(1, len(truth) // (64 * frames))], own.reshape(-1, case.beads, 3)])
    counts = np.array([len(x) - 64 * frames, 64 * frames], float)
    u = np.stack([reduced(case, case.teacher, x), reduced(case, ff, x)])
    free = mbar(u, counts)
    mixture = log_mixture(u, counts, free)
    w = [weights(energy, mixture) for energy in u]
    entropy = float(w[0] @ (u[1] - u[0]) - (free[1] - free[0]))
    return {**errors(case, *(profiles(case, x, part) for part in w)), "relative entropy, nats": round(entropy, 3)}


def one_seed(case: Case, out: Path, seed: int, truth: np.ndarray, options: argparse.Namespace) -> dict[str, Any]:
    """Data, force matching and relative entropy."""
    if not (out / "data").exists():
        write_data(case, out / "data", seed, options.data)
    priors = f"{{forcefield: {out.parent / 'priors'}}}" if options.teacher == CHIGNOLIN else "{key: beads}"
    (out / "match.yaml").write_text(MATCH.format(priors=priors, seed=seed, folder=out / "matched"))
    began = time.process_time()
    matched, _ = train(prepare_training(load_recipe(out / "match.yaml")))
    matching = time.process_time() - began
    given = {"data.dataset": out / "data", "start": matched, "folder": out / "refined", "relative_entropy.seed": seed}
    began = time.process_time()
    prepared = prepare_training(load_recipe(RECIPE, [f"{k}={v}" for k, v in given.items()]))
    refined, trainer = train_entropy(prepared)
    refining = time.process_time() - began
    assert prepared.weighed is not None
    (frames,), ((known,),) = prepared.weighed.molecules, prepared.weighed.weights
    exact = profiles(case, truth)
    return {
        "seed": seed,
        "CPU s of force matching": round(matching, 1),
        "CPU s of relative entropy": round(refining, 1),
        "updates": trainer.progress.update,
        "simulations": trainer.progress.renewals,
        "held out, nats": round(trainer.progress.best, 3),
        "truth, folded": round(float(exact["folded"]), 3),
        "frames alone": errors(case, exact, profiles(case, frames.positions, known.values)),
        "after force matching": measure(case, load_forcefield(matched), truth, options.frames),
        "after relative entropy": measure(case, load_forcefield(refined), truth, options.frames),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--teacher", default=CHIGNOLIN, help="a Gō force field, shipped or a folder of `mdflash go`")
    parser.add_argument("--kelvin", type=float, default=340.0, help="where the teacher folds and unfolds")
    parser.add_argument("--data", choices=("windows", "mixed"), default="windows")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--frames", type=int, default=100, help="of each replica that measures a force field")
    options = parser.parse_args()
    out: Path = options.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(set_threads(1))
    case = Case(load_forcefield(options.teacher), options.kelvin)
    truth = write_truth(case, out / "truth.npy")
    if options.teacher == CHIGNOLIN:
        save_forcefield(out / "priors", replace(load_forcefield("teacher-chignolin"), networks=()))
    for seed in options.seeds:
        done = out / str(seed) / "result.json"
        if not done.exists():
            done.parent.mkdir(exist_ok=True)
            done.write_text(json.dumps(one_seed(case, done.parent, seed, truth, options), indent=1))
        print(done.read_text(), flush=True)
    found = [json.loads(file.read_text()) for file in sorted(out.glob("*/result.json"))]
    alone = independent(case, truth, options.data)
    print("1,400 independent frames alone:", alone)
    said = {"date": str(datetime.date.today()), "independent frames alone": alone, "seeds": found}
    name = f"relative_entropy_{case.teacher.name.removeprefix('go-')}_{options.data}.json"
    (Path(__file__).parent / "results" / name).write_text(json.dumps(said, indent=1) + "\n")


if __name__ == "__main__":
    main()

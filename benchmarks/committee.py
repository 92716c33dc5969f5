"""Rounds of a committee: a basin that is left out of the data is found, and its free energy learned.

    python benchmarks/committee.py runs/committee

The teacher is a Gō chignolin, which stands for all atoms; its data lack the folded state (Q of 0.4 and more) or, with
`--without unfolded`, all but it (Q of 0.7 and less), and their forces have no noise. A committee learns them; a member
runs from frames of the data; frames of that run that the committee knows least of are chosen, the teacher samples
around each of them, and a new committee learns both. Prints after each round what the committee is, and how far the
free energy along Q of its first member is off (replicas that start folded and unfolded); writes results/committee.json
beside this file. `--choose random` takes frames of the same run by chance instead, to compare.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from relative_entropy import COLUMNS, KELVIN, NATIVE, SYSTEM, TEACHER, N, make_engine, measure, starts, write_truth

from mdflash import load_forcefield
from mdflash.engine.blocks.compiled import set_threads
from mdflash.engine.spread import SpreadOnFrames
from mdflash.forcefields.committee import load_committee
from mdflash.sampling.dataset import create_dataset, load_dataset
from mdflash.sampling.trajectory import TrajectoryWriter
from mdflash.sampling.where import APART, COUNT, pick
from mdflash.training.committee import make_members, write_committee
from mdflash.training.recipe import load_recipe
from mdflash.training.run import prepare_training, train

FOLDED, UNFOLDED = 0.7, 0.4  # of Q: more than this, and less than this
WALKERS, FRAMES = 16, 125  # of the first data
AROUND, STRIDE, SETTLE = 20, 20, 20  # frames around each that was chosen; steps between them, and before the first
REPLICAS, LENGTH, EVERY = 32, 20_000, 200  # of a member's run; steps
LARGEST = 60.0  # kcal/mol/Å; beyond it beads overlap
MEMBERS, STEPS = 3, 700
RECIPE = """mdflash: 1
data: {{dataset: [{data}], validation: 0.1}}
priors: {{key: beads}}
network: {{cutoff: 12 angstrom, features: 32, blocks: 2}}
training: {{epochs: {epochs}, batch: 128, optimizer: soap, learning_rate: 3e-3, clip: none, patience: none}}
folder: {folder}
"""


def q_of(x: np.ndarray) -> np.ndarray:
    """[F] of positions [F, N, 3]."""
    return COLUMNS["Q"](x)


def add_frames(file: Path, x: np.ndarray, chosen: bool) -> int:
    """A trajectory of frames [F, N, 3] with the teacher's forces; those whose beads overlap are left out."""
    labels = make_engine(TEACHER, x, 0)
    labels.evaluate()
    f = labels.layout.view(labels.state.forces, 0).numpy()
    good = np.flatnonzero(np.abs(f).max(axis=(1, 2)) < LARGEST)
    if len(good):
        with TrajectoryWriter(file, N, seed=1, aggregation="basic", chosen=chosen) as writer:
            for t in good:
                writer.append(x[t], f[t], KELVIN, 0.01 * (t + 1))
    return len(good)


def left_out(x: np.ndarray, without: str) -> np.ndarray:
    """[F] which frames [F, N, 3] are in no data of the first round."""
    return q_of(x) >= UNFOLDED if without == "folded" else q_of(x) <= FOLDED


def write_first(folder: Path, without: str) -> int:
    """Frames of the teacher in one of its states, in trajectories of their own."""
    x = starts(2 * WALKERS, 7)[1::2] if without == "folded" else np.repeat(NATIVE[:1], WALKERS, axis=0)
    engine = make_engine(TEACHER, x, 8, kelvin=KELVIN)
    found: list[list[np.ndarray]] = [[] for _ in x]
    while min(map(len, found)) < FRAMES:
        engine.run(100)
        for mine, frame in zip(found, engine.layout.view(engine.state.positions, 0).numpy(), strict=True):
            if len(mine) < FRAMES and not left_out(frame[None], without)[0]:
                mine.append(frame.copy())
    create_dataset(folder, {SYSTEM.name: (SYSTEM, NATIVE)}, "ca", {"teacher": TEACHER.name})
    return sum(add_frames(folder / SYSTEM.name / f"{k:03d}.h5", np.array(m), False) for k, m in enumerate(found))


def first_frames(folder: Path) -> np.ndarray:
    """[REPLICAS, N, 3] frames of the first data, at even distances."""
    (molecule,) = load_dataset(folder).molecules
    x = np.concatenate([t.read().positions for t in molecule.trajectories]).astype(np.float64)
    return x[np.linspace(0, len(x) - 1, REPLICAS).astype(int)]


def write_around(folder: Path, picked: np.ndarray) -> int:
    """What the teacher does from each frame that was chosen."""
    engine = make_engine(TEACHER, picked, 9)
    engine.minimize(200)  # rebuilt atoms are relaxed, too
    engine.draw_velocities()
    engine.run(SETTLE)
    found = []
    for _ in range(AROUND):
        engine.run(STRIDE)
        found.append(engine.layout.view(engine.state.positions, 0).numpy().copy())
    x = np.array(found)
    create_dataset(folder, {SYSTEM.name: (SYSTEM, NATIVE)}, "ca", {"teacher": TEACHER.name, "chosen": len(picked)})
    return sum(add_frames(folder / SYSTEM.name / f"{k:03d}.h5", x[:, k], True) for k in range(len(picked)))


def one_round(
    out: Path, number: int, data: list[Path], frames: int, without: str, choice: str
) -> tuple[dict[str, Any], Path, Any]:
    """Train a committee, run its first member, choose frames: what is said, the member, and the frames."""
    folder = out / f"committee-{number}"
    epochs = max(1, round(STEPS * 128 / (0.9 * frames)))
    recipe = out / f"round-{number}.yaml"
    recipe.write_text(RECIPE.format(data=", ".join(map(str, data)), epochs=epochs, folder=folder))
    began = time.process_time()
    prepared = prepare_training(load_recipe(recipe))
    trained = [train(member)[0] for member in make_members(prepared, MEMBERS)]
    write_committee(prepared, trained)
    seconds = time.process_time() - began
    committee = load_committee(folder)
    engine = make_engine(committee.members[0], first_frames(data[0]), 100 + number)
    x = []
    for _ in range(LENGTH // EVERY):
        engine.run(EVERY)
        x.append(engine.layout.view(engine.state.positions, 0).numpy().copy())
    run = np.array(x).reshape(-1, N, 3)
    spread = SpreadOnFrames(committee, SYSTEM)(run).forces
    known = committee.own[SYSTEM.name]
    if choice == "spread":
        chosen = pick(SYSTEM, run, spread, COUNT, APART, known.forces)
    else:
        chosen = np.random.default_rng(number).choice(len(run), COUNT, replace=False).tolist()
    lacked = left_out(run, without)
    medians = [round(float(np.median(spread[part])), 3) for part in (~lacked, lacked) if part.any()]
    said = {
        "round": number,
        "frames of data": frames,
        "CPU s of training": round(seconds, 1),
        "spread of the data, median and 1 of 100": [round(known.median, 3), round(known.forces, 3)],
        "median spread of its run, where the first data were and were not": medians,
        "share of its run beyond the data": round(float((spread > known.forces).mean()), 3),
        "share of its run that the first data lacked": round(float(lacked.mean()), 3),
        "chosen": len(chosen),
        "chosen among what the first data lacked": int(lacked[chosen].sum()),
    }
    return said, trained[0], run[chosen]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--without", choices=["folded", "unfolded"], default="folded")
    parser.add_argument("--choose", choices=["spread", "random"], default="spread")
    parser.add_argument("--frames", type=int, default=100, help="of each replica that measures a force field")
    options = parser.parse_args()
    out: Path = options.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(set_threads(1))
    truth = write_truth(out / "truth.npz")
    work = out / f"{options.without}-{options.choose}"
    work.mkdir(exist_ok=True)
    data = [work / "data-0"]
    frames = write_first(data[0], options.without)
    found = []
    for number in range(options.rounds + 1):
        said, member, picked = one_round(work, number, data, frames, options.without, options.choose)
        print(json.dumps(said, indent=1), flush=True)
        set_threads(2)
        said |= {"error, kcal/mol": measure(load_forcefield(member), truth, options.frames)}
        print(json.dumps(said["error, kcal/mol"], indent=1), flush=True)
        set_threads(1)
        found.append(said)
        if number < options.rounds:
            data.append(work / f"data-{number + 1}")
            frames += write_around(data[-1], picked)
    file = Path(__file__).parent / "results" / "committee.json"
    before = json.loads(file.read_text()) if file.exists() else {}
    key = f"without {options.without}, by {options.choose}"
    before |= {"date": str(datetime.date.today()), "processor": platform.processor(), key: found}
    file.write_text(json.dumps(before, indent=1) + "\n")


if __name__ == "__main__":
    main()

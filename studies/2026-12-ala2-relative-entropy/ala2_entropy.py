"""Can relative entropy improve the shipped ala2, and what limits it? See README.md.

    sample FORCEFIELD FOLDER --seed N       36 windows of phi, two replicas each, at 300 K
    learn WINDOWS OUT --updates N           relative entropy whose samples are those windows (of the start), reweighted
    compare DATA FORCEFIELD [FORCEFIELD ...] --windows FOLDER ...
                                            free energy over phi and psi: of the windows, and of others by reweighting

DATA: a dataset of ladders. Free energies of both sides are by MBAR.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

from mdflash import Backend, Dynamics, Engine, LangevinMiddle, Layout, State, build_potential, load_forcefield
from mdflash.core.geometry import torsions
from mdflash.core.mbar import log_mixture, mbar, weights
from mdflash.forcefields.forcefield import save_forcefield
from mdflash.mapping.interactions import with_interactions
from mdflash.potentials.base import SumPotential
from mdflash.potentials.bias.bias import Bias
from mdflash.potentials.variables.dihedral import Dihedral
from mdflash.training.entropy.pool import Pool
from mdflash.training.entropy.run import make_entropy_trainer, with_weights
from mdflash.training.frames import load_frames
from mdflash.training.recipe import load_recipe
from mdflash.training.run import prepare_training
from mdflash.training.weights import frame_weights
from mdflash.units import kT

RECIPE = Path(__file__).parents[2] / "examples" / "ala2" / "refine.yaml"
KELVIN, WINDOWS, EACH, STIFFNESS = 300.0, 36, 2, 25.0  # K, windows, replicas of a window, kcal/mol/rad²
TIMESTEP, EVERY = 0.002, 250  # ps, steps between frames
THERMAL = kT(KELVIN)
PHI, PSI = (1, 3, 4, 5), (3, 4, 5, 8)
CENTERS = np.linspace(-np.pi, np.pi, WINDOWS, endpoint=False) + np.pi / WINDOWS
EDGES = np.linspace(-180.0, 180.0, 37)
POPULATED = 4.0  # kcal/mol


def around(angle: np.ndarray) -> np.ndarray:
    return (angle + np.pi) % (2.0 * np.pi) - np.pi


def angles(x: np.ndarray) -> np.ndarray:
    """[F, 2] phi and psi, rad."""
    return torsions(np.asarray(x, float), np.array([PHI, PSI]))


def read_data(folder: Path):
    molecule = load_frames([folder], 0.3, None, None, (), "mbar").molecules[0]
    return molecule, frame_weights(molecule, KELVIN)


def sample(forcefield: str, data: Path, out: Path, seed: int, settle: float, length: float) -> None:
    out.mkdir(parents=True)
    ff, rng = load_forcefield(forcefield), np.random.default_rng(seed)
    molecule, known = read_data(data)
    phi, centers = angles(molecule.positions)[:, 0], np.repeat(CENTERS, EACH)
    start = []
    for center in centers:
        away = np.abs(around(phi - center))
        p = np.where(away < 0.12, known.values, 0.0)
        if not p.sum() or p.sum() ** 2 < 4.0 * np.square(p).sum():  # hot frames alone are there
            p = np.where(away < np.sort(away)[30], 1.0, 0.0)
        start.append(molecule.positions[rng.choice(len(p), p=p / p.sum())])
    system = with_interactions(ff.systems[0][0])
    layout = Layout((system,), (len(centers),))
    bias = Bias("phi", Dihedral(system, *PHI), layout, [STIFFNESS] * len(centers), centers.tolist())
    potential = SumPotential([*build_potential([ff], layout).terms, bias])
    state = State.at(layout, np.array(start).reshape(-1, 3).astype(float), KELVIN)
    engine = Engine(layout, potential, state, Dynamics(LangevinMiddle(TIMESTEP, 1.0), seed=seed), Backend("fp32"))
    engine.draw_velocities()
    engine.run(round(settle / TIMESTEP))
    frames = []
    for _ in range(round(length / TIMESTEP / EVERY)):
        engine.run(EVERY)
        x = layout.view(engine.state.positions, 0).numpy()
        frames.append((x - x.mean(axis=1, keepdims=True)).astype(np.float32))
    np.save(out / "000.npy", np.array(frames))


class Windows:
    """Frames of windows [F, replicas, N, 3], and their weights at 300 K without them."""

    def __init__(self, folders: list[Path]) -> None:
        parts = [np.load(file) for folder in folders for file in sorted(folder.glob("[0-9]*.npy"))]
        x = np.concatenate(parts)
        self.x = x.reshape(-1, *x.shape[2:])
        self.window = np.tile(np.arange(WINDOWS * EACH) // EACH, len(x))
        self.replica = np.tile(np.arange(WINDOWS * EACH) % EACH, len(x))
        self.time = np.repeat(np.arange(len(x)), WINDOWS * EACH)
        phi = angles(self.x)[:, 0]
        self.reduced = 0.5 * STIFFNESS * around(phi[None] - CENTERS[:, None]) ** 2 / THERMAL

    def weigh(self, chosen: np.ndarray, more: np.ndarray | float = 0.0) -> np.ndarray:
        """Weights of some frames, with `more` [F] kT of energy than they were sampled with."""
        u, own = self.reduced[:, chosen], self.window[chosen]
        pick = np.random.default_rng(0).permutation(u.shape[1])[:20_000]
        free = mbar(u[:, pick], np.bincount(own[pick], minlength=WINDOWS).astype(float))
        extra = np.broadcast_to(more, len(self.x))[chosen]
        w = weights(extra, log_mixture(u, np.bincount(own, minlength=WINDOWS).astype(float), free))
        return w / w.sum()

    def surfaces(self, more: np.ndarray | float = 0.0) -> list[np.ndarray]:
        """Histograms: all, either replica, either half of the time."""
        half = self.time < self.time.max() / 2
        parts = [np.ones(len(self.x), bool), self.replica == 0, self.replica == 1, half, ~half]
        return [surface(self.x[p], self.weigh(p, more)) for p in parts]


def surface(x: np.ndarray, w: np.ndarray | None) -> np.ndarray:
    a = np.degrees(angles(x))
    return np.histogram2d(a[:, 0], a[:, 1], [EDGES, EDGES], weights=w)[0]


def energies(forcefield: str, x: np.ndarray) -> np.ndarray:
    ff = load_forcefield(forcefield)
    system, found = with_interactions(ff.systems[0][0]), []
    for begin in range(0, len(x), 8192):
        part = x[begin : begin + 8192]
        layout = Layout((system,), (len(part),))
        state = State.at(layout, part.reshape(-1, 3).astype(float), KELVIN)
        dynamics = Dynamics(LangevinMiddle(TIMESTEP, 1.0), seed=0)
        engine = Engine(layout, build_potential([ff], layout), state, dynamics, Backend("fp32"))
        engine.evaluate()
        found.append(engine.state.energy.numpy().copy())
    return np.concatenate(found)


def distance(p: np.ndarray, q: np.ndarray) -> str:
    """As mdflash.analysis.against.compare, and within fewer kcal/mol of the minimum, over bins that both have."""
    p, q = p / p.sum(), q / q.sum()
    m = 0.5 * (p + q)
    with np.errstate(all="ignore"):
        jsd = 0.5 * (np.nansum(p * np.log(p / m)) + np.nansum(q * np.log(q / m)))
    found = []
    for cut in (2.0, 3.0, POPULATED):
        use = (p > p.max() * np.exp(-cut / THERMAL)) & (q > 0)
        found.append(f"{np.sqrt(np.square(THERMAL * np.log(q[use] / p[use])).mean()):.3f}")
    return f"RMSE within 2, 3, 4 kcal/mol {', '.join(found)}; JSD {jsd:.4f}"


def left(h: np.ndarray) -> float:
    """% with phi from 0 to 120 degrees."""
    middle = 0.5 * (EDGES[1:] + EDGES[:-1])
    return 100.0 * h[(middle > 0) & (middle < 120)].sum() / h.sum()


def compare(data: Path, folders: list[Path], start: str, others: list[str]) -> None:
    molecule, known = read_data(data)
    truth = surface(molecule.positions, known.values)
    trajectories = np.unique(molecule.source)
    first = np.isin(molecule.source, trajectories[: len(trajectories) // 2])
    halves = [surface(molecule.positions[s], known.of(s)) for s in (first, ~first)]
    print(f"data: left {left(truth):.2f} % (halves {left(halves[0]):.2f}, {left(halves[1]):.2f}); halves: {distance(*halves)}")
    windows = Windows(folders)
    here = energies(start, windows.x)
    for name in [start, *others]:
        more = (energies(name, windows.x) - here) / THERMAL
        all_, *parts = windows.surfaces(more - more.mean())
        print(f"{name}: {distance(truth, all_)}; left {left(all_):.2f} % ({', '.join(f'{left(h):.2f}' for h in parts)})")
        print(f"  replicas: {distance(parts[0], parts[1])}; halves of the time: {distance(parts[2], parts[3])}", flush=True)


class Fixed(Pool):
    """Samples of windows with their weights; never renewed."""

    log_weights: np.ndarray
    begun: np.ndarray
    first: float

    def weigh(self, now: np.ndarray) -> tuple[np.ndarray, float]:
        log_w = self.log_weights - (now - self.begun) / self.kT
        top = log_w.max()
        w = np.exp(log_w - top)
        return w / w.sum(), float(-self.kT * (top + np.log(w.sum())))

    def effective(self, now: np.ndarray) -> float:
        return float(1.0 / np.square(self.weigh(now)[0]).sum() / self.first)


def learn(folder: Path, out: Path, updates: int) -> None:
    overrides = [f"relative_entropy.updates={updates}", f"folder={out}"]
    prepared = prepare_training(load_recipe(RECIPE, overrides))
    trainer, windows = make_entropy_trainer(prepared), Windows([folder])
    chosen = (windows.replica == 0) & (windows.time % 2 == 0)  # the other replica judges
    w = windows.weigh(chosen)
    (group,) = trainer.material.groups
    pool = Fixed(group.kT, 1)
    pool.positions, pool.counts = torch.from_numpy(windows.x[chosen]), (int(chosen.sum()),)
    pool.log_weights, pool.first = np.log(w), float(1.0 / np.square(w).sum())
    pool.begun = trainer._energies(0, pool.positions)
    trainer.pools, trainer._now = [pool], [pool.begun]
    trainer.progress.variance = trainer._force_loss()
    trainer._held = [trainer._energies(0, group.held_out.positions)]
    for k in range(1, updates + 1):
        trainer._update()
        if k % 10 == 0:
            now = trainer._weights()
            trainer._put(trainer.mean)
            mine = [trainer._energies(0, pool.positions)]
            print(k, f"S {trainer._held_out_entropy(mine):+.4f}, force loss {trainer._force_loss():.3f}, effective share "
                     f"{pool.effective(mine[0]):.3f}", flush=True)  # fmt: skip
            trainer._put(now)
    save_forcefield(out / "forcefield", with_weights(prepared, trainer.mean))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    one = verbs.add_parser("sample")
    one.add_argument("forcefield")
    one.add_argument("out", type=Path)
    one.add_argument("--data", type=Path, default=RECIPE.parent / "data", help="where replicas begin")
    one.add_argument("--seed", type=int, default=1)
    one.add_argument("--settle", type=float, default=40.0, help="ps")
    one.add_argument("--length", type=float, default=280.0, help="ps")
    two = verbs.add_parser("learn")
    two.add_argument("windows", type=Path)
    two.add_argument("out", type=Path)
    two.add_argument("--updates", type=int, default=150)
    three = verbs.add_parser("compare")
    three.add_argument("data", type=Path)
    three.add_argument("--windows", type=Path, nargs="+", required=True)
    three.add_argument("forcefields", nargs="+", help="that of the windows first")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.verb == "sample":
        sample(given.forcefield, given.data, given.out, given.seed, given.settle, given.length)
    elif given.verb == "learn":
        learn(given.windows, given.out, given.updates)
    else:
        compare(given.data, given.windows, given.forcefields[0], given.forcefields[1:])


if __name__ == "__main__":
    sys.exit(main())

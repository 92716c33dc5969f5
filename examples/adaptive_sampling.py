"""Adaptive sampling: rounds of short runs, each from frames in places that were seen least so far.

Least counts, as in Bowman, Ensign & Pande, J. Chem. Theory Comput. 6, 787 (2010), with cells of k-means over distances
instead of a Markov model. Frames are no equilibrium ensemble: join them by a Markov model, or use them as start frames.

python examples/adaptive_sampling.py
"""

from __future__ import annotations

import numpy as np
from scipy.cluster.vq import kmeans2

from mdflash import Simulation, load_forcefield

ROUNDS, REPLICAS, CELLS = 6, 16, 40


def features(x: np.ndarray) -> np.ndarray:
    """[F, pairs] Å: distances between beads that are three or more apart along the chain, of frames [F, N, 3]."""
    i, j = np.triu_indices(x.shape[1], 3)
    return np.linalg.norm(x[:, i] - x[:, j], axis=2)


def one_round(start: np.ndarray, seed: int, length: int) -> np.ndarray:
    """[F, N, 3] Å: a frame of every replica each 2 ps, from start frames [replicas, N, 3]."""
    sim = Simulation(
        "chignolin", "go-chignolin", replicas=len(start), start=start, temperatures="320 K", timestep="10 fs", seed=seed
    )
    frames = []
    for _ in range(length):
        sim.run("2 ps")
        frames.append(np.array(sim.positions))
    return np.concatenate(frames)


def seeds(frames: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """[count, N, 3] Å: a frame of each of the cells with the fewest frames."""
    _, cell = kmeans2(features(frames), CELLS, minit="++", rng=rng)
    found, visits = np.unique(cell, return_counts=True)
    rare = np.resize(found[np.argsort(visits)[:count]], count)
    return frames[[rng.choice(np.flatnonzero(cell == c)) for c in rare]]


def main(rounds: int = ROUNDS, length: int = 20) -> list[float]:
    """Returns after each round the largest end-to-end distance that has been seen, Å."""
    rng = np.random.default_rng(2026)
    _, native = load_forcefield("go-chignolin").system()
    frames, start, reached = np.zeros((0, *native.shape[-2:])), np.tile(native.reshape(1, -1, 3), (REPLICAS, 1, 1)), []
    for k in range(rounds):
        frames = np.concatenate([frames, one_round(start, k, length)])
        reached.append(float(np.linalg.norm(frames[:, -1] - frames[:, 0], axis=1).max()))
        start = seeds(frames, REPLICAS, rng)
    return reached


if __name__ == "__main__":
    for k, end in enumerate(main()):
        print(f"round {k + 1}: ends up to {end:.1f} Å apart")

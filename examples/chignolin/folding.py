"""How often a run of chignolin folds: RMSD of the CA beads from the native structure, free energies, and passages.

mdflash run chignolin-ca
python examples/chignolin/folding.py runs/chignolin-ca

Folded is an RMSD below 2 Å; a passage out is complete above 4 Å, so that trembling at the border counts for nothing.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

import mdflash
from mdflash.analysis.against.coordinates import rmsd
from mdflash.units import kT

FOLDED, UNFOLDED = 2.0, 4.0  # Å
EDGES = np.arange(0.0, 8.0, 0.5)  # Å
BLOCKS = 8  # of replicas, for standard errors


def profile(distance: np.ndarray, thermal: float) -> tuple[np.ndarray, np.ndarray]:
    """Free energies [bins] along RMSDs [R, F], kcal/mol from the lowest, and their standard errors over replicas."""
    counts = np.stack([np.histogram(d, EDGES)[0] for d in distance]).astype(float)  # [R, bins]
    blocks = np.stack([part.sum(axis=0) for part in np.array_split(counts, min(BLOCKS, len(counts)))])
    shares = blocks / blocks.sum(axis=1, keepdims=True)
    p, error = shares.mean(axis=0), shares.std(axis=0, ddof=1) / len(shares) ** 0.5
    with np.errstate(divide="ignore", invalid="ignore"):
        free = -thermal * np.log(p)
        return free - free.min(), thermal * error / p


def passages(distance: np.ndarray) -> tuple[int, int]:
    """How often a replica leaves the folded basin, and how often it comes back to it, from RMSDs [F]."""
    inside, out, back = bool(distance[0] < FOLDED), 0, 0
    for d in distance:
        if inside and d > UNFOLDED:
            inside, out = False, out + 1
        elif not inside and d < FOLDED:
            inside, back = True, back + 1
    return out, back


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--forcefield", default="chignolin-ca", help="whose first start frame is the native structure")
    parser.add_argument("--temperature", type=float, default=340.0, help="K, of the run")
    parser.add_argument("--settling", type=float, default=0.2, help="share of the run that is left out of populations")
    options = parser.parse_args()
    native = mdflash.load_forcefield(options.forcefield).system()[1][0]
    data = mdflash.open_run(options.run).xarray()
    distance = np.stack([rmsd(np.asarray(x, np.float64), native) for x in data.positions.values])  # [R, F] Å
    settled = distance[:, round(options.settling * distance.shape[1]) :]
    out, back = np.array([passages(d) for d in distance]).T
    folded = (settled < FOLDED).mean(axis=1)
    p = float(folded.mean())
    free, error = profile(settled, kT(options.temperature))
    stability = -kT(options.temperature) * float(np.log(p / (1 - p))) if 0 < p < 1 else None
    print(
        json.dumps(
            {
                "replicas": len(distance),
                "frames_each": distance.shape[1],
                "folded": round(p, 4),
                "folded_standard_error": round(float(folded.std(ddof=1) / np.sqrt(len(folded))), 4),
                "free_energy_of_folding_kcal_mol": stability and round(stability, 3),
                "left": int(out.sum()),
                "entered": int(back.sum()),
                "rmsd_median": round(float(np.median(settled)), 2),
                "rmsd_from": EDGES[:-1].tolist(),
                "free_energy_kcal_mol": [round(f, 2) if np.isfinite(f) else None for f in free.tolist()],
                "standard_error": [round(e, 2) if np.isfinite(e) else None for e in error.tolist()],
            },
            indent=2,
        )
    )

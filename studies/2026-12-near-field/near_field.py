"""How many cosines near filters need, as one product or as one for middle distances.

    PYTHONPATH=. python studies/2026-12-near-field/near_field.py chignolin-ca teacher-1enh

Near: `rank` cosines on 0.9 times the smallest distance to `end` in the place of the tables, which stay beyond it.
Middle: `rank` cosines from `start` to where the far field begins; tables below, the far field's error left out.
Errors are those of forces in float64 on the compact chain and the coil that tables are made for, relative to their rms.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

from mdflash import load_forcefield
from mdflash.forcefields.distances import distances_of
from mdflash.forcefields.networks import load_schnet
from mdflash.forcefields.shipped import find_shipped
from mdflash.potentials.schnet import split
from mdflash.potentials.schnet.tables import (
    BEYOND, exact_filters, filter_values, in_double, random_sample, relative_error, sample_forces, samples_of, tabulate,
)  # fmt: skip
from mdflash.potentials.schnet.tabulated import TABLE_ERROR

NEAREST, FINE = 0.9, 4096
DECAYS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.8)


def fit(network, start, end, rank):
    """As `split.fit_far_field`, with exact values and slopes at both ends, wherever they are."""
    inner = 0.5 - 0.5 * np.cos(np.pi * (np.arange(8 * rank) + 0.5) / (8 * rank))
    d = start + (end - start) * np.concatenate(([0.0], inner, [1.0 - 1e-12]))
    values = [filter_values(network, b, d) for b in range(len(network.blocks))]
    exact = [(torch.from_numpy(w), torch.from_numpy(dw)) for w, dw in values]
    x = torch.from_numpy(d)
    return min((split._fit(start, end, rank, decay, x, exact) for decay in DECAYS), key=lambda found: found[1])[0]


def distances(sample):
    x = sample.positions
    return np.linalg.norm(x[:, None] - x, axis=2)[np.triu_indices(len(x), 1)]


def study(name):
    ff = load_forcefield(find_shipped("forcefields", name))
    network = in_double(load_schnet(ff.networks[0]))
    cutoff = network.hyper.cutoff
    samples = [s.core() for s in samples_of(network, distances_of(ff))]
    within = np.concatenate([d[d < cutoff] for d in map(distances, samples)])
    tables = tabulate(network, FINE).filters
    # `table` limits are those of `split_filters`: also a chain that comes nearer than any of the force field
    judged = [*samples, random_sample(network)]
    exact = [sample_forces(network, exact_filters(network), s) for s in judged]

    def errors(start, field):
        def filters(block, d):
            inside = ((d >= start) & (d < field.cutoff))[:, None]
            return torch.where(inside, field.filters(block, d.clamp(field.start, field.cutoff)), tables(block, d))

        return [relative_error(sample_forces(network, filters, s), f) for s, f in zip(judged, exact)]

    def share(low, high):
        return float(((within >= low) & (within < high)).mean())

    found = {"near": [], "middle": []}
    for end in cutoff * np.array([16, 24, 32, 40]) / 64:
        for rank in (16, 32, 64, 128):
            field = fit(network, NEAREST * within.min(), end, rank)
            row = {"end": end, "rank": rank, "share": share(0, end), "errors": errors(0.0, field)[:-1],
                   "largest_coefficient": float(np.abs(field.coefficients).max())}  # fmt: skip
            found["near"].append(row)
            print(name, "near", row, flush=True)
    for precision in ("mixed16", "fp32"):
        limits = [TABLE_ERROR[precision]] * len(samples) + [BEYOND * TABLE_ERROR[precision]]

        def excess(filters):
            return max(relative_error(sample_forces(network, filters, s), f) / limit
                       for s, f, limit in zip(judged, exact, limits))  # fmt: skip

        for rank in split.RANKS:
            far = split._nearest_start(network, rank, tables, excess)
            one = split.NEAR_COST * share(0, far.start) + rank / split.RANKS[0]
            for middle in (0, 16, 32, 64):
                start, largest = far.start, 0.0
                for place in range(split.NEAREST, round(far.start / cutoff * split.PLACES) if middle else 0):
                    field = fit(network, cutoff * place / split.PLACES, far.start, middle)
                    if max(e / limit for e, limit in zip(errors(field.start, field), limits)) <= 0.25:
                        start, largest = field.start, float(np.abs(field.coefficients).max())
                        break
                cost = split.NEAR_COST * share(0, start) + share(start, far.start) * middle / 16 + rank / split.RANKS[0]
                row = {"precision": precision, "far_rank": rank, "far_start": far.start, "middle_rank": middle,
                       "middle_start": start, "in_tables": share(0, start), "in_the_middle": share(start, far.start),
                       "largest_coefficient": largest, "cost": cost, "cost_without": one}  # fmt: skip
                found["middle"].append(row)
                print(name, row, flush=True)
    return {"smallest_distance": float(within.min()), **found}


def main():
    torch.set_num_threads(1)
    result = {name: study(name) for name in sys.argv[1:]}
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

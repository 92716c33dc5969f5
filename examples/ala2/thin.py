"""A smaller dataset, to go on from with `mdflash train examples/ala2/refine.yaml`: fewer of the frames that say less.

    mdflash sample examples/ala2/sample.yaml
    python examples/ala2/thin.py data/ala2 examples/ala2/data --every 560=3 480=2

`--every KELVIN=N` keeps every Nth frame of each trajectory at this temperature. MBAR counts what is there, so
populations stay right.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from mdflash.sampling.dataset import create_dataset, load_dataset
from mdflash.sampling.trajectory import TrajectoryWriter


def thin(source: Path, out: Path, every: dict[float, int]) -> int:
    """Write the dataset; returns its frames.

    Args:
        source: a dataset of `mdflash sample`.
        out: a new folder.
        every: by temperature in K, every how many frames are kept; 1 where it says nothing.
    """
    data = load_dataset(source)
    systems = {m.name: (m.system, m.start) for m in data.molecules}
    said = {f"{kelvin:g} K": n for kelvin, n in every.items()}
    create_dataset(out, systems, data.mapping, {**data.provenance, "every_nth_frame_at": said})
    kept = 0
    for molecule in data.molecules:
        for trajectory in molecule.trajectories:
            frames = trajectory.read()
            keep = np.ones(len(frames.time), bool)
            for kelvin, n in every.items():
                at = np.flatnonzero(np.isclose(frames.temperature, kelvin))
                keep[at] = np.arange(len(at)) % n == 0
            columns = {"replica": frames.replica, "energy": frames.energy, "potential": frames.potential}
            there = {name: column for name, column in columns.items() if column is not None}
            with TrajectoryWriter(
                out / molecule.name / trajectory.file.name, molecule.system.n_beads, seed=trajectory.seed,
                aggregation=trajectory.aggregation, biased=trajectory.biased, restraint=trajectory.restraint,
                chosen=trajectory.chosen, **dict.fromkeys(there, True),
            ) as writer:  # fmt: skip
                for k in np.flatnonzero(keep):
                    own = {name: column[k] for name, column in there.items()}
                    writer.append(
                        frames.positions[k],
                        frames.forces[k],
                        float(frames.temperature[k]),
                        float(frames.time[k]),
                        **own,
                    )
            kept += int(keep.sum())
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--every", nargs="*", default=[], metavar="KELVIN=N")
    options = parser.parse_args()
    every = {float(kelvin): int(n) for kelvin, n in (said.split("=") for said in options.every)}
    print(f"{thin(options.source, options.out, every):,} frames in {options.out}")


if __name__ == "__main__":
    main()

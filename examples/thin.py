"""A smaller dataset, to go on from by relative entropy: fewer frames, and none from before a simulation settled.

    mdflash sample examples/ala2/sample.yaml
    python examples/thin.py data/ala2 examples/ala2/data --every 560=3 480=2

    mdflash sample examples/chignolin/windows.yaml
    python examples/thin.py data/chignolin-windows examples/chignolin/data --after 400 --every 30

`--every N` keeps every Nth frame of each trajectory, `--every KELVIN=N` of those at this temperature. MBAR counts what
is there, so populations stay right. `--after PS` leaves out the frames before.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from mdflash.sampling.dataset import create_dataset, load_dataset
from mdflash.sampling.trajectory import TrajectoryWriter


def thin(source: Path, out: Path, every: dict[float | None, int], after: float = 0.0) -> int:
    """Write the dataset; returns its frames.

    Args:
        source: a dataset of `mdflash sample`.
        out: a new folder.
        every: by temperature in K (None: all others), every how many frames are kept; 1 where it says nothing.
        after: ps; of each trajectory, frames from before are left out.
    """
    data = load_dataset(source)
    systems = {m.name: (m.system, m.start) for m in data.molecules}
    said: dict[str, object] = {
        "every_nth_frame_at": {"others" if kelvin is None else f"{kelvin:g} K": n for kelvin, n in every.items()}
    }
    if after:
        said["frames_after_ps"] = after
    create_dataset(out, systems, data.mapping, {**data.provenance, **said})
    kept = 0
    for molecule in data.molecules:
        for trajectory in molecule.trajectories:
            frames = trajectory.read()
            keep = np.zeros(len(frames.time), bool)
            for kelvin in np.unique(frames.temperature):
                own = next((t for t in every if t is not None and np.isclose(t, kelvin)), None)
                at = np.flatnonzero((frames.temperature == kelvin) & (frames.time >= after))
                keep[at[:: every.get(own, 1)]] = True
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
    parser.add_argument("--every", nargs="*", default=[], metavar="N or KELVIN=N")
    parser.add_argument("--after", type=float, default=0.0, metavar="PS")
    options = parser.parse_args()
    every = dict[float | None, int]()
    for said in options.every:
        kelvin, _, n = said.rpartition("=")
        every[float(kelvin) if kelvin else None] = int(n)
    print(f"{thin(options.source, options.out, every, options.after):,} frames in {options.out}")


if __name__ == "__main__":
    main()

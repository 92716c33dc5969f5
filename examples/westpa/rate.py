"""How fast Gō chignolin unfolds, with WESTPA in charge and mdflash as its propagator.

    pip install westpa
    python examples/westpa/rate.py FOLDER [ITERATIONS]

w_init and w_run in a folder with west.cfg and mdflash_propagator.py do the same. 250 iterations took 25 s of CPU time,
and told a mean first passage time of 183 ps, 95 % interval 151 to 221; benchmarks/weighted_ensemble.py, with walkers of
mdflash's own, 160 ps (129 to 198), and by brute force 191 ps (168 to 215).
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import h5py
import numpy as np

from mdflash.analysis.walkers import Rate, rate_of

HERE = Path(__file__).parent
EVERY = 4.0
"""ps, of an iteration."""


def simulate(folder: Path, iterations: int) -> None:
    """Start a simulation in the folder, or go on with it, up to so many iterations."""
    import westpa
    from westpa.cli.core import w_init, w_run

    folder.mkdir(parents=True, exist_ok=True)
    for name in ("west.cfg", "mdflash_propagator.py"):
        shutil.copy(HERE / name, folder)
    os.chdir(folder)
    westpa.rc.read_config("west.cfg")
    westpa.rc.process_config()
    westpa.rc.config["west", "propagation", "max_total_iterations"] = iterations
    if not Path("west.h5").exists():
        w_init.initialize(["unfolded,0.05"], None, ["native,1"], None)
    w_run.run_simulation()


def rate(file: Path, iterations: int) -> Rate | None:
    """From the weights of segments that were recycled, as mdflash makes its own; None: nothing arrived."""
    from westpa.core.segment import Segment

    with h5py.File(file) as data:
        found = [data[f"iterations/iter_{k + 1:08d}/seg_index"][:] for k in range(iterations)]
    arrived = np.zeros((iterations, max(map(len, found))))
    for row, segments in zip(arrived, found, strict=True):
        row[: len(segments)] = segments["weight"] * (segments["endpoint_type"] == Segment.SEG_ENDPOINT_RECYCLED)
    return rate_of(arrived, EVERY)


def main(folder: Path, iterations: int = 250) -> Rate | None:
    """Returns the rate from the native structure to 10 % of its contacts, at 340 K."""
    simulate(folder, iterations)
    return rate(Path("west.h5"), iterations)


if __name__ == "__main__":
    found = main(Path(sys.argv[1]), *map(int, sys.argv[2:3]))
    if found is None:
        print("no walker has arrived yet")
    else:
        time, low, high = found.passage
        print(f"mean first passage time: {time:.0f} ps, 95 % interval {low:.0f} to {high:.0f} ps")

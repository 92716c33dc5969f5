"""Where Gō chignolin folds: folded fraction, transitions and heat capacity over temperature.

    python studies/2026-11-go-folding/go_chignolin_folding.py            # about two minutes on 2 cores
    python studies/2026-11-go-folding/go_chignolin_folding.py --length 200

Q is the fraction of native contacts shorter than 1.2 times their native length; folded is Q > 0.5. A transition is a
passage from Q >= 0.8 to Q <= 0.2 or back. The folding temperature is where half the frames are folded.
Writes go_chignolin_folding.json beside this file.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mdflash import __version__
from mdflash.core.geometry import distances
from mdflash.core.state import Layout, State
from mdflash.engine.engine import Engine
from mdflash.engine.settings import Dynamics
from mdflash.forcefields.build import build_potential
from mdflash.forcefields.forcefield import ForceField, load_forcefield
from mdflash.forcefields.shipped import shipped_folder
from mdflash.integrators.langevin import LangevinMiddle
from mdflash.units import BOLTZMANN

TIMESTEP, FRICTION, EVERY = 0.010, 1.0, 100  # ps, 1/ps, steps between frames
NATIVE, FOLDED, UNFOLDED = 1.2, 0.8, 0.2
SETTLING = 0.1
"""Share of each run, from its start, that is left out."""

Series = npt.NDArray[np.float64]


class Watch:
    """Keeps Q and the energy of every replica, `EVERY` steps."""

    def __init__(self, ff: ForceField) -> None:
        contacts = next(t for t in ff.terms if t.name == "contacts")
        self.pairs, self.limit = contacts.keys, NATIVE * contacts.parameters["r0"]
        self.q: list[Series] = []
        self.energy: list[Series] = []

    def next_report(self, step: int) -> int:
        return (step // EVERY + 1) * EVERY

    def report(self, simulation: Engine) -> None:
        x = simulation.layout.view(simulation.state.positions, 0).numpy()
        self.q.append((distances(x, self.pairs) < self.limit).mean(axis=1))
        self.energy.append(simulation.state.energy.numpy().copy())


def simulate(ff: ForceField, temperatures: Series, length: float, seed: int) -> tuple[Series, Series, float]:
    """Q and energy [frames, R] without the start, and the speed in replica-steps per second."""
    system, native = ff.system()
    assert native is not None
    layout = Layout((system,), (len(temperatures),))
    state = State.at(layout, np.tile(native[0], (len(temperatures), 1)), torch.from_numpy(temperatures))
    simulation = Engine(
        layout, build_potential([ff], layout), state, Dynamics(LangevinMiddle(TIMESTEP, FRICTION), seed=seed)
    )
    simulation.draw_velocities()
    simulation.run(EVERY)  # compiles
    watch = Watch(ff)
    simulation.reporters.append(watch)
    steps = round(length * 1e3 / TIMESTEP / EVERY) * EVERY
    started = time.perf_counter()
    simulation.run(steps)
    speed = steps * len(temperatures) / (time.perf_counter() - started)
    first = int(SETTLING * len(watch.q))
    return np.array(watch.q[first:]), np.array(watch.energy[first:]), speed


def transitions(q: Series) -> int:
    """How often one replica goes from folded to unfolded or back."""
    side = np.where(q >= FOLDED, 1, np.where(q <= UNFOLDED, -1, 0))
    side = side[side != 0]
    return int((np.diff(side) != 0).sum())


def crossing(temperatures: Series, folded: Series) -> float | None:
    """The temperature at which `folded` falls through one half, by interpolation; None if it does not."""
    below = np.flatnonzero((folded[:-1] >= 0.5) & (folded[1:] < 0.5))
    if not len(below):
        return None
    k = below[0]
    share = (folded[k] - 0.5) / (folded[k] - folded[k + 1])
    return float(temperatures[k] + share * (temperatures[k + 1] - temperatures[k]))


def measure(ff: ForceField, temperatures: Series, length: float, seed: int) -> dict[str, Any]:
    """All results, as they stand in the JSON file."""
    q, energy, speed = simulate(ff, temperatures, length, seed)
    folded = (q > 0.5).mean(axis=0)
    heat = energy.var(axis=0) / (BOLTZMANN * temperatures**2) / BOLTZMANN
    observed = len(q) * EVERY * TIMESTEP * 1e-6  # us
    peak = int(heat.argmax())
    near = slice(max(peak - 3, 0), peak + 4)
    curve = np.polyfit(temperatures[near], heat[near], 2)
    half = len(q) // 2
    return {
        "force_field": ff.name,
        "timestep_fs": TIMESTEP * 1e3,
        "friction_per_ps": FRICTION,
        "length_ns": length,
        "seed": seed,
        "replica_steps_per_second": round(speed),
        "folding_temperature_K": crossing(temperatures, folded),
        "folding_temperature_of_halves_K": [
            crossing(temperatures, (part > 0.5).mean(axis=0)) for part in (q[:half], q[half:])
        ],
        "heat_capacity_peak_K": float(-curve[1] / (2 * curve[0])) if curve[0] < 0 else None,
        "temperatures": [
            {
                "K": float(t),
                "folded": round(float(folded[r]), 4),
                "mean_Q": round(float(q[:, r].mean()), 4),
                "transitions_per_us": round(transitions(q[:, r]) / observed),
                "heat_capacity_kB": round(float(heat[r]), 3),
            }
            for r, t in enumerate(temperatures)
        ],
    }


def machine() -> str:
    """The processor and how many of its cores there are."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        name = models[0] if models else name
    return f"{name}, {os.cpu_count()} cores"


def main() -> None:
    """Run, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--forcefield", type=Path, default=shipped_folder("forcefields") / "go-chignolin")
    parser.add_argument("--length", type=float, default=40.0, help="ns of each replica")
    parser.add_argument("--low", type=float, default=270.0, help="lowest temperature, K")
    parser.add_argument("--high", type=float, default=420.0, help="highest temperature, K")
    parser.add_argument("--count", type=int, default=16, help="temperatures, one replica each")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "go_chignolin_folding.json")
    options = parser.parse_args()
    temperatures = np.linspace(options.low, options.high, options.count)
    found = measure(load_forcefield(options.forcefield), temperatures, options.length, options.seed)
    print("T (K)   folded   <Q>    transitions/us   C (kB)")
    for row in found["temperatures"]:
        print(
            f"{row['K']:5.0f}   {row['folded']:6.3f}  {row['mean_Q']:5.3f}   {row['transitions_per_us']:12.0f}"
            f"   {row['heat_capacity_kB']:7.2f}"
        )
    for key in ("folding_temperature_K", "folding_temperature_of_halves_K", "heat_capacity_peak_K"):
        print(f"{key}: {found[key]}")
    print(f"{found['replica_steps_per_second']:.3g} replica-steps/s")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    about = {
        "machine": machine(),
        "date": datetime.date.today().isoformat(),
        "mdflash": __version__,
    }
    options.out.write_text(json.dumps(about | found, indent=2) + "\n")
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()

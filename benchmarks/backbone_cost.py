"""What a residual rule costs over the plain one on the CPU's fast path: whole Langevin steps at the published size.

    python benchmarks/backbone_cost.py REFERENCE --threads 2        # about a minute once kernels are compiled

1enh-5b, folded: 269 beads, 128 features, 4 blocks, random weights with a small last layer, mlcg's priors, fp32. The
rules take turns, so that a busy machine slows all; the ratio is of the fastest turns. Writes
results/backbone_cost.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import time
from pathlib import Path

import numpy as np
import torch
from cases import Case, homeodomain

from mdflash import __version__
from mdflash.bench.machine import cpu_name
from mdflash.core.state import Layout, State
from mdflash.engine.blocks.compiled import set_threads
from mdflash.engine.engine import Engine
from mdflash.engine.settings import Backend, Dynamics
from mdflash.forcefields.build import build_potential
from mdflash.forcefields.model import ForceField
from mdflash.forcefields.networks import schnet_weights
from mdflash.integrators.langevin import LangevinMiddle
from mdflash.potentials.backbones.backbone import Backbone
from mdflash.potentials.schnet.network import Hyperparameters, SchNet

RULES = {
    "plain": Backbone(rule="plain", branch_scale="one"),
    "prenorm": Backbone(rule="prenorm"),
    "hyper, 4 streams": Backbone(rule="hyper", streams=4),
    "hyper, 4 streams, sinkhorn": Backbone(rule="hyper", streams=4, mixing="sinkhorn"),
    "hyper, 4 streams, identity": Backbone(rule="hyper", streams=4, mixing="identity"),
    "hyper, 2 streams": Backbone(rule="hyper", streams=2),
    "delta": Backbone(rule="delta"),
    "delta, 4 streams": Backbone(rule="delta", streams=4),
    "geometric, 4 streams": Backbone(rule="geometric", streams=4),
    "geometric, 2 streams": Backbone(rule="geometric", streams=2),
    "geometric": Backbone(rule="geometric"),
    "mgt": Backbone(rule="mgt"),
}
TARGET = 1.15
ROUNDS = 6


def with_backbone(ff: ForceField, backbone: Backbone) -> ForceField:
    """The force field with a network of random weights whose blocks are joined by that rule."""
    (network,) = ff.networks
    hyper = dataclasses.replace(Hyperparameters.from_dict(network.hyperparameters), backbone=backbone)
    torch.manual_seed(2026)
    model = SchNet(hyper)
    with torch.no_grad():
        model.output[-1].weight.mul_(0.02)
    own = dataclasses.replace(network, hyperparameters=hyper.to_dict(), weights=schnet_weights(model))
    return dataclasses.replace(ff, networks=(own,))


def engine(case: Case, backbone: Backbone, replicas: int) -> Engine:
    """Replicas of the start frame at 300 K."""
    ff = with_backbone(case.forcefield, backbone)
    layout = Layout((case.system,), (replicas,))
    start = State.at(layout, np.tile(case.start, (replicas, 1)), 300.0)
    dynamics, backend = Dynamics(LangevinMiddle(0.004, 1.0), seed=1), Backend(precision="fp32", filters="table")
    made = Engine(layout, build_potential([ff], layout), start, dynamics, backend)
    made.draw_velocities()
    return made


def measure(case: Case, replicas: int, steps: int) -> list[dict[str, object]]:
    """ms a step of every rule, and its ratio to the plain one."""
    engines = {name: engine(case, rule, replicas) for name, rule in RULES.items()}
    fastest = dict.fromkeys(RULES, np.inf)
    for turn in range(ROUNDS):
        for name, one in engines.items():
            began = time.perf_counter()
            one.run(2 if turn == 0 else steps)
            if turn:
                fastest[name] = min(fastest[name], (time.perf_counter() - began) / steps)
    return [
        {"rule": name, "replicas": replicas, "ms_per_step": round(1e3 * s, 4), "ratio": round(s / fastest["plain"], 3)}
        for name, s in fastest.items()
    ]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("reference", type=Path, help="folder of reference data, with mlcg/ in it")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--replicas", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "backbone_cost.json")
    options = parser.parse_args()
    torch.set_num_threads(set_threads(options.threads))
    case, _ = homeodomain(options.reference)
    rows = [row for replicas in options.replicas for row in measure(case, replicas, max(1, 60 // replicas))]
    for row in rows:
        print(f"{row['replicas']} replicas, {row['rule']}: {row['ms_per_step']} ms, {row['ratio']}x")
    about = {
        "machine": f"{cpu_name()}, {os.cpu_count()} cores", "threads": options.threads,
        "load_average": round(os.getloadavg()[0], 1),
        "date": datetime.date.today().isoformat(), "mdflash": __version__, "target_ratio": TARGET,
    }  # fmt: skip
    options.out.write_text(json.dumps(about | {"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()

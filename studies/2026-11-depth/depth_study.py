"""Rank collapse and force accuracy by depth: SchNets of 2 to 128 blocks under every residual rule.

    python studies/2026-11-depth/depth_study.py RESULTS --data ala2=data/ala2 --data teacher=runs/teacher/data
    python benchmarks/depth_report.py RESULTS        # tables, pictures and a compact JSON

One line of JSON for each finished run goes into RESULTS/runs.jsonl; the same command goes on where it was stopped.
Runs come in an order that makes a partial study useful: all rules at depths 2, 8, 32, then 128, then more seeds, then
the rest.

Every run has the same width, frames, steps and learning rate. `prenorm-wide` is the pre-norm control with the
parameters of the geometric rule (equal parameters), and `prenorm` at depth 2 is also trained 4, 16 and 64 times as long
(equal time).
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import datetime
import json
import math
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from depth_metrics import conservation, curvature, features, force_rmse
from depth_network import AllPairs, hyperparameters

from mdflash import __version__
from mdflash.engine.blocks.compiled import set_threads
from mdflash.engine.distributed import Ranks
from mdflash.errors import UnstableError
from mdflash.forcefields.forcefield import Network, save_forcefield
from mdflash.forcefields.networks import schnet_weights
from mdflash.potentials.backbones.backbone import Backbone
from mdflash.potentials.schnet.network import SchNet
from mdflash.training.recipe import Data, Optimization, Priors, Recipe
from mdflash.training.run import PreparedTraining, prepare_training
from mdflash.training.trainer import FrameSet, Trainer

FEATURES, WIDE = 32, 48
"""Channels; those of the control that has the parameters of the geometric rule."""
RULES: dict[str, dict[str, Any]] = {
    "plain": {"rule": "plain", "branch_scale": "one"},
    "prenorm": {"rule": "prenorm"},
    "mgt": {"rule": "mgt"},
    "delta": {"rule": "delta"},
    "hyper": {"rule": "hyper", "streams": 4},
    "geometric": {"rule": "geometric", "streams": 4},
    "plain-slow": {"rule": "plain", "branch_scale": "one"},
    "prenorm-unscaled": {"rule": "prenorm", "branch_scale": "one"},
    "prenorm-wide": {"rule": "prenorm"},
}
MAIN, CONTROLS = tuple(RULES)[:6], tuple(RULES)[6:]
LONGER = {8: 4, 32: 16, 128: 64}
"""How much longer the shallow control is trained, beside runs of a depth: for the same number of blocks and steps."""
STEPS, BATCH, RATE, WARMUP, CLIP = 250, 8, 2e-3, 20, 1.0
SLOW = 0.25
"""Share of the learning rate of `plain-slow`, a second chance for the plain rule."""
TEST_FRAMES, LOOK, BENT, FREE = 600, 32, 4, 4
"""Held-out frames for the error, for features, for Hessians, and replicas of the NVE run."""
FREE_STEPS = 150


@dataclass(frozen=True)
class Case:
    """Data of one name: cutoff in Å that holds every pair of interest, time step of NVE in ps, temperature in K."""

    cutoff: float
    timestep: float
    kelvin: float


CASES = {"ala2": Case(10.0, 0.001, 300.0), "teacher": Case(12.0, 0.005, 300.0)}


@dataclass(frozen=True)
class Run:
    """One training."""

    data: str
    rule: str
    depth: int
    seed: int
    longer: int = 1

    @property
    def key(self) -> str:
        return f"{self.data}-{self.rule}-{self.depth}-{self.seed}-{self.longer}"


def schedule(data: list[str]) -> Iterator[Run]:
    """All runs, the most telling first."""
    tiers: list[tuple[tuple[int, ...], tuple[int, ...], tuple[str, ...]]] = [
        ((1,), (2, 8, 32), (*MAIN, *CONTROLS)), ((1,), (128,), MAIN), ((2, 3), (2, 8, 32), (*MAIN, *CONTROLS)),
        ((1,), (128,), CONTROLS), ((2, 3), (128,), MAIN), ((1, 2, 3), (100, 64), MAIN),
        ((2, 3), (128,), CONTROLS), ((1, 2, 3), (100, 64), CONTROLS),
    ]  # fmt: skip
    for seeds, depths, rules in tiers:
        for seed in seeds:
            for depth in depths:
                for name in data:
                    yield from (Run(name, rule, depth, seed) for rule in rules)
                    if depth in LONGER and rules[0] == "plain":
                        yield Run(name, "prenorm", 2, seed, LONGER[depth])


def prepare(name: str, dataset: Path, folder: Path) -> PreparedTraining:
    """Frames, fitted priors and targets of a dataset."""
    recipe = Recipe(
        mdflash=1, name=name, data=Data(dataset=(dataset,), validation=0.25), folder=folder,
        priors=Priors(key="beads", temperature=f"{CASES[name].kelvin:g} K"),
    )  # fmt: skip
    return prepare_training(recipe)


def train(run: Run, prepared: PreparedTraining, folder: Path) -> dict[str, Any]:
    """One run and everything that is measured on it."""
    case, molecule = CASES[run.data], prepared.data.molecules[0]
    own, held = np.flatnonzero(~molecule.validation), np.flatnonzero(molecule.validation)
    rate = SLOW * RATE if run.rule == "plain-slow" else RATE
    width = WIDE if run.rule == "prenorm-wide" else FEATURES
    ff = prepared.priors
    rows = max(t.index for t in ff.bead_types) + 1
    types = torch.from_numpy(np.array([t.index for t in ff.bead_types])[ff.type_indices(molecule.system)])
    scale = float(prepared.targets[0][torch.from_numpy(own)].double().square().mean().sqrt())
    torch.manual_seed(run.seed)
    hyper = hyperparameters(Backbone(**RULES[run.rule]), run.depth, width, rows, case.cutoff)
    model = SchNet(hyper)
    network = AllPairs(model, types)

    def frames(chosen: np.ndarray) -> FrameSet:
        target = prepared.targets[0][torch.from_numpy(chosen)] / scale
        return FrameSet([torch.from_numpy(molecule.positions[chosen])], [target])

    steps = STEPS * run.longer
    rng = np.random.default_rng(run.seed)
    order = np.concatenate([rng.permutation(own) for _ in range(-(-steps * BATCH // len(own)))])[: steps * BATCH]
    test = np.random.default_rng(0).choice(held, TEST_FRAMES, replace=False)
    looked = torch.from_numpy(molecule.positions[test[:LOOK]]).double()
    found: dict[str, Any] = dataclasses.asdict(run) | {
        "features": width, "parameters": sum(p.numel() for p in model.parameters()), "steps": steps, "batch": BATCH,
        "learning_rate": rate, "rms_target": scale, "data_digest": prepared.data.digest[:16],
    }  # fmt: skip
    training = frames(order)
    model.zero_grad()
    batch = training.batches(np.arange(BATCH))
    network.backward(batch, training.components(np.arange(BATCH)))
    norms = [p.grad.norm() for p in model.parameters() if p.grad is not None]
    found["gradient_at_start"] = float(f"{float(torch.stack(norms).norm()):.4g}")
    found["untrained"] = features(_double(network), looked)
    model.zero_grad(set_to_none=True)
    last = model.output[-1].weight
    with torch.no_grad():
        last.zero_()  # training starts from the priors
    settings = Optimization(
        epochs=1, batch=BATCH, learning_rate=rate, warmup=WARMUP, clip=CLIP, seed=run.seed, patience=None, ema=0.98
    )
    parameters = dict(model.named_parameters())
    trainer = Trainer(parameters, network, training, frames(test[:BATCH]), settings, folder, run.key, Ranks())
    began = time.process_time()
    try:
        trainer.run()
    except UnstableError as error:
        return found | {"finite": False, "error": error.message}
    found["cpu_seconds"] = round(time.process_time() - began, 2)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(trainer.mean[name])
        last.mul_(scale)
    model.requires_grad_(True)
    exact = _double(network)
    target = prepared.targets[0][torch.from_numpy(test)]
    found["finite"] = True
    found["rmse"] = force_rmse(network, torch.from_numpy(molecule.positions[test]), target)
    found["trained"] = features(exact, looked)
    found["curvature"] = curvature(exact, prepared.priors, _system(prepared), looked[:BENT])
    starts = looked[:FREE]
    found["nve"] = conservation(
        exact, prepared.priors, _system(prepared), starts, case.kelvin, case.timestep, FREE_STEPS
    )
    kept = Network("schnet", "schnet", hyper.to_dict(), schnet_weights(model))
    if run.depth >= 100 and run.seed == 1:
        save_forcefield(folder.parent / f"ff-{run.key}", dataclasses.replace(prepared.priors, networks=(kept,)))
    return found


def _system(prepared: PreparedTraining) -> Any:
    return {own.name: own for own, _ in prepared.priors.systems}[prepared.data.molecules[0].system.name]


def _double(network: AllPairs) -> AllPairs:
    return AllPairs(copy.deepcopy(network.model).double(), network.types)


def finished(file: Path) -> dict[str, dict[str, Any]]:
    """Runs by their key; a line that was cut by a kill is left out."""
    found = {}
    for line in file.read_text().splitlines() if file.is_file() else []:
        try:
            data = json.loads(line)
        except ValueError:
            continue
        found[Run(*(data[f.name] for f in dataclasses.fields(Run))).key] = data
    return found


def main() -> None:
    """Do what is not done yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("results", type=Path)
    parser.add_argument("--data", action="append", required=True, metavar="NAME=FOLDER", help=f"of {', '.join(CASES)}")
    parser.add_argument("--only", nargs="+", default=[""], help="runs whose keys begin so, such as ala2-plain-2")
    options = parser.parse_args()
    torch.set_num_threads(set_threads(1))
    options.results.mkdir(parents=True, exist_ok=True)
    file = options.results / "runs.jsonl"
    datasets = dict(item.split("=", 1) for item in options.data)
    prepared = {name: prepare(name, Path(path).resolve(), options.results) for name, path in datasets.items()}
    done = finished(file)
    for run in schedule(list(datasets)):
        if run.key in done or not run.key.startswith(tuple(options.only)):
            continue
        folder = options.results / "at-work"
        began = time.time()
        found = train(run, prepared[run.data], folder)
        found |= {"mdflash": __version__, "date": datetime.datetime.now().isoformat(timespec="seconds")}
        with file.open("a") as out:
            out.write(json.dumps(found) + "\n")
        done[run.key] = found
        shutil.rmtree(folder, ignore_errors=True)
        error = found.get("rmse", math.nan)
        print(f"{run.key}: RMSE {error:.4f} of {found['rms_target']:.4f}, {time.time() - began:.1f} s", flush=True)


if __name__ == "__main__":
    main()

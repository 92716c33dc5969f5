"""What is killed: every kind of work that can be resumed. A new kind is one entry of `RUNS`, or of `OTHERS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from mdflash.training.recipe import load_recipe
from mdflash.training.run import prepare_training, train
from tests.training.datasets import write_dataset, write_recipe

ROOT = Path(__file__).parents[2]

RUNS: Final[Mapping[str, str]] = {
    "plain, HDF5": "{}",
    "plain, XTC": "{output: {trajectory: {format: xtc}}}",
    "plain, DCD": "{output: {trajectory: {format: dcd}}}",
    "exchange of temperatures": "{exchange: {temperatures: [300 K, 330 K, 365 K, 400 K], interval: 0.8 ps}}",
    "exchange of windows": (
        "{biases: [{name: pull, variable: distance, beads: [0, 9], force_constant: 0.5 kcal/mol/angstrom^2,"
        " center: {min: 5 angstrom, max: 14 angstrom, count: 4}}], exchange: {biases: [pull], interval: 0.4 ps}}"
    ),
    "biases that move": (
        "{biases: [{name: pull, variable: distance, beads: [0, 9], force_constant: 2 kcal/mol/angstrom^2,"
        " center: 6 angstrom, center_to: 20 angstrom, moving: {after: 20 ps, length: 100 ps, every: 0.04 ps}}]}"
    ),
    "metadynamics": (
        "{metadynamics: [{name: fold, variables: [{name: ends, variable: distance, beads: [0, 9],"
        " width: 0.6 angstrom, grid: {min: 2 angstrom, max: 40 angstrom}}], height: 0.3 kcal/mol, bias_factor: 8,"
        " every: 0.4 ps, walkers: 2}]}"
    ),
    "OPES": (
        "{metadynamics: [{name: fold, method: opes, variables: [{name: ends, variable: distance, beads: [0, 9],"
        " width: 0.6 angstrom, grid: {min: 2 angstrom, max: 40 angstrom}}], barrier: 5 kcal/mol, every: 0.4 ps}]}"
    ),
    "annealing": "{dynamics: {annealing: [{to: 420 K, after: 8 ps, length: 100 ps, every: 0.4 ps}]}}",
    "weighted ensemble": (
        "{weighted_ensemble: {name: ends, variable: distance, beads: [0, 9], every: 0.4 ps,"
        " bins: {min: 6 angstrom, max: 16 angstrom, count: 4}, target: {min: 18 angstrom}}}"
    ),
    "guards that retry": (
        "{dynamics: {timestep: 44 fs}, guards: {nonfinite: retry}, output: {trajectory: {interval: 44 ps},"
        " log: {interval: 44 ps}, checkpoint: {interval: 220 ps}}}"
    ),
    "network": (
        "{model: {forcefield: teacher-chignolin}, dynamics: {steps: 3000}, output: {trajectory: {interval: 0.8 ps},"
        " log: {interval: 0.8 ps}, checkpoint: {interval: 1.6 ps}}}"
    ),
    "network as impulses (r-RESPA)": (
        "{model: {forcefield: teacher-chignolin}, dynamics: {steps: 4000, network_every: 2},"
        " output: {trajectory: {interval: 0.8 ps}, log: {interval: 0.8 ps}, checkpoint: {interval: 1.6 ps}}}"
    ),
}
"""Runs of chignolin: what system.yaml says beside `_RUN`."""

_RUN: Final = f"""
mdflash: 1
name: chignolin
system: {{structure: {ROOT / "systems" / "chignolin.pdb"}}}
model: {{forcefield: go-chignolin}}
dynamics: {{timestep: 4 fs, temperature: 340 K, seed: 5, steps: 40000}}
replicas: {{count: 4}}
output: {{trajectory: {{interval: 4 ps}}, log: {{interval: 4 ps}}, colvars: {{interval: 4 ps}},
         checkpoint: {{interval: 8 ps}}}}
hardware: {{device: cpu, threads: 1}}
"""


class Kind(NamedTuple):
    """Something that can be killed and started again.

    Attributes:
        name: in the table.
        prepare: writes what it needs into a folder.
        command: of inputs in a folder: the arguments of Python that make, or go on with, what lies in `out`.
        volatile: names of files and folders in `out` that may depend on what happened on the way.
    """

    name: str
    prepare: Callable[[Path], None]
    command: Callable[[Path, Path], list[str]]
    volatile: frozenset[str]


def _merged(base: dict[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    inner = {k: _merged(base[k], v) for k, v in more.items() if isinstance(v, dict) and isinstance(base.get(k), dict)}
    return {**base, **more, **inner}


def _run(name: str, spec: str) -> Kind:
    def prepare(folder: Path) -> None:
        described = _merged(yaml.safe_load(_RUN), yaml.safe_load(spec))
        if "exchange" in described and "temperatures" in described["exchange"]:
            del described["dynamics"]["temperature"]
        if not {"biases", "metadynamics"} & described.keys():
            del described["output"]["colvars"]
        (folder / "system.yaml").write_text(yaml.safe_dump(described, sort_keys=False))

    def command(folder: Path, out: Path) -> list[str]:
        return ["-m", "mdflash", "run", str(folder / "system.yaml"), "--set", f"output.folder={out}"]

    return Kind(name, prepare, command, frozenset({"manifest.json", "events.jsonl", "lock", ".mdflash"}))


def _prepare_training(folder: Path) -> None:
    write_dataset(folder / "data")
    write_recipe(folder / "recipe.yaml", folder / "data", training={"epochs": 40})


def _train(folder: Path, out: Path) -> list[str]:
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text()) | {"name": "killed", "folder": str(out)}
    file = out.with_name(f"{out.name}.yaml")
    file.write_text(yaml.safe_dump(recipe))
    return ["-m", "mdflash", "train", str(file), "--threads", "1"]


def _prepare_entropy(folder: Path) -> None:
    write_dataset(folder / "data")
    begun = write_recipe(
        folder / "begun.yaml", folder / "data", priors={"key": "beads", "angles": "none"}, training={"epochs": 1}
    )
    start, _ = train(prepare_training(load_recipe(begun)))
    entropy = {"updates": 40, "replicas": 6, "settle": "2 ps", "length": "2 ps", "every": "0.25 ps", "batch": 32}
    recipe = {"mdflash": 1, "data": {"dataset": str(folder / "data")}, "start": str(start), "relative_entropy": entropy}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))


def _prepare_sampling(folder: Path) -> None:
    (folder / "recipe.yaml").write_text(
        "mdflash: 1\nmolecule: {name: ala2, sequence: ACE-ALA-NME, starts: [extended]}\nmapping: heavy\n"
        "temperatures: [300 K]\nwalkers: 1\nlength: 60 ps\ninterval: 0.04 ps\nequilibration: 1 ps\nseed: 3\n"
    )


def _sample(folder: Path, out: Path) -> list[str]:
    file = out.with_name(f"{out.name}.yaml")
    file.write_text((folder / "recipe.yaml").read_text() + f"folder: {out}\n")
    return ["-m", "mdflash", "sample", str(file)]


OTHERS: Final = (
    Kind("training", _prepare_training, _train,
         frozenset({"recipe.yaml", "priors", "manifest.json", "lock", ".mdflash", "events.jsonl"})),
    Kind("training by relative entropy", _prepare_entropy, _train,
         frozenset({"recipe.yaml", "progress.png", "manifest.json", "lock", ".mdflash", "events.jsonl"})),
    Kind("sampling", _prepare_sampling, _sample,
         frozenset({"sampling", "recipe.yaml", "dataset.yaml", "lock", ".mdflash", "events.jsonl"})),
)  # fmt: skip

KINDS: Final = (*(_run(name, spec) for name, spec in RUNS.items()), *OTHERS)

"""Alanine dipeptide (shipped force field): phi/psi by metadynamics and OPES, against ten times as much of exchange.

    python benchmarks/alanine.py [--ns N] [--methods metadynamics,opes] [--folder runs/alanine] [--out results]

Replica exchange: 8 ladders of 300, 350, 410, 480 and 560 K, N ns in all. Metadynamics and OPES: 16 walkers of one bias
along phi and psi at 300 K, N / 10 ns in all. All take steps of 2 fs, and the first fifth of each run is left out.

Free energies are of the frames at 300 K (reweighted by exp((V - c(t)) / kT) with a bias) over cells of 20 x 20 degrees,
up to 4 kcal/mol above the lowest. The root mean square difference is given for each method, for the scaled bias of
metadynamics, and between the halves of the ladders of the reference: what that knows itself. A run that was stopped
goes on where it was.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

import mdflash
from mdflash.bench.machine import measure_machine
from mdflash.config.load import load_run
from mdflash.engine.blocks.compiled import set_threads
from mdflash.runs.execute import execute
from mdflash.units import kT

HERE = Path(__file__).parent
LADDER, LADDERS, WALKERS = 5, 8, 16
KT, CELLS, TOP = kT(300.0), 18, 4.0
TIMESTEP = 2e-6  # ns
PHI, PSI = "beads: [1, 3, 4, 5]", "beads: [3, 4, 5, 8]"
HILLS = {
    "metadynamics": "height: 0.05 kcal/mol, bias_factor: 8, every: 0.5 ps",
    "opes": "method: opes, barrier: 7 kcal/mol, every: 0.5 ps",
}


def text(name: str, steps: int, method: str, torsions: Sequence[str]) -> str:
    """The run file of a method."""
    head = (
        f"mdflash: 1\nname: {name}\nsystem: {{structure: {HERE.parent.resolve()}/systems/ala2.pdb}}\n"
        f"model: {{forcefield: ala2}}\ndynamics: {{timestep: 2 fs, friction: 1 /ps, seed: 11, steps: {steps}"
        f"{'' if method == 'exchange' else ', temperature: 300 K'}}}\n"
        "output: {trajectory: {format: none}, log: {interval: 10 ps}, colvars: {interval: 0.1 ps}}\n"
    )
    angles = [f"{{name: {n}, variable: dihedral, {beads}" for n, beads in zip(("phi", "psi"), torsions, strict=True)]
    if method == "exchange":
        monitored = ", ".join(f"{a}}}" for a in angles)
        return head + (
            f"replicas: {{count: {LADDER * LADDERS}}}\nmonitor: [{monitored}]\n"
            "exchange: {temperatures: [300 K, 350 K, 410 K, 480 K, 560 K], interval: 1 ps}\n"
        )
    variables = ", ".join(f"{a}, width: 15 degree}}" for a in angles)
    return head + (
        f"replicas: {{count: {WALKERS}}}\nmetadynamics: [{{name: meta, variables: [{variables}], {HILLS[method]}}}]\n"
    )


def free_energy(phi: np.ndarray, psi: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """[cells, cells] kcal/mol, lowest 0; infinite without frames."""
    edges = np.linspace(-np.pi, np.pi, CELLS + 1)
    with np.errstate(divide="ignore"):
        found = -KT * np.log(np.histogram2d(phi, psi, bins=[edges, edges], weights=weights)[0])
    return np.asarray(found - found.min())


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """Root mean square difference where `other` is below 4 kcal/mol and both are known."""
    known = (other < TOP) & np.isfinite(one)
    return float((one - other)[known].std())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ns", type=float, default=64.0, help="of the reference, all replicas together")
    parser.add_argument("--methods", default="metadynamics,opes")
    parser.add_argument("--folder", type=Path, default=Path("runs/alanine"))
    parser.add_argument("--out", type=Path, default=HERE / "results")
    given = parser.parse_args()
    set_threads(None)
    torsions = (PHI, PSI)
    found: dict[str, Any] = {"reference_ns": given.ns, "cells": CELLS, "up_to_kcal_mol": TOP, "seconds": {}}
    rows = {}
    given.folder.mkdir(parents=True, exist_ok=True)
    for method in ["exchange", *given.methods.split(",")]:
        total = given.ns if method == "exchange" else given.ns / 10
        count = LADDER * LADDERS if method == "exchange" else WALKERS
        steps = round(total / count / TIMESTEP / 5000) * 5000
        file = given.folder / f"{method}.yaml"
        file.write_text(text(method, steps, method, torsions))
        began = time.monotonic()
        execute(load_run(str(file), [f"output.folder={given.folder / method}"]), file)
        found["seconds"][method] = time.monotonic() - began
        table = mdflash.open_run(given.folder / method).colvars
        table = table[(table["target_K"] == 300.0) & (table["step"] > steps // 5)]
        rows[method] = table
        print(f"{method}: {count} replicas, {steps:,} steps, {found['seconds'][method]:.0f} s", flush=True)
    reference = rows["exchange"]
    exact = free_energy(reference["phi_rad"], reference["psi_rad"])
    odd = (reference["replica"] // LADDER) % 2 == 1
    halves = [free_energy(part["phi_rad"], part["psi_rad"]) for part in (reference[odd], reference[~odd])]
    found["halves_of_reference_kcal_mol"] = apart(*halves)
    found["left_handed_share"] = float((reference["phi_rad"] > 0).mean())
    for method in given.methods.split(","):
        table = rows[method]
        log_weight = table["meta_rbias_kcal_mol"].to_numpy() / KT
        weights = np.exp(log_weight - log_weight.max())
        mine = free_energy(table["phi_rad"], table["psi_rad"], weights)
        found[method] = {
            "reweighted_kcal_mol": apart(mine, exact),
            "left_handed_share": float(np.average(table["phi_rad"] > 0, weights=weights)),
        }
    print(json.dumps(found, indent=2))
    out = given.out / f"alanine_{date.today().isoformat()}.json"
    record = {"machine": dataclasses.asdict(measure_machine())} | found
    out.write_text(json.dumps(record, indent=2, default=str) + "\n")
    print(f"wrote {out}")


if __name__ == "__main__":
    main()

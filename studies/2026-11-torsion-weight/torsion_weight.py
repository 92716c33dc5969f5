"""What weight on torsions does to a training: the error of mean torques on frames held out, at equal steps.

    python studies/2026-11-torsion-weight/torsion_weight.py RECIPE [--weights 0 20 60] [--epochs 1]

Trains the recipe once for each weight, for a few epochs. Torques are those of the rotations that the weight is about;
their residual is averaged in bins of 10 degrees of the torsion's own angle, and what is given is the root of the mean
square over bins with at least 100 frames, less what the noise of the means adds. Writes torsion_weight.json
beside this file.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mdflash import __version__
from mdflash.core.system import System
from mdflash.engine.blocks.compiled import set_threads
from mdflash.engine.distributed import Ranks
from mdflash.potentials.priors.geometry import dihedral
from mdflash.training.recipe import Recipe, load_recipe
from mdflash.training.run import PreparedTraining, make_trainer, prepare_training
from mdflash.training.torsions import Torsion, TorsionWeight

BINS, FEWEST = 36, 100
CHUNK = 1024


def measure(prepared: PreparedTraining, weight: float, epochs: int, folder: Path) -> dict[str, Any]:
    """Loss and errors of mean torques after training with that weight."""
    recipe = prepared.recipe
    settings = recipe.training.model_copy(update={"torsion_weight": weight, "epochs": epochs, "patience": None})
    recipe = recipe.model_copy(update={"training": settings, "folder": folder})
    trainer = make_trainer(replace(prepared, recipe=recipe), Ranks())
    began = time.process_time()
    trainer.run()
    seconds = time.process_time() - began
    with torch.no_grad():
        for name, parameter in trainer.parameters.items():
            parameter.copy_(trainer.best[name])
    found: dict[str, Any] = {"weight": weight, "steps": trainer.progress.step, "cpu_seconds": round(seconds, 1)}
    found["validation_loss"] = trainer.progress.best
    for molecule, (data, targets) in enumerate(zip(prepared.data.molecules, prepared.targets, strict=True)):
        held = torch.from_numpy(np.flatnonzero(data.validation))
        x, target = torch.from_numpy(data.positions)[held], targets[held]
        parts = range(0, len(x), CHUNK)
        residual = torch.cat(
            [trainer.forces.predict(molecule, x[a : a + CHUNK]) - target[a : a + CHUNK] for a in parts]
        )
        turning = TorsionWeight(data.system, 1.0)
        torques = torch.einsum("mbnx,mnx->bm", turning.turns(x.double()), residual.double()).numpy()
        for torsion, torque in zip(turning.torsions, torques, strict=True):
            name = f"{data.system.bead_label(torsion.first)} - {data.system.bead_label(torsion.second)}"
            found[f"{data.system.name}: {name}"] = mean_torque_error(data.system, torsion, x.double(), torque)
    return found


def mean_torque_error(system: System, torsion: Torsion, x: Tensor, torque: np.ndarray) -> dict[str, float]:
    """kcal/mol/rad: of the mean torque by angle, of one torque (mostly noise), and how many frames there are."""
    first, last = (
        next(k for i, j in system.bonds.tolist() for k, own in ((i, j), (j, i)) if own == here and k != other)
        for here, other in ((torsion.first, torsion.second), (torsion.second, torsion.first))
    )
    angle = dihedral(x, torch.tensor([[first, torsion.first, torsion.second, last]]))[:, 0]
    bins = np.minimum(((angle.numpy() / (2.0 * np.pi) + 0.5) * BINS).astype(int), BINS - 1)
    count = np.bincount(bins, minlength=BINS)
    enough = count >= FEWEST
    mean = np.bincount(bins, torque, BINS)[enough] / count[enough]
    square = np.bincount(bins, torque**2, BINS)[enough] / count[enough]
    excess = float((mean**2 - (square - mean**2) / count[enough]).mean())
    return {
        "mean": round(np.sqrt(max(excess, 0.0)), 3),
        "one": round(float(torque.std()), 2),
        "bins": int(enough.sum()),
    }


def main() -> None:
    """Run, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--weights", type=float, nargs="+", default=[0.0, 20.0, 60.0])
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "torsion_weight.json")
    options = parser.parse_args()
    torch.set_num_threads(set_threads(options.threads))
    recipe: Recipe = load_recipe(options.recipe)
    prepared = prepare_training(recipe)
    rows = []
    for weight in options.weights:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(prepared, weight, options.epochs, Path(folder)))
        print(json.dumps(rows[-1]), flush=True)
    about = {
        "date": datetime.date.today().isoformat(), "machine": platform.processor() or platform.machine(),
        "mdflash": __version__, "unit": "kcal/mol/rad", "frames": prepared.data.count(False),
        "held_out": prepared.data.count(True), "recipe": recipe.essence(),
    }  # fmt: skip
    options.out.write_text(json.dumps(about | {"trainings": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""What it brings to let the priors' torsions learn along with a network, which sees distances and knows no hand.

    make example-teacher                                    # makes the data
    python studies/2026-11-learn-torsions/learn_torsions.py examples/teacher/train.yaml

Trains the recipe with `training.learn_torsions` off and on. A Gō teacher's forces have no noise, so all of the loss is
error. Writes learn_torsions.json beside this file.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from mdflash import __version__
from mdflash.engine.blocks.compiled import set_threads
from mdflash.training.recipe import load_recipe
from mdflash.training.run import prepare_training, train


def measure(file: Path, learn: bool, folder: Path) -> dict[str, Any]:
    """Validation losses by epoch, and the seconds of processor time."""
    recipe = load_recipe(file)
    settings = recipe.training.model_copy(update={"learn_torsions": learn})
    prepared = prepare_training(recipe.model_copy(update={"training": settings, "folder": folder}))
    began = time.process_time()
    train(prepared)
    seconds = time.process_time() - began
    with (folder / "log.csv").open() as log:
        losses = [float(row["validation_loss"]) for row in csv.DictReader(log)]
    return {
        "learn_torsions": learn, "loss_of_the_priors_alone": prepared.loss_without_network(),
        "frames": prepared.data.count(False), "held_out": prepared.data.count(True), "validation_losses": losses,
        "cpu_seconds": round(seconds, 1),
    }  # fmt: skip


def main() -> None:
    """Run, print, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "learn_torsions.json")
    options = parser.parse_args()
    torch.set_num_threads(set_threads(options.threads))
    rows = []
    for learn in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(options.recipe, learn, Path(folder)))
        print(json.dumps(rows[-1]), flush=True)
    about = {
        "date": datetime.date.today().isoformat(), "mdflash": __version__,
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "recipe": load_recipe(options.recipe).essence(),
    }  # fmt: skip
    options.out.write_text(json.dumps(about | {"trainings": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()

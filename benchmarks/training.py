"""Force matching, the compiled way beside the plain one (autograd twice): frames per second, and where they end.

    python benchmarks/training.py              # about a minute
    python benchmarks/training.py --recipe examples/ala2/train.yaml --epochs 1

A step is the loss and its gradient by the weights, float32. Ways are timed in turn, so that a busy machine slows both;
the processor's time of this process is given beside the wall's. Writes results/training.json beside this file.

With a recipe, its network is trained both ways with the same steps, and the losses on the frames held out are compared.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from mdflash import __version__
from mdflash.engine.blocks.compiled import set_threads
from mdflash.potentials.schnet.network import Hyperparameters, SchNet
from mdflash.training import convolution as compiled
from mdflash.training.convolution import Pairs
from mdflash.training.forces import Batch, FlashForces, Forces, PlainForces, Topology
from mdflash.training.graphs import GraphedForces
from mdflash.training.recipe import load_recipe
from mdflash.training.run import prepare_training, train

CASES = (
    # name, beads, frames in a batch, features, blocks, cutoff in Å, size of the molecule in Å
    ("alanine dipeptide, heavy atoms", 10, 256, 64, 2, 10.0, 2.0),
    ("alanine dipeptide, heavy atoms, large network", 10, 256, 128, 3, 10.0, 2.0),
    ("54-residue protein, CA", 54, 32, 64, 2, 12.0, 7.0),
    ("54-residue protein, CA, the published size", 54, 32, 128, 4, 15.0, 7.0),
)
WARM, ROUNDS = 2, 5
"""Steps before those that count: the first compiles, the second captures."""


def measure(
    beads: int, frames: int, features: int, blocks: int, cutoff: float, size: float,
    device: str = "cpu", convolution: ModuleType = compiled, rounds: int = ROUNDS,
) -> dict[str, Any]:  # fmt: skip
    """Frames per second of both ways on random frames, medians over rounds; on a GPU compiled steps are graphs."""
    generator = torch.Generator().manual_seed(1)
    torch.manual_seed(1)
    hyper = Hyperparameters(
        cutoff, beads, features=features, filters=features, blocks=blocks, filter_hidden=(features,),
        output=(features, features // 2),
    )  # fmt: skip
    model = SchNet(hyper).to(device)
    first, second = torch.triu_indices(beads, beads, 1, device=device)
    topology = Topology(torch.arange(beads, device=device), Pairs(first, second, beads))
    x = (size * torch.randn(frames, beads, 3, generator=generator)).to(device)
    r = torch.linalg.vector_norm(x[:, second] - x[:, first], dim=-1)
    batch = Batch(0, x, torch.randn(x.shape, generator=generator).to(device))
    flash: Forces = FlashForces(model, [topology], float(r.min()), float(r.max()), convolution)
    ways = {"compiled": GraphedForces(flash) if device == "cuda" else flash, "plain": PlainForces(model, [topology])}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for turn in range(-WARM, rounds):
        for name, way in ways.items():
            model.zero_grad(set_to_none=False)
            began = time.perf_counter(), time.process_time()
            way.backward([batch], x.numel())
            if device == "cuda":
                torch.cuda.synchronize()
            if turn >= 0:
                times[name].append((time.perf_counter() - began[0], time.process_time() - began[1]))
    found: dict[str, Any] = {"pairs_within_cutoff_per_frame": round(float((r < cutoff).sum()) / frames, 1)}
    for name, measured in times.items():
        wall, cpu = (sorted(column)[rounds // 2] for column in zip(*measured, strict=True))
        found[name] = {"frames_per_second": round(frames / wall, 1), "frames_per_cpu_second": round(frames / cpu, 1)}
    found["speedup"] = round(found["compiled"]["frames_per_second"] / found["plain"]["frames_per_second"], 2)
    return found


def losses(file: Path, epochs: int, folder: Path) -> dict[str, Any]:
    """The validation loss of a recipe's network after the same epochs of both ways of training it."""
    recipe = load_recipe(file)
    found: dict[str, Any] = {"recipe": recipe.name, "epochs": epochs}
    for name, kernels in (("compiled", "auto"), ("plain", "reference")):
        settings = recipe.training.model_copy(update={"epochs": epochs, "kernels": kernels, "patience": None})
        prepared = prepare_training(recipe.model_copy(update={"training": settings, "folder": folder / name}))
        began = time.perf_counter()
        _, trainer = train(prepared)
        found["frames"], found["steps"] = prepared.data.count(False), trainer.progress.step
        found["loss_of_the_priors_alone"] = prepared.loss_without_network()
        found[name] = {"loss": trainer.progress.best, "seconds": round(time.perf_counter() - began, 1)}
        print(f"{recipe.name}, {name}: {trainer.progress.best:.6g} after {trainer.progress.step} steps", flush=True)
    found["relative_difference"] = found["compiled"]["loss"] / found["plain"]["loss"] - 1.0
    return found


def main() -> None:
    """Run, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--recipe", type=Path, action="append", default=[], help="compare losses (may be repeated)")
    parser.add_argument("--epochs", type=int, default=1, help="of the recipes")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "training.json")
    options = parser.parse_args()
    torch.set_num_threads(set_threads(options.threads))
    results = []
    print("frames/s            compiled      plain   ratio")
    for name, beads, frames, features, blocks, cutoff, size in CASES:
        found = measure(beads, frames, features, blocks, cutoff, size)
        rates = [found[way]["frames_per_second"] for way in ("compiled", "plain")]
        print(f"{name}: {rates[0]:.0f} {rates[1]:.0f} {found['speedup']:.1f}x")
        case = {"case": name, "beads": beads, "batch": frames, "features": features, "blocks": blocks}
        results.append(case | {"cutoff_angstrom": cutoff} | found)
    with tempfile.TemporaryDirectory() as folder:
        compared = [losses(file, options.epochs, Path(folder) / str(k)) for k, file in enumerate(options.recipe)]
    load = os.getloadavg()[0]
    if load > 1.5 * options.threads:
        print(f"the machine is busy (load {load:.1f}): rates are too low, the ratio is fair")
    about = {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "threads": options.threads,
        "load_average": round(load, 1),
        "date": datetime.date.today().isoformat(),
        "mdflash": __version__,
        "torch": torch.__version__,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(about | {"cases": results, "losses": compared}, indent=2) + "\n")
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()

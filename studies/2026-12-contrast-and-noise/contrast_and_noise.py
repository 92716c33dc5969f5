"""Contrast and noise instead of relative entropy, on data and start that benchmarks/relative_entropy.py has made.

    PYTHONPATH=.:benchmarks python studies/2026-12-contrast-and-noise/contrast_and_noise.py runs/relative-entropy-mixed

Contrast: the start is sampled once, in windows as the data, and the network learns to tell frames from samples: its
logit is -beta (U - U_start) + c, with MBAR weights on both sides (Ding and Zhang, arXiv 2205.10861). Noise: each frame
is blurred, x' = x + s e, and its force becomes the mix of least variance of the mapped force and of -kT e / s, which is
the score of the blurred data (Durumeric et al., arXiv 2407.01286), plus what held it in a window.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import relative_entropy as re
import torch

from mdflash import load_forcefield
from mdflash.core.mbar import log_mixture, mbar, weights
from mdflash.engine.blocks.compiled import set_threads
from mdflash.forcefields.forcefield import save_forcefield
from mdflash.sampling.dataset import create_dataset, load_dataset
from mdflash.sampling.trajectory import TrajectoryWriter
from mdflash.training.entropy.loss import add_gradient, energies_of, systematic
from mdflash.training.entropy.run import make_entropy_trainer, with_weights
from mdflash.training.recipe import load_recipe
from mdflash.training.run import prepare_training, train
from mdflash.units import kT

UPDATES, RATE, BATCH, COPIES, EPOCHS = 150, 4e-3, 512, 4, 8  # with 4 copies 8 epochs are as many steps as 30 without
SEED, FRAMES = 1, 100


def contrast(case: re.Case, folder: Path, out: Path) -> Path:
    """The force field after logistic regression of frames against samples of the start."""
    given = {"data.dataset": folder / "data", "start": folder / "matched" / "forcefield", "folder": out / "unused"}
    prepared = prepare_training(load_recipe(re.RECIPE, [f"{k}={v}" for k, v in given.items()]))
    material = make_entropy_trainer(prepared).material
    group, (parameters, rng) = material.groups[0], (list(material.parameters.values()), np.random.default_rng(SEED))
    constants = np.full(28, re.STIFFNESS)
    constants[np.arange(0, 28, 2) + np.arange(14) % 2] = 0.0  # as in the data
    start = load_forcefield(folder / "matched" / "forcefield")
    x = re.sample(re.make_engine(case, start, re.starts(case, 28, 91), 92, constants), FRAMES, 20_000)
    x = (x - x.mean(axis=2, keepdims=True)).astype(np.float32)
    held = np.arange(len(x))[:, None].repeat(28, axis=1).ravel() >= 0.85 * len(x)  # the last ones
    r, centers = case.columns(x.reshape(-1, case.beads, 3))["RMSD"], np.repeat(re.CENTERS, 2)
    states = np.concatenate([np.flatnonzero(constants), np.flatnonzero(constants == 0.0)[:1]])
    u = 0.5 * constants[states, None] * (r - centers[states, None]) ** 2 / kT(case.kelvin)
    counts = np.append(np.full(14, 1.0), 14.0) * len(x)
    w = weights(np.zeros(len(r)), log_mixture(u, counts, mbar(u, counts)))
    positions = torch.from_numpy(x.reshape(-1, case.beads, 3))

    def at(y: torch.Tensor) -> np.ndarray:
        return energies_of(material.forces, group.molecule, y, material.device)

    def part(of: np.ndarray) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
        return positions[torch.from_numpy(of)], w[of] / w[of].sum(), at(positions[torch.from_numpy(of)])

    frames = [(g.positions, g.weights, at(g.positions)) for g in (group.training, group.held_out)]
    samples = [part(~held), part(held)]
    mean, best, lowest, c = [p.detach().clone() for p in parameters], None, np.inf, 0.0
    optimizer = torch.optim.Adam(parameters, lr=RATE, betas=(0.5, 0.9))
    for k in range(UPDATES):
        optimizer.zero_grad(set_to_none=False)
        batch, slopes, shift = [], [], 0.0
        for sign, (y, own, before) in ((1.0, frames[0]), (-1.0, samples[0])):
            chosen = systematic(own, BATCH, rng)
            logit = c - (at(y[torch.from_numpy(chosen)]) - before[chosen]) / group.kT
            wrong = 1.0 / (1.0 + np.exp(sign * logit))
            batch.append(y[torch.from_numpy(chosen)])
            slopes.append(sign * wrong / BATCH / group.kT)  # d(loss)/dU
            shift += sign * wrong.mean()
        add_gradient(material.forces, group.molecule, torch.cat(batch), torch.from_numpy(np.concatenate(slopes)))
        optimizer.param_groups[0]["lr"] = RATE * (0.525 + 0.475 * np.cos(np.pi * k / UPDATES))
        optimizer.step()
        c += 0.3 * shift
        for p, q in zip(parameters, mean, strict=True):
            q.lerp_(p.detach(), 5.0 / (k + 5.0))
        if k % 5 == 4:
            now = [p.detach().clone() for p in parameters]
            _put(parameters, mean)
            loss = sum(
                float(own @ np.logaddexp(0.0, sign * ((at(y) - before) / group.kT - c)))
                for sign, (y, own, before) in ((1.0, frames[1]), (-1.0, samples[1]))
            )
            if loss < lowest:
                lowest, best = loss, {n: p.detach().clone() for n, p in material.parameters.items()}
            _put(parameters, now)
    save_forcefield(out / "contrast", with_weights(prepared, best))
    return out / "contrast"


def _put(parameters: list, values: list) -> None:
    with torch.no_grad():
        for p, q in zip(parameters, values, strict=True):
            p.copy_(q)


def noise(case: re.Case, folder: Path, out: Path, width: float) -> tuple[Path, float]:
    """The force field matched to blurred frames, and the share of mapped forces in the mix."""
    rng, thermal, found = np.random.default_rng(SEED), kT(case.kelvin), []
    for t in load_dataset(folder / "data").molecules[0].trajectories:
        frames = t.read()
        for _ in range(COPIES):
            e = rng.standard_normal(frames.positions.shape)
            x, score = frames.positions + width * e, -thermal * e / width
            if t.restraint is not None:
                y = torch.from_numpy(x).double().requires_grad_()
                r = t.restraint.variable(case.system).value(y)
                center = t.restraint.entry.center[0]
                energy = 0.5 * t.restraint.entry.force_constant[0] * (r - center).square().sum()
                score = score + torch.autograd.grad(energy, y)[0].numpy()
            found.append((x, frames.forces.astype(float), score, frames.temperature))
    f, d = (np.concatenate([part[k] for part in found]) for k in (1, 2))
    share = float(-(d * (f - d)).sum() / np.square(f - d).sum())  # of least variance; both have the same mean at x'
    data = out / f"blurred-{width:g}"
    create_dataset(data, {case.system.name: (case.system, case.native)}, "ca", {"teacher": case.teacher.name})
    for k, (x, mapped, score, kelvin) in enumerate(found):
        with TrajectoryWriter(data / case.system.name / f"{k:03d}.h5", case.beads, seed=k, aggregation="basic") as w:
            for frame in zip(x, share * mapped + (1.0 - share) * score, kelvin, strict=True):
                w.append(*frame, float(w.frames + 1))
    recipe = re.MATCH.format(priors="{key: beads}", seed=SEED, folder=out / f"noise-{width:g}")
    recipe = recipe.replace("dataset: data", f"dataset: {data}").replace("epochs: 30", f"epochs: {EPOCHS}")
    (out / f"noise-{width:g}.yaml").write_text(recipe)
    return train(prepare_training(load_recipe(out / f"noise-{width:g}.yaml")))[0], share


if __name__ == "__main__":
    torch.set_num_threads(set_threads(1))
    folder = Path(sys.argv[1]).absolute()
    out = folder / "contrast-and-noise"
    out.mkdir(exist_ok=True)
    case = re.Case(load_forcefield(re.CHIGNOLIN), 340.0)
    truth = re.write_truth(case, folder / "truth.npy")[::6]
    exact, u = re.profiles(case, truth), re.reduced(case, case.teacher, truth)

    def measured(ff: Path) -> dict:
        """Errors by frames of the truth, weighed as the force field has them."""
        d = re.reduced(case, load_forcefield(ff), truth) - u
        w = np.exp(d.min() - d)
        return {"effective share": round(float(w.sum() ** 2 / (w**2).sum() / len(w)), 3)} | re.errors(
            case, exact, re.profiles(case, truth, w / w.sum())
        )

    said = {what: measured(folder / "1" / what / "forcefield") for what in ("matched", "refined")}
    print(said, flush=True)
    for name, method in {
        "contrast": lambda: contrast(case, folder / "1", out),
        "noise 0.1": lambda: noise(case, folder / "1", out, 0.1),
        "noise 0.2": lambda: noise(case, folder / "1", out, 0.2),
    }.items():
        began = time.process_time()
        found = method()
        seconds = time.process_time() - began
        file, share = found if isinstance(found, tuple) else (found, None)
        said[name] = {"CPU s": round(seconds, 1), "share of mapped forces": share, **measured(file)}
        if share is not None:  # no frame of the truth counts in a blurred molecule
            own = re.make_engine(case, load_forcefield(file), re.starts(case, 64, 5), 6)
            x = re.sample(own, 25, 15_000).reshape(-1, case.beads, 3)
            said[name]["by its own samples"] = re.errors(case, exact, re.profiles(case, x))
        print(name, said[name], flush=True)
        (Path(__file__).parent / "contrast_and_noise.json").write_text(json.dumps(said, indent=1) + "\n")

"""The loop of force matching: steps, epochs, validation, the running mean of the weights, when to stop.

The loss is the mean squared component of F_network - F*, (kcal/mol/Å)^2, with F* the mapped force less that of the
priors. Mapped forces are noisy, so the loss falls to the variance of that noise and not to 0 (Noid et al., J. Chem.
Phys. 128, 244114 (2008)). What weights and energies add to it (see `forces`) moves the weights, but is not logged, and
chooses no epoch.

The order of the frames of an epoch is a function of (seed, epoch), the learning rate one of the step, so a state holds
no generator: a training that was killed resumes to the same bits, with the same number of threads and ranks.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

from mdflash.core.damage import reading
from mdflash.core.files import storage_errors
from mdflash.core.optional import require
from mdflash.core.types import IntArray
from mdflash.engine.distributed import Ranks
from mdflash.errors import Interrupted, UnstableError
from mdflash.io.table import Table
from mdflash.training.forces import Batch, Forces
from mdflash.training.recipe import Optimization
from mdflash.training.soap import Soap
from mdflash.training.state import UNREADABLE_STATE, Progress, load_progress, save_progress

LAST_RATE = 0.01
"""What a cosine schedule leaves of the learning rate."""
STALLED = 3
"""Epochs without a better validation loss after which the plateau schedule halves the rate."""
TOGETHER = 256
"""Frames, at least, that are evaluated together for the validation loss."""
SAVE_EVERY = 300.0
"""Seconds between states within an epoch."""


class TrainingLog(Table):
    """Appends a row for each epoch to log.csv."""

    name = "log.csv"
    header = "epoch,step,learning_rate,training_loss,validation_loss\n"


class FrameSet:
    """Frames to choose batches from, each of one molecule.

    Args:
        positions, forces: for each molecule [F, N, 3], Å and kcal/mol/Å.
        device: where batches go.
        energies: for each molecule [F] kcal/mol, where the loss has them.
        weights: for each molecule [F] by which frames count in the loss, where not all count alike.
    """

    def __init__(
        self, positions: Sequence[Tensor], forces: Sequence[Tensor], device: torch.device | str = "cpu",
        energies: Sequence[Tensor] | None = None, weights: Sequence[Tensor] | None = None,
    ) -> None:  # fmt: skip
        self.positions, self.forces, self.device = tuple(positions), tuple(forces), device
        none = (None,) * len(self.positions)
        self.energies = none if energies is None else tuple(energies)
        self.weights = none if weights is None else tuple(weights)
        self.starts = np.concatenate(([0], np.cumsum([len(p) for p in positions])))

    def __len__(self) -> int:
        return int(self.starts[-1])

    def components(self, frames: IntArray) -> int:
        """How many force components these frames have."""
        beads = np.array([p.shape[1] for p in self.positions])
        return int(3 * beads[np.searchsorted(self.starts, frames, side="right") - 1].sum())

    def batches(self, frames: IntArray) -> list[Batch]:
        """Frames (numbers over all molecules) as one batch for each molecule that has some."""
        found = []
        everything = zip(self.positions, self.forces, self.energies, self.weights, strict=True)
        for molecule, columns in enumerate(everything):
            first, last = self.starts[molecule : molecule + 2]
            mine = torch.from_numpy(frames[(frames >= first) & (frames < last)] - first)
            if len(mine):
                positions, forces, energies, weights = (None if c is None else c[mine].to(self.device) for c in columns)
                assert positions is not None and forces is not None
                found.append(Batch(molecule, positions, forces, energies, weights))
        return found


class Trainer:
    """Trains parameters.

    Args:
        parameters: trained in place, by name.
        forces: evaluates them.
        training, validation: frames.
        settings: settings of the recipe.
        folder: holds log.csv and state.safetensors.
        identity: digest of recipe and data; a state with another is refused.
        ranks: this process among others.

    Raises:
        InputError: the folder holds the state of another training.
    """

    def __init__(
        self, parameters: Mapping[str, Parameter], forces: Forces, training: FrameSet, validation: FrameSet,
        settings: Optimization, folder: Path, identity: str, ranks: Ranks,
    ) -> None:  # fmt: skip
        self.forces, self.settings, self.ranks = forces, settings, ranks
        self.training, self.validation = training, validation
        self.folder, self.state_file, self.log_file = folder, folder / "state.safetensors", folder / "log.csv"
        self.parameters = dict(parameters)
        self.mean = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.best = {name: p.detach().clone() for name, p in self.parameters.items()}
        chosen = {"adam": torch.optim.AdamW, "soap": Soap}[settings.optimizer]
        self.optimizer: torch.optim.Optimizer = chosen(
            self.parameters.values(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.steps_per_epoch = -(-len(training) // settings.batch)
        self.progress = Progress(identity=identity)
        self.resumed = self.state_file.is_file()
        if self.resumed:
            progress = load_progress(self.state_file, identity, Progress)
            with reading(self.state_file, UNREADABLE_STATE):
                self._restore(progress)
        self._saved = time.monotonic()
        self._board: Any = None

    def run(
        self,
        report: Callable[[Trainer], None] = lambda trainer: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Train to the end; afterwards `best` holds the weights of the lowest validation loss.

        Args:
            report: called after every step.
            should_stop: asked after every step; True saves the state and ends with `Interrupted`.

        Raises:
            Interrupted: was asked to stop.
            UnstableError: the loss is not finite.
            MissingExtraError: TensorBoard is asked for and not installed.
        """
        if not self.resumed:
            self._begin_log()
        if self.settings.tensorboard and self.ranks.rank == 0:
            require("tensorboard", "tensorboard", "training.tensorboard: true")
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(self.folder / "tensorboard"), purge_step=self.progress.epoch + 1)
        while self.progress.epoch < self.settings.epochs and not self._stale():
            self._epoch(report, should_stop)

    def _stale(self) -> bool:
        return self.settings.patience is not None and self.progress.stale >= self.settings.patience

    def _epoch(self, report: Callable[[Trainer], None], should_stop: Callable[[], bool]) -> None:
        p = self.progress
        order = np.random.default_rng([self.settings.seed, p.epoch]).permutation(len(self.training))
        while p.batch < self.steps_per_epoch:
            begin = p.batch * self.settings.batch
            self._step(order[begin : begin + self.settings.batch])
            p.batch += 1
            report(self)
            if self.ranks.any(should_stop()):
                self._save()
                raise Interrupted(f"stopped in epoch {p.epoch + 1}; run the same command again to resume")
            if time.monotonic() - self._saved > SAVE_EVERY:
                self._save()
        rate, loss = self._rate(), p.squares / p.components
        validation = self.validation_loss(self.mean)
        p.epoch, p.batch, p.squares, p.components = p.epoch + 1, 0, 0.0, 0
        if validation < p.best:
            p.best, p.best_epoch, p.stale = validation, p.epoch, 0
            self.best = {name: value.clone() for name, value in self.mean.items()}
        else:
            p.stale += 1
            if self.settings.schedule == "plateau" and p.stale % STALLED == 0:
                p.rate_factor *= 0.5
        self._log(f"{p.epoch},{p.step},{rate:.6g},{loss!r},{validation!r}")
        if self._board is not None:
            for name, value in (("learning_rate", rate), ("loss/training", loss), ("loss/validation", validation)):
                self._board.add_scalar(name, value, p.epoch)
            self._board.flush()
        self._save()

    def time_step(self) -> float:
        """Seconds of a step, from the second of two on the first frames; the parameters change."""
        frames = np.arange(min(self.settings.batch, len(self.training)))
        self._step(frames)
        began = time.perf_counter()
        self._step(frames)
        return time.perf_counter() - began

    def _step(self, frames: IntArray) -> None:
        p = self.progress
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate()
        components = self.training.components(frames)
        self.optimizer.zero_grad(set_to_none=False)
        for parameter in self.parameters.values():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        mine = self.training.batches(frames[self.ranks.rank :: self.ranks.size])
        squares = float(self._sum_over_ranks(self.forces.backward(mine, components)))
        if not math.isfinite(squares):
            raise UnstableError(
                f"the loss is {squares} in step {p.step} (epoch {p.epoch + 1}); lower training.learning_rate "
                f"(now {self.settings.learning_rate:g}) or training.clip"
            )
        if self.settings.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.settings.clip)
        self.optimizer.step()
        p.step += 1
        p.squares, p.components = p.squares + squares, p.components + components
        keep = min(self.settings.ema, p.step / (p.step + 10.0)) if self.settings.ema else 0.0
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                self.mean[name].lerp_(parameter, 1.0 - keep)

    def _sum_over_ranks(self, squares: Tensor) -> Tensor:
        """Add up the gradients of all ranks, in the order of the ranks; returns the sum of `squares`."""
        if self.ranks.size == 1:
            return squares
        gradients = [q.grad for q in self.parameters.values() if q.grad is not None]
        own = torch.cat([squares.cpu()[None], *(g.flatten().cpu() for g in gradients)]).double()
        everyone = [torch.empty_like(own) for _ in range(self.ranks.size)]
        self.ranks.share(self.progress.step, own, everyone)
        total = torch.stack(everyone).sum(dim=0)
        begin = 1
        for gradient in gradients:
            gradient.copy_(total[begin : begin + gradient.numel()].view_as(gradient))
            begin += gradient.numel()
        return total[0]

    def _rate(self) -> float:
        s, p = self.settings, self.progress
        rise = min(1.0, (p.step + 1) / s.warmup) if s.warmup else 1.0
        fall = p.rate_factor
        if s.schedule == "cosine":
            share = min(1.0, p.step / (s.epochs * self.steps_per_epoch))
            fall = LAST_RATE + (1.0 - LAST_RATE) * 0.5 * (1.0 + math.cos(math.pi * share))
        return s.learning_rate * rise * fall

    def validation_loss(self, weights: Mapping[str, Tensor]) -> float:
        """The loss on the frames held out, with these weights."""
        frames = np.arange(len(self.validation))[self.ranks.rank :: self.ranks.size]
        current = {name: p.detach().clone() for name, p in self.parameters.items()}
        self._put(weights)
        squares = 0.0
        chunk = max(self.settings.batch, TOGETHER)
        for begin in range(0, len(frames), chunk):
            for batch in self.validation.batches(frames[begin : begin + chunk]):
                residual = self.forces.predict(batch.molecule, batch.positions) - batch.forces
                squares += float(residual.double().square().sum())
        self._put(current)
        return sum(self.ranks.all(squares)) / self.validation.components(np.arange(len(self.validation)))

    def _put(self, weights: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(weights[name])

    def _begin_log(self) -> None:
        if self.ranks.rank == 0:
            with storage_errors(self.log_file):
                self.folder.mkdir(parents=True, exist_ok=True)
                self.log_file.unlink(missing_ok=True)
            TrainingLog.start(self.log_file, TrainingLog.header)
        self.progress.log_bytes = len(TrainingLog.header)

    def _log(self, row: str) -> None:
        if self.ranks.rank == 0:
            log = TrainingLog.resume(self.log_file, self.progress.log_bytes)
            log.add(row)
            log.flush()
        self.progress.log_bytes += len(row) + 1

    def _save(self) -> None:
        self._saved = time.monotonic()
        if self.ranks.rank > 0:
            return
        tensors = {f"weights/{name}": p.detach() for name, p in self.parameters.items()}
        tensors |= {f"mean/{name}": value for name, value in self.mean.items()}
        tensors |= {f"best/{name}": value for name, value in self.best.items()}
        for name, parameter in self.parameters.items():
            for key, value in self.optimizer.state[parameter].items():
                tensors[f"optimizer/{name}/{key}"] = value
        self.progress.tensors = tensors
        save_progress(self.state_file, self.progress)

    def _restore(self, progress: Progress) -> None:
        self.progress = progress
        tensors = progress.tensors
        device = next(iter(self.parameters.values())).device

        def part(prefix: str) -> dict[str, Tensor]:
            return {name: tensors[f"{prefix}/{name}"].to(device) for name in self.parameters}

        self._put(part("weights"))
        self.mean, self.best = part("mean"), part("best")
        for name, parameter in self.parameters.items():
            own = f"optimizer/{name}/"
            state = {key.removeprefix(own): value for key, value in tensors.items() if key.startswith(own)}
            self.optimizer.state[parameter] = {k: v if k == "step" else v.to(device) for k, v in state.items()}

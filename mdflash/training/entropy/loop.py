"""The loop of relative entropy: weigh samples, step, renew the samples where they are spent.

An update draws frames of the data by their weights, and samples of the last renewals by theirs (see `pool`), and steps
against the gradient of S and of the force loss (see `loss`). When fewer samples are effective than `renew_below` of one
renewal, and after `renew_after` updates, replicas are simulated on with the weights as they are now. A step that would
leave less than half of that is cut, so no renewal loses sight of those before.

What is learned is the mean of the last weights: that of update k counts about as k^4, so the mean is over the last
fifth of them, whenever training stops. Its relative entropy on the frames held out, against the start, decides when to
stop, and which mean is kept. That is known from samples of other weights than the mean itself; where these overlap with
it as little as no step may, what it does is not known, and the weights as they are now stand in for it.

Every random number is a function of the seed and of the update or renewal, so a state holds no generator: a training
that was killed resumes to the same bits, with the same number of threads.
"""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mdflash.core.damage import reading
from mdflash.core.files import storage_errors
from mdflash.core.regular import open_input
from mdflash.core.types import FloatArray
from mdflash.errors import Interrupted, UnstableError
from mdflash.io.table import Table
from mdflash.training.entropy.loss import add_gradient, energies_of, slopes_of, systematic
from mdflash.training.entropy.material import Material
from mdflash.training.entropy.picture import draw
from mdflash.training.entropy.pool import Pool
from mdflash.training.entropy.profiles import write_profile
from mdflash.training.entropy.sampler import Samples
from mdflash.training.entropy.section import RelativeEntropy
from mdflash.training.entropy.targets import Reached, price, price_slopes, reached, target_slopes
from mdflash.training.state import UNREADABLE_STATE, EntropyProgress, load_progress, save_progress

DECAY_RATES = (0.5, 0.9)
"""Of Adam: short memories, since gradients are those of other samples after each renewal."""
LAST_RATE = 0.05
"""What is left of the learning rate at the end."""
AVERAGE = 4
"""Power of k with which the weights of update k count in the mean."""
ROW = 5
"""Updates between rows of log.csv."""
CUTS = 10
"""Times that a step is halved at most."""
JUDGED = 4096
"""Frames held out whose forces are judged at each row, at most."""
SAVE_EVERY, DRAW_EVERY, TELL_EVERY = 20.0, 20.0, 2.0
"""Seconds."""


class EntropyLog(Table):
    """Appends a row for every few updates to log.csv."""

    name = "log.csv"
    header = "update,renewals,learning_rate,effective_share,mean_share,shortened,left_out,held_out_entropy,force_loss"


class EntropyTrainer:
    """Trains.

    Args:
        material: see there.
        settings: of the recipe.
        folder: holds log.csv, state.safetensors and progress/.
        identity: digest of recipe and data; a state with another is refused.

    Attributes:
        progress: where it stands.
        best: the mean of the weights (or, see the module, the weights) of the lowest relative entropy held out.
        row: the last row of log.csv, by column.
        doing: what it is at, in words.
        simulated: the share of the current simulation that is done.
        left_out: replicas that became unstable, since this process began.

    Raises:
        InputError: the folder holds the state of another training.
    """

    def __init__(self, material: Material, settings: RelativeEntropy, folder: Path, identity: str) -> None:
        self.material, self.settings, self.folder = material, settings, folder
        self.state_file, self.log_file = folder / "state.safetensors", folder / "log.csv"
        self.parameters = dict(material.parameters)
        self.start, self.mean, self.best = self._weights(), self._weights(), self._weights()
        self.optimizer = torch.optim.Adam(self.parameters.values(), lr=settings.learning_rate, betas=DECAY_RATES)
        self.pools = [Pool(group.kT, settings.keep) for group in material.groups]
        self._drawn_with: list[dict[str, Tensor]] = []  # the weights of each renewal in the pools
        self._ends: list[FloatArray] = []
        self._now: list[FloatArray] = []  # energies of the pools, with the weights as they are now
        self._held: list[FloatArray] = []  # energies of the frames held out, at the start
        self._curves: list[FloatArray] = []  # at the start
        self._shown: list[FloatArray] | None = None  # the profiles of the last row
        self._started: tuple[int, list[FloatArray]] | None = None  # see `_at_start`
        self._seen: tuple[int, list[FloatArray]] | None = None  # see `_observed`
        self.row: dict[str, float] = {}
        self.doing, self.left_out, self.simulated = "compiling the kernels", list[str](), 0.0
        self.progress = EntropyProgress(identity=identity)
        self.resumed = self.state_file.is_file()
        if self.resumed:
            progress = load_progress(self.state_file, identity, EntropyProgress)
            with reading(self.state_file, UNREADABLE_STATE):
                self._restore(progress)
        self._saved = self._drawn = time.monotonic()

    @property
    def finished(self) -> bool:
        """Whether all updates are done, or none helps any more."""
        p, patience = self.progress, self.settings.patience
        return p.update >= self.settings.updates or (patience is not None and p.update - p.best_update >= patience)

    def best_row(self) -> dict[str, float]:
        """The row of log.csv that `best` was chosen by, by column."""
        with storage_errors(self.log_file), open_input(self.log_file) as file:
            rows = csv.DictReader(io.TextIOWrapper(file))
            found = next(row for row in rows if int(row["update"]) == self.progress.best_update)
        return {name: float(value) for name, value in found.items()}

    def run(
        self,
        report: Callable[[EntropyTrainer], None] = lambda trainer: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Train to the end; afterwards `best` holds what was learned.

        Args:
            report: called before and after every simulation, at times while it runs, and after every update.
            should_stop: asked after every update, and in simulations; True saves the state and ends with `Interrupted`.

        Raises:
            Interrupted: was asked to stop.
            UnstableError: an energy is not finite, or no replica is left at a temperature.
            MissingExtraError: matplotlib is not installed.
        """
        if not self.resumed:
            self._begin(report, should_stop)
        while not self.finished:
            spent = self.progress.update - self.progress.last_renewal >= self.settings.renew_after
            if spent or self._share() < self.settings.renew_below:
                self._renew(report, should_stop)
            self._update()
            p = self.progress
            if p.update % ROW == 0 or p.update == self.settings.updates:
                self._log()
                self._save()
            self.doing = "updating"
            report(self)
            if should_stop():
                self._save()
                raise Interrupted(f"stopped after update {p.update}; run the same command again to resume")
            if time.monotonic() - self._saved > SAVE_EVERY:
                self._save()
        self._draw()

    def _begin(self, report: Callable[[EntropyTrainer], None], should_stop: Callable[[], bool]) -> None:
        with storage_errors(self.log_file):
            self.folder.mkdir(parents=True, exist_ok=True)
            self.log_file.unlink(missing_ok=True)
        columns = [f"{p.name}_{what}" for p in self.material.profiles for what in ("mean", "rmse")]
        if self.material.targets:
            columns += [*(target.name for target in self.material.targets), "target_cost", "price"]
        header = ",".join([EntropyLog.header, *columns]) + "\n"
        EntropyLog.start(self.log_file, header)
        self.progress.log_bytes = len(header.encode())
        self.progress.variance = self._force_loss()
        self._held = [self._energies(g.molecule, g.held_out.positions) for g in self.material.groups]
        self._ends = list(self.material.sampler.starts())
        self._renew(report, should_stop, self.settings.settle)
        self._curves = self._profile(self._now)[0]
        self._log()
        self._save()

    def _renew(
        self, report: Callable[[EntropyTrainer], None], should_stop: Callable[[], bool], settle: float = 0.0
    ) -> None:
        p = self.progress
        self.doing, self.simulated, told = "simulating", 0.0, time.monotonic()
        report(self)

        def tell(share: float) -> None:
            nonlocal told
            if share < 1.0 and time.monotonic() - told > TELL_EVERY:
                self.simulated, told = share, time.monotonic()
                report(self)

        ff = self.material.forcefield(self.parameters)
        try:
            samples = self.material.sampler.simulate(ff, self._ends, p.renewals, settle, should_stop, tell)
        except Interrupted:
            if p.renewals:
                self._save()
            raise
        self.simulated = 1.0
        self._take(samples)
        self._ends = list(samples.ends)
        p.renewals, p.last_renewal = p.renewals + 1, p.update
        p.left_out += len(samples.left_out)
        self.left_out += samples.left_out
        report(self)

    def _take(self, samples: Samples) -> None:
        """Put new samples, which have the weights of now, into the pools."""
        current = self._weights()
        old: list[list[FloatArray]] = [[] for _ in self.pools]
        for weights in self._drawn_with:
            self._put(weights)
            for k, (group, x) in enumerate(zip(self.material.groups, samples.positions, strict=True)):
                old[k].append(self._energies(group.molecule, x))
        self._put(current)
        for k, (group, pool, x) in enumerate(zip(self.material.groups, self.pools, samples.positions, strict=True)):
            new = self._energies(group.molecule, x)
            now = np.concatenate([self._now[k], new]) if len(pool.counts) else new
            pool.add(x, np.array(old[k]), now, group.windows.energies(x), samples.counts[k])
            if k >= len(self._now):
                self._now.append(now)
            else:
                self._now[k] = now[len(now) - len(pool.positions) :]
        self._drawn_with = [*self._drawn_with, current][-self.settings.keep :]

    def _share(self) -> float:
        """The effective samples of the group that has the fewest, as a share of those of one renewal."""
        return self._effective(self._now)

    def _effective(self, energies: Sequence[FloatArray]) -> float:
        trio = zip(self.material.groups, self.pools, energies, strict=True)
        return min(pool.effective(own, group.shares) for group, pool, own in trio)

    @property
    def _fewest(self) -> float:
        """The effective share below which nothing is known."""
        return 0.5 * self.settings.renew_below

    def _rate(self) -> float:
        left = 0.5 * (1.0 + np.cos(np.pi * self.progress.update / self.settings.updates))
        return float(self.settings.learning_rate * (LAST_RATE + (1.0 - LAST_RATE) * left))

    def _update(self) -> None:
        p, settings, groups = self.progress, self.settings, self.material.groups
        rng = np.random.default_rng([settings.seed, _UPDATES, p.update])
        self.optimizer.zero_grad(set_to_none=False)
        for parameter in self.parameters.values():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        for group, pool, now in zip(groups, self.pools, self._now, strict=True):
            if not group.share or self._holds_start:
                continue
            frames, drawn = (max(1, round(n * group.share)) for n in (settings.batch, 2 * settings.batch))
            chosen = systematic(pool.weigh(now, group.shares)[0], drawn, rng)
            x = torch.cat([group.training.draw(frames, rng), pool.positions[torch.from_numpy(chosen)]])
            slopes = slopes_of(group, np.full(frames, 1.0 / frames), np.full(drawn, 1.0 / drawn))
            add_gradient(self.material.forces, group.molecule, x.to(self.material.device), slopes)
        if self.material.targets:
            self._add_targets(rng)
        if settings.force_weight and not self._holds_start:
            self._add_forces(rng)
        self._step()
        p.update += 1
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                self.mean[name].lerp_(parameter, (AVERAGE + 1.0) / (p.update + AVERAGE))

    @property
    def _holds_start(self) -> bool:
        """Whether the ensemble of the start, and not the data, holds what targets leave open."""
        return bool(self.material.targets) and self.settings.hold == "start"

    def _add_targets(self, rng: np.random.Generator) -> None:
        """The gradient of the cost of targets, and of the price where that is paid."""
        targets, drawn = self.material.targets, 2 * self.settings.batch
        for k, (group, pool, now) in enumerate(zip(self.material.groups, self.pools, self._now, strict=True)):
            w = pool.weigh(now)[0]
            slopes = target_slopes(targets, k, group.kT, self._observed(), w)
            if self._holds_start:
                slopes = slopes + price_slopes(group.kT, self._at_start()[k], now, w)
            chosen = systematic(w, drawn, rng)
            x = pool.positions[torch.from_numpy(chosen)].to(self.material.device)
            add_gradient(self.material.forces, group.molecule, x, torch.from_numpy(slopes[chosen] / drawn))

    def _at_start(self) -> list[FloatArray]:
        """Energies of the pools with the weights of the start, kcal/mol; kept until the next renewal."""
        if self._started is None or self._started[0] != self.progress.renewals:
            current = self._weights()
            self._put(self.start)
            pairs = zip(self.material.groups, self.pools, strict=True)
            self._started = self.progress.renewals, [self._energies(g.molecule, q.positions) for g, q in pairs]
            self._put(current)
        return self._started[1]

    def _observed(self) -> list[FloatArray]:
        """What each target observes at the samples of its group; kept until the next renewal."""
        if self._seen is None or self._seen[0] != self.progress.renewals:
            seen = [target.observe(self.pools[target.group].positions) for target in self.material.targets]
            self._seen = self.progress.renewals, seen
        return self._seen[1]

    def _targets(self, now: Sequence[FloatArray]) -> tuple[Reached, float]:
        """Where the targets stand, and the price of all groups in nats, with energies `now` of the pools."""
        weighed = [pool.weigh(energies) for pool, energies in zip(self.pools, now, strict=True)]
        stand = reached(self.material.targets, self._observed(), [w for w, _ in weighed])
        paid = [
            price(group.kT, start, energies, w, free)
            for group, start, energies, (w, free) in zip(
                self.material.groups, self._at_start(), now, weighed, strict=True
            )
        ]
        return stand, sum(paid)

    def _add_forces(self, rng: np.random.Generator) -> None:
        """The gradient of the force loss, on half as many frames."""
        frames = self.material.training
        chosen = np.sort(rng.integers(len(frames), size=max(1, self.settings.batch // 2)))
        weight = self.settings.force_weight
        count = 2.0 * self.progress.variance * len(chosen)
        if weight != "likelihood":
            count = frames.components(chosen) / float(weight)
        self.material.forces.backward(frames.batches(chosen), count)

    def _step(self) -> None:
        """A step of Adam, cut until half of `renew_below` is left."""
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate()
        before = self._weights()
        self.optimizer.step()
        for cut in range(CUTS + 1):
            now = [
                self._energies(group.molecule, pool.positions)
                for group, pool in zip(self.material.groups, self.pools, strict=True)
            ]
            if not all(np.isfinite(energies).all() for energies in now):
                raise UnstableError(
                    f"an energy is not finite after update {self.progress.update}; lower "
                    f"relative_entropy.learning_rate (now {self.settings.learning_rate:g})"
                )
            self._now = now
            if self._share() >= self._fewest or cut == CUTS:
                break
            self.progress.shortened += cut == 0
            with torch.no_grad():
                for name, parameter in self.parameters.items():
                    parameter.lerp_(before[name], 0.5)

    def _log(self) -> None:
        """A row about the mean of the last weights, or about those of now where no sample knows the mean."""
        p = self.progress
        current, judged = self._weights(), self.mean
        self._put(judged)
        pairs = list(zip(self.material.groups, self.pools, strict=True))
        now = [self._energies(group.molecule, pool.positions) for group, pool in pairs]
        share, mean_share = self._share(), self._effective(now)
        if not mean_share >= self._fewest:
            now, judged = self._now, current
            self._put(judged)
        entropy = self._held_out_entropy(now)
        loss = self._force_loss()
        self._put(current)
        curves, means = self._profile(now)
        objective, ends = entropy, list[float]()
        if self.material.targets:
            stand, paid = self._targets(now)
            objective = stand.cost + (paid if self._holds_start else entropy)
            ends = [*stand.stands, stand.cost, paid]
        if objective < p.best:
            p.best, p.best_update = objective, p.update
            self.best = {name: value.clone() for name, value in judged.items()}
        row = [p.update, p.renewals, self._rate(), share, mean_share, p.shortened, p.left_out, entropy, loss]
        for profile, curve, mean in zip(self.material.profiles, curves, means, strict=True):
            row += [mean, profile.error(curve)]
        row += ends
        text = ",".join(str(v) if isinstance(v, int) else f"{v:.7g}" for v in row)
        log = EntropyLog.resume(self.log_file, p.log_bytes)
        log.add(text)
        log.flush()
        p.log_bytes += len(text) + 1
        p.shortened = p.left_out = 0
        self.row = dict(zip(log.columns, map(float, row), strict=True))
        for profile, start, curve in zip(self.material.profiles, self._curves, curves, strict=True):
            (self.folder / "progress").mkdir(exist_ok=True)
            write_profile(self.folder / "progress", profile, start, curve)
        self._shown = curves
        if time.monotonic() - self._drawn > DRAW_EVERY:
            self._draw()

    def _draw(self) -> None:
        if self._shown is None:  # nothing was learned by this process
            return
        curves = list(zip(self.material.profiles, self._curves, self._shown, strict=True))
        draw(self.folder / "progress" / "progress.png", self.log_file, curves, self.material.targets)
        self._drawn = time.monotonic()

    def _held_out_entropy(self, now: Sequence[FloatArray]) -> float:
        """S of the frames held out, against the start, in nats, with the weights that gave energies `now`."""
        total = 0.0
        for group, pool, energies, at_start in zip(self.material.groups, self.pools, now, self._held, strict=True):
            held = self._energies(group.molecule, group.held_out.positions)
            shares = group.held_out.shares(group.windows.states)
            change = float(group.held_out.weights @ (held - at_start)) - pool.weigh(energies, shares)[1]
            total += group.share * change / group.kT
        return total

    def _force_loss(self) -> float:
        """The mean squared component on frames held out, (kcal/mol/Å)²."""
        held = self.material.held_out
        chosen = np.unique(np.linspace(0, len(held) - 1, min(JUDGED, len(held))).astype(np.int64))
        squares = 0.0
        for batch in held.batches(chosen):
            residual = self.material.forces.predict(batch.molecule, batch.positions) - batch.forces
            squares += float(residual.double().square().sum())
        return squares / held.components(chosen)

    def _profile(self, now: Sequence[FloatArray]) -> tuple[list[FloatArray], list[float]]:
        """Of each profile the free energies, and the mean of its variable."""
        curves, means = [], []
        for profile in self.material.profiles:
            pool = self.pools[profile.group]
            w, values = pool.weigh(now[profile.group])[0], profile.values(pool.positions)
            curves.append(profile.along(values, w))
            means.append(float(w @ values))
        return curves, means

    def _energies(self, molecule: int, positions: Tensor) -> FloatArray:
        return energies_of(self.material.forces, molecule, positions, self.material.device)

    def _weights(self) -> dict[str, Tensor]:
        return {name: p.detach().clone() for name, p in self.parameters.items()}

    def _put(self, weights: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(weights[name])

    def _save(self) -> None:
        self._saved = time.monotonic()
        tensors = {f"weights/{name}": p.detach() for name, p in self.parameters.items()}
        for part, weights in (("start", self.start), ("mean", self.mean), ("best", self.best)):
            tensors |= {f"{part}/{name}": value for name, value in weights.items()}
        for g, weights in enumerate(self._drawn_with):
            tensors |= {f"drawn/{g}/{name}": value for name, value in weights.items()}
        for name, parameter in self.parameters.items():
            for key, value in self.optimizer.state[parameter].items():
                tensors[f"optimizer/{name}/{key}"] = value
        for k, pool in enumerate(self.pools):
            own = {
                "energies": pool.energies, "free": pool.free, "counts": pool.counts, "windows": pool.held,
                "origin": pool.origin, "now": self._now[k], "held": self._held[k], "ends": self._ends[k],
            }  # fmt: skip
            tensors |= {f"pool/{k}/{name}": torch.from_numpy(np.array(a)) for name, a in own.items()}
            tensors[f"pool/{k}/positions"] = pool.positions
        tensors |= {f"curve/{k}": torch.from_numpy(curve) for k, curve in enumerate(self._curves)}
        self.progress.tensors = tensors
        save_progress(self.state_file, self.progress)

    def _restore(self, progress: EntropyProgress) -> None:
        self.progress, tensors = progress, progress.tensors

        def part(prefix: str) -> dict[str, Tensor]:
            return {name: tensors[f"{prefix}/{name}"].to(self.material.device) for name in self.parameters}

        self._put(part("weights"))
        self.start, self.mean, self.best = part("start"), part("mean"), part("best")
        for name, parameter in self.parameters.items():
            own = f"optimizer/{name}/"
            state = {key.removeprefix(own): value for key, value in tensors.items() if key.startswith(own)}
            moved = {k: v if k == "step" else v.to(self.material.device) for k, v in state.items()}
            if moved:
                self.optimizer.state[parameter] = moved
        for k, pool in enumerate(self.pools):
            own = f"pool/{k}/"
            pool.positions = tensors[f"{own}positions"]
            pool.energies, pool.free = tensors[f"{own}energies"].numpy(), tensors[f"{own}free"].numpy()
            pool.counts, pool.held = tensors[f"{own}counts"].numpy(), tensors[f"{own}windows"].numpy()
            pool.origin = tensors[f"{own}origin"].numpy()
            self._now.append(tensors[f"{own}now"].numpy())
            self._held.append(tensors[f"{own}held"].numpy())
            self._ends.append(tensors[f"{own}ends"].numpy())
        self._drawn_with = [part(f"drawn/{g}") for g in range(len(self.pools[0].counts))]
        self._curves = [tensors[f"curve/{k}"].numpy() for k in range(len(self.material.profiles))]


_UPDATES = 3
"""What random numbers are for; see `sampler._Purpose`."""

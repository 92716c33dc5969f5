"""Weighted ensemble: replicas are walkers with weights, split and merged between blocks; rates of rare events.

Each replica (a row of the state) holds one walker. At fixed steps, after that step's reports:

1. A walker in the target state starts again: at one of the start frames, with new velocities and the weight it has. Its
   weight is counted as flux. Started again, weights become stationary, and then 1 / flux is the mean first passage time
   from the start frames to the target (Hill, Free Energy Transduction in Biology (1977); Bhatt, Zhang & Zuckerman, J.
   Chem. Phys. 133, 014110 (2010)). Without a target nothing starts again, and weights stay those of an equilibrium.
2. The walker of a frozen replica is given up: a copy of the living walker with the nearest value takes its place, and
   keeps its weight. So the sum of weights is conserved and no row is lost; the price is a displaced weight, which is an
   event.
3. Walkers are split and merged (`resample`): rows of the state are copied, with weights.

Noise is a function of (seed, replica id, step, bead), and a replica id is that of the row. So two copies of a walker,
which are in two rows, have different noise from the next step on; no number of any row is used twice, whatever is
copied where; and what is needed to go on is the state, the weights and the start frames. All ranks know all replicas
between two blocks, so each comes to the same decision.

Reviews: Zuckerman & Chong, Annu. Rev. Biophys. 46, 43 (2017); Aristoff, Copperman, Simpson, Webber & Zuckerman, J.
Chem. Phys. 158, 014108 (2023).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch

from mdflash.compiled.noise import normals
from mdflash.compiled.philox import VELOCITIES
from mdflash.core.state import Layout, Rows, State
from mdflash.core.types import FloatArray, IntArray
from mdflash.engine.ensemble.resample import Draw, Scheme, place, uniforms
from mdflash.engine.guards import Listener
from mdflash.engine.protocols import Running
from mdflash.errors import InputError, UnstableError
from mdflash.integrators.cpu import remove_com_motion
from mdflash.potentials.bias.bias import Bias
from mdflash.potentials.bias.pack import PackedBiases
from mdflash.units import ACCELERATION, BOLTZMANN


class Target(NamedTuple):
    """A state: values of the variable from `low` to `high`, both included."""

    low: float
    high: float

    def holds(self, values: FloatArray) -> npt.NDArray[np.bool_]:
        """Whether each value is in it."""
        return np.asarray((values >= self.low) & (values <= self.high))


class Generation(NamedTuple):
    """One resampling of N walkers.

    Attributes:
        replica: [N] global numbers of the rows.
        values: [N] of the variable, as each walker came to the resampling.
        weights: [N] as it came.
        arrived: [N] whether it was in the target.
        parents: [N] the replica whose walker each row holds from now on; where that one arrived, a start frame.
        next_weights: [N] from now on.
    """

    replica: IntArray
    values: FloatArray
    weights: FloatArray
    arrived: npt.NDArray[np.bool_]
    parents: IntArray
    next_weights: FloatArray


class GenerationListener(Protocol):
    """Receives every resampling."""

    def __call__(self, step: int, time: float, generation: Generation, /) -> None: ...


class WeightedEnsemble:
    """The weighted ensemble of a simulation: its walkers are all replicas of one system.

    Args:
        layout: the batch.
        variable: the variable, as a bias without force on the replicas of its system.
        every: steps between resamplings.
        scheme: who is split and merged.
        target: where walkers start again; None: nowhere.

    Attributes:
        weights: [N] of the walkers, in the order of the replicas; their sum is 1.
        starts: [N, beads, 3] Å, where walkers start again: the start frames of all replicas, each as likely.
        flux: the weight that has arrived in the target so far.
        arrivals: how many walkers have.
        listeners: called with every event: "walker lost".
        generation_listeners: called with every resampling.
    """

    moves_forces = True

    def __init__(
        self, layout: Layout, variable: Bias, every: int, scheme: Scheme, target: Target | None = None
    ) -> None:
        self.layout, self.variable, self.every, self.scheme, self.target = layout, variable, every, scheme, target
        self._rows = np.flatnonzero(variable.rows(layout) >= 0)
        self._system = int(layout.system_of_replica[self._rows[0]])
        self._ids = np.array(layout.replica_ids, np.int64)[self._rows]
        self._packed = PackedBiases([variable], layout)
        n = len(self._rows)
        self.weights: FloatArray = np.full(n, 1.0 / n)
        beads = layout.systems[self._system].n_beads
        self.starts: FloatArray = np.zeros((n, beads, 3))
        self.flux: FloatArray = np.zeros(1)
        self.arrivals: IntArray = np.zeros(1, np.int64)
        self.listeners: list[Listener] = []
        self.generation_listeners: list[GenerationListener] = []

    def begin(self, state: State) -> None:
        """Take the positions as those where walkers start.

        Raises:
            InputError: one of them is in the target.
        """
        values = self.values(state)
        if self.target is not None and (inside := np.flatnonzero(self.target.holds(values))).size:
            first = int(inside[0])
            raise InputError(
                f"replica {self._ids[first]} starts in the target: its {self.variable.name} is {values[first]:.6g}; "
                "write a target that no start frame is in",
                key="weighted_ensemble.target",
            )
        self.starts[...] = self.layout.view(state.positions, self._system).numpy()

    def next_change(self, step: int) -> int:
        """The first resampling after `step`."""
        return (step // self.every + 1) * self.every

    def values(self, state: State) -> FloatArray:
        """[N] of the variable now."""
        return np.asarray(self._packed.measure(state.positions.numpy())[0][self._rows, 0])

    def change(self, engine: Running) -> None:
        """Resample once; energy and forces of the state are old afterwards.

        Raises:
            UnstableError: no walker is left that moves.
        """
        state, n = engine.state, len(self._rows)
        came, weights = self.values(state), self.weights.copy()
        draw = uniforms(engine.dynamics.seed, int(self._ids[0]), state.step)
        frozen = engine.frozen[self._rows]
        if frozen.all():  # other systems of the run may move on
            raise UnstableError(
                f"every walker of {self.layout.systems[self._system].name} is frozen at step {state.step}, and none is "
                "left to copy. Try a shorter time step or minimize first (dynamics.minimize: 500)"
            )
        arrived = np.zeros(n, bool) if self.target is None else self.target.holds(came) & ~frozen
        origin = np.arange(n)
        for lost in np.flatnonzero(frozen).tolist():
            origin[lost] = self._nearest(came, np.flatnonzero(~frozen), lost)
            self._tell(state.step, lost, int(origin[lost]), came)
        self.flux += weights[arrived].sum()
        self.arrivals += arrived.sum()
        for row in np.flatnonzero(arrived).tolist():
            self._start_again(engine, row, draw)
        now = self.values(state)[origin] if arrived.any() else came[origin]
        parents, self.weights[...] = place(self.scheme.shares(now, weights, draw))
        origin = origin[parents]
        moved = origin != np.arange(n)
        self._copy(state, origin)
        engine.replaced(self._rows[moved | arrived[origin]])
        generation = Generation(self._ids, came, weights, arrived, self._ids[origin], self.weights.copy())
        for listener in self.generation_listeners:
            listener(state.step, engine.time, generation)

    def _nearest(self, values: FloatArray, living: IntArray, lost: int) -> int:
        """The living walker whose value is nearest to that of a lost one, the first of several."""
        away = np.abs(values[living] - values[lost])
        if self.variable.variable.periodic:
            away = np.abs(away - 2.0 * np.pi * np.rint(away / (2.0 * np.pi)))
        return int(living[np.argmin(away)])

    def _tell(self, step: int, lost: int, taken: int, values: FloatArray) -> None:
        for listener in self.listeners:
            listener(
                step, "walker lost", replica=int(self._ids[lost]), value=float(values[lost]),
                weight=float(self.weights[lost]), replaced_by=int(self._ids[taken]), its_value=float(values[taken]),
            )  # fmt: skip

    def _start_again(self, engine: Running, row: int, draw: Draw) -> None:
        """Put a walker at a start frame, with new velocities; keyed by its row and the step, as all noise is."""
        state, layout, replica = engine.state, self.layout, int(self._rows[row])
        frame = int(draw() * len(self.starts))
        beads = layout.rows(replica)
        state.positions[beads] = torch.from_numpy(self.starts[frame])
        if engine.dynamics.integrator.has_velocities:
            masses = layout.masses[beads].numpy()
            spread = np.sqrt(BOLTZMANN * float(state.temperature[replica]) * ACCELERATION / masses)[:, None]
            v = spread * normals(engine.dynamics.seed, int(self._ids[row]), state.step, len(masses), VELOCITIES)
            if engine.dynamics.remove_com_motion:
                remove_com_motion(v, masses)
            state.velocities[beads] = torch.from_numpy(v)

    def _copy(self, state: State, origin: IntArray) -> None:
        """Let each row hold what row `origin` of it held."""
        first, last = int(self._rows[0]), int(self._rows[-1]) + 1
        each = len(self.starts[0])
        begin = int(self.layout.bead_offset[first])
        beads = (begin + each * origin[:, None] + np.arange(each)).ravel()
        source = Rows(torch.from_numpy(beads), torch.from_numpy(first + origin))
        state.put(self.layout.where(first, last), state.take(source))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What a checkpoint must hold to continue with the same bits."""
        return {
            "walker_weights": self.weights,
            "walker_starts": self.starts,
            "walker_flux": self.flux,
            "walker_arrivals": self.arrivals,
        }

    def restore(self, arrays: Mapping[str, npt.NDArray[Any]], step: int) -> None:
        """Continue from a checkpoint's arrays, at its step."""
        for name, array in self.arrays().items():
            array[...] = arrays[name]

    def summary(self) -> dict[str, Any]:
        """For manifest.json: walkers, and what has arrived in the target."""
        return {
            "name": self.variable.name,
            "walkers": len(self._rows),
            "every_steps": self.every,
            "arrivals": int(self.arrivals[0]),
            "arrived_weight": float(self.flux[0]),
        }

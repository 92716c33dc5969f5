"""Guards: what happens to a replica whose numbers stop being finite, and notes on spikes of energy and force.

    stop     the run ends with an UnstableError (the default)
    freeze   the replica goes back to the last boundary and stays there; the others continue with the bits that
             they would have without it
    retry    the replica goes back to the last boundary and does the stretch to the next one alone, with half the time
             step (then a quarter, an eighth; impulses of networks stay where they were); when all fail, it is frozen

Boundaries are the steps at which a report, an exchange or the guard itself (every `STRETCH` steps) is due. They
depend on nothing but the run's input, and the state of the last one is part of every checkpoint: so what is restored
does not depend on how blocks fell, nor on where a run was stopped and resumed.

Spikes are looked for at boundaries, so none gets into a frame, a log row or an exchange unnoticed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final, Literal, Protocol

import numpy as np
import numpy.typing as npt

from mdflash.core.state import Layout, State
from mdflash.core.types import IntArray
from mdflash.engine.diagnosis import Failure, diagnose, unstable
from mdflash.engine.protocols import Running
from mdflash.errors import UnstableError
from mdflash.units import BOLTZMANN

STRETCH: Final = 1000
"""Steps between boundaries at most, so that little is lost or done again."""

RETRIES: Final = 3
"""Times the time step is halved before a replica is given up."""

NEVER: Final = 2**63

LOST: Final = 1e12
"""Under freeze and retry, an energy (kcal/mol) or coordinate (Å) beyond this at a boundary counts as not finite: the
replica is on its way there, and its state is nothing to come back to."""

SPIKE: Final = 3.0
"""kT for each bead, and for ten more; a potential energy that rises by more from one boundary to the next is an event.
All of the kinetic energy is half as much, so chance alone does not do it."""

_SEED_STEP: Final = 0x9E3779B9

Policy = Literal["stop", "freeze", "retry"]


class Listener(Protocol):
    """Receives the events of a guard; `EventLog.write` is one."""

    def __call__(self, step: int, event: str, **fields: Any) -> None: ...


class Guard:
    """The guard of an engine.

    Args:
        layout: the batch.
        nonfinite: the policy, "stop", "freeze" or "retry"; see the module.
        max_force: kcal/mol/Å; a force above it at a boundary is a "force spike" event. None: not checked.

    Attributes:
        frozen_since: [R] the step at whose state a replica is frozen, -1 for the others.
        listeners: called with every event: "failure" (under "stop"), "freeze", "retry", "energy spike", "force spike".
    """

    def __init__(self, layout: Layout, nonfinite: Policy = "stop", max_force: float | None = None) -> None:
        self.layout, self.nonfinite, self.max_force = layout, nonfinite, max_force
        self.frozen_since: npt.NDArray[np.int64] = np.full(layout.n_replicas, -1)
        self.listeners: list[Listener] = []
        self._pending: dict[int, Failure] = {}
        self._anchor: State | None = None
        self._energy: npt.NDArray[np.float64] | None = None  # [R] at the last boundary
        self._spiking: npt.NDArray[np.bool_] = np.zeros(layout.n_replicas, bool)
        self._spike_per_kelvin = SPIKE * (np.diff(layout.bead_offset) + 10) * BOLTZMANN  # [R] kcal/mol/K

    @property
    def frozen(self) -> npt.NDArray[np.bool_]:
        """[R] replicas that no longer move."""
        return self.frozen_since >= 0

    @property
    def pending(self) -> bool:
        """Whether a replica has failed since the last boundary: the run must not stop before the next one."""
        return bool(self._pending)

    @property
    def _restores(self) -> bool:
        return self.nonfinite != "stop" or bool(self.frozen.any())

    def next_boundary(self, step: int) -> int:
        """The first step after `step` that the guard makes a boundary."""
        watching = self._restores or self.max_force is not None
        return (step // STRETCH + 1) * STRETCH if watching else NEVER

    def begin(self, state: State) -> None:
        """A run starts or resumes."""
        if self._anchor is None:
            self.mark(state)
        if self._energy is None:
            self._energy = state.energy.numpy().copy()

    def forget(self) -> None:
        """The state was changed from outside: the last boundary no longer leads to it."""
        self._anchor = self._energy = None

    def replaced(self, rows: IntArray) -> None:
        """These replicas hold other coordinates now: they move again, and their energies are no spikes."""
        self.frozen_since[rows] = -1
        self._spiking[rows] = False
        if self._energy is not None:
            self._energy[rows] = np.nan  # nothing is a rise from there

    def mark(self, state: State) -> None:
        """Here is a boundary, where everything is in order: what fails from now on comes back to this state."""
        if not self._restores:
            return
        if self._anchor is None:
            self._anchor = state.copy()
        else:
            self._anchor.assign(state)

    def after_block(self, engine: Running, failed: npt.NDArray[np.int64]) -> None:
        """Look at the outcome of a block.

        Args:
            engine: at the end of the block.
            failed: [R] the step at which a replica failed in it, or -1.

        Raises:
            UnstableError: a replica failed, and the policy is "stop".
        """
        out = self.frozen
        if not self._pending and (failed < 0).all() and not out.any():
            return
        out[list(self._pending)] = True
        new = np.flatnonzero((failed >= 0) & ~out)
        if len(new) and self.nonfinite == "stop":
            first = int(new[0])
            self._tell(engine.state.step, "failure", _diagnosis(engine, first, int(failed[first])))
            raise unstable(
                engine.layout, engine.potential, engine.state, engine.dynamics.timestep, failed, self._energy
            )
        for r in new:
            self._pending[int(r)] = _diagnosis(engine, int(r), int(failed[r]))
        for r in (*np.flatnonzero(out), *new):  # the block ran these for nothing
            self._put_back(engine.state, int(r))

    def settle(self, engine: Running) -> None:
        """At a boundary, before its reports: retry or freeze what failed, and look for spikes.

        Raises:
            UnstableError: no replica is left that moves.
        """
        step = engine.state.step
        if self.nonfinite != "stop":
            for r in np.flatnonzero(self._lost(engine.state) & ~self.frozen).tolist():
                self._pending[r] = _diagnosis(engine, r, step)
                self._put_back(engine.state, r)
        if self._pending and self.nonfinite == "retry":
            self._retry(engine)
        for r, failure in sorted(self._pending.items()):
            assert self._anchor is not None
            self.frozen_since[r] = self._anchor.step
            self._tell(step, "freeze", failure, last_good_step=self._anchor.step)
        if self._pending and self.frozen.all():
            last = next(iter(self._pending.values()))
            raise UnstableError(
                f"every replica is frozen; the last was replica {last.replica} ({last.system}) at step {last.step}: "
                f"{last.what}. Try a shorter time step or minimize first (dynamics.minimize: 500)"
            )
        self._pending.clear()
        self._find_energy_spikes(engine)
        self._find_force_spikes(engine)

    def _lost(self, state: State) -> npt.NDArray[np.bool_]:
        """[R] replicas that are as good as not finite."""
        size = state.positions.abs().amax(dim=1).numpy()
        farthest = np.maximum.reduceat(size, self.layout.bead_offset[:-1])
        found: npt.NDArray[np.bool_] = (farthest > LOST) | (np.abs(state.energy.numpy()) > LOST)
        return found

    def _put_back(self, state: State, r: int) -> None:
        assert self._anchor is not None
        self._replace(state, self._anchor, r)

    def _replace(self, state: State, source: State, r: int) -> None:
        """Bring one replica to where it is in `source`, forces and energy included."""
        rows = self.layout.where(r, r + 1)
        state.put(rows, source.take(rows))

    def _retry(self, engine: Running) -> None:
        """Do the stretch again for the replicas that failed, with a shorter and shorter time step."""
        assert self._anchor is not None
        start, end = self._anchor.step, engine.state.step
        for level in range(1, RETRIES + 1):
            if not self._pending:
                return
            state = self._anchor.copy()
            state.step = start << level
            # another key: the finer steps must not repeat the noise of other steps of the run
            finer = engine.dynamics.finer(level, (engine.dynamics.seed + level * _SEED_STEP) % 2**32)
            failed = engine.choose(state, finer).advance(state, (end - start) << level)
            repaired = (failed < 0) & ~self._lost(state)
            for r in sorted(r for r in self._pending if repaired[r]):
                self._replace(engine.state, state, r)
                timestep_fs = finer.timestep * 1e3
                self._tell(end, "retry", self._pending.pop(r), from_step=start, timestep_fs=timestep_fs)

    def _find_energy_spikes(self, engine: Running) -> None:
        layout, state = self.layout, engine.state
        energy = state.energy.numpy()
        before = energy if self._energy is None else self._energy
        rise = energy - before
        limit = self._spike_per_kelvin * state.temperature.numpy()
        for r in np.flatnonzero((rise > limit) & ~self.frozen).tolist():
            for listener in self.listeners:
                listener(
                    state.step,
                    "energy spike",
                    replica=layout.replica_ids[r],
                    system=layout.systems[int(layout.system_of_replica[r])].name,
                    energy_kcal_mol=float(energy[r]),
                    rise_kcal_mol=float(rise[r]),
                )
        self._energy = energy.copy()

    def _find_force_spikes(self, engine: Running) -> None:
        if self.max_force is None:
            return
        size = engine.state.forces.norm(dim=1).numpy()
        largest = np.maximum.reduceat(size, self.layout.bead_offset[:-1])
        over = (largest > self.max_force) & ~self.frozen
        for r in np.flatnonzero(over & ~self._spiking):  # a spike that lasts is one event
            system = self.layout.systems[int(self.layout.system_of_replica[r])]
            bead = int(size[self.layout.rows(int(r))].argmax())
            for listener in self.listeners:
                listener(
                    engine.state.step,
                    "force spike",
                    replica=self.layout.replica_ids[int(r)],
                    system=system.name,
                    bead=system.bead_label(bead),
                    force_kcal_mol_A=float(largest[r]),
                )
        self._spiking = over

    def _tell(self, step: int, event: str, failure: Failure, **fields: Any) -> None:
        about = dataclasses.asdict(failure)
        about["failed_step"] = about.pop("step")
        for listener in self.listeners:
            listener(step, event, **about, **fields)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What a checkpoint must hold to resume identically."""
        found: dict[str, npt.NDArray[Any]] = {"frozen_since": self.frozen_since}
        if self._anchor is not None:
            found["anchor_step"] = np.array(self._anchor.step)
            found |= {f"anchor_{name}": getattr(self._anchor, name).numpy() for name in self._anchor.results()}
        return found

    def restore(self, arrays: Mapping[str, npt.NDArray[Any]], state: State) -> None:
        """Resume from a checkpoint's arrays; `state` is the engine's, already restored."""
        self.frozen_since[:] = arrays["frozen_since"]
        if not self._restores:
            return
        self._anchor = state.copy()  # temperatures have not changed since the boundary
        if "anchor_step" in arrays:
            self._anchor.step = int(arrays["anchor_step"])
            self._anchor.load({name: arrays[f"anchor_{name}"] for name in state.results()})


def _diagnosis(engine: Running, r: int, step: int) -> Failure:
    return diagnose(engine.layout, engine.potential, engine.state, r, step)

"""Energies and forces of one molecule's replicas for engines other than ours: OpenMM, ASE, TorchSim.

Such an engine asks for one evaluation after the other at positions that change little, so compiled tables are made once
and neighbor lists are kept from call to call.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any, Final, Protocol, get_args

import numpy as np
import torch

from mdflash.compiled.held_arguments import Kept, keep
from mdflash.core.geometry import whole
from mdflash.core.gpu import find_gpu, on_device, why_no_gpu
from mdflash.core.scale import other_unit
from mdflash.core.state import Layout, State
from mdflash.core.system import System
from mdflash.core.types import Box, Device, FloatArray, Precision
from mdflash.engine.blocks.compiled import CompiledPropagator, Crew
from mdflash.engine.blocks.evaluate import (
    HalfLists,
    evaluate_by_all_threads,
    evaluate_by_one_thread,
    evaluate_each,
)
from mdflash.engine.blocks.threads import over_ranges
from mdflash.engine.diagnosis import diagnose
from mdflash.engine.engine import Engine
from mdflash.engine.settings import Backend, Dynamics
from mdflash.errors import InputError, UnstableError
from mdflash.forcefields.build import build_potential
from mdflash.forcefields.model import ForceField
from mdflash.integrators.langevin import LangevinMiddle
from mdflash.potentials.pack import Packed
from mdflash.potentials.schnet.arrays import PairWork, make_pairs, make_work
from mdflash.potentials.schnet.potential import SchNetPotential
from mdflash.potentials.schnet.tables import FilterTables
from mdflash.potentials.schnet.tabulated import FORCE_ERROR, tables_for, together

SKIN: Final = 2.0
"""Å."""
_STRAINED: Final = 100.0
"""kcal/mol for each bead."""


class Evaluator:
    """A force field on replicas of one molecule, at positions from outside. Several threads may call it at a time.

    Args:
        forcefield: the force field.
        system: the molecule.
        replicas: number of copies, which do not interact.
        precision: arithmetic of networks, see `settings.Backend`.
        device: "cpu", or "cuda" for a GPU.

    Raises:
        ForceFieldError: the force field does not fit the molecule.
        InputError: there is no GPU, or no such precision or device.
    """

    def __init__(
        self,
        forcefield: ForceField,
        system: System,
        replicas: int = 1,
        precision: Precision = "fp32",
        device: Device = "cpu",
    ) -> None:
        check_options(precision, device)
        if device == "cuda" and (reason := why_no_gpu()) is not None:
            raise InputError(f"device 'cuda' was asked for, but no GPU can be used here: {reason}; write device='cpu'")
        self._made_of = forcefield, system, replicas, precision, device
        self.layout = Layout((system,), (replicas,))
        self.potential = build_potential([forcefield], self.layout)
        self._precision: Precision = precision
        self._device: Device = device
        self._setup = threading.Lock()
        self._backend: _Backend | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy makes its own tables and lists."""
        return Evaluator, self._made_of

    def __call__(self, positions: FloatArray, box: Box | None = None) -> tuple[FloatArray, FloatArray]:
        """Evaluate at `positions` [R * N, 3] in Å, float64; `box` holds the edges of a periodic box in Å.

        In a box, what its walls split is made whole first: bonded beads are nearer than half an edge.

        Returns:
            energies [R] in kcal/mol and forces [R * N, 3] in kcal/mol/Å.

        Raises:
            InputError: another shape, another unit than Å, or a box that is too small for the cutoff.
            UnstableError: energy or forces are not finite; names replica, bead and term.
        """
        x, energy, forces = self._values(positions, box)
        if not math.isfinite(sum(energy.tolist())):
            raise self._unstable(x, box, energy, forces)
        return energy, forces

    def wherever_finite(self, positions: FloatArray) -> tuple[FloatArray, FloatArray]:
        """As a call, but a replica whose energy or forces are not finite has the energy NaN and any forces.

        Raises:
            InputError: as of a call.
            UnstableError: a position is not finite where none has been evaluated before.
        """
        return self._values(positions, None)[1:]

    def _values(self, positions: FloatArray, box: Box | None) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Positions as they are evaluated, energies and forces."""
        if positions.shape != (self.layout.n_beads, 3):
            raise InputError(
                f"{self.layout.describe()} need positions [{self.layout.n_beads}, 3], found {list(positions.shape)}"
            )
        x = np.ascontiguousarray(positions, np.float64)
        if box is not None:
            if not all(0.0 < edge < math.inf for edge in box):
                raise InputError(f"the edges of the box must be more than 0 and finite, found {box} Å")
            system = self.layout.systems[0]
            x = whole(x.reshape(-1, system.n_beads, 3), system.bonds, box).reshape(-1, 3)
        backend = self._backend or self._set_up(x, box)
        energy, forces = np.empty(self.layout.n_replicas), np.empty_like(x)
        backend(x, box, energy, forces)
        if not abs(sum(energy.tolist())) < _STRAINED * self.layout.n_beads:  # which nothing but an odd start has
            self._refuse_other_unit(x)
        return x, energy, forces

    def _set_up(self, x: FloatArray, box: Box | None) -> _Backend:
        """Choose kernels and make tables, whose error is checked at the first positions there are."""
        with self._setup:
            if self._backend is None:
                if not np.isfinite(x).all():
                    raise self._unstable(x, box, np.full(self.layout.n_replicas, np.nan), x)
                self._refuse_other_unit(x)
                if self._device == "cuda":
                    self._backend = GpuEvaluator(self, self._precision)
                else:
                    engine = self._engine(x, None)
                    packed = isinstance(engine.propagator, CompiledPropagator)
                    self._backend = _Compiled(engine) if packed else _ByEngine(engine, self._engine)
            return self._backend

    def _refuse_other_unit(self, x: FloatArray) -> None:
        system = self.layout.systems[0]
        if np.isfinite(x).all() and (what := other_unit(system, x.reshape(-1, system.n_beads, 3))) is not None:
            number, _, rest = what.removeprefix("frame ").partition(": ")
            raise InputError(f"positions of replica {number} ({system.name}): {rest}")

    def _engine(self, x: FloatArray, box: Box | None) -> Engine:
        state = State.at(self.layout, x, 0.0, box)
        dynamics = Dynamics(LangevinMiddle(0.001, 1.0), seed=0, skin=SKIN)  # never makes a step
        return Engine(self.layout, self.potential, state, dynamics, Backend(precision=self._precision))

    def _unstable(self, x: FloatArray, box: Box | None, energy: FloatArray, forces: FloatArray) -> UnstableError:
        """The error that names the bead and term at fault; evaluates term by term, so only a failure pays for it."""
        system = self.layout.systems[0]
        lost = np.flatnonzero(~np.isfinite(x).all(axis=1))
        if len(lost):
            r, bead = divmod(int(lost[0]), system.n_beads)
            what = f"{system.bead_label(bead)} has no finite position"
        else:
            r = int(np.flatnonzero(~np.isfinite(energy))[0])
            what = diagnose(self.layout, self.potential, State.at(self.layout, x, 0.0, box), r, 0).what
            broken = np.flatnonzero(~np.isfinite(forces[self.layout.rows(r)]).all(axis=1))
            if len(broken):
                what = f"the force on {system.bead_label(int(broken[0]))} is not a number; {what}"
        return UnstableError(f"replica {r} ({system.name}) has no finite energy and forces: {what}")


def check_options(precision: str, device: str) -> None:
    """Raise InputError for a precision or device that there is not."""
    for name, value, known in (("precision", precision, get_args(Precision)), ("device", device, get_args(Device))):
        if value not in known:
            raise InputError(f"{name} must be one of {', '.join(known)}; found {value!r}")


class _Backend(Protocol):
    """Overwrites energy [R] and forces [B, 3] with what holds at x [B, 3]; NaN energy where something is not finite."""

    def __call__(self, x: FloatArray, box: Box | None, energy: FloatArray, forces: FloatArray) -> None: ...


class _ByEngine:
    """What the compiled kernels do not know: through the plain loop's own evaluation."""

    def __init__(self, engine: Engine, make: Callable[[FloatArray, Box | None], Engine]) -> None:
        self._engine, self._make, self._lock = engine, make, threading.Lock()

    def __call__(self, x: FloatArray, box: Box | None, energy: FloatArray, forces: FloatArray) -> None:
        with self._lock:
            if box != self._engine.state.box:
                self._engine = self._make(x, box)
            state = self._engine.state
            state.positions.copy_(torch.from_numpy(x))
            self._engine.evaluate()
            energy[:], forces[:] = state.energy.numpy(), state.forces.numpy()
        _spoil(x, energy, forces)


class GpuEvaluator:
    """The GPU's kernels."""

    def __init__(self, evaluator: Evaluator, precision: Precision) -> None:
        from mdflash.engine.gpu.forces import DeviceForces

        layout, terms = evaluator.layout, evaluator.potential.terms
        tables: dict[int, FilterTables] = {}
        for term in terms:
            if isinstance(term, SchNetPotential):
                tables |= tables_for(term, FORCE_ERROR[precision] / 2)

        self._gpu = find_gpu()

        def make(box: Box | None) -> DeviceForces:
            return DeviceForces(layout, terms, tables, precision, SKIN, box, self._gpu)

        self._make, self._forces = make, make(None)
        self._box: Box | None = None
        self._lock = threading.Lock()

    def __call__(self, x: FloatArray, box: Box | None, energy: FloatArray, forces: FloatArray) -> None:
        with self._lock, on_device(self._gpu):
            if box != self._box:
                self._box, self._forces = box, self._make(box)
            self._forces.x.copy_(torch.from_numpy(x))
            self._forces.evaluate()
            energy[:], forces[:] = self._forces.energy.cpu().numpy(), self._forces.f.cpu().numpy()
        _spoil(x, energy, forces)


def _spoil(x: FloatArray, energy: FloatArray, forces: FloatArray) -> None:
    """Make the energy of replicas with a position or force that is not finite NaN."""
    energy[~np.isfinite((x + forces).reshape(len(energy), -1)).all(axis=1)] = np.nan


_ALL_THREADS = threading.Lock()
"""One parallel kernel at a time: not every threading layer of numba bears two, and there are no more cores either."""


class _Compiled:
    """The compiled kernels, with lists that stay."""

    def __init__(self, engine: Engine) -> None:
        assert isinstance(engine.propagator, CompiledPropagator)
        self._packed = engine.propagator.packed
        self._replicas, self._beads = engine.layout.n_replicas, engine.layout.systems[0].n_beads
        networks = self._packed.networks
        self._crew = Crew() if networks is not None and together(engine.layout) else None
        self._cutoff = max(
            float(self._packed.nonbonded.cutoff[0]), 0.0 if networks is None else float(networks.weights.cutoff[0])
        )
        self._idle: list[_Scratch] = []

    def __call__(self, x: FloatArray, box: Box | None, energy: FloatArray, forces: FloatArray) -> None:
        try:
            scratch = self._idle.pop()
        except IndexError:
            scratch = _Scratch(self._packed, self._replicas, self._beads)
        if box != scratch.box:
            if box is not None and min(box) < 2 * self._cutoff:
                raise InputError(
                    f"the box {box} Å is too small: an edge must be at least twice the cutoff, {2 * self._cutoff:g} Å"
                )
            scratch.put_in(box)
        while pairs := self._launch(scratch, x, forces, energy):
            scratch.make_room(pairs + pairs // 4 + 64)
        self._idle.append(scratch)

    def _launch(self, scratch: _Scratch, x: FloatArray, forces: FloatArray, energy: FloatArray) -> int:
        """Evaluate; returns 0, or for how many pairs there should have been room."""
        if self._replicas == 1 and self._crew is None:
            return int(evaluate_by_one_thread(scratch.kept(0), x, forces, energy))
        free = _ALL_THREADS.acquire(blocking=False)
        try:
            if free and self._crew is None:
                pairs = np.empty(self._replicas, np.int64)
                over_ranges(evaluate_each, (*scratch.all_arguments(), x, forces, energy, pairs), self._replicas)
                return int(pairs.max())
            kernel = evaluate_by_one_thread
            if free and self._crew is not None:
                kernel = self._crew.time(evaluate_by_all_threads, self._replicas)
            needed = 0
            for r in range(self._replicas):
                rows = slice(r * self._beads, (r + 1) * self._beads)
                needed = max(needed, kernel(scratch.kept(r), x[rows], forces[rows], energy[r : r + 1]))
            return needed
        finally:
            if free:
                _ALL_THREADS.release()


class _Scratch:
    """What an evaluation keeps besides its results; used by one thread at a time."""

    def __init__(self, packed: Packed, replicas: int, beads: int) -> None:
        self._packed = packed
        self._start = np.zeros((replicas, packed.nonbonded.rows[0]), np.int64)  # of the priors' lists
        self._own_start = np.zeros((replicas, beads + 1), np.int64)  # of the network's
        self._built_at = np.full((replicas, beads, 3), np.nan)
        self._edges = np.zeros(3)
        self._work = None if packed.networks is None else make_work(packed.networks.weights, 0, beads)
        self.box: Box | None = None
        self.make_room(0)

    def make_room(self, pairs: int) -> None:
        """Room for that many pairs in every list; what was listed is forgotten."""
        self._neighbor = np.zeros((2, len(self._built_at), pairs), np.int64)
        networks = self._packed.networks
        self._pairs: PairWork | None = None if networks is None else make_pairs(networks.weights, 0, pairs)
        self._built_at[:] = np.nan
        self._kept: list[Kept] = [keep(self._arguments(r)) for r in range(len(self._built_at))]

    def put_in(self, box: Box | None) -> None:
        """The next evaluation is in this box, so what was listed is forgotten."""
        self.box = box
        self._edges[:] = 0.0 if box is None else box
        self._built_at[:] = np.nan

    def kept(self, r: int) -> Kept:
        """For `evaluate_by_one_thread` and `evaluate_by_all_threads`, of one replica."""
        return self._kept[r]

    def _arguments(self, r: int) -> tuple[object, ...]:
        packed = self._packed
        lists = HalfLists(
            SKIN, self._edges, self._start[r], self._neighbor[0, r], self._own_start[r], self._neighbor[1, r],
            self._built_at[r],
        )  # fmt: skip
        return packed.listed, packed.nonbonded, packed.networks, lists, self._pairs, self._work

    def all_arguments(self) -> tuple[object, ...]:
        """For `evaluate_each`."""
        packed = self._packed
        lists = HalfLists(
            SKIN, self._edges, self._start, self._neighbor[0], self._own_start, self._neighbor[1], self._built_at
        )
        return packed.listed, packed.nonbonded, packed.networks, lists

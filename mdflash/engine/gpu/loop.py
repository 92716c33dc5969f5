"""The loop on a GPU: a block of steps is a captured graph, replayed without the host in between.

With `network_every: k` a graph holds whole periods of k steps, and the steps before and after them are replayed one by
one; see `integrators.respa`. Rebuilding neighbor lists is decided on the device. Two things are read at the end of a
block: whether a list ran out of room (the block is then replayed from its start with more), and which replicas lost
their finite energy (they stand still from there on).
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch

from mdflash.core.state import Layout, State
from mdflash.core.types import Box, Precision
from mdflash.engine.gpu.forces import DeviceForces
from mdflash.engine.settings import Dynamics
from mdflash.integrators import triton as kernels
from mdflash.integrators.triton import device_scheme
from mdflash.potentials.base import Potential
from mdflash.potentials.schnet.split import SplitFilters
from mdflash.potentials.schnet.tables import FilterTables
from mdflash.potentials.schnet.triton.network import TILES, Tiles
from mdflash.units import BOLTZMANN

STEPS_PER_GRAPH = 16
"""About so many are captured together, beside single ones: launching a graph costs the host some microseconds."""

Pattern = tuple[int, ...]
"""Of steps in a row: how often the networks' forces count at the end of each."""


class CudaPropagator:
    """Runs a batch on a GPU, with the interface of `CompiledPropagator`.

    Args:
        layout: the batch.
        terms: its potentials; `gpu.forces.unsupported` must find nothing to object to.
        dynamics: see `engine.settings`.
        box: periodic edges in Å, or None.
        tables: filters of each network as tables or in parts, by `id`; None: exact filters inside the kernels.
        precision: arithmetic of the networks: "fp64", "fp32" or "mixed16".
        device: "cuda" ("cpu" through Triton's interpreter).
        graphs: capture graphs; without, every kernel is launched on its own.
        tiles: shapes of the kernels' tiles.

    Attributes:
        replayed: blocks that were done again with more room for neighbors.
    """

    kernels = "cuda"

    def __init__(
        self,
        layout: Layout,
        terms: Sequence[Potential],
        dynamics: Dynamics,
        box: Box | None,
        *,
        tables: Mapping[int, FilterTables | SplitFilters] | None,
        precision: Precision = "fp32",
        device: torch.device | str = "cuda",
        graphs: bool = True,
        tiles: Tiles = TILES,
    ) -> None:
        self.layout = layout
        self.forces = DeviceForces(layout, terms, tables, precision, dynamics.skin, box, device, tiles)
        self._device = self.forces.device
        forces = self.forces
        self._state = dataclasses.replace(
            State.empty(layout, self._device), positions=forces.x, forces=forces.f, energy=forces.energy
        )
        self._mass = layout.masses.to(self._device)
        self._kT = torch.zeros(layout.n_replicas, dtype=torch.float64, device=self._device)
        self._replica_id = torch.tensor(layout.replica_ids, dtype=torch.int64, device=self._device)
        self._seed = torch.tensor([dynamics.seed], dtype=torch.int64, device=self._device)
        self._scheme = device_scheme(dynamics.integrator, dynamics.remove_com_motion, self._device)
        self._every = dynamics.network_every if self.forces.has_networks else 1
        periods = self._every * (STEPS_PER_GRAPH // self._every)
        self._usual = self._pattern(0, periods or STEPS_PER_GRAPH)  # of a long one: steps without networks
        captures = graphs and self._device.type == "cuda"
        self._graphs: dict[Pattern, torch.cuda.CUDAGraph] | None = {} if captures else None
        self.replayed = 0

    def evaluate(self, state: State) -> None:
        """Bring energy and forces of the state up to date with its positions."""
        rooms = self.forces.rooms
        self.forces.x.copy_(state.positions)
        self.forces.evaluate()
        if self._graphs and self.forces.rooms != rooms:
            self._graphs.clear()  # they point to the lists that were too short
        state.energy.copy_(self.forces.energy)
        state.forces.copy_(self.forces.f)

    def advance(self, state: State, steps: int) -> npt.NDArray[np.int64]:
        """Run `steps` steps, in place.

        Returns:
            [R] the step at which a replica's energy stopped being finite (it stays there), or -1.
        """
        while True:
            self._upload(state)
            self._run(state.step, steps)
            if not self.forces.more_room():
                break
            self.replayed += 1
            if self._graphs:
                self._graphs.clear()
        for name in State.results():
            getattr(state, name).copy_(getattr(self._state, name))
        state.step += steps
        return self.forces.failed.cpu().numpy()

    def _upload(self, state: State) -> None:
        self.forces.refresh()
        self._state.assign(state)
        self._kT.copy_(BOLTZMANN * self._state.temperature)
        self.forces.step.fill_(state.step)
        self.forces.failed.fill_(-1)

    def _pattern(self, step: int, steps: int) -> Pattern:
        """Of `steps` steps from a step on: networks act at multiples of `network_every`, as impulses."""
        return tuple(self._every if now % self._every == 0 else 0 for now in range(step + 1, step + steps + 1))

    def _run(self, first: int, steps: int) -> None:
        """`steps` steps from step `first` on; forces and energy afterwards are of the whole potential."""
        impulses = self._every > 1
        if impulses:
            self.forces.launch(*self._pattern(first - 1, 1))  # of the step at which the block begins
        step, end = first, first + steps
        while step < end:
            size = len(self._usual)
            if step + size > end or self._pattern(step, size) != self._usual:
                size = 1
            self._replay(self._pattern(step, size))
            step += size
        if impulses:
            self.forces.step.sub_(1)  # what fails here has failed in the last step
            self.forces.launch()
            self.forces.step.add_(1)

    def _replay(self, pattern: Pattern) -> None:
        graph = self._graph(pattern)
        if graph is not None:
            graph.replay()
            return
        for times in pattern:
            self._one_step(times)

    def _one_step(self, times: int) -> None:
        forces = self.forces
        n, replicas, scheme = self.layout.n_beads, self.layout.n_replicas, self._scheme
        kernels.before_force[(-(-n // 128),)](
            forces.x, self._state.velocities, forces.f, self._mass, self._kT, forces.replica, forces.origin,
            self._replica_id, forces.failed, forces.step, scheme.coefficients, self._seed, n, MOTIONS=scheme.motions,
            COUNT=scheme.length, BLOCK=128, num_warps=4,
        )  # fmt: skip
        forces.launch(times)
        if scheme.last_kick or scheme.remove_com:
            kernels.after_force[(replicas,)](
                self._state.velocities, forces.f, self._mass, forces.bead_offset, forces.failed, scheme.coefficients,
                COUNT=scheme.length, LAST_KICK=scheme.last_kick, REMOVE_COM=scheme.remove_com, BLOCK=256, num_warps=4,
            )  # fmt: skip
        forces.step.add_(1)

    def _graph(self, pattern: Pattern) -> torch.cuda.CUDAGraph | None:
        """The captured graph of such steps; None without graphs, or where capturing fails (one message says so)."""
        if self._graphs is None:
            return None
        if pattern not in self._graphs:
            forces = self.forces
            changed = (*(getattr(self._state, name) for name in State.results()), forces.failed, forces.step)
            saved = [t.clone() for t in changed]
            try:
                for times in sorted(set(pattern)):
                    self._one_step(times)  # compiles what is not compiled yet: that cannot be captured
                torch.cuda.synchronize(self._device)
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph):
                    for times in pattern:
                        self._one_step(times)
            except torch.cuda.OutOfMemoryError:
                raise  # the batch can be split
            except RuntimeError as error:
                warnings.warn(f"no CUDA graphs here, kernels are launched one by one: {error}", stacklevel=2)
                self._graphs = None
            finally:
                for tensor, old in zip(changed, saved, strict=True):
                    tensor.copy_(old)
            if self._graphs is None:
                return None
            self._graphs[pattern] = graph
        return self._graphs[pattern]

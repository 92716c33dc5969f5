"""All forces of a batch on one device: neighbor list, networks, priors, biases, their sum. Nothing returns to the host.

What one evaluation launches: `prepare`; with near pairs `place`, `list_columns` (which returns at once for replicas
whose list still holds) and `near_pairs`; the listed priors, and (two launches) the biases; then for networks `build`
(which returns at once likewise), and for each `select_near` and its own kernels (where its filters are in parts, also
the tiles of its far pairs, and the rows of those in the middle); and `collect`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mdflash.core.state import Layout
from mdflash.core.types import Box, Precision
from mdflash.errors import InputError
from mdflash.integrators import triton as integrator_kernels
from mdflash.neighbors import triton as neighbors
from mdflash.neighbors.mapped import MappedLists
from mdflash.neighbors.tiles import Beads, TileLists
from mdflash.neighbors.verlet import check_box
from mdflash.potentials.base import EnergyForces, Pairs, Potential
from mdflash.potentials.bias.device import DeviceBiases, unsupported_bias
from mdflash.potentials.bias.function import FunctionBias
from mdflash.potentials.forms import ON_GPU
from mdflash.potentials.pack import pack
from mdflash.potentials.priors.device import Batch, DevicePriors, Near
from mdflash.potentials.priors.device_pairs import DevicePairs
from mdflash.potentials.priors.neighbor_term import NeighborTerm
from mdflash.potentials.priors.term import PriorTerm
from mdflash.potentials.schnet.network import SchNet
from mdflash.potentials.schnet.potential import SchNetPotential
from mdflash.potentials.schnet.split import SplitFilters
from mdflash.potentials.schnet.tables import FilterTables
from mdflash.potentials.schnet.triton.network import TILES, DeviceSchNet, NearList, Tiles, why_not
from mdflash.potentials.schnet.triton.with_backbone import JoinedSchNet

FIRST_CAPACITY = 256
"""Neighbors a bead has room for, before the first list is built."""
BOXES_FROM = 2048
"""Beads of the largest system from which on lists of networks are built by bounding boxes; not measured on a GPU."""


@dataclass(frozen=True)
class _Group:
    """Adjacent systems of the layout that share a network."""

    model: SchNet
    first_system: int
    last_system: int


def unsupported(terms: Sequence[Potential], layout: Layout, exact: bool) -> str | None:
    """Why the device kernels cannot evaluate these potentials; None if they can."""
    networks = [t for t in terms if isinstance(t, SchNetPotential)]
    for s, system in enumerate(layout.systems):
        mine = [t.networks[s] for t in networks if t.networks[s] is not None]
        if len(mine) > 1:
            return f"system '{system.name}' has {len(mine)} networks, the GPU kernels take one"
        for model in mine:
            assert model is not None
            reason = why_not(model, exact)
            if reason is not None:
                return reason
    own = [t for t in terms if isinstance(t, FunctionBias)]
    if own:
        return f"bias '{own[0].name}' is a function in Python, and has no GPU kernel"
    reason = unsupported_bias(terms)
    if reason is not None:
        return reason
    rest: list[Potential] = [t for t in terms if isinstance(t, (PriorTerm, NeighborTerm)) and t.form.name not in ON_GPU]
    rest += pack([t for t in terms if not isinstance(t, (SchNetPotential, NeighborTerm))], layout).rest
    if rest:
        return f"term '{rest[0].name}' has no GPU kernel"
    return None


class DeviceForces:
    """Energy and forces of a batch; see the module's docstring.

    Args:
        layout: the batch.
        terms: its potentials; `unsupported(terms, ...)` must be None.
        tables: filters of each network as tables or in parts, by `id`; None: exact filters inside the kernels.
        precision: arithmetic of the networks, beside which all else is float64; without networks, that of priors, and
            everything but "fp64" is float32.
        skin: Å.
        box: periodic edges in Å, or None.
        device: "cuda" (or "cpu", through Triton's interpreter).
        tiles: shapes of the kernels' tiles.

    Attributes:
        x: [B, 3] Å, float64: write the positions here.
        f: [B, 3] kcal/mol/Å, energy: [R] kcal/mol: read here.
        failed: [R] int64, the step at which a replica's energy was not finite, or -1; step: [1] int64.
        capacity: neighbors of a bead that there is room for; rooms: how often room was made.
    """

    def __init__(
        self,
        layout: Layout,
        terms: Sequence[Potential],
        tables: Mapping[int, FilterTables | SplitFilters] | None,
        precision: Precision,
        skin: float,
        box: Box | None,
        device: torch.device | str = "cuda",
        tiles: Tiles = TILES,
    ) -> None:
        reason = unsupported(terms, layout, exact=tables is None)
        if reason is not None:
            raise InputError(reason)
        self.layout, self.device, self._skin = layout, torch.device(device), skin
        self.dtype = torch.float64 if precision == "fp64" else torch.float32
        self._place_dtype = self.dtype if tables is None or precision == "fp64" else torch.int32
        networks = [t for t in terms if isinstance(t, SchNetPotential)]
        sizes = [system.n_beads for system in layout.systems]
        arithmetic = torch.float64 if networks else self.dtype
        packed = pack([t for t in terms if not isinstance(t, (SchNetPotential, NeighborTerm))], layout)
        self._priors = DevicePriors(packed.listed, sizes, arithmetic, self.device)
        self._pairs = DevicePairs(
            [t for t in terms if isinstance(t, NeighborTerm)], layout, skin, arithmetic, self.device
        )
        self._biases = DeviceBiases(packed.biases, self.device) if packed.biases.biases else None
        self._box = self._put(np.zeros(3) if box is None else np.array(box))
        self._periodic = box is not None
        self._index(layout, sizes)
        self._exclude(networks, sizes)
        cutoffs = np.zeros(len(sizes))
        groups = _groups(networks, layout)
        for group in groups:
            own = slice(group.first_system, group.last_system + 1)
            cutoffs[own] = np.maximum(cutoffs[own], group.model.hyper.cutoff)
        longest = max(float(cutoffs.max()), self._pairs.cutoff)
        check_box(box, longest + skin if longest else 0.0)
        reach = np.where(cutoffs > 0, cutoffs + skin, 0.0)[layout.system_of_replica]
        self._reach = self._put(reach)
        self._listed = bool(cutoffs.any())
        self._networks = [self._network(g, networks, tables, precision, tiles) for g in groups]
        self.rooms = 0
        self._allocate(layout)
        beads = self._beads()
        self._far = [self._tile_lists(beads, g, n) for g, n in zip(groups, self._networks, strict=True)]
        self._middle = [
            None if n.middle is None else MappedLists(beads, n.first, n.n, n.middle.mapped) for n in self._networks
        ]

    def _put(self, array: npt.NDArray[np.generic], dtype: torch.dtype | None = None) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device, dtype)

    def _index(self, layout: Layout, sizes: list[int]) -> None:
        system = layout.system_of_replica
        beads = np.diff(layout.bead_offset)
        replica = np.repeat(np.arange(layout.n_replicas), beads)
        origin = layout.bead_offset[:-1][replica]
        template = np.concatenate(([0], np.cumsum(sizes)))[system[replica]] + np.arange(layout.n_beads) - origin
        self.bead_offset = self._put(layout.bead_offset, torch.int32)
        self.replica = self._put(replica, torch.int32)
        self.origin = self._put(origin, torch.int32)
        self._template = self._put(template, torch.int32)
        self._system = self._put(system, torch.int32)
        boxes = -(-beads // neighbors.BOX_BEADS)
        self._large = max(sizes) >= BOXES_FROM
        self._box_offset = self._put(np.concatenate(([0], np.cumsum(boxes))), torch.int32)
        self._replica_of_box = self._put(np.repeat(np.arange(layout.n_replicas), boxes), torch.int32)

    def _exclude(self, networks: Sequence[SchNetPotential], sizes: list[int]) -> None:
        silent: list[npt.NDArray[np.int64]] = []
        for s in range(len(sizes)):
            mine = [t.excluded[s] for t in networks if t.networks[s] is not None]
            silent.append(mine[0] if mine else np.zeros((0, 2), np.int64))
        self._exclusions = self._csr(silent, sizes)

    def _csr(self, pairs: Sequence[npt.NDArray[np.int64]], sizes: list[int]) -> tuple[Tensor, Tensor]:
        """Pairs of each system, both directions, as a CSR over the beads of all systems."""
        first = np.concatenate(([0], np.cumsum(sizes)))
        both = [np.concatenate([p, p[:, ::-1]]) for p in pairs]
        owner = np.concatenate([p[:, 0] + first[s] for s, p in enumerate(both)])
        other = np.concatenate([p[:, 1] for p in both])
        order = np.lexsort((other, owner))
        start = np.searchsorted(owner[order], np.arange(first[-1] + 1))
        return self._put(start, torch.int32), self._put(np.append(other[order], 0), torch.int32)

    def _network(
        self, group: _Group, networks: Sequence[SchNetPotential],
        tables: Mapping[int, FilterTables | SplitFilters] | None, precision: Precision, tiles: Tiles,
    ) -> DeviceSchNet:  # fmt: skip
        layout = self.layout
        types = []
        for s in range(group.first_system, group.last_system + 1):
            owner = next(t for t in networks if t.networks[s] is not None)
            types.append(owner.types[s].repeat(layout.counts[s]))
        first = int(layout.bead_offset[layout.replica_offset[group.first_system]])
        table = None if tables is None else tables[id(group.model)]
        kind = DeviceSchNet if group.model.residual is None else JoinedSchNet
        return kind(group.model, table, torch.cat(types), first, precision, self.device, tiles)

    def _beads(self) -> Beads:
        return Beads(
            self.x, self._rebuild, self.replica, self._template, *self._exclusions, self._box, self._reach,
            self._periodic,
        )  # fmt: skip

    def _tile_lists(self, beads: Beads, group: _Group, network: DeviceSchNet) -> TileLists | None:
        """The tiles of far pairs, where a network has a far field."""
        if network.far is None:
            return None
        begin, end = (int(self.layout.replica_offset[s]) for s in (group.first_system, group.last_system + 1))
        return TileLists(beads, self.bead_offset[begin : end + 1], network.far.mapped, network.far.height)

    def _allocate(self, layout: Layout) -> None:
        n, r = layout.n_beads, layout.n_replicas

        def new(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=self.device)

        self.x, self.f, self._prior_forces = new(n, 3), new(n, 3), new(n, 3)
        self.energy, self._bead_energy = new(r), new(n)
        self.failed, self.step = new(r, dtype=torch.int64).fill_(-1), new(1, dtype=torch.int64)
        self._built_at, self._rebuild = new(n, 3).fill_(torch.nan), new(r, dtype=torch.int32)
        self._count, self._near_count = new(n, dtype=torch.int32), new(n, dtype=torch.int32)
        self._need = new(n, dtype=torch.int32)
        boxes = len(self._replica_of_box)
        self._box_center, self._box_half = new(boxes, 3), new(boxes, 3)
        slices = max((network.F // network.channels for network in self._networks), default=0)
        self._shares = new(max(slices, 1), n, 3, dtype=self.dtype)
        self._slices = slices
        most = max(system.n_beads for system in layout.systems) - 1
        self._make_room(min(most, FIRST_CAPACITY) if self._listed else 1)

    def _make_room(self, needed: int) -> None:
        # always whole multiples of 32, so that the same machine code serves any capacity: same bits
        self.capacity = -(-max(needed, 1) // 32) * 32
        self.rooms += 1
        n = self.layout.n_beads
        rows = n if self._listed else 1
        self._neighbor = torch.zeros(rows, self.capacity, dtype=torch.int32, device=self.device)
        near = n if self._networks else 1
        self._near = torch.zeros(near, self.capacity, dtype=torch.int32, device=self.device)
        self._place = torch.zeros(near, self.capacity, dtype=self._place_dtype, device=self.device)
        self._toward = torch.zeros(near, 3, self.capacity, dtype=self.dtype, device=self.device)
        self._built_at.fill_(torch.nan)
        self._need.zero_()

    @property
    def has_networks(self) -> bool:
        """Whether a system has a network."""
        return bool(self._networks)

    def refresh(self) -> None:
        """Bring biases to what they are on the host: before the first `launch` after they may have changed."""
        if self._biases is not None:
            self._biases.refresh()

    def launch(self, times: int = 1) -> None:
        """Energy and forces at `x`; returns before they are there.

        Args:
            times: how often the forces of networks count; 0: networks are left out, their energy too.
        """
        replicas, n = self.layout.n_replicas, self.layout.n_beads
        if times or self._pairs.layers:
            self._update_lists()
        if self._pairs.layers:
            self._pairs.launch(self.x, self._rebuild, self._box, self._periodic)
        batch = Batch(self.x, self.replica, self._system, self._template, self.origin)
        pairs = Near(self._pairs.energy, self._pairs.forces, self._pairs.energy.shape[1])
        self._priors.run(batch, pairs, self._pairs.layers, self._bead_energy, self._prior_forces)
        if self._biases is not None:
            self._biases.run(batch, pairs, self.bead_offset, self._bead_energy, self._prior_forces)
        for network, far, middle in zip(self._networks, self._far, self._middle, strict=True) if times else ():
            if far is not None:
                far.place()
            if middle is not None:
                middle.select(self._neighbor, self._count)
            neighbors.select_near[(network.n,)](
                self.x, self._neighbor, self._count, self._box, self._near, self._place, self._toward,
                self._near_count, self.capacity, network.first,
                CUTOFF=network.cutoff, PERIODIC=self._periodic, BLOCK=64, num_warps=1,
            )  # fmt: skip
            near = NearList(self._near, self._place, self._toward, self._near_count, self.capacity, far, middle)
            network.run(near, self._bead_energy, self._shares)
        integrator_kernels.collect[(replicas,)](
            self._prior_forces, self._bead_energy, self._shares, self.bead_offset, self.f, self.energy, self.failed,
            self.step, n, SLICES=self._slices if times else 0, TIMES=max(times, 1), BLOCK=256, num_warps=4,
        )  # fmt: skip

    def _update_lists(self) -> None:
        """Build all lists of replicas whose beads have moved too far."""
        neighbors.prepare[(self.layout.n_replicas,)](
            self.x, self._built_at, self.bead_offset, self._rebuild,
            LIMIT=0.25 * self._skin**2, BLOCK=1024 if self._large else 256, num_warps=8 if self._large else 4,
        )  # fmt: skip
        if self._listed:
            self._build_lists()
        for far in self._far:
            if far is not None:
                far.update()

    def _build_lists(self) -> None:
        listed = (
            self.x, self._rebuild, self.replica, self.bead_offset, self._template, *self._exclusions,
            self._box, self._reach, self._neighbor, self._count, self._need, self.capacity,
        )  # fmt: skip
        n = self.layout.n_beads
        if not self._large:
            neighbors.build[(n,)](*listed, PERIODIC=self._periodic, BLOCK=128, num_warps=2)
            return
        neighbors.bound[(len(self._replica_of_box),)](
            self.x, self._rebuild, self._replica_of_box, self._box_offset, self.bead_offset, self._box_center,
            self._box_half, BLOCK=neighbors.BOX_BEADS, num_warps=1,
        )  # fmt: skip
        neighbors.build_by_boxes[(n,)](
            *listed, self._box_offset, self._box_center, self._box_half,
            PERIODIC=self._periodic, CHUNK=128, num_warps=1,
        )  # fmt: skip

    def more_room(self) -> bool:
        """Whether a list overflowed since the last call; there is more room now, and the work is to be done again.

        Waits for the device.
        """
        needed = int(self._need.max()) if self._listed else 0
        more = [far.more_room() for far in self._far if far is not None]
        more += [self._pairs.lists.more_room()] if self._pairs.layers else []
        if needed <= self.capacity and not any(more):
            return False
        self._make_room(max(needed + needed // 8, self.capacity))
        return True

    def evaluate(self) -> None:
        """`launch` with biases as they are now, again if the lists needed more room; waits for the device."""
        self.refresh()
        self.launch()
        while self.more_room():
            self.launch()

    def neighbors_per_bead(self) -> float:
        """Mean number of neighbors in the tables' range at the last evaluation."""
        return float(self._near_count.double().mean())


def _groups(networks: Sequence[SchNetPotential], layout: Layout) -> list[_Group]:
    groups: list[_Group] = []
    for s in range(len(layout.systems)):
        model = next((t.networks[s] for t in networks if t.networks[s] is not None), None)
        if model is None:
            continue
        if groups and groups[-1].model is model and groups[-1].last_system == s - 1:
            groups[-1] = _Group(model, groups[-1].first_system, s)
        else:
            groups.append(_Group(model, s, s))
    return groups


class DevicePotential(Potential):
    """`DeviceForces` as a potential, for use from Python; it keeps its own neighbor list."""

    def __init__(self, forces: DeviceForces, name: str = "device") -> None:
        self.name, self.forces = name, forces

    def energy_and_forces(self, positions: Tensor, layout: Layout, pairs: Pairs | None) -> EnergyForces:
        assert layout.n_beads == self.forces.layout.n_beads
        self.forces.x.copy_(positions)
        self.forces.evaluate()
        return EnergyForces(self.forces.energy.to(positions), self.forces.f.to(positions))

"""A program for each replica that runs all steps of a block: small molecules, without launches for phases of a step.

A step of a molecule of 10 beads is some 35 launches of kernels that do next to nothing. Here one program of several
warps owns a replica: positions to neighbors, priors, network, forces, and the step, again and again, with barriers
where launches were. Programs do not meet, so any number of replicas and any grouping of steps give the same bits. The
sums are those of the other kernels over the same terms, in other trees: last bits differ from theirs.

Who is taken is decided in `whole_fits.py`, which says why not where not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import triton
import triton.language as tl
from torch import Tensor

from mdflash.compiled.activations import CODES
from mdflash.compiled.triton.philox import normal3
from mdflash.compiled.triton.vectors import load_vector
from mdflash.core.state import Layout, State
from mdflash.core.types import Precision
from mdflash.engine.gpu.whole_fits import network_of
from mdflash.engine.settings import Dynamics
from mdflash.integrators.triton import device_scheme, moved
from mdflash.potentials.base import Potential
from mdflash.potentials.bias.bias import Bias
from mdflash.potentials.bias.device import BiasTables, BiasWork, DeviceBiases
from mdflash.potentials.bias.grid_bias import GridBias
from mdflash.potentials.bias.triton import measure_one, push_one
from mdflash.potentials.pack import pack
from mdflash.potentials.priors.device import DevicePriors, ListedTables
from mdflash.potentials.priors.neighbor_term import NeighborTerm
from mdflash.potentials.priors.term import PriorTerm
from mdflash.potentials.priors.whole import WholePairs, bits_of, priors_of_all, whole_pairs
from mdflash.potentials.schnet.network import SchNet
from mdflash.potentials.schnet.potential import SchNetPotential
from mdflash.potentials.schnet.tables import FilterTables
from mdflash.potentials.schnet.triton.network import DeviceSchNet, Tiles
from mdflash.potentials.schnet.triton.whole import (
    Lists,
    NetworkWork,
    WholeNetwork,
    near_of_all,
    network_of_one,
)
from mdflash.units import ACCELERATION, BOLTZMANN

STEPS_PER_LAUNCH: Final = 2048
"""At most so many in one launch: a GPU that draws a screen ends programs that run for seconds."""
_ACCELERATION = tl.constexpr(ACCELERATION)


@dataclass(frozen=True)
class WholeShape:
    """How a program is cut: it changes speed, and the last bits. No GPU has measured any.

    Attributes:
        warps: of a program.
        rows, edges, channels: beads, neighbors of each, and channels of a tile of messages.
        tile: rows, columns and depth of a product.
        precision: of the products, see `schnet.triton.network.Tiles`.
        prior_rows: beads whose priors are evaluated at a time.
    """

    warps: int = 8
    rows: int = 16
    edges: int = 2
    channels: int = 64
    tile: tuple[int, int, int] = (16, 64, 32)
    precision: str = "ieee"
    prior_rows: int = 16


SHAPE: Final = WholeShape()
"""The default."""


class Particles(NamedTuple):
    """What a replica is and becomes; [B, 3] and [R], float64."""

    x: Tensor
    v: Tensor
    f: Tensor
    energy: Tensor
    failed: Tensor  # int64


class Bath(NamedTuple):
    """What moves it: kT [R] kcal/mol, replica_id [R] int64, step and seed [1] int64, coefficients of the scheme."""

    kT: Tensor
    replica_id: Tensor
    step: Tensor
    seed: Tensor
    coefficients: Tensor


class Molecule(NamedTuple):
    """One molecule: mass [N] float64 Da; silent [N] int64, bit j of row i where i and j exchange no message."""

    mass: Tensor
    silent: Tensor
    network: WholeNetwork
    listed: ListedTables
    pairs: WholePairs


class Work(NamedTuple):
    """Work arrays of every replica of a system; `prior_energy` [B] and `prior_forces` [B, 3] are those of the batch."""

    lists: Lists
    network: NetworkWork
    prior_energy: Tensor
    prior_forces: Tensor


class Biasing(NamedTuple):
    """The biases of the batch: bead_offset [R + 1] and system [R] int32 as their kernels read them."""

    bead_offset: Tensor
    system: Tensor
    tables: BiasTables
    work: BiasWork


@triton.jit(do_not_specialize=["steps", "first_bead", "first_replica", "beads"])
def whole(
    particles: tl.core.base_value, bath: tl.core.base_value, molecule: tl.core.base_value, work: tl.core.base_value,
    biasing: tl.core.base_value, steps: tl.tensor, first_bead: tl.tensor, first_replica: tl.tensor, beads: tl.tensor,
    MOTIONS: tl.constexpr, COUNT: tl.constexpr, LAST_KICK: tl.constexpr, REMOVE_COM: tl.constexpr, N: tl.constexpr,
    BLOCKS: tl.constexpr, F: tl.constexpr, WIDTHS: tl.constexpr, ACT: tl.constexpr,
    CUTOFF: tl.constexpr, INTERVALS: tl.constexpr, STEP: tl.constexpr, SHIFT: tl.constexpr, OCCUR: tl.constexpr,
    WIDTH: tl.constexpr, TERMS: tl.constexpr, PAIR_OCCUR: tl.constexpr, VARIABLES: tl.constexpr,
    VARIABLE_OCCUR: tl.constexpr, GRIDS: tl.constexpr, ROWS: tl.constexpr, EDGES: tl.constexpr,
    CHANNELS: tl.constexpr, TILE: tl.constexpr, PRECISION: tl.constexpr, PRIOR_ROWS: tl.constexpr,
) -> None:  # fmt: skip
    """`steps` steps of one replica of a system; 0: energy and forces where it is. A failed one stays where it is.

    Args:
        particles, bath, molecule, work: see above; biasing: `Biasing`, or () where VARIABLES is 0.
        first_bead, first_replica: of the system in the batch; beads: of the molecule.
        MOTIONS, COUNT, LAST_KICK, REMOVE_COM: of the scheme, see `integrators.triton`.
        VARIABLES: that biases act on; VARIABLE_OCCUR, GRIDS: see `bias.triton`.
        others: see `near_of_all`, `priors_of_all` and `network_of_one`.
    """
    p = tl.program_id(0).to(tl.int64)
    r = first_replica + p
    origin = first_bead + p * beads
    at = 3 * origin
    x = particles.x + at
    v = particles.v + at
    f = particles.f + at
    prior_energy = work.prior_energy + origin
    prior_forces = work.prior_forces + at
    n = tl.arange(0, N)
    inside = n < beads
    mass = tl.load(molecule.mass + n)
    per_mass = _ACCELERATION / mass
    thermal = tl.sqrt(tl.load(bath.kT + r) * per_mass)
    first = tl.load(bath.step)
    last = tl.maximum(steps, 1)
    failed = tl.load(particles.failed + r)
    k = steps * 0
    while (k < last) & (failed < 0):
        if steps > 0:
            _before(x, v, f, per_mass, thermal, bath, r, first + k, n, inside, MOTIONS, COUNT)
        priors_of_all(
            particles.x, origin, beads, molecule.listed, molecule.pairs, prior_energy, prior_forces, OCCUR,
            WIDTH, TERMS, PAIR_OCCUR, N, PRIOR_ROWS,
        )  # fmt: skip
        if VARIABLES:
            tl.debug_barrier()
            for j in range(0, VARIABLES):
                measure_one(
                    particles.x, biasing.bead_offset, biasing.system, biasing.tables, biasing.work, beads, r, j,
                    VARIABLE_OCCUR, False,
                )  # fmt: skip
                tl.debug_barrier()
            push_one(
                biasing.bead_offset, biasing.system, biasing.tables, biasing.work, work.prior_energy,
                work.prior_forces, r, GRIDS,
            )  # fmt: skip
        near_of_all(
            x, beads, molecule.silent, work.lists.near + p * (N * N), work.lists.place + p * (N * N),
            work.lists.toward + p * (3 * N * N), work.lists.length + p * N, CUTOFF, N, PRIOR_ROWS,
        )  # fmt: skip
        network_of_one(
            molecule.network, work.lists, work.network, p, BLOCKS, N, F, WIDTHS, ACT, INTERVALS, STEP, SHIFT,
            ROWS, EDGES, CHANNELS, TILE, PRECISION,
        )  # fmt: skip
        gx, gy, gz = load_vector(prior_forces, n, inside)
        sx, sy, sz = load_vector(work.network.share + p * (3 * N), n, inside)
        gx += sx.to(tl.float64)
        gy += sy.to(tl.float64)
        gz += sz.to(tl.float64)
        own = tl.load(prior_energy + n, mask=inside, other=0.0)
        own += tl.load(work.network.energy + p * N + n).to(tl.float64)
        energy = tl.sum(tl.where(inside, own, 0.0), axis=0)
        tl.store(particles.energy + r, energy)
        tl.store(f + 3 * n, gx, mask=inside)
        tl.store(f + 3 * n + 1, gy, mask=inside)
        tl.store(f + 3 * n + 2, gz, mask=inside)
        failed = tl.where(tl.abs(energy) < float("inf"), failed, first + k)
        if (steps > 0) & (failed < 0):  # noqa: SIM102 (the other is known when compiled)
            if LAST_KICK or REMOVE_COM:
                _after(v, gx, gy, gz, mass, tl.load(bath.coefficients + 2 * COUNT), n, inside, LAST_KICK, REMOVE_COM)
        tl.debug_barrier()
        k += 1
    tl.store(particles.failed + r, failed)


@triton.jit
def _before(
    x: tl.tensor, v: tl.tensor, f: tl.tensor, per_mass: tl.tensor, thermal: tl.tensor, bath: tl.core.base_value,
    r: tl.tensor, step: tl.tensor, n: tl.tensor, inside: tl.tensor, MOTIONS: tl.constexpr, COUNT: tl.constexpr,
) -> None:  # fmt: skip
    """A step of all beads up to the evaluation of the forces; as `integrators.triton.before_force`."""
    bead = n.to(tl.int64)
    nx, ny, nz = normal3(tl.load(bath.seed), tl.load(bath.replica_id + r), step, bead)
    px, py, pz = load_vector(x, n, inside)
    ux, uy, uz = load_vector(v, n, inside)
    ax, ay, az = load_vector(f, n, inside)
    px, ux = moved(px, ux, ax * per_mass, nx, thermal, bath.coefficients, MOTIONS, COUNT)
    py, uy = moved(py, uy, ay * per_mass, ny, thermal, bath.coefficients, MOTIONS, COUNT)
    pz, uz = moved(pz, uz, az * per_mass, nz, thermal, bath.coefficients, MOTIONS, COUNT)
    tl.debug_barrier()  # a thread may hold a bead that another one stores
    _store_vector(x, n, px, py, pz, inside)
    _store_vector(v, n, ux, uy, uz, inside)
    tl.debug_barrier()


@triton.jit
def _after(
    v: tl.tensor, gx: tl.tensor, gy: tl.tensor, gz: tl.tensor, mass: tl.tensor, kick: tl.tensor, n: tl.tensor,
    inside: tl.tensor, LAST_KICK: tl.constexpr, REMOVE_COM: tl.constexpr,
) -> None:  # fmt: skip
    """The rest of the step; as `integrators.triton.after_force`."""
    ux, uy, uz = load_vector(v, n, inside)
    if LAST_KICK:
        ux += kick * (gx * (_ACCELERATION / mass))
        uy += kick * (gy * (_ACCELERATION / mass))
        uz += kick * (gz * (_ACCELERATION / mass))
    if REMOVE_COM:
        m = tl.where(inside, mass, 0.0)
        all_of_it = tl.sum(m, axis=0)
        ux -= tl.sum(m * ux, axis=0) / all_of_it
        uy -= tl.sum(m * uy, axis=0) / all_of_it
        uz -= tl.sum(m * uz, axis=0) / all_of_it
    tl.debug_barrier()
    _store_vector(v, n, ux, uy, uz, inside)


@triton.jit
def _store_vector(to: tl.tensor, n: tl.tensor, x: tl.tensor, y: tl.tensor, z: tl.tensor, inside: tl.tensor) -> None:
    """Row n of a [.., 3] array."""
    tl.store(to + 3 * n, x, mask=inside)
    tl.store(to + 3 * n + 1, y, mask=inside)
    tl.store(to + 3 * n + 2, z, mask=inside)


class _Launch(NamedTuple):
    """The programs of one system: what they read, where they are in the batch, and what they are compiled for."""

    molecule: Molecule
    work: Work
    replicas: int
    where: tuple[int, int, int]
    constants: dict[str, Any]


class WholePropagator:
    """Runs a batch on a GPU, a program for each replica, with the interface of `CudaPropagator`.

    Args:
        layout: the batch.
        terms: its potentials; `whole_fits.why_not_whole` must find nothing to object to.
        dynamics: see `engine.settings`.
        tables: filters of each network by `id`.
        precision: arithmetic of the networks; all else is float64.
        device: "cuda" ("cpu" through Triton's interpreter).
        shape: how a program is cut; None: as its network asks for (`shape_for`).
    """

    def __init__(
        self, layout: Layout, terms: Sequence[Potential], dynamics: Dynamics, *, tables: Mapping[int, FilterTables],
        precision: Precision = "fp32", device: torch.device | str = "cuda", shape: WholeShape | None = None,
    ) -> None:  # fmt: skip
        self.layout, self._device = layout, torch.device(device)
        self._state = State.empty(layout, self._device)
        self._failed = torch.full((layout.n_replicas,), -1, dtype=torch.int64, device=self._device)
        scheme = device_scheme(dynamics.integrator, dynamics.remove_com_motion, self._device)
        self._bath = Bath(
            torch.zeros(layout.n_replicas, dtype=torch.float64, device=self._device),
            torch.tensor(layout.replica_ids, dtype=torch.int64, device=self._device),
            torch.zeros(1, dtype=torch.int64, device=self._device),
            torch.tensor([dynamics.seed], dtype=torch.int64, device=self._device),
            scheme.coefficients,
        )
        moving = {
            "MOTIONS": scheme.motions, "COUNT": scheme.length, "LAST_KICK": scheme.last_kick,
            "REMOVE_COM": scheme.remove_com,
        }  # fmt: skip
        packed = pack([t for t in terms if isinstance(t, (Bias, GridBias))], layout).biases
        self._biases = DeviceBiases(packed, self._device) if packed.biases else None
        self._biasing: Biasing | tuple[()] = ()
        moving |= {"VARIABLES": 0, "VARIABLE_OCCUR": 0, "GRIDS": 0}
        if self._biases is not None:
            of_biases, bias_work, constants = self._biases.whole()
            starts = torch.from_numpy(layout.bead_offset).to(self._device, torch.int32)
            self._biasing = Biasing(starts, torch.zeros_like(starts[1:]), of_biases, bias_work)
            moving |= constants
        self._prior_energy = torch.zeros(layout.n_beads, dtype=torch.float64, device=self._device)
        self._prior_forces = torch.zeros(layout.n_beads, 3, dtype=torch.float64, device=self._device)
        self._launches = []
        for s in range(len(layout.systems)):
            model = network_of(terms, s)
            assert model is not None
            launch = self._of_system(s, terms, model, tables[id(model)], precision, shape)
            self._launches.append(launch._replace(constants=launch.constants | moving))

    def _of_system(
        self, s: int, terms: Sequence[Potential], model: SchNet, tables: FilterTables, precision: Precision,
        shape: WholeShape | None,
    ) -> _Launch:  # fmt: skip
        layout, device = self.layout, self._device
        system, replicas = layout.systems[s], layout.counts[s]
        beads = system.n_beads
        n = max(16, 1 << (beads - 1).bit_length())
        owner = next(t for t in terms if isinstance(t, SchNetPotential) and t.networks[s] is not None)
        width = max(16, 1 << (model.hyper.filters - 1).bit_length())
        net = DeviceSchNet(model, tables, owner.types[s], 0, precision, device, Tiles(channels=width))
        shape = shape or shape_for(n, net.H, precision)
        parts = net.parts()
        # of this system alone: what else is in the batch must not change what its program is compiled for
        listed = [PriorTerm(t.name, t.form, [t.tables[s]]) for t in terms if isinstance(t, PriorTerm)]
        priors = DevicePriors(pack(listed, Layout((system,), (1,))).listed, [beads], torch.float64, device)
        pairs, forms = whole_pairs([t for t in terms if isinstance(t, NeighborTerm)], s, beads, n, device)
        itself = np.stack([np.arange(64), np.arange(64)], axis=1)
        silent = np.concatenate([itself, np.asarray(owner.excluded[s], np.int64).reshape(-1, 2)])
        mass = np.ones(n)
        mass[:beads] = system.masses
        molecule = Molecule(
            torch.from_numpy(mass).to(device), torch.from_numpy(bits_of(silent, beads, 64)).to(device),
            WholeNetwork.of(parts, n), priors.tables, pairs,
        )  # fmt: skip
        first = int(layout.replica_offset[s])
        where = (int(layout.bead_offset[first]), first, beads)
        constants = {
            "N": n, "BLOCKS": model.hyper.blocks, "F": net.F, "WIDTHS": tuple(parts.widths),
            "ACT": CODES[model.hyper.activation], "CUTOFF": net.cutoff, **net.table_shape(), **priors.occurring,
            "TERMS": len(pairs.code) if forms else 0, "PAIR_OCCUR": forms, "ROWS": min(shape.rows, n),
            "EDGES": shape.edges, "CHANNELS": min(shape.channels, net.F),
            "TILE": (min(shape.tile[0], n), *shape.tile[1:]),
            "PRECISION": shape.precision, "PRIOR_ROWS": min(shape.prior_rows, n), "num_warps": shape.warps,
        }  # fmt: skip
        lists, network = _work(replicas, n, net, model.hyper.blocks, parts.widths, precision)
        network.h[:, 0, :beads] = parts.first
        work = Work(lists, network, self._prior_energy, self._prior_forces)
        return _Launch(molecule, work, replicas, where, constants)

    def evaluate(self, state: State) -> None:
        """Bring energy and forces of the state up to date with its positions."""
        self._upload(state)
        self._run(0)
        state.energy.copy_(self._state.energy)
        state.forces.copy_(self._state.forces)

    def advance(self, state: State, steps: int) -> npt.NDArray[np.int64]:
        """Run `steps` steps, in place.

        Returns:
            [R] the step at which a replica's energy stopped being finite (it stays there), or -1.
        """
        self._upload(state)
        for begin in range(0, steps, STEPS_PER_LAUNCH):
            some = min(STEPS_PER_LAUNCH, steps - begin)
            self._run(some)
            self._bath.step.add_(some)
        for name in State.results():
            getattr(state, name).copy_(getattr(self._state, name))
        state.step += steps
        return self._failed.cpu().numpy()

    def _upload(self, state: State) -> None:
        if self._biases is not None:
            self._biases.refresh()
        self._state.assign(state)
        self._bath.kT.copy_(BOLTZMANN * self._state.temperature)
        self._bath.step.fill_(state.step)
        self._failed.fill_(-1)

    def _run(self, steps: int) -> None:
        """`steps` steps, or 0 for forces alone; returns before they are done."""
        state = self._state
        particles = Particles(state.positions, state.velocities, state.forces, state.energy, self._failed)
        for launch in self._launches:
            whole[(launch.replicas,)](
                particles, self._bath, launch.molecule, launch.work, self._biasing, steps, *launch.where,
                **launch.constants,
            )  # fmt: skip


def shape_for(n: int, features: int, precision: Precision) -> WholeShape:
    """The shape of a program for n beads (padded) and so many features, from counts of registers and products.

    One multiprocessor multiplies 128 pairs of fp32 numbers a cycle. That is enough for 10 beads with 64 features; with
    more, tensor cores take over: three products in tf32 (5e-7 of the rms force), or in bf16 (3e-5) beside tables in 16
    bits.
    """
    if n * features <= 16 * 64 or precision == "fp64":
        return SHAPE
    products = "bf16x3" if precision == "mixed16" else "tf32x3"
    return dataclasses.replace(SHAPE, tile=(min(n, 32), 128 if n == 16 else 64, 32), precision=products)


def _work(
    replicas: int, n: int, net: DeviceSchNet, blocks: int, widths: Sequence[int], precision: Precision
) -> tuple[Lists, NetworkWork]:  # fmt: skip
    """Work arrays of all replicas of a system."""
    dtype, device = net.dtype, net.device

    def new(*shape: int, of: torch.dtype = dtype) -> Tensor:
        return torch.zeros(replicas, *shape, dtype=of, device=device)

    place = torch.float64 if precision == "fp64" else torch.int32
    stored = torch.float16 if precision == "mixed16" else dtype
    lists = Lists(new(n, n, of=torch.int32), new(n, n, of=place), new(n, n, 3), new(n, of=torch.int32))
    network = NetworkWork(
        new(blocks, n, net.F, of=stored), new(blocks, n, net.H), new(n, net.H), new(n, net.H), new(n, net.H),
        new(n, net.F), new(n, net.F), new(n, net.F), tuple(new(n, width) for width in widths[1:]),
        tuple(new(n, width) for width in widths[1:-1]), new(n), new(n, 3),
    )  # fmt: skip
    return lists, network

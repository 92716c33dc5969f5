"""The fast twin of `SchNetPotential`: filter tables and compiled kernels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

import numba
import numpy as np
import torch
from torch import Tensor

from mdflash.compiled.jit import njit, prange
from mdflash.core.state import Layout
from mdflash.core.types import Box, FilterKind, FloatArray, IntArray, Precision
from mdflash.errors import ForceFieldError
from mdflash.neighbors.cpu import rebuild
from mdflash.neighbors.verlet import check_box
from mdflash.potentials.backbones.passes import MOST_STREAMS
from mdflash.potentials.base import EnergyForces, Pairs, Potential
from mdflash.potentials.schnet.arrays import Networks, Tables, Weights, make_pairs, make_work
from mdflash.potentials.schnet.cpu import TOGETHER_FROM, evaluate_alone, evaluate_together
from mdflash.potentials.schnet.network import SchNet
from mdflash.potentials.schnet.pack import pack_networks
from mdflash.potentials.schnet.potential import SchNetPotential
from mdflash.potentials.schnet.split import SplitFilters, split_filters
from mdflash.potentials.schnet.tables import (
    FilterTables,
    Sample,
    filter_tables,
    force_error,
    random_sample,
    samples_of,
)

FORCE_ERROR: Final[Mapping[Precision, float]] = MappingProxyType({"fp64": 1e-6, "fp32": 1e-5, "mixed16": 2e-3})
"""What the forces may be off, relative to their rms."""
TABLE_ERROR: Final[Mapping[Precision, float]] = MappingProxyType({"fp64": 5e-7, "fp32": 5e-6, "mixed16": 2e-4})
"""How much of it is for the tables, before they are rounded."""
BEYOND_16: Final = 20.0
"""As `tables.BEYOND`, for tables in 16 bits: forces off by 2 %, where they are many times larger than anywhere else."""


class Taken(NamedTuple):
    """What `take_networks` found: networks for the kernels, terms that are left, and messages for the user.

    `wide` are those whose tables need 32 bits in a batch where others have 16.
    """

    networks: Networks | None
    rest: tuple[Potential, ...]
    notes: tuple[str, ...]
    wide: Networks | None = None


def tables_for(potential: SchNetPotential, tolerance: float) -> dict[int, FilterTables]:
    """Filter tables of every network of a potential, by its `id`; as fine as the distances of its force field ask for.

    Raises:
        ForceFieldError: the tolerance of the forces (relative to their rms) cannot be met.
    """
    return {key: filter_tables(network, tolerance, samples) for key, network, samples in _samples(potential)}


def splits_for(potential: SchNetPotential, tolerance: float, middle: int = 0) -> dict[int, SplitFilters]:
    """As `tables_for`, with filters in parts; `middle`: see `split_filters`.

    Raises:
        ForceFieldError: the filters are not smooth enough, or the tolerance cannot be met.
    """
    return {
        key: split_filters(network, tolerance, samples, middle=middle) for key, network, samples in _samples(potential)
    }


def _samples(potential: SchNetPotential) -> list[tuple[int, SchNet, tuple[Sample, ...]]]:
    """Every network of a potential once, its `id` and the conformations that its tables are made for."""
    found = {}
    for network, distances in zip(potential.networks, potential.distances, strict=True):
        if network is not None:
            found[id(network)] = network, samples_of(network, distances)
    return [(key, *pair) for key, pair in found.items()]


def take_networks(
    terms: Sequence[Potential],
    layout: Layout,
    precision: Precision,
    positions: Tensor,
    filters: FilterKind = "auto",
) -> Taken:
    """Pack the SchNets among `terms` for the kernels.

    Args:
        terms: potentials of the batch.
        layout: the batch.
        precision: arithmetic of the kernels.
        positions: [B, 3] Å; the error of the tables is measured on the first replica of each system.
        filters: "table": what does not fit the kernels is an error; "auto": it is left behind, and a note explains why;
            "exact": every network is left behind, for plain torch.

    Raises:
        ForceFieldError: filters is "table", and a network does not fit; the message states why and what to do.
    """
    taken: list[SchNetPotential] = []
    wide: list[SchNetPotential] = []
    tables: dict[int, FilterTables] = {}
    notes: list[str] = []
    for term in terms:
        if not isinstance(term, SchNetPotential):
            continue
        if filters == "exact":
            notes.append(f"'{term.name}' runs in plain torch: only that has the exact filters on a CPU")
            continue
        try:
            _refuse_second_network(term, taken, layout)
            _refuse_backbone(term)
            own = precision
            new = tables_for(term, TABLE_ERROR[own])
            if precision == "mixed16" and (why := _too_coarse_in_16_bits(term, new)):
                own = "fp32"
                new = tables_for(term, TABLE_ERROR[own])
                wide.append(term)
                notes.append(f"'{term.name}' has tables in 32 bits, as with `precision: fp32`: {why}")
        except ForceFieldError as error:
            if filters == "table":
                raise
            notes.append(f"'{term.name}' runs in plain torch, which is much slower: {error}")
            continue
        notes += _table_notes(term, new, layout, positions, own)
        tables |= new
        taken.append(term)
    rest = tuple(t for t in terms if t not in taken)
    if wide and len(wide) == len(taken):
        wide, precision = [], "fp32"
    narrow = [t for t in taken if t not in wide]
    return Taken(
        pack_networks(narrow, tables, layout, precision) if narrow else None,
        rest,
        tuple(notes),
        pack_networks(wide, tables, layout, "fp32") if wide else None,
    )


def _refuse_second_network(term: SchNetPotential, taken: Sequence[SchNetPotential], layout: Layout) -> None:
    for s, network in enumerate(term.networks):
        if network is not None and any(other.networks[s] is not None for other in taken):
            raise ForceFieldError(
                f"system '{layout.systems[s].name}' has a second network, and the fast kernels take one"
            )


def _refuse_backbone(term: SchNetPotential) -> None:
    for network in term.networks:
        backbone = None if network is None else network.hyper.backbone
        if backbone is None or network is None or network.residual is None:
            continue
        if backbone.streams > MOST_STREAMS:
            raise ForceFieldError(f"the kernels take up to {MOST_STREAMS} streams, its backbone has {backbone.streams}")
        if not network.residual.has_twin:
            raise ForceFieldError(f"its residual rule '{backbone.rule}' has no compiled twin")


def _too_coarse_in_16_bits(term: SchNetPotential, tables: Mapping[int, FilterTables]) -> str:
    """Why the tables of a potential are not rounded to 16 bits; empty where they can be."""
    for key, network, samples in _samples(term):
        rounded, limit = tables[key].rounded(), FORCE_ERROR["mixed16"] / 2
        checks = [(s, limit) for s in samples] + [(random_sample(network), BEYOND_16 * limit if samples else limit)]
        for conformation, most in checks:
            error = force_error(network, rounded, conformation)
            if not error <= most:
                return f"16 bits put its forces off by {error:.1e} of their rms, more than {most:.0e}"
    return ""


class TableError(NamedTuple):
    """The error that a network's tables make on a conformation of one system; see `table_errors`."""

    system: str
    intervals: int
    bytes: int
    force_error: float


def table_errors(
    term: SchNetPotential,
    tables: Mapping[int, FilterTables],
    layout: Layout,
    positions: Tensor,
    precision: Precision,
) -> list[TableError]:
    """How far the tables, as `precision` keeps them, put off the forces on the first replica of each system.

    The error is that of the tables alone, in float64, relative to the rms of the forces, on the beads nearest to the
    middle of the molecule (`tables.SAMPLE_BEADS` of them).
    """
    found = []
    size = {"fp64": 8, "fp32": 4, "mixed16": 2}[precision]
    for s, network in enumerate(term.networks):
        if network is None:
            continue
        x = layout.view(positions, s)[0].detach().to("cpu", torch.float64).numpy()
        kept = tables[id(network)]
        shown = kept.rounded() if precision == "mixed16" else kept
        error = force_error(network, shown, Sample(x, term.types[s].numpy(), term.excluded[s]))
        found.append(TableError(layout.systems[s].name, kept.intervals, size * kept.rows.size, error))
    return found


def _table_notes(
    term: SchNetPotential, tables: Mapping[int, FilterTables], layout: Layout, positions: Tensor, precision: Precision
) -> list[str]:
    """What 16 bits cost; and where tables, which were made for a random chain, are worse on a start frame."""
    notes, limit = [], FORCE_ERROR[precision]
    for name, _, _, error in table_errors(term, tables, layout, positions, precision):
        if not error <= limit:
            notes.append(
                f"'{term.name}': on the start frame of '{name}' the filter tables put the forces off by {error:.1e} of "
                f"their rms, more than {limit:.0e}; `filters: exact` evaluates the network's own filters, slowly"
            )
        elif precision == "mixed16":
            notes.append(
                f"'{term.name}': tables in 16 bits put the forces on the start frame of '{name}' off by {error:.1e} of "
                "their rms"
            )
    return notes


def _over_replicas(
    team: bool,
) -> Callable[
    [Weights, Tables, IntArray | None, IntArray, IntArray, FloatArray, FloatArray, FloatArray, FloatArray], None
]:
    """Compile the loop over replicas: each by one thread, or all threads on one after the other; the same bits."""

    @njit(cache=True, parallel=False if team else {"prange": True, "numpy": False}, nogil=True)
    def loop(
        weights: Weights,  # these three as in `Networks`: a parallel loop takes no nested tuples
        tables: Tables,
        rules: IntArray | None,
        system: IntArray,  # [R]
        bead_offset: IntArray,  # [R + 1]
        box: FloatArray,  # [3] edges in Å, 0 for no box
        x: FloatArray,  # [B, 3] Å
        f: FloatArray,  # [B, 3] kcal/mol/Å, out
        energy: FloatArray,  # [R] kcal/mol, out
    ) -> None:
        for r in prange(energy.shape[0]):
            s = system[r]
            if weights.network[s] < 0:
                continue
            a, b = bead_offset[r], bead_offset[r + 1]
            row = weights.first[s] + s
            start, neighbor = np.zeros(b - a + 1, np.int64), np.empty(0, np.int64)
            neighbor = rebuild(
                x[a:b], weights.cutoff[s], box, weights.exclusion_start[row : row + b - a + 1], weights.exclusion,
                start, neighbor,
            )  # fmt: skip
            pairs, work = make_pairs(weights, s, neighbor.shape[0]), make_work(weights, s, b - a)
            if team:
                energy[r] = evaluate_together(
                    weights, tables, rules, s, box, start, neighbor, x[a:b], pairs, work, f[a:b]
                )
            else:
                energy[r] = evaluate_alone(weights, tables, rules, s, box, start, neighbor, x[a:b], pairs, work, f[a:b])

    return loop


_each = _over_replicas(team=False)
_together = _over_replicas(team=True)


def together(layout: Layout) -> bool:
    """Whether all threads should work on one replica after the other, instead of each on its own."""
    few = 2 * layout.n_replicas <= numba.get_num_threads()
    return few and max(system.n_beads for system in layout.systems) >= TOGETHER_FROM


class FlashSchNet(Potential):
    """Packed networks as one potential, for use from Python; the same bits as in a compiled block of steps.

    The neighbor list is built at every call, so `pairs` is not needed. Positions are taken in float64
    whatever the precision of the network's arithmetic.

    Args:
        networks: from `take_networks` or `pack.pack_networks`.
        box: periodic edges in Å, or None.
        name: how logs and errors call it.

    Raises:
        InputError: an edge of the box is shorter than twice the cutoff.
    """

    def __init__(self, networks: Networks, box: Box | None = None, name: str = "schnet") -> None:
        self.name = name
        self.networks = networks
        check_box(box, float(networks.weights.cutoff.max()))
        self._box = np.zeros(3) if box is None else np.array(box, np.float64)

    @staticmethod
    def of(
        potential: SchNetPotential,
        layout: Layout,
        precision: Precision = "fp64",
        tolerance: float | None = None,
        box: Box | None = None,
    ) -> FlashSchNet:
        """The fast twin of a reference potential.

        Args:
            potential: of the layout's systems.
            layout: its systems; evaluations may have other numbers of replicas.
            precision: of the arithmetic.
            tolerance: what the tables may add to the error of the forces, relative to their rms.
            box: periodic edges in Å, or None.

        Raises:
            ForceFieldError: its filters cannot be tabulated to the tolerance.
        """
        tables = tables_for(potential, TABLE_ERROR[precision] if tolerance is None else tolerance)
        return FlashSchNet(pack_networks([potential], tables, layout, precision), box, potential.name)

    def energy_and_forces(self, positions: Tensor, layout: Layout, pairs: Pairs | None) -> EnergyForces:
        x = positions.detach().to("cpu", torch.float64).contiguous().numpy()
        forces, energy = np.zeros_like(x), np.zeros(layout.n_replicas)
        kernel = _together if together(layout) else _each
        kernel(*self.networks, layout.system_of_replica, layout.bead_offset, self._box, x, forces, energy)
        return EnergyForces(torch.from_numpy(energy).to(positions), torch.from_numpy(forces).to(positions))

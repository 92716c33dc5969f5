"""The fast twin of `SchNetPotential`: filter tables and compiled kernels."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, Literal

import numba
import numpy as np
import torch
from torch import Tensor

from mdflash.errors import ForceFieldError
from mdflash.kernels import njit, prange
from mdflash.neighbors.cpu import build_half_list
from mdflash.potentials.base import EnergyForces, Pairs, Potential
from mdflash.potentials.schnet.cpu import (
    TOGETHER_FROM,
    Networks,
    evaluate_alone,
    evaluate_together,
    make_pairs,
    make_work,
)
from mdflash.potentials.schnet.pack import pack_networks
from mdflash.potentials.schnet.potential import SchNetPotential
from mdflash.potentials.schnet.tables import FilterTables, Sample, filter_tables, force_error
from mdflash.state import Layout
from mdflash.system import FloatArray, IntArray

Precision = Literal["fp64", "fp32"]

DTYPES: Final[Mapping[Precision, type[np.floating]]] = MappingProxyType({"fp64": np.float64, "fp32": np.float32})
FORCE_ERROR: Final[Mapping[Precision, float]] = MappingProxyType({"fp64": 1e-6, "fp32": 1e-5})
"""What the forces may be off, relative to their rms; half of it is for the tables."""


def tables_for(potential: SchNetPotential, tolerance: float) -> dict[int, FilterTables]:
    """Filter tables of every network of a potential, by its `id`.

    Raises:
        ForceFieldError: the tolerance of the forces (relative to their rms) cannot be met.
    """
    networks = {id(network): network for network in potential.networks if network is not None}
    return {key: filter_tables(network, tolerance) for key, network in networks.items()}


def take_networks(
    terms: Sequence[Potential], layout: Layout, precision: Precision, positions: Tensor
) -> tuple[Networks | None, tuple[Potential, ...]]:
    """Pack the SchNets among `terms` for the kernels; returns them and the terms that are left.

    What does not fit stays behind, with one warning that says why.

    Args:
        terms: potentials of the batch.
        layout: the batch.
        precision: of the kernels' arithmetic.
        positions: [B, 3] Å; the error of the tables is checked on the first replica of each system.
    """
    taken: list[SchNetPotential] = []
    tables: dict[int, FilterTables] = {}
    for term in terms:
        if not isinstance(term, SchNetPotential):
            continue
        try:
            _refuse_second_network(term, taken, layout)
            new = tables_for(term, FORCE_ERROR[precision] / 2)
        except ForceFieldError as error:
            warnings.warn(f"'{term.name}' runs in plain torch, which is much slower: {error}", stacklevel=2)
            continue
        _check_tables(term, new, layout, positions, FORCE_ERROR[precision])
        tables |= new
        taken.append(term)
    rest = tuple(t for t in terms if t not in taken)
    return (pack_networks(taken, tables, layout, DTYPES[precision]) if taken else None), rest


def _refuse_second_network(term: SchNetPotential, taken: Sequence[SchNetPotential], layout: Layout) -> None:
    for s, network in enumerate(term.networks):
        if network is not None and any(other.networks[s] is not None for other in taken):
            raise ForceFieldError(
                f"system '{layout.systems[s].name}' has a second network, and the fast kernels take one"
            )


def _check_tables(
    term: SchNetPotential, tables: Mapping[int, FilterTables], layout: Layout, positions: Tensor, limit: float
) -> None:
    """Warn where the tables, made for a random chain, are worse on a start frame."""
    for s, network in enumerate(term.networks):
        if network is None:
            continue
        x = layout.view(positions, s)[0].detach().to("cpu", torch.float64).numpy()
        error = force_error(network, tables[id(network)], Sample(x, term.types[s].numpy(), term.excluded[s]))
        if not error <= limit:
            warnings.warn(
                f"'{term.name}': on the start frame of '{layout.systems[s].name}' the filter tables put the forces off "
                f"by {error:.1e} of their rms, more than {limit:.0e}; kernels: reference has the exact filters",
                stacklevel=3,
            )


@njit(cache=True)
def _list(networks: Networks, system: int, box: FloatArray, x: FloatArray) -> tuple[IntArray, IntArray]:
    """The neighbour list of one replica, with no skin, and room for its pairs."""
    n = x.shape[0]
    row = networks.first[system] + system
    exclusion_start = networks.exclusion_start[row : row + n + 1]
    start, neighbor = np.zeros(n + 1, np.int64), np.empty(0, np.int64)
    reach = networks.cutoff[system]
    count = build_half_list(x, reach, box, exclusion_start, networks.exclusion, start, neighbor)
    neighbor = np.empty(count, np.int64)
    build_half_list(x, reach, box, exclusion_start, networks.exclusion, start, neighbor)
    return start, neighbor


@njit(cache=True, parallel={"prange": True, "numpy": False}, nogil=True)
def _each(
    networks: Networks, system: IntArray, bead_offset: IntArray, box: FloatArray, x: FloatArray, f: FloatArray,
    energy: FloatArray,
) -> None:  # fmt: skip
    for r in prange(energy.shape[0]):
        s = system[r]
        if networks.network[s] >= 0:
            a, b = bead_offset[r], bead_offset[r + 1]
            start, neighbor = _list(networks, s, box, x[a:b])
            pairs, work = make_pairs(networks, s, neighbor.shape[0]), make_work(networks, s, b - a)
            energy[r] = evaluate_alone(networks, s, box, start, neighbor, x[a:b], pairs, work, f[a:b])


@njit(cache=True, nogil=True)
def _together(
    networks: Networks, system: IntArray, bead_offset: IntArray, box: FloatArray, x: FloatArray, f: FloatArray,
    energy: FloatArray,
) -> None:  # fmt: skip
    for r in range(energy.shape[0]):
        s = system[r]
        if networks.network[s] >= 0:
            a, b = bead_offset[r], bead_offset[r + 1]
            start, neighbor = _list(networks, s, box, x[a:b])
            pairs, work = make_pairs(networks, s, neighbor.shape[0]), make_work(networks, s, b - a)
            energy[r] = evaluate_together(networks, s, box, start, neighbor, x[a:b], pairs, work, f[a:b])


def together(layout: Layout) -> bool:
    """Whether all threads should work on one replica after the other, instead of each on its own."""
    few = 2 * layout.n_replicas <= numba.get_num_threads()
    return few and max(system.n_beads for system in layout.systems) >= TOGETHER_FROM


class FlashSchNet(Potential):
    """Packed networks as one potential, for use from Python; the same bits as in a compiled block of steps.

    The neighbour list is built afresh at every call, so `pairs` is not needed. Positions are taken in float64
    whatever the precision of the network's arithmetic.

    Args:
        networks: from `take_networks` or `pack.pack_networks`.
        box: periodic edges in Å, or None.
    """

    def __init__(self, networks: Networks, box: tuple[float, float, float] | None = None) -> None:
        self.name = "schnet"
        self.networks = networks
        self._box = np.zeros(3) if box is None else np.array(box, np.float64)

    @staticmethod
    def of(
        potential: SchNetPotential,
        layout: Layout,
        precision: Precision = "fp64",
        tolerance: float | None = None,
        box: tuple[float, float, float] | None = None,
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
        tables = tables_for(potential, FORCE_ERROR[precision] / 2 if tolerance is None else tolerance)
        return FlashSchNet(pack_networks([potential], tables, layout, DTYPES[precision]), box)

    def energy_and_forces(self, positions: Tensor, layout: Layout, pairs: Pairs | None) -> EnergyForces:
        x = positions.detach().to("cpu", torch.float64).contiguous().numpy()
        forces, energy = np.zeros_like(x), np.zeros(layout.n_replicas)
        kernel = _together if together(layout) else _each
        kernel(self.networks, layout.system_of_replica, layout.bead_offset, self._box, x, forces, energy)
        return EnergyForces(torch.from_numpy(energy).to(positions), torch.from_numpy(forces).to(positions))

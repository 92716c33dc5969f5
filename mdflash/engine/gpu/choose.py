"""From the potentials of a batch to a propagator on a GPU: what fits its kernels, with which tables, and whether the
forces are right there.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import torch
from triton.runtime.errors import OutOfResources

from mdflash.core.gpu import describe, on_device
from mdflash.core.state import Layout, State
from mdflash.core.system import System
from mdflash.core.types import IN_PARTS, FilterKind, Precision
from mdflash.engine.blocks.compiled import CompiledPriors
from mdflash.engine.gpu.forces import DeviceForces, DevicePotential, unsupported
from mdflash.engine.gpu.loop import CudaPropagator
from mdflash.engine.gpu.memory_parts import MemoryParts
from mdflash.engine.gpu.whole import WholePropagator
from mdflash.engine.gpu.whole_fits import why_not_whole
from mdflash.engine.protocols import Chosen
from mdflash.engine.settings import Backend, Dynamics
from mdflash.errors import ForceFieldError, GpuRefused
from mdflash.potentials.base import Potential
from mdflash.potentials.bias.bias import Bias
from mdflash.potentials.bias.grid_bias import GridBias
from mdflash.potentials.pack import pack
from mdflash.potentials.priors.neighbor_term import NeighborTerm
from mdflash.potentials.priors.term import PriorTerm
from mdflash.potentials.schnet.potential import SchNetPotential
from mdflash.potentials.schnet.split import MIDDLE, SplitFilters
from mdflash.potentials.schnet.tables import FilterTables, Sample, exact_forces
from mdflash.potentials.schnet.tabulated import FORCE_ERROR, TABLE_ERROR, splits_for, tables_for

SHAKE: Final = 0.1
"""Å that beads of a start frame are moved by for a comparison: there a force may be 0, or have no direction."""
EXACT: Final = 1e-9
"""What forces without a network may be off in float64, relative to their rms."""
WRONG: Final = 10.0
"""A start frame with forces off by more than so many times what the precision allows is not run."""
BIAS_ERROR: Final = 1e-7
"""What the forces of biases may be off, relative to their rms: kernels of both machines compute in float64."""


def choose_on_gpu(
    layout: Layout, terms: Sequence[Potential], state: State, dynamics: Dynamics, backend: Backend
) -> Chosen:
    """A propagator on the GPU of the backend.

    Args:
        layout: the batch.
        terms: its potentials.
        state: where it starts; kernels are compiled, lists sized and forces checked there.
        dynamics, backend: see `engine.settings`; exact filters are evaluated in the kernels.

    Raises:
        GpuRefused: something in the batch has no kernel, the GPU is too small for one, or the forces of a network, of
            biases, or of a batch without a network, come out wrong.
    """
    assert backend.gpu is not None
    with on_device(backend.gpu):
        return _choose(layout, terms, state, dynamics, backend, backend.gpu)


def _choose(
    layout: Layout, terms: Sequence[Potential], state: State, dynamics: Dynamics, backend: Backend, device: torch.device
) -> Chosen:
    precision = backend.precision
    if backend.kernels == "reference":
        raise GpuRefused("the reference kernels run in plain torch on the CPU")
    if backend.filters in IN_PARTS and precision == "fp64":
        raise GpuRefused(
            f"`filters: {backend.filters}` multiplies numbers in 16 bits", "`precision: fp32` or `mixed16`"
        )
    tables, notes = _tables(terms, precision, backend.filters)
    reason = unsupported(terms, layout, exact=tables is None)
    if reason is not None:
        raise GpuRefused(reason)

    whole: dict[int, FilterTables] | None = None
    if backend.kernels == "whole":
        whole, note = _whole(layout, terms, state, dynamics, tables, precision, device)
        notes.append(note)

    def make(part: Layout) -> CudaPropagator | WholePropagator:
        if whole is not None:
            return WholePropagator(part, terms, dynamics, tables=whole, precision=precision, device=device)
        return CudaPropagator(part, terms, dynamics, state.box, tables=tables, precision=precision, device=device)

    propagator = MemoryParts(layout, make, device, notes.append, "cuda" if whole is None else "whole")
    try:
        notes += _check_networks(layout, terms, state, tables, precision, device)
        _check_biases(layout, terms, state, device)
        notes += _check_priors(layout, terms, state, precision, device)
        propagator.evaluate(state.copy())
    except OutOfResources as error:
        raise GpuRefused(f"the kernels do not fit {describe(device)}: {' '.join(str(error).split())}") from None
    propagator.note = lambda text: warnings.warn(text, stacklevel=2)
    return Chosen(propagator, tuple(notes))


def _whole(
    layout: Layout, terms: Sequence[Potential], state: State, dynamics: Dynamics,
    tables: Mapping[int, FilterTables | SplitFilters] | None, precision: Precision, device: torch.device,
) -> tuple[dict[int, FilterTables] | None, str]:  # fmt: skip
    """Tables for programs that own their replica, or None where the other kernels are to run; and a note."""
    instead = "`kernels: whole` is not for this batch, kernels are launched one by one"
    reason = why_not_whole(layout, terms, tables, dynamics, state.box)
    if reason is not None:
        return None, f"{instead}: {reason}"
    mine = {key: table for key, table in (tables or {}).items() if isinstance(table, FilterTables)}
    # biases are of replicas, all else of systems
    biased = any(isinstance(term, (Bias, GridBias)) for term in terms)
    batch = layout if biased else Layout(layout.systems, (1,) * len(layout.systems))
    x = torch.cat([layout.view(state.positions, s)[:n].flatten(0, 1) for s, n in enumerate(batch.counts)])
    x += SHAKE * torch.from_numpy(np.random.default_rng(0).normal(size=x.shape))
    there = State.at(batch, x, 1.0)
    try:
        WholePropagator(batch, terms, dynamics, tables=mine, precision=precision, device=device).evaluate(there)
        forces = DeviceForces(batch, terms, tables, precision, dynamics.skin, None, device)
        expected = DevicePotential(forces).energy_and_forces(x, batch, None).forces
    except OutOfResources as error:
        return None, f"{instead}: it does not fit {describe(device)}: {' '.join(str(error).split())}"
    error_ = float((there.forces - expected).square().mean().sqrt() / (expected.square().mean().sqrt() or 1.0))
    differ = f"near the start frames forces differ by {error_:.1e} of their rms from those of the other kernels"
    if not error_ <= WRONG * FORCE_ERROR[precision]:
        return None, f"{instead}: {differ}, please report it"
    return mine, f"one program for each replica runs all steps of a block; {differ}"


def _tables(
    terms: Sequence[Potential], precision: Precision, filters: FilterKind
) -> tuple[dict[int, FilterTables | SplitFilters] | None, list[str]]:
    """Tables of every network by its `id`, or its filters in parts, or None for exact filters; and notes."""
    if filters == "exact":
        return None, []
    tables: dict[int, FilterTables | SplitFilters] = {}
    networks = [term for term in terms if isinstance(term, SchNetPotential)]
    if filters in IN_PARTS:
        notes = []
        for term in networks:
            splits = splits_for(term, TABLE_ERROR[precision], MIDDLE if filters == "gathered" else 0)
            notes += [f"'{term.name}': {split.describe()}" for split in splits.values()]
            tables |= splits
        return tables, notes
    try:
        for term in networks:
            tables |= tables_for(term, TABLE_ERROR[precision])
    except ForceFieldError as error:
        if filters == "table" or precision == "mixed16":
            raise
        return None, [f"filters are evaluated exactly, in the kernels: {error}"]
    return tables, []


def _check_networks(
    layout: Layout,
    terms: Sequence[Potential],
    state: State,
    tables: dict[int, FilterTables | SplitFilters] | None,
    precision: Precision,
    device: torch.device,
) -> list[str]:
    """Compare every network's forces on the device with the float64 reference, about the middle of a start frame."""
    notes = []
    for term in terms:
        if not isinstance(term, SchNetPotential):
            continue
        for s, network in enumerate(term.networks):
            if network is None:
                continue
            x = layout.view(state.positions, s)[0].numpy()
            sample = Sample(x, term.types[s].numpy(), term.excluded[s]).core()
            batch = Layout((_chain(len(sample.positions)),), (1,))
            alone = SchNetPotential(term.name, [network], [sample.types], [sample.excluded])
            forces = DeviceForces(batch, [alone], tables, precision, 0.0, None, device)
            there = torch.from_numpy(np.ascontiguousarray(sample.positions))
            found = DevicePotential(forces).energy_and_forces(there, batch, None).forces.numpy()
            expected = exact_forces(network, sample)
            scale = np.sqrt((expected**2).mean()) or 1.0
            error, limit = float(np.sqrt(((found - expected) ** 2).mean()) / scale), FORCE_ERROR[precision]
            name = layout.systems[s].name
            if not error <= WRONG * limit:
                raise GpuRefused(
                    f"{describe(device)} puts the forces of '{term.name}' on the start frame of '{name}' off by "
                    f"{error:.1e} of their rms, and {precision} allows {limit:.0e}: the kernels are wrong there, "
                    "please report it"
                )
            notes.append(
                f"'{term.name}': on the start frame of '{name}' the forces of the GPU are off by {error:.1e} of their "
                f"rms{'' if error <= limit else f', more than {limit:.0e}'}"
            )
    return notes


def _check_priors(
    layout: Layout, terms: Sequence[Potential], state: State, precision: Precision, device: torch.device
) -> list[str]:
    """Compare the forces of a batch without networks with the CPU's, near a start frame of each system."""
    if any(isinstance(term, SchNetPotential) for term in terms):
        return []  # beside networks priors are float64
    priors = [term for term in terms if isinstance(term, (PriorTerm, NeighborTerm))]
    batch = Layout(layout.systems, (1,) * len(layout.systems))
    x = torch.cat([layout.view(state.positions, s)[0] for s in range(len(layout.systems))])
    x += SHAKE * torch.from_numpy(np.random.default_rng(0).normal(size=x.shape))
    packed = pack(priors, batch)
    priors = [term for term in priors if term not in packed.rest]
    expected = CompiledPriors(packed, state.box).energy_and_forces(x, batch, None).forces
    scale = float(expected.square().mean().sqrt())
    if not priors or not 0.0 < scale < float("inf"):
        return []
    forces = DeviceForces(batch, priors, {}, precision, 0.0, state.box, device)
    found = DevicePotential(forces).energy_and_forces(x, batch, None).forces
    error = float((found - expected).square().mean().sqrt()) / scale
    limit = EXACT if precision == "fp64" else FORCE_ERROR["fp32"]
    if not error <= WRONG * limit:
        raise GpuRefused(
            f"{describe(device)} puts the forces near the start frames off by {error:.1e} of their rms, and "
            f"{precision} allows {limit:.0e}: beads nearly in one place, or the kernels are wrong there",
            "" if precision == "fp64" else "`precision: fp64`",
        )
    how = "float64" if precision == "fp64" else "float32"
    return [f"forces are computed in {how}: near the start frames they are off by {error:.1e} of their rms"]


def _check_biases(layout: Layout, terms: Sequence[Potential], state: State, device: torch.device) -> None:
    """Compare the forces of all biases on the device with those of the CPU, near the start frames."""
    biases = [term for term in terms if isinstance(term, (Bias, GridBias))]
    if not biases:
        return
    x = state.positions + SHAKE * torch.from_numpy(np.random.default_rng(0).normal(size=state.positions.shape))
    forces = DeviceForces(layout, biases, None, "fp64", 0.0, None, device)
    found = DevicePotential(forces).energy_and_forces(x, layout, None).forces
    expected = CompiledPriors(pack(biases, layout)).energy_and_forces(x, layout, None).forces
    error = float((found - expected).norm() / (expected.norm() or 1.0))
    if not error <= BIAS_ERROR:
        names = ", ".join(f"'{bias.name}'" for bias in biases)
        raise GpuRefused(
            f"{describe(device)} puts the forces of the biases {names} near the start frames off by {error:.1e} of "
            f"their rms, and {BIAS_ERROR:.0e} is allowed: the kernels are wrong there, please report it"
        )


def _chain(n: int) -> System:
    """n beads that are nothing but beads."""
    return System(
        name="sample", types=("A",) * n, bead_names=("CA",) * n, residue_index=np.arange(n),
        residue_names=("UNK",) * n, residue_ids=tuple(range(1, n + 1)), chain_ids=("A",) * n, masses=np.ones(n),
        bonds=np.zeros((0, 2), np.int64),
    )  # fmt: skip

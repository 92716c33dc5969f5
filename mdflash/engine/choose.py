"""Which loop runs a batch: on a GPU, compiled, or one step at a time from Python."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mdflash.core.state import Layout, State
from mdflash.core.types import IN_PARTS, Precision
from mdflash.engine.blocks.compiled import CompiledPriors, CompiledPropagator
from mdflash.engine.blocks.plain import PlainPropagator
from mdflash.engine.protocols import Chosen
from mdflash.engine.settings import Backend, Dynamics
from mdflash.errors import GpuRefused, InputError
from mdflash.potentials.base import Potential, SumPotential
from mdflash.potentials.pack import pack
from mdflash.potentials.precision import Recentered
from mdflash.potentials.schnet.potential import SchNetPotential
from mdflash.potentials.schnet.tabulated import FlashSchNet, take_networks


def choose_propagator(
    layout: Layout, potential: Potential, state: State, dynamics: Dynamics, backend: Backend
) -> Chosen:
    """Choose the fastest propagator that supports every term of the potential.

    Args:
        layout: the batch.
        potential: what acts on it; built-in terms are compiled, others take the plain loop with the same results.
        state: where it starts; tables are checked there.
        dynamics, backend: see `settings`.

    Raises:
        InputError: incompatible settings; with `gpu_must` or filters that only a GPU has, a term without a GPU kernel.
        ForceFieldError: the filters of a network cannot be tabulated.
    """
    terms = potential.terms if isinstance(potential, SumPotential) else (potential,)
    if backend.gpu is None:
        chosen = _on_cpu(layout, terms, state, dynamics, backend)
        unheard = ("`kernels: whole` is for a GPU, and this runs on the CPU",) if backend.kernels == "whole" else ()
        return Chosen(chosen.propagator, (*unheard, *chosen.notes))
    from mdflash.engine.gpu.choose import choose_on_gpu  # imports triton, which a CPU need not have

    try:
        return choose_on_gpu(layout, terms, state, dynamics, backend)
    except GpuRefused as refused:
        if backend.gpu_must or backend.filters in IN_PARTS:
            raise
        chosen = _on_cpu(layout, terms, state, dynamics, backend)
        return Chosen(chosen.propagator, (f"running on the CPU: {refused.why}", *chosen.notes))


def _on_cpu(layout: Layout, terms: Sequence[Potential], state: State, dynamics: Dynamics, backend: Backend) -> Chosen:
    precision = backend.precision
    if backend.filters in IN_PARTS:
        raise InputError(
            f"is `{backend.filters}`, which is for the kernels of a GPU, and this runs on the CPU; write "
            "`filters: auto`",
            key="model.filters",
        )
    if backend.kernels == "reference":
        if precision == "mixed16" or backend.filters == "table":
            what = "precision: mixed16" if precision == "mixed16" else "filters: table"
            raise InputError(f"`{what}` needs filter tables; the reference has none: write `kernels: auto`")
        return Chosen(_plain(layout, _lowered(terms, precision), state, dynamics))
    packed = pack(terms, layout)
    networks, rest, notes, wide = take_networks(packed.rest, layout, precision, state.positions, backend.filters)
    if not rest and wide is None:
        packed = packed._replace(networks=networks, rest=())
        return Chosen(CompiledPropagator(layout, packed, dynamics, state.box), notes)
    compiled: list[Potential] = []
    if len(packed.rest) < len(terms):
        compiled.append(CompiledPriors(packed, state.box))
    compiled += [FlashSchNet(taken, state.box) for taken in (networks, wide) if taken is not None]
    return Chosen(_plain(layout, [*compiled, *_lowered(rest, precision)], state, dynamics), notes)


def _lowered(terms: Sequence[Potential], precision: Precision) -> list[Potential]:
    """Networks in the precision asked for; all else keeps float64, and sees where the replica is."""
    return [Recentered(t, torch.float32) if precision != "fp64" and _is_network(t) else t for t in terms]


def _plain(layout: Layout, terms: Sequence[Potential], state: State, dynamics: Dynamics) -> PlainPropagator:
    slow = [t for t in terms if dynamics.network_every > 1 and _is_network(t)]
    fast = SumPotential([t for t in terms if t not in slow])
    return PlainPropagator(layout, fast, dynamics, state.box, SumPotential(slow) if slow else None)


def _is_network(term: Potential) -> bool:
    """Whether `network_every` is about this term."""
    return isinstance(term.potential if isinstance(term, Recentered) else term, (SchNetPotential, FlashSchNet))

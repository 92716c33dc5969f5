"""Which batches `model.kernels: whole` is for: a program of a GPU owns a replica (`whole.py`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from mdflash.core.state import Layout
from mdflash.core.types import Box
from mdflash.engine.settings import Dynamics
from mdflash.potentials.base import Potential
from mdflash.potentials.bias.bias import Bias
from mdflash.potentials.bias.grid_bias import GridBias
from mdflash.potentials.bias.term_energy import TermEnergy
from mdflash.potentials.schnet.network import SchNet
from mdflash.potentials.schnet.potential import SchNetPotential
from mdflash.potentials.schnet.split import SplitFilters
from mdflash.potentials.schnet.tables import FilterTables

MOST_BEADS: Final = 64
"""Beads of a molecule: a row of pairs is one number of 64 bits."""
WIDEST: Final = 256
"""Features, filters and output widths."""


def why_not_whole(
    layout: Layout, terms: Sequence[Potential], tables: Mapping[int, FilterTables | SplitFilters] | None,
    dynamics: Dynamics, box: Box | None,
) -> str | None:  # fmt: skip
    """Why programs cannot own these molecules; None if they can. The other kernels of a GPU must take the batch."""
    if box is not None:
        return "the box is periodic"
    if tables is None:
        return "filters are exact"
    if any(isinstance(table, SplitFilters) for table in tables.values()):
        return "filters are in parts"
    if dynamics.network_every > 1:
        return "networks are impulses (`network_every`)"
    biases = [term for term in terms if isinstance(term, (Bias, GridBias))]
    if biases and len(layout.systems) > 1:
        return f"'{biases[0].name}' is a bias, and the batch has several systems"
    scaled = [bias.name for bias in biases if any(isinstance(v, TermEnergy) for v in bias.variables)]
    if scaled:
        return f"'{scaled[0]}' scales a term"
    for s, system in enumerate(layout.systems):
        model = network_of(terms, s)
        if model is None:
            return f"'{system.name}' has no network"
        if system.n_beads > MOST_BEADS:
            return f"'{system.name}' has {system.n_beads} beads, more than {MOST_BEADS}"
        reason = why_not_network(model)
        if reason is not None:
            return reason
    return None


def why_not_network(model: SchNet) -> str | None:
    """Why programs cannot hold this network; None if they can."""
    if model.residual is not None:
        return "a residual rule joins the blocks of the network"
    widest = max(model.hyper.features, model.hyper.filters, *model.hyper.output, 0)
    if widest > WIDEST:
        return f"a layer of the network is {widest} wide, more than {WIDEST}"
    return None


def network_of(terms: Sequence[Potential], system: int) -> SchNet | None:
    """The network that acts in a system, or None."""
    models = (t.networks[system] for t in terms if isinstance(t, SchNetPotential))
    return next((model for model in models if model is not None), None)

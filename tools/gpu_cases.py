"""What `gpu_check.py` measures: the standard systems as batches for the GPU's kernels, real or made."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

TIMESTEP = 0.004
SKIN = 2.0
FOLDED, EXTENDED = 0.029, 0.006
"""Beads/Å^3 of the systems that are made: about 160 and 50 neighbors within 15 Å."""


@dataclass(frozen=True)
class Case:
    """A batch: layout, potentials, network, start positions [B, 3] Å, box edges in Å or None."""

    layout: Any
    terms: Sequence[Any]
    network: Any
    x: np.ndarray
    box: tuple[float, float, float] | None = None

    def times(self, replicas: int) -> Case:
        """Replicas of a case of one; potentials know nothing of their number."""
        from mdflash.core.state import Layout

        return replace(self, layout=Layout(self.layout.systems, (replicas,)), x=np.tile(self.x, (replicas, 1)))

    def biased(self, which: str) -> Case:
        """With biases too: a variable, "term", "line", "plane", "space" or "all", see `gpu_systems.biases_for`."""
        from gpu_systems import biases_for

        beads = self.layout.systems[0].n_beads
        return replace(self, terms=[*self.terms, *biases_for(self.layout, self.terms, self.x[:beads])[which]])


@dataclass(frozen=True)
class Systems:
    """The systems by name: "folded", "extended", "chignolin", or the number of beads of `large`.

    Args:
        reference: the folder with the real models; where it is not there, systems of the same sizes are made.
        interpret: systems of the interpreter's size.
    """

    reference: Path
    interpret: bool

    @property
    def device(self) -> str:
        return "cpu" if self.interpret else "cuda"

    def real(self) -> bool:
        """Whether the reference models are at hand."""
        return not self.interpret and (self.reference / "mlcg").is_dir()

    def hyper(self, width: int = 128, filters: int = 128, blocks: int = 4, basis: int = 64) -> Any:
        from mdflash.potentials.schnet.network import Hyperparameters

        if self.interpret:
            return Hyperparameters(cutoff=15.0, types=25, features=16, filters=16, blocks=2, basis_size=16,
                                   filter_hidden=(16,), output=(16,))  # fmt: skip
        return Hyperparameters(cutoff=15.0, types=25, features=width, filters=filters, blocks=blocks, basis_size=basis)

    @functools.cache  # noqa: B019 (one of it a process)
    def described(self, name: str) -> Any:
        """A `cases.Case`: "folded", "extended", "chignolin", or the number of beads of `large`."""
        import cases

        if name.isdigit():
            return cases.large(int(name))
        if name == "chignolin":
            return cases.chignolin(self.reference)
        return cases.homeodomain(self.reference)[name == "extended"]

    @functools.cache  # noqa: B019 (one of it a process)
    def one(self, name: str) -> Case:
        """One replica of a case, the real model where it is at hand."""
        from gpu_systems import synthetic

        from mdflash.core.state import Layout
        from mdflash.forcefields.build import build_potential
        from mdflash.potentials.schnet.potential import SchNetPotential

        if not self.real() and not name.isdigit():
            if name == "chignolin":
                return Case(*synthetic(5 if self.interpret else 10, self.hyper(256, 128, 3, 33), 1, FOLDED))
            beads, density = 7 if self.interpret else 269, EXTENDED if name == "extended" else FOLDED
            return Case(*synthetic(beads, self.hyper(), 1, density))
        case = self.described(name)
        layout = Layout((case.system,), (1,))
        terms = list(build_potential([case.forcefield], layout).terms)
        network = next(t for t in terms if isinstance(t, SchNetPotential)).networks[0]
        return Case(
            layout, terms, network, self.relaxed(case, layout, terms) if name == "extended" else case.start, case.box
        )

    def relaxed(self, case: Any, layout: Any, terms: Sequence[Any]) -> np.ndarray:
        """Start positions on which no prior pulls hard: the extended chain is drawn, not sampled."""
        from mdflash.core.gpu import find_gpu
        from mdflash.core.state import State
        from mdflash.engine.engine import Engine
        from mdflash.engine.settings import Backend, Dynamics
        from mdflash.integrators.langevin import LangevinMiddle
        from mdflash.potentials.base import SumPotential
        from mdflash.potentials.schnet.potential import SchNetPotential

        priors = SumPotential([t for t in terms if not isinstance(t, SchNetPotential)])
        scheme, state = LangevinMiddle(TIMESTEP, 1.0), State.at(layout, case.start, 300.0)
        engine = Engine(layout, priors, state, Dynamics(scheme, seed=1), Backend(gpu=find_gpu()))
        engine.minimize(500)
        found: np.ndarray = engine.state.positions.numpy()
        return found

    @functools.cache  # noqa: B019 (one of it a process)
    def tables_of(self, network: Any) -> dict[int, Any]:
        """As a run makes them."""
        from mdflash.potentials.schnet.tables import filter_tables, tabulate
        from mdflash.potentials.schnet.tabulated import TABLE_ERROR

        tables = tabulate(network, 64) if self.interpret else filter_tables(network, TABLE_ERROR["fp32"])
        return {id(network): tables}

    @functools.cache  # noqa: B019 (one of it a process)
    def splits_of(self, network: Any, precision: str, rank: int | None, gathered: bool) -> dict[int, Any]:
        """Filters in parts; `rank`: with so many cosines, where not as a run makes them."""
        from mdflash.potentials.schnet.split import MIDDLE, RANKS, split_filters
        from mdflash.potentials.schnet.tabulated import TABLE_ERROR

        ranks = RANKS if rank is None else (rank,)
        tolerance = 0.1 if self.interpret else TABLE_ERROR[precision]  # type: ignore[index]
        return {id(network): split_filters(network, tolerance, ranks=ranks, middle=MIDDLE if gathered else 0)}

    def propagator(
        self, case: Case, precision: str, filters: str = "table", graphs: bool = True, tiles: Any = None, every: int = 1
    ) -> Any:
        """(CudaPropagator, State), evaluated; filters: table, exact, gathered, split (or split-16, split-32)."""
        from mdflash.core.state import State
        from mdflash.engine.gpu.loop import CudaPropagator
        from mdflash.engine.settings import Dynamics
        from mdflash.integrators.langevin import LangevinMiddle
        from mdflash.potentials.schnet.triton.network import TILES

        carrier = CudaPropagator(
            case.layout, case.terms, Dynamics(LangevinMiddle(TIMESTEP, 1.0), 2026, SKIN, network_every=every), case.box,
            tables=self.filters_of(case.network, precision, filters), precision=precision, device=self.device,  # type: ignore[arg-type]
            graphs=graphs, tiles=tiles or TILES,
        )  # fmt: skip
        state = State.at(case.layout, case.x, 300.0, case.box)
        rng = np.random.default_rng(1)
        spread = np.sqrt(0.0019872 * 300.0 * 418.4 / case.layout.masses.numpy())[:, None]
        state.velocities.copy_(torch.from_numpy(spread * rng.normal(size=(case.layout.n_beads, 3))))
        carrier.evaluate(state)
        return carrier, state

    def filters_of(self, network: Any, precision: str, filters: str) -> Any:
        """What the kernels take for these filters."""
        kind, _, rank = filters.partition("-")
        if kind in ("split", "gathered"):
            return self.splits_of(network, precision, int(rank) if rank else None, kind == "gathered")
        return None if filters == "exact" else self.tables_of(network)

    def tiny_case(self) -> Any:
        """A case of the interpreter's size, or one like chignolin where the real one is not at hand."""
        import cases
        from gpu_systems import chain, compact_walk, priors_for

        from mdflash.forcefields.model import Network
        from mdflash.forcefields.networks import schnet_weights
        from mdflash.potentials.schnet.network import SchNet

        n = 5 if self.interpret else 10
        x = compact_walk(n, np.random.default_rng(n), FOLDED)
        torch.manual_seed(0)
        model = SchNet(self.hyper(256, 128, 3, 33))
        model.output[-1].weight.data *= 0.02  # type: ignore[operator, union-attr]
        network = Network("SchNet", "schnet", model.hyper.to_dict(), schnet_weights(model))
        return cases.Case("tiny", replace(priors_for(x), networks=(network,)), chain(n), x)

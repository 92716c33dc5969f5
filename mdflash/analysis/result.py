"""What `mdflash analyze` knows of a run and of each of its molecules; the page is made from it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from mdflash.analysis import ladder, reweight
from mdflash.analysis.against.findings import EnsembleResult
from mdflash.analysis.experiment.compare import ExperimentResult
from mdflash.analysis.free_energy import Surface
from mdflash.analysis.hills import Filled
from mdflash.analysis.kinetics import Kinetics
from mdflash.analysis.numbers import Measured
from mdflash.analysis.open_run import Run
from mdflash.analysis.phases import Phases
from mdflash.analysis.pulling import Pulled
from mdflash.analysis.sample import Progress, Sample
from mdflash.analysis.statistics import Equilibration
from mdflash.analysis.verdict import Light
from mdflash.analysis.walkers import Walked
from mdflash.analysis.windows import Windows
from mdflash.io.claims import refuse_links

ENERGY: Final = "energy"
"""The name of the potential energy among observables."""
BIAS: Final = "bias"
"""The name of the energy of biases among them."""


@dataclass(eq=False)
class MoleculeAnalysis:
    """What is known of one molecule.

    Attributes:
        sample: its frames.
        equilibration: what is left out, and the step from which on frames count.
        first_step: that step.
        measured: by observable.
        energy: of log.csv, likewise; without the biases, where `bias` is known.
        bias: the energy of all biases of a replica, from colvars.csv, likewise; None: none, or not known.
        key: the observable that tells most: Q, RMSD from the reference, or Rg.
        focus: the state that pictures are of.
        walk: its exchange.
        acceptance: [K - 1] between neighboring states, or empty.
        melting: where states are temperatures.
        surfaces: free energies.
        windows: umbrella sampling.
        filled: metadynamics.
        pulled: biases that moved.
        walked: the weighted ensemble, or why it tells nothing yet.
        lacking: why biases that changed tell nothing yet, in sentences.
        kinetics: the slowest motions, of replicas that keep their state.
        passages: of folding and unfolding, all replicas.
        phases: of a box of many chains.
        lights: what must hold.
        sentences: the verdict.
        notes: what is missing, and why.
        annealed: ps until which the temperature moved; 0 where it did not.
        biased: what biases do to the means, in a sentence; empty without them.
        experiment: the frames against what was measured.
        against: the frames against a reference ensemble.
    """

    sample: Sample
    equilibration: Equilibration
    first_step: int
    measured: dict[str, Measured]
    energy: Measured | None
    key: str
    focus: int
    bias: Measured | None = None
    walk: ladder.Walk | None = None
    acceptance: list[float | None] = field(default_factory=list)
    exchange_ps: float = 0.0
    melting: reweight.Melting | None = None
    surfaces: list[Surface] = field(default_factory=list)
    surface_kelvin: float = math.nan
    windows: list[Windows] = field(default_factory=list)
    filled: list[Filled] = field(default_factory=list)
    pulled: list[Pulled] = field(default_factory=list)
    walked: Walked | str | None = None
    lacking: list[str] = field(default_factory=list)
    kinetics: Kinetics | None = None
    passages: int | None = None
    phases: Phases | None = None
    lights: list[Light] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    annealed: float = 0.0
    biased: str = ""
    experiment: ExperimentResult | None = None
    against: EnsembleResult | None = None

    @property
    def name(self) -> str:
        return self.sample.molecule.name

    @property
    def length(self) -> float:
        """ps of the longest replica."""
        return max((float(t.times[-1]) for t in self.sample.tracks if len(t)), default=0.0)

    @property
    def left_out(self) -> float:
        """ps before equilibrium."""
        for t in self.sample.tracks:
            if len(t):
                rows = np.flatnonzero(t.steps >= self.first_step)
                return float(t.times[rows[0]] if len(rows) else t.times[-1])
        return 0.0


@dataclass(eq=False)
class Analysis:
    """What is known of a run.

    Attributes:
        run: where it is.
        manifest: as it was when the analysis began.
        molecules: by name.
        events: of the run, in order.
        notes: what is missing, of the run as a whole.
    """

    run: Run
    manifest: dict[str, Any]
    molecules: dict[str, MoleculeAnalysis]
    events: list[dict[str, Any]]
    notes: list[str]

    def __repr__(self) -> str:
        """The verdict, and a table of means."""
        from mdflash.analysis.report.results import table

        parts = [f"<Analysis of {self.run.folder}>"]
        for m in self.molecules.values():
            parts += [*m.sentences, table(m)]
        return "\n".join(part for part in parts if part)

    def numbers(self) -> dict[str, Any]:
        """For JSON; NaN is null."""
        from mdflash.analysis.report.results import as_json

        return as_json(self)

    def write(self, folder: Path | None = None, progress: Progress = lambda what, done, total: None) -> Path:
        """Write report.html, properties.csv and analysis.json into `folder` (default: analysis/ in the run folder).

        Returns:
            The path of the page.
        """
        from mdflash.analysis.report.page import write_page

        if folder is None:
            refuse_links(self.run.folder, ["analysis"])
        return write_page(self, folder or self.run.folder / "analysis", progress)

"""The sections of the page, in order: each makes its figures from what is known of a molecule.

What a run was biased or split for is its answer, and comes first.

To add a section: write a file with a function from `MoleculeAnalysis` to figures, and list it here.
"""

from __future__ import annotations

from collections.abc import Sequence

from mdflash.analysis.report.sections.against import against
from mdflash.analysis.report.sections.base import Section
from mdflash.analysis.report.sections.biases import biases
from mdflash.analysis.report.sections.chain import chain
from mdflash.analysis.report.sections.distributions import distributions
from mdflash.analysis.report.sections.exchange import exchange
from mdflash.analysis.report.sections.experiment import experiment
from mdflash.analysis.report.sections.metadynamics import metadynamics
from mdflash.analysis.report.sections.phases import phases
from mdflash.analysis.report.sections.pulling import pulling
from mdflash.analysis.report.sections.series import time_series
from mdflash.analysis.report.sections.slow import slow
from mdflash.analysis.report.sections.structure import structure
from mdflash.analysis.report.sections.walkers import walkers

SECTIONS: Sequence[Section] = (
    Section("walkers", "Weighted ensemble", "A flux on a plateau, by many arrivals without common ancestors.", walkers),
    Section("metadynamics", "Metadynamics", "A free energy that no longer changes.", metadynamics),
    Section("pulling", "Pulling", "Work that is hardly more than the free energy.", pulling),
    Section("biases", "Umbrella windows", "Windows that overlap.", biases),
    Section("series", "Over time", "Replicas that cross each other, and no drift after the start.", time_series),
    Section("distributions", "Distributions and free energies", "Halves of the run that agree.", distributions),
    Section("experiment", "Experiment", "A simulation that agrees before it is reweighted.", experiment),
    Section("against", "Against a reference ensemble", "Free energies that agree within the errors.", against),
    Section(
        "phases", "Dense and dilute phase", "A slab with flat sides, and concentrations that do not drift.", phases
    ),
    Section("exchange", "Exchange and temperature", "Replicas that walk up and down, and a smooth curve.", exchange),
    Section("structure", "Structure", "Contacts that belong to the fold, and those that do not.", structure),
    Section("slow", "Slow motions", "Timescales well below the length of the run.", slow),
    Section("chain", "Size of the chain", "Whether it behaves as a globule or as a coil.", chain),
)

"""The observables of `mdflash analyze`, in the order in which they are shown.

To add one: write a file that describes it, and list it here. Series, tables, pictures, errors and the page follow.
"""

from __future__ import annotations

from mdflash.analysis.observables.asphericity import ASPHERICITY
from mdflash.analysis.observables.base import Observable, Profile
from mdflash.analysis.observables.between import BETWEEN
from mdflash.analysis.observables.condensation import CONDENSATION
from mdflash.analysis.observables.dihedrals import DIHEDRALS
from mdflash.analysis.observables.end_to_end import END_TO_END
from mdflash.analysis.observables.fluctuation import FLUCTUATION
from mdflash.analysis.observables.native_contacts import NATIVE_CONTACTS
from mdflash.analysis.observables.of_chains import CHAIN_ENDS, CHAIN_RG
from mdflash.analysis.observables.pairs import PAIRS
from mdflash.analysis.observables.rg import RG
from mdflash.analysis.observables.rmsd import RMSD, RMSD_START
from mdflash.analysis.observables.secondary import SECONDARY
from mdflash.analysis.observables.spread import SPREAD

OBSERVABLES: tuple[Observable, ...] = (
    NATIVE_CONTACTS, RMSD, RMSD_START, RG, END_TO_END, ASPHERICITY, CONDENSATION, CHAIN_RG, CHAIN_ENDS,
    SPREAD,
)  # fmt: skip
"""A number of each frame."""

PROFILES: tuple[Profile, ...] = (PAIRS, BETWEEN, FLUCTUATION, SECONDARY, DIHEDRALS)
"""Arrays averaged over frames."""

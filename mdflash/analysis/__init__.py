"""What a run has sampled: functions on arrays, loaded when they are used.

Positions are [F, N, 3] in Å; energies in kcal/mol; temperatures in K. `mdflash.open_run(folder).analyze()` puts them to
work.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "measures": (
        "asphericity", "end_to_end", "fraction_of_contacts", "gyration_moments", "hydrodynamic_radius",
        "native_contacts", "radius_of_gyration", "rmsd", "rmsf", "scaling_exponent", "superpose",
    ),
    "secondary": ("p_sea",),
    "markov": ("clusters", "count_matrix", "markov_model", "metastable", "reversible", "timescales"),
    "report.comparison": ("write_comparison",),
    "experiment.bme": ("Points", "bme", "choose_theta", "chosen_theta", "scan_theta"),
    "experiment.debye": ("debye",),
    "experiment.file": ("load_experiment",),
    "experiment.form_factors": ("form_factors",),
    "against.compare": ("Axis", "compare"),
    "statistics": ("detect_equilibration", "gelman_rubin", "ratio_mean", "resample", "statistical_inefficiency"),
    "reweight": ("mbar", "melting", "overlap_matrix", "weights"),
    "free_energy": ("surface",),
    "ladder": ("round_trips", "second_eigenvalue", "walk"),
    "tics": ("tica",),
    "condensate": ("fit_interface", "transfer_free_energy"),
}  # fmt: skip
_NAMES = {name: module for module, names in _HOME.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'mdflash.analysis' has no attribute '{name}'")
    return getattr(import_module(f"mdflash.analysis.{_NAMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_NAMES)

"""An mdflash force field as an ASE calculator.

from mdflash.ase import MdflashCalculator, make_atoms

calculator = MdflashCalculator("go-chignolin")
atoms = make_atoms(calculator.system, positions)
atoms.calc = calculator
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mdflash.core.optional import require
from mdflash.core.system import System
from mdflash.core.types import Box, Device, FloatArray, Precision
from mdflash.engine.evaluator import Evaluator
from mdflash.errors import InputError
from mdflash.forcefields.forcefield import load_forcefield
from mdflash.forcefields.model import ForceField
from mdflash.units import DIMENSIONS

require("ase", "ase", "the ASE calculator")

from ase import Atoms  # noqa: E402 (after the message that explains how to install it)
from ase.calculators.calculator import Calculator, all_changes  # noqa: E402

__all__ = ["EV", "MdflashCalculator", "make_atoms"]

EV = DIMENSIONS["energy"]["eV"]
"""eV in kcal/mol."""


def make_atoms(system: System, positions: FloatArray) -> Any:
    """The beads of a System as `ase.Atoms`, with their masses, shown as carbon; `positions` [N, 3] in Å.

    TorchSim takes them too: `ts.integrate(system=[atoms, ...], model=MdflashModel(...))`.
    """
    return Atoms("C" * system.n_beads, positions=positions, masses=system.masses)


class MdflashCalculator(Calculator):
    """Energy (eV) and forces (eV/Å) of one molecule; its atoms are the beads, in their order.

    In a periodic cell, beads may be wrapped: what bonds join is made whole. Chains that no bond joins are taken where
    they are, so let them run free where terms list beads of both.

    Args:
        forcefield: a folder, the name of a shipped one, or a ForceField.
        system: the molecule, or its name where it came with the force field; None: the only one that did.
        precision: arithmetic of networks.
        device: "cpu" or "cuda".

    Raises:
        ForceFieldError: the force field cannot be read, or does not fit the molecule.
    """

    implemented_properties = ["energy", "free_energy", "forces"]  # noqa: RUF012 (ASE wants a list)

    def __init__(
        self,
        forcefield: ForceField | Path | str,
        system: System | str | None = None,
        *,
        precision: Precision = "fp32",
        device: Device = "cpu",
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        ff = forcefield if isinstance(forcefield, ForceField) else load_forcefield(forcefield)
        self.system = system if isinstance(system, System) else ff.system(system)[0]
        self._evaluator = Evaluator(ff, self.system, 1, precision, device)

    def calculate(
        self, atoms: Any = None, properties: Sequence[str] = ("energy",), system_changes: Sequence[str] = all_changes
    ) -> None:
        """Evaluate; ASE calls this.

        Raises:
            InputError: another number or order of atoms than of beads, or a cell that is not rectangular.
            UnstableError: energy or forces are not finite; names bead and term.
        """
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        beads: Any = self.atoms
        _check_order(beads, self.system)
        energy, forces = self._evaluator(beads.positions, _box(beads))
        self.results = {"energy": energy[0] / EV, "free_energy": energy[0] / EV, "forces": forces / EV}


def __dir__() -> list[str]:
    return sorted(__all__)


def _check_order(atoms: Any, system: System) -> None:
    """InputError where the masses are those of the beads in another order: nothing else tells atoms of `make_atoms`."""
    masses = atoms.get_masses()
    if np.array_equal(masses, system.masses) or masses.shape != system.masses.shape:
        return
    if np.allclose(masses, system.masses, rtol=1e-4, atol=0.0):
        return
    if np.allclose(np.sort(masses), np.sort(system.masses), rtol=1e-4, atol=0.0):
        bead = int(np.argmax(np.abs(masses - system.masses)))
        raise InputError(
            f"the atoms are in another order than the beads of {system.name}: atom {bead} has the mass "
            f"{masses[bead]:.6g} Da, and {system.bead_label(bead)} has {system.masses[bead]:.6g} Da; keep the order "
            "that make_atoms gives"
        )


def _box(atoms: Any) -> Box | None:
    if not atoms.pbc.any():
        return None
    edges = np.diagonal(atoms.cell.array)
    if not atoms.pbc.all() or np.count_nonzero(atoms.cell.array - np.diag(edges)):
        raise InputError(
            "mdflash knows rectangular boxes that are periodic along all of x, y and z, found "
            f"pbc={atoms.pbc.tolist()} and cell={atoms.cell.tolist()}; write atoms.pbc = False for no box"
        )
    x, y, z = edges.tolist()
    return x, y, z

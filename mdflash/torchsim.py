"""An mdflash force field as a model of TorchSim.

    import torch_sim as ts
    from mdflash.torchsim import MdflashModel

    model = MdflashModel("go-chignolin")
    state = model.make_state(model.molecules[0], positions)  # [replicas, N, 3] in Å
    final = ts.integrate(
        state, model, integrator=ts.integrators.nvt_langevin, n_steps=1000, temperature=300, timestep=0.004
    )

The system may also be ASE's: `system=[make_atoms(molecule, x) for x in positions]`, from `mdflash.ase`.

TorchSim knows atoms by their atomic numbers. Beads have none, so the number of a bead is its type: the place of the
type in the force field, counted from 1; a molecule is recognized by the numbers of its beads. Atoms of `make_atoms` are
all carbon; they are recognized by their masses.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mdflash.core.optional import require
from mdflash.core.system import System
from mdflash.core.types import Box, Device, FloatArray, Precision
from mdflash.engine.evaluator import Evaluator, check_options
from mdflash.errors import ForceFieldError, InputError
from mdflash.forcefields.forcefield import load_forcefield
from mdflash.forcefields.model import ForceField
from mdflash.units import DIMENSIONS

require("torch_sim", "torchsim", "the TorchSim model")

import torch_sim as ts  # noqa: E402 (after the message that explains how to install it)
from torch_sim.models.interface import ModelInterface  # noqa: E402

__all__ = ["EV", "MdflashModel"]

EV = DIMENSIONS["energy"]["eV"]
"""eV in kcal/mol."""
CARBON = 6
"""What `mdflash.ase.make_atoms` shows beads as."""


class MdflashModel(ModelInterface):  # type: ignore[misc]
    """Energies (eV) and forces (eV/Å) of a batch of molecules; there is no stress.

    In a periodic cell, beads may be wrapped: what bonds join is made whole. Chains that no bond joins are taken where
    they are, so let them run free where terms list beads of both. Cells must be rectangular.

    Args:
        forcefield: a folder, the name of a shipped one, or a ForceField.
        molecules: molecules that a batch may hold; None: all that came with the force field. Where no term lists beads
            (for example a network alone), a batch may hold any other collection of known beads too.
        precision: arithmetic of networks.
        device: where networks are evaluated.
        dtype: floating point type of the tensors that TorchSim passes and receives.

    Raises:
        ForceFieldError: the force field cannot be read, or does not fit a molecule.
        InputError: another argument is wrong, or two molecules have the same beads and cannot be told apart.
    """

    def __init__(
        self,
        forcefield: ForceField | Path | str,
        molecules: Sequence[System] | None = None,
        *,
        precision: Precision = "fp32",
        device: Device = "cpu",
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__()
        check_options(precision, device)
        if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
            raise InputError(f"dtype must be a floating point type, found {dtype}; write dtype=torch.float64")
        if molecules is not None:
            molecules = [molecules] if isinstance(molecules, System) else molecules
            if wrong := next((m for m in molecules if not isinstance(m, System)), None):
                raise InputError(f"molecules must be Systems, as of ForceField.system(name), found {wrong!r}")
        ff = forcefield if isinstance(forcefield, ForceField) else load_forcefield(forcefield)
        self.forcefield = ff
        self.molecules = tuple(molecules) if molecules is not None else tuple(system for system, _ in ff.systems)
        self._by_numbers: dict[tuple[int, ...], System] = {}
        for system in self.molecules:
            known = self._by_numbers.setdefault(tuple(self.numbers(system).tolist()), system)
            if known != system:
                raise InputError(
                    f"the molecules {known.name} and {system.name} have the same beads, so TorchSim cannot tell them "
                    "apart; name those of a batch: molecules=[forcefield.system(NAME)[0]]"
                )
        self._evaluators: dict[tuple[tuple[int, ...], int], Evaluator] = {}
        self._precision: Precision = precision
        self._evaluate_on: Device = device
        self._device, self._dtype = torch.device(device), dtype
        self._compute_forces, self._compute_stress = True, False
        self._memory_scales_with = "n_atoms_x_density"

    def numbers(self, system: System) -> Tensor:
        """[N] what stands for atomic numbers."""
        return torch.from_numpy(self.forcefield.type_indices(system) + 1)

    def make_state(self, system: System | Sequence[System], positions: FloatArray | Sequence[FloatArray]) -> Any:
        """Replicas of a molecule as `torch_sim.SimState`, not periodic.

        Args:
            system: the molecule, such as `model.molecules[0]`; or a list of molecules.
            positions: [R, N, 3] in Å, or [N, 3] of one replica; of a list of molecules, one of these for each.

        Raises:
            InputError: no System, or positions of another shape.
        """
        if isinstance(system, (list, tuple)):
            if len(system) != len(positions) or not system:
                raise InputError(f"expected positions for each of {len(system)} molecules, found {len(positions)}")
            return ts.concatenate_states([self.make_state(s, x) for s, x in zip(system, positions, strict=True)])
        if not isinstance(system, System):
            raise InputError(
                f"expected a System, such as model.molecules[0], or a list of them, found {type(system).__name__}"
            )
        x = torch.as_tensor(np.asarray(positions), dtype=self._dtype, device=self._device)
        x = x[None] if x.ndim == 2 else x
        if x.shape[1:] != (system.n_beads, 3):
            raise InputError(f"{system.name} has {system.n_beads} beads, found positions {list(x.shape)}")
        replicas, n = x.shape[:2]
        masses = torch.from_numpy(system.masses.copy()).to(x)
        cell = torch.eye(3, dtype=x.dtype, device=x.device).repeat(replicas, 1, 1)
        return ts.SimState(
            positions=x.reshape(-1, 3),
            masses=masses.repeat(replicas),
            cell=1000.0 * cell,
            pbc=False,
            atomic_numbers=self.numbers(system).to(x.device).repeat(replicas),
            system_idx=torch.arange(replicas, device=x.device).repeat_interleave(n),
        )

    def forward(self, state: Any, **_: Any) -> dict[str, Tensor]:
        """Energy [systems] and forces [atoms, 3] of a `torch_sim.SimState`, or of its dictionary.

        Raises:
            ForceFieldError: beads that are no molecule of this model.
            InputError: a cell that is not rectangular or too small.
            UnstableError: energy or forces are not finite; names bead and term.
        """
        if isinstance(state, dict):
            state = ts.SimState(**(state | {"masses": torch.ones_like(state["positions"])}))
        x = state.positions.detach().to("cpu", torch.float64).numpy()
        sizes = torch.bincount(state.system_idx, minlength=state.n_systems)
        ends = np.cumsum(sizes.cpu().numpy())
        numbers, masses = state.atomic_numbers.tolist(), state.masses.detach().cpu().double().numpy()
        groups: dict[tuple[tuple[int, ...], Box | None], list[int]] = {}
        for s, (end, size) in enumerate(zip(ends, sizes.tolist(), strict=True)):
            key = self._known_by(tuple(numbers[end - size : end]), masses[end - size : end]), _box(state, s)
            groups.setdefault(key, []).append(s)
        energy, forces = np.empty(len(ends)), np.empty_like(x)
        for (kind, box), members in groups.items():
            rows = np.concatenate([np.arange(ends[s] - len(kind), ends[s]) for s in members])
            energy[members], forces[rows] = self._evaluator(kind, len(members))(x[rows], box)
        return {
            "energy": torch.from_numpy(energy / EV).to(self._device, self._dtype),
            "forces": torch.from_numpy(forces / EV).to(self._device, self._dtype),
        }

    def _known_by(self, numbers: tuple[int, ...], masses: FloatArray) -> tuple[int, ...]:
        """The numbers of the molecule that these atoms are, which are others where `make_atoms` made them."""
        if numbers in self._by_numbers or set(numbers) != {CARBON}:
            return numbers
        found = [
            (kind, system.name)
            for kind, system in self._by_numbers.items()
            if masses.shape == system.masses.shape and np.allclose(masses, system.masses, rtol=1e-5, atol=0.0)
        ]
        if len(found) > 1:
            raise ForceFieldError(
                f"a system of {len(numbers)} carbons may be any of {', '.join(name for _, name in found)}, whose "
                "masses are the same; give model.make_state(molecule, positions)"
            )
        return found[0][0] if found else numbers

    def _evaluator(self, kind: tuple[int, ...], count: int) -> Evaluator:
        if (kind, count) not in self._evaluators:
            system = self._by_numbers.get(kind) or self._loose_beads(kind)
            self._evaluators[kind, count] = Evaluator(
                self.forcefield, system, count, self._precision, self._evaluate_on
            )
        return self._evaluators[kind, count]

    def _loose_beads(self, kind: tuple[int, ...]) -> System:
        """Beads without bonds, for a force field that needs to know no more than their types."""
        ff, n = self.forcefield, len(kind)
        listed = [term.name for term in ff.terms if term.keyed_by != "neighbors"]
        if listed or min(kind) < 1 or max(kind) > len(ff.bead_types):
            known = ", ".join(f"{system.name} ({system.n_beads} beads)" for system in self.molecules)
            raise ForceFieldError(
                f"a system of {n} beads with the numbers {list(kind[:8])}{'...' if n > 8 else ''} is no molecule of "
                f"this model ({known or 'none'}); give ts.integrate model.make_state(molecule, positions), or a list "
                "of mdflash.ase.make_atoms(molecule, positions)"
            )
        types = [ff.bead_types[number - 1] for number in kind]
        return System(
            name="beads",
            types=tuple(t.name for t in types),
            bead_names=("CA",) * n,
            residue_index=np.arange(n),
            residue_names=tuple(t.name for t in types),
            residue_ids=tuple(range(1, n + 1)),
            chain_ids=("A",) * n,
            masses=np.ones(n),
            bonds=np.zeros((0, 2), np.int64),
        )


def __dir__() -> list[str]:
    return sorted(__all__)


def _box(state: Any, s: int) -> Box | None:
    if not torch.as_tensor(state.pbc).any():
        return None
    cell = state.cell[s].detach().cpu().double()
    if not torch.as_tensor(state.pbc).all() or int(torch.count_nonzero(cell - cell.diag().diag())):
        raise InputError(
            "mdflash knows rectangular boxes that are periodic along all of x, y and z, found "
            f"pbc={state.pbc} and cell={cell.tolist()}"
        )
    x, y, z = cell.diag().tolist()
    return x, y, z

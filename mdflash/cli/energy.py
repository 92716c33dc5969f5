"""`mdflash energy`: single points."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import numpy.typing as npt

    from mdflash.forcefield import ForceField
    from mdflash.system import FloatArray, System


class Precision(str, Enum):
    """Arithmetic of a single point."""

    fp64 = "fp64"
    fp32 = "fp32"
    mixed16 = "mixed16"


def energy(
    forcefield: Annotated[
        str, typer.Argument(help="Folder of a force field, or the name of a shipped one.", show_default=False)
    ],
    frames: Annotated[Path, typer.Option(help="A .npy [F, N, 3] in Å, or anything MDTraj reads.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The .npz to write.", show_default=False)],
    system: Annotated[
        str | None,
        typer.Option(
            help="Name of one of the force field's systems, a system file, or a structure; "
            "default: the force field's own, where it holds exactly one.",
            show_default=False,
        ),
    ] = None,
    precision: Annotated[Precision, typer.Option(help="Arithmetic.")] = Precision.fp64,
) -> None:
    """Energy, forces and each term's energy of given frames, by the reference kernels.

    The .npz holds energy [F] and energy_TERM [F] in kcal/mol, forces [F, N, 3] in kcal/mol/Å.
    """
    from io import BytesIO

    import numpy as np

    from mdflash.cli.arguments import forcefield_folder, forcefield_system
    from mdflash.errors import InputError
    from mdflash.forcefield import load_forcefield
    from mdflash.io.files import atomic_write
    from mdflash.io.frames import load_frames

    if precision is Precision.mixed16:
        raise InputError("--precision mixed16 needs 16-bit kernels, which are not in this version; use fp32")
    ff = load_forcefield(forcefield_folder(forcefield))
    molecule = forcefield_system(ff, system)
    arrays: dict[str, Any] = single_points(ff, molecule, load_frames(frames, molecule), precision.value)
    buffer = BytesIO()
    np.savez(buffer, **arrays)
    atomic_write(out, buffer.getvalue())
    e, f = arrays["energy"], arrays["forces"]
    typer.echo(
        f"{len(e)} frames of {molecule.name} ({molecule.n_beads} beads), {precision.value}: energy {e.min():.6g} to "
        f"{e.max():.6g} kcal/mol, largest force {np.linalg.norm(f, axis=-1).max():.6g} kcal/mol/Å\nwrote {out}"
    )


def single_points(
    ff: ForceField, system: System, frames: FloatArray, precision: str = "fp64"
) -> dict[str, npt.NDArray[Any]]:
    """Energies and forces of frames [F, N, 3] in Å, each recentred on its mean before it is rounded.

    Args:
        precision: "fp64" or "fp32", the arithmetic; results are float64.

    Returns:
        energy [F] and energy_<term> [F] in kcal/mol, forces [F, N, 3] in kcal/mol/Å.

    Raises:
        InputError: an energy that is not finite (two beads in one place, say); names frame and term.
    """
    import numpy as np
    import torch

    from mdflash.errors import InputError
    from mdflash.neighbors.reference import all_pairs
    from mdflash.potentials.build import build_potential
    from mdflash.state import Layout

    layout = Layout((system,), (1,))
    potential = build_potential([ff], layout)
    dtype = {"fp64": torch.float64, "fp32": torch.float32}[precision]
    energies = {term.name: np.zeros(len(frames)) for term in potential.terms}
    forces = np.zeros(frames.shape)
    for f, frame in enumerate(frames):
        x = torch.from_numpy(frame - frame.mean(axis=0)).to(dtype)
        pairs = None if potential.cutoff is None else all_pairs(x, layout, potential.cutoff)
        for name, (e, force) in potential.by_term(x, layout, pairs).items():
            if not (torch.isfinite(e).all() and torch.isfinite(force).all()):
                raise InputError(
                    f"frame {f}: the term '{name}' has no finite energy and forces there; do two beads of "
                    f"{system.name} lie in one place?"
                )
            energies[name][f] = float(e[0])
            forces[f] += force.double().numpy()
    total = np.sum(list(energies.values()), axis=0) if energies else np.zeros(len(frames))
    return {"energy": total, "forces": forces} | {f"energy_{name}": e for name, e in energies.items()}

"""`mdflash energy`: single points."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mdflash.cli.structures import Chain, GapsOption, KeepOption, Model, ModifiedOption, as_reading

if TYPE_CHECKING:
    import numpy.typing as npt

    from mdflash.core.system import System
    from mdflash.core.types import FloatArray
    from mdflash.forcefields.forcefield import ForceField


class Precision(str, Enum):
    """Arithmetic of a single point."""

    fp64 = "fp64"
    fp32 = "fp32"
    mixed16 = "mixed16"


class Device(str, Enum):
    """Where a single point is evaluated."""

    cpu = "cpu"
    cuda = "cuda"


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
    device: Annotated[Device, typer.Option(help="cpu, or cuda: the kernels of a run on a GPU.")] = Device.cpu,
    model: Model = None,
    chain: Chain = None,
    keep: KeepOption = "all",
    modified: ModifiedOption = "refuse",
    gaps: GapsOption = "refuse",
) -> None:
    """Energy, forces and each term's energy of given frames, by the reference kernels (mixed16: the compiled ones).

    With --device cuda, by the kernels that a run on a GPU has, compared with the reference.

    The .npz holds energy [F] and energy_TERM [F] in kcal/mol, forces [F, N, 3] in kcal/mol/Å.
    """
    from io import BytesIO

    import numpy as np

    from mdflash.cli.options import forcefield_folder, forcefield_system
    from mdflash.core.files import atomic_write
    from mdflash.forcefields.forcefield import load_forcefield
    from mdflash.io.frames import load_frames

    ff = load_forcefield(forcefield_folder(forcefield))
    molecule = forcefield_system(ff, system, as_reading(model, chain, keep, modified, gaps))
    x = load_frames(frames, molecule)
    points = single_points if device is Device.cpu else gpu_points
    arrays: dict[str, Any] = points(ff, molecule, x, precision.value)
    buffer = BytesIO()
    np.savez(buffer, **arrays)
    atomic_write(out, buffer.getvalue())
    e, f = arrays["energy"], arrays["forces"]
    typer.echo(
        f"{len(e)} frames of {molecule.name} ({molecule.n_beads} beads), {precision.value}: energy {e.min():.6g} to "
        f"{e.max():.6g} kcal/mol, largest force {np.linalg.norm(f, axis=-1).max():.6g} kcal/mol/Å\nwrote {out}"
    )
    if precision is Precision.mixed16 or device is Device.cuda:
        exact = single_points(ff, molecule, x, "fp64")
        error = np.sqrt(((f - exact["forces"]) ** 2).mean() / (exact["forces"] ** 2).mean())
        shift = (e - exact["energy"]).mean()
        typer.echo(f"against fp64: forces off by {error:.1e} of their rms, mean energy by {shift:+.2g} kcal/mol")


def single_points(
    ff: ForceField, system: System, frames: FloatArray, precision: str = "fp64"
) -> dict[str, npt.NDArray[Any]]:
    """Energies and forces of frames [F, N, 3] in Å, each recentered on its mean before it is rounded.

    Args:
        precision: "fp64", "fp32" or "mixed16" (networks in the compiled kernels with tables in 16 bits, all else in
            fp64); results are float64.

    Returns:
        energy [F] and energy_<term> [F] in kcal/mol, forces [F, N, 3] in kcal/mol/Å.

    Raises:
        InputError: an energy that is not finite (for example two beads in one place); names frame and term.
        ForceFieldError: the filters of a network cannot be tabulated for mixed16.
    """
    import numpy as np
    import torch

    from mdflash.core.state import Layout
    from mdflash.errors import InputError
    from mdflash.forcefields.build import build_potential
    from mdflash.neighbors.reference import all_pairs
    from mdflash.potentials.base import SumPotential
    from mdflash.potentials.schnet.potential import SchNetPotential
    from mdflash.potentials.schnet.tabulated import FlashSchNet

    layout = Layout((system,), (1,))
    potential = build_potential([ff], layout)
    if precision == "mixed16":
        potential = SumPotential(
            [FlashSchNet.of(t, layout, "mixed16") if isinstance(t, SchNetPotential) else t for t in potential.terms]
        )
    dtype = torch.float32 if precision == "fp32" else torch.float64
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


def gpu_points(
    ff: ForceField, system: System, frames: FloatArray, precision: str = "fp64"
) -> dict[str, npt.NDArray[Any]]:
    """As `single_points`, by the kernels of a GPU.

    Raises:
        InputError: there is no GPU, a term has no kernel, or an energy is not finite.
        ForceFieldError: the filters of a network cannot be tabulated.
    """
    import numpy as np
    import torch

    from mdflash.core.gpu import find_gpu
    from mdflash.core.state import Layout, State
    from mdflash.engine.choose import choose_propagator
    from mdflash.engine.settings import Backend, Dynamics
    from mdflash.errors import InputError
    from mdflash.forcefields.build import build_potential
    from mdflash.integrators.langevin import LangevinMiddle

    gpu, layout = find_gpu(), Layout((system,), (len(frames),))
    dynamics = Dynamics(LangevinMiddle(0.001, 1.0), seed=0, skin=0.0)  # never makes a step
    backend = Backend(precision=precision, gpu=gpu)  # type: ignore[arg-type]
    forces = np.zeros(frames.shape)
    found: dict[str, npt.NDArray[Any]] = {}
    for term in build_potential([ff], layout).terms:
        state = State.at(layout, torch.from_numpy(frames.reshape(-1, 3)), 0.0)
        propagator, _ = choose_propagator(layout, term, state, dynamics, backend)
        propagator.evaluate(state)
        finite = torch.isfinite(state.energy).numpy()
        if not finite.all():
            raise InputError(
                f"frame {int(np.flatnonzero(~finite)[0])}: the term '{term.name}' has no finite energy there"
            )
        found[f"energy_{term.name}"] = state.energy.numpy()
        forces += state.forces.view(frames.shape).numpy()
    total = np.sum(list(found.values()), axis=0) if found else np.zeros(len(frames))
    return {"energy": total, "forces": forces} | found

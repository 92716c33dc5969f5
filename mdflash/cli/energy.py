"""`mdflash energy`: single points."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mdflash.cli.outputs import Force, may_write
from mdflash.cli.structures import takes_reading
from mdflash.core.plural import plural
from mdflash.mapping.choices import AS_IT_IS, Reading

if TYPE_CHECKING:
    import numpy.typing as npt

    from mdflash.core.system import System
    from mdflash.core.types import FloatArray
    from mdflash.forcefields.model import ForceField
    from mdflash.io.formats.base import Source


class Precision(str, Enum):
    """Arithmetic of a single point."""

    fp64 = "fp64"
    fp32 = "fp32"
    mixed16 = "mixed16"


class Device(str, Enum):
    """Where a single point is evaluated."""

    cpu = "cpu"
    cuda = "cuda"


@takes_reading
def energy(
    forcefield: Annotated[
        str,
        typer.Argument(
            help="Folder of a force field, or the name of a shipped one; or a run folder: its own.",
            metavar="FORCEFIELD|RUN",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="The .npz to write.", show_default=False)],
    frames: Annotated[
        Path | None,
        typer.Option(
            help="A .npy [F, N, 3] in Å, anything MDTraj reads, or a run folder; default: those of RUN.",
            show_default=False,
        ),
    ] = None,
    replica: Annotated[
        int | None, typer.Option(help="Which replica of a run, where there are several.", show_default=False)
    ] = None,
    system: Annotated[
        str | None,
        typer.Option(
            help="Name of one of the force field's systems, a system file, or a structure; of a run, the name of one "
            "of its molecules; default: the only one.",
            show_default=False,
        ),
    ] = None,
    precision: Annotated[Precision, typer.Option(help="Arithmetic.")] = Precision.fp64,
    device: Annotated[Device, typer.Option(help="cpu, or cuda: the kernels of a run on a GPU.")] = Device.cpu,
    reading: Reading = AS_IT_IS,
    force: Force = False,
) -> None:
    """Energy, forces and each term's energy of given frames, by the reference kernels (mixed16: the compiled ones).

    With --device cuda, by the kernels that a run on a GPU has, compared with the reference.

    The .npz holds energy [F] and energy_TERM [F] in kcal/mol, forces [F, N, 3] in kcal/mol/Å; of frames of a run also
    step [F] and time_ps [F]. Energies are those of the force field, without the biases of a run.
    """
    from io import BytesIO

    import numpy as np

    from mdflash.cli.options import forcefield_folder, forcefield_system
    from mdflash.core.files import atomic_write
    from mdflash.core.scale import other_unit
    from mdflash.errors import InputError
    from mdflash.forcefields.forcefield import load_forcefield
    from mdflash.io.frames import check_frames, load_frames
    from mdflash.io.read import read_frames

    run = Path(forcefield)
    is_run = (run / "manifest.json").is_file()
    if frames is None and not is_run:
        raise InputError("which frames? Give --frames FILE, or a run folder in the place of the force field")
    may_write([out], force, [] if frames is None else [frames])
    source = _one_replica(frames or run, replica)
    if is_run:
        ff, molecule = _of_run(run, system or (source.system if source else None))
    else:
        ff = load_forcefield(forcefield_folder(forcefield))
        molecule = forcefield_system(ff, system, reading)
    arrays: dict[str, Any] = {}
    if source is not None:
        read = read_frames(source.path, source.replica)
        x = check_frames(read.positions, molecule, source.path)
        arrays = {"step": read.steps, "time_ps": read.times}
    else:
        x = load_frames(frames or run, molecule)
    if (what := other_unit(molecule, x)) is not None:
        raise InputError(what, file=frames or run)
    points = single_points if device is Device.cpu else gpu_points
    try:
        arrays |= points(ff, molecule, x, precision.value)
    except InputError as error:
        raise InputError(error.message, file=error.file or frames or run, key=error.key) from None
    buffer = BytesIO()
    np.savez(buffer, **arrays)
    atomic_write(out, buffer.getvalue())
    e, f = arrays["energy"], arrays["forces"]
    what = f"{plural(len(e), 'frame')} of {molecule.name} ({plural(molecule.n_beads, 'bead')})"
    typer.echo(
        f"{what}, {precision.value}: energy {e.min():.6g} to "
        f"{e.max():.6g} kcal/mol, largest force {np.linalg.norm(f, axis=-1).max():.6g} kcal/mol/Å\nwrote {out}"
    )
    if precision is Precision.mixed16 or device is Device.cuda:
        exact = single_points(ff, molecule, x, "fp64")
        off = np.sqrt(((f - exact["forces"]) ** 2).mean() / (exact["forces"] ** 2).mean())
        shift = (e - exact["energy"]).mean()
        typer.echo(f"against fp64: forces off by {off:.1e} of their rms, mean energy by {shift:+.2g} kcal/mol")


def _one_replica(place: Path, number: int | None) -> Source | None:
    """The replica to read from a run folder or a file of all replicas; None for any other file.

    Raises:
        InputError: no such replica; several, and none is named; a number where there are no replicas.
    """
    from mdflash.errors import InputError
    from mdflash.io.export import find_replica, trajectories
    from mdflash.io.frames import own_replicas

    found = trajectories(place) if place.is_dir() else own_replicas(place)
    if place.is_dir() and not found:
        find_replica(place, 0)  # the error of a run without a trajectory
    if not found:
        if number is not None:
            raise InputError("holds no replicas by number; leave out --replica", file=place)
        return None
    numbers = sorted({source.replica for source in found})
    if number is None and len(numbers) > 1:
        raise InputError(
            f"holds {len(numbers)} replicas, {numbers[0]} to {numbers[-1]}; write for example --replica {numbers[0]}",
            file=place,
        )
    wanted = numbers[0] if number is None else number
    if wanted not in numbers:
        raise InputError(f"has no replica {wanted}; it has {numbers[0]} to {numbers[-1]}", file=place)
    return next(source for source in found if source.replica == wanted)


def _of_run(run: Path, name: str | None) -> tuple[ForceField, System]:
    """The force field and the molecule of a run, by the name of the molecule; None: its only one.

    Raises:
        InputError: no such molecule, several without a name, or files of the run that are gone.
    """
    from mdflash.config.load import load_run
    from mdflash.errors import InputError
    from mdflash.runs.prepare import prepare

    prepared = prepare(load_run(str(run)).with_seed())
    names = [system.name for system in prepared.layout.systems]
    if name is None and len(names) == 1:
        name = names[0]
    if name not in names:
        raise InputError(f"its molecules are {', '.join(names)}; name one with --system", file=run)
    return prepared.forcefields[names.index(name)], prepared.layout.systems[names.index(name)]


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

"""A run in PLUMED's files: variables and biases as plumed.dat, hills as HILLS, variables over time as COLVAR.

    plumed sum_hills --hills HILLS --mintozero
    plumed driver --plumed plumed.dat --mf_xtc replica.xtc --mc masses.dat

Numbers stay in Å, kcal/mol and ps, which plumed.dat says (UNITS). Heights in HILLS are gamma / (gamma - 1) times those
of hills.csv, as PLUMED writes those of well-tempered metadynamics, so the negative sum of hills is the free energy.
PLUMED cuts a Gaussian where it falls to exp(-6.25), mdflash at six widths.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mdflash.config.load import load_run
from mdflash.core.files import atomic_write, storage_errors
from mdflash.errors import InputError
from mdflash.io.topology import pdb_atom_lines
from mdflash.potentials.bias.bias import CENTER, FORCE_CONSTANT, WIDTH, Bias
from mdflash.potentials.bias.bias import Path as Moves
from mdflash.potentials.bias.growing import GrowingBias
from mdflash.potentials.bias.metadynamics import Metadynamics
from mdflash.potentials.bias.opes import Opes
from mdflash.potentials.bias.surface import Axis
from mdflash.potentials.variables.base import Variable
from mdflash.potentials.variables.rmsd import Rmsd
from mdflash.runs.prepare import Prepared, prepare
from mdflash.units import BOLTZMANN


def plumed_files(run: Path, out: Path, system: str | None = None) -> list[Path]:
    """What `export_plumed` writes. Arguments, errors: as there."""
    return [out / name for name in _texts(run, system, names_only=True)]


def export_plumed(run: Path, out: Path, system: str | None = None) -> list[Path]:
    """Write plumed.dat, masses.dat, HILLS and COLVAR files of one system into the folder `out`; returns them.

    Raises:
        InputError: no run, none of its variables, several systems and none named, or inputs of the run that are gone.
        StorageError: a file cannot be written.
    """
    found = []
    with storage_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    for name, text in _texts(run, system).items():
        atomic_write(out / name, text)
        found.append(out / name)
    return found


def _texts(run: Path, system: str | None, names_only: bool = False) -> dict[str, str]:
    if not (run / "manifest.json").is_file():
        raise InputError("holds no run", file=run)
    prepared = prepare(load_run(run))
    s = _number(prepared, system, run)
    first, stop = prepared.layout.replica_offset[s : s + 2].tolist()
    ids = prepared.layout.replica_ids[first:stop]
    what = _Acting.of(prepared, ids)
    if not (what.biases or what.hills or what.monitored):
        raise InputError("has no biases, no metadynamics and no monitored variables, so nothing for PLUMED", file=run)
    summed = [bias for bias in what.hills if isinstance(bias, Metadynamics)]
    names = [f"COLVAR.{r}" for r in ids] + [hills_name(bias, g) for bias in summed for g in range(bias.groups)]
    texts = plumed_inputs(prepared, s) | dict.fromkeys(names, "")
    if names_only:
        return texts
    for meta in summed:
        texts |= _hills(run, meta)
    return texts | _colvars(run, what.measured, what.biases, what.hills, ids)


class _Acting(NamedTuple):
    """What there is for PLUMED of one system."""

    biases: list[Bias]
    hills: list[GrowingBias]
    monitored: list[Bias]

    @classmethod
    def of(cls, prepared: Prepared, ids: Sequence[int]) -> _Acting:
        """On the replicas `ids`."""
        return cls(
            [bias for bias in prepared.biases if bias.replica_ids == ids and bias.variable.name != "energy"],
            [b for b in prepared.grid_biases if b.replica_ids == ids and isinstance(b, GrowingBias)],
            [bias for bias in prepared.monitored if bias.replica_ids == ids],
        )

    @property
    def measured(self) -> list[tuple[str, Variable]]:
        """Every variable with its name."""
        return [
            *((b.name, b.variable) for b in (*self.biases, *self.monitored)),
            *((a.name, a.variable) for b in self.hills for a in b.axes),
        ]


def plumed_inputs(prepared: Prepared, s: int = 0) -> dict[str, str]:
    """plumed.dat, masses.dat and the references of one system, by name of the file."""
    first, stop = prepared.layout.replica_offset[s : s + 2].tolist()
    what = _Acting.of(prepared, prepared.layout.replica_ids[first:stop])
    molecule = prepared.layout.systems[s]
    every = prepared.config.colvars_every or 1
    masses = "".join(f"{i} {m:.10g} 0\n" for i, m in enumerate(molecule.masses.tolist()))
    texts = {
        "plumed.dat": "".join(f"{line}\n" for line in _input(what.measured, what.biases, what.hills, every)),
        "masses.dat": "#! FIELDS index mass charge\n" + masses,
    }
    for name, variable in what.measured:
        if isinstance(variable, Rmsd):
            x = np.zeros((molecule.n_beads, 3))
            x[variable.groups[0]] = variable.reference
            rows = [line for line in pdb_atom_lines(molecule, x[None]) if line.startswith("ATOM")]
            kept = (f"{rows[i][:54]}  1.00  1.00\n" for i in variable.groups[0])
            texts[f"{label_of(name)}.pdb"] = "".join(kept) + "END\n"
    return texts


def _number(prepared: Prepared, system: str | None, run: Path) -> int:
    names = [s.name for s in prepared.layout.systems]
    if system is None and len(names) == 1:
        return 0
    if system not in names:
        raise InputError(f"has the systems {', '.join(names)}; name one, for example --system {names[0]}", file=run)
    return names.index(system)


def label_of(name: str) -> str:
    """A name as PLUMED takes labels: other characters than letters, digits and _ mean something there."""
    return re.sub(r"\W", "_", name)


def hills_name(bias: Metadynamics, group: int) -> str:
    """The file of the hills of one group of walkers."""
    return f"HILLS.{label_of(bias.name)}" + ("" if bias.groups == 1 else f".{group}")


def _input(
    measured: Sequence[tuple[str, Variable]], biases: Sequence[Bias], hills: Sequence[GrowingBias], every: int
) -> Iterator[str]:
    """The lines of plumed.dat."""
    yield "UNITS LENGTH=A ENERGY=kcal/mol TIME=ps"
    known = []
    for name, variable in measured:
        lines = variable.plumed(label_of(name))
        if lines:
            known.append(label_of(name))
            yield from lines
        else:
            yield f"# {name}: PLUMED has no {variable.name.replace('_', ' ')}"
    for bias in biases:
        lines = list(_restraint(bias) if bias.path is None else _moving(bias, bias.path))
        yield from lines if label_of(bias.name) in known else [f"# {line}" for line in lines]
    columns = list(known)
    for meta in hills:
        names = ",".join(label_of(axis.name) for axis in meta.axes)
        if isinstance(meta, Opes):
            action = "OPES_METAD_EXPLORE" if meta.explore else "OPES_METAD"
            yield f"{label_of(meta.name)}: {action} ARG={names} SIGMA={_list(meta.widths.tolist())} ..."
            yield f"  BARRIER={meta.barrier:.10g} BIASFACTOR={meta.bias_factor[0]:.10g} PACE={meta.every}"
            yield f"  TEMP={meta.kT[0] / BOLTZMANN:.10g}"
            yield from _shared(meta)
            yield f"... {action}"
            columns.append(f"{label_of(meta.name)}.bias")
        if not isinstance(meta, Metadynamics):
            continue
        yield f"{label_of(meta.name)}: METAD ..."
        yield f"  ARG={names} SIGMA={_list(meta.widths.tolist())} HEIGHT={meta.height:.10g}"
        yield f"  BIASFACTOR={meta.bias_factor:.10g} TEMP={meta.kT[0] / BOLTZMANN:.10g} PACE={meta.every}"
        yield f"  GRID_MIN={','.join(_end(a, a.low) for a in meta.axes)}"
        yield f"  GRID_MAX={','.join(_end(a, a.high) for a in meta.axes)}"
        yield f"  GRID_BIN={','.join(str(a.points if a.periodic else a.points - 1) for a in meta.axes)}"
        yield f"  FILE={hills_name(meta, 0)} CALC_RCT"
        yield from _shared(meta)
        yield "... METAD"
        columns += [f"{label_of(meta.name)}.{what}" for what in ("bias", "rct", "rbias")]
    yield f"PRINT ARG={','.join(columns)} FILE=COLVAR STRIDE={every}"


def _shared(bias: GrowingBias) -> Iterator[str]:
    """Whether walkers share a bias."""
    walkers = len(bias.replica_ids) // bias.groups
    if walkers > 1:
        yield f"  WALKERS_MPI # {walkers} walkers of one bias"


def _restraint(bias: Bias) -> Iterator[str]:
    """A bias in PLUMED's words; values that differ by replica are listed by replica."""
    k, center, width = (bias.parameters[:, c] for c in (FORCE_CONSTANT, CENTER, WIDTH))
    half, label = _of_replicas(0.5 * k), label_of(bias.name)
    argument = f"ARG={label}"
    if bias.form == "linear":
        yield f"bias_{label}: RESTRAINT {argument} AT={_of_replicas(center)} SLOPE={_of_replicas(k)} KAPPA=0"
    elif bias.form == "harmonic":
        yield f"bias_{label}: RESTRAINT {argument} AT={_of_replicas(center)} KAPPA={_of_replicas(k)}"
    if bias.form in ("flat-bottom", "lower-wall"):
        yield f"lower_{label}: LOWER_WALLS {argument} AT={_of_replicas(center - width)} KAPPA={half}"
    if bias.form in ("flat-bottom", "upper-wall"):
        yield f"upper_{label}: UPPER_WALLS {argument} AT={_of_replicas(center + width)} KAPPA={half}"


def _moving(bias: Bias, path: Moves) -> Iterator[str]:
    """A bias that moves: PLUMED interpolates between two steps at every step, mdflash at every `every`-th."""
    label = label_of(bias.name)
    if bias.form != "harmonic":
        yield f"# {label} moves, and PLUMED moves harmonic restraints only; this one is {bias.form}"
        return
    yield f"bias_{label}: MOVINGRESTRAINT ARG={label} ..."
    for k, (step, parameters) in enumerate(((path.start, path.begin), (path.stop, path.end))):
        center, constant = (_of_replicas(parameters[:, c]) for c in (CENTER, FORCE_CONSTANT))
        yield f"  STEP{k}={step} AT{k}={center} KAPPA{k}={constant}"
    yield "... MOVINGRESTRAINT"


def _of_replicas(values: Sequence[float] | np.ndarray) -> str:
    texts = [f"{v:.10g}" for v in np.asarray(values).tolist()]
    return texts[0] if len(set(texts)) == 1 else f"@replicas:{','.join(texts)}"


def _list(values: Sequence[float]) -> str:
    return ",".join(f"{v:.10g}" for v in values)


def _end(axis: Axis, value: float) -> str:
    return f"{value:.10g}" if not axis.periodic else "-pi" if value < 0 else "pi"


def _hills(run: Path, bias: Metadynamics) -> dict[str, str]:
    """HILLS of every group of walkers of a bias, by name."""
    names = [label_of(axis.name) for axis in bias.axes]
    d = len(names)
    head = f"#! FIELDS time {' '.join(names)} {' '.join(f'sigma_{n}' for n in names)} height biasf\n"
    head += "#! SET multivariate false\n#! SET kerneltype gaussian\n"
    for axis in bias.axes:
        if axis.periodic:
            head += _period(axis.name)
    parts: list[list[str]] = [[head] for _ in range(bias.groups)]
    factor = bias.bias_factor / (bias.bias_factor - 1.0)
    for row in _rows(run / "hills.csv"):
        if row["bias"] == bias.name:
            numbers = [row[f"{what}_{k + 1}"] for what in ("center", "width") for k in range(d)]
            height = f"{float(row['height_kcal_mol']) * factor!r} {bias.bias_factor:.10g}"
            parts[int(row["group"])].append(f" {row['time_ps']} {' '.join(numbers)} {height}\n")
    return {hills_name(bias, g): "".join(lines) for g, lines in enumerate(parts)}


def _colvars(
    run: Path,
    measured: Sequence[tuple[str, Variable]],
    biases: Sequence[Bias],
    hills: Sequence[GrowingBias],
    ids: Sequence[int],
) -> dict[str, str]:
    """COLVAR of every replica, by name."""
    columns = {label_of(name): f"{name}_{v.unit}" if v.unit else name for name, v in measured}
    columns |= {f"bias_{label_of(bias.name)}.bias": f"{bias.name}_kcal_mol" for bias in biases}
    for meta in hills:
        columns |= {f"{label_of(meta.name)}.{p}": f"{meta.name}_{c}kcal_mol" for p, c in
                    (("bias", ""), ("rct", "ct_"), ("rbias", "rbias_"))}  # fmt: skip
    head = f"#! FIELDS time {' '.join(columns)}\n"
    for name, variable in measured:
        if variable.periodic:
            head += _period(name)
    parts: dict[str, list[str]] = {str(r): [head] for r in ids}
    for row in _rows(run / "colvars.csv"):
        if row["replica"] in parts:
            numbers = " ".join(row[c] for c in columns.values())
            parts[row["replica"]].append(f" {row['time_ps']} {numbers}\n")
    return {f"COLVAR.{r}": "".join(lines) for r, lines in parts.items()}


def _period(name: str) -> str:
    return f"#! SET min_{label_of(name)} -pi\n#! SET max_{label_of(name)} pi\n"


def _rows(file: Path) -> Iterator[dict[str, str]]:
    """Every complete row."""
    with storage_errors(file), file.open(newline="") as lines:
        complete = (line for line in lines if line.endswith("\n"))
        yield from csv.DictReader(complete)

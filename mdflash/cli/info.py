"""`mdflash info`: what a force field or a run folder holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mdflash.cli.lines import PlainConsole
from mdflash.core.plural import plural

if TYPE_CHECKING:
    from rich.console import Console

    from mdflash.core.types import FloatArray, Precision
    from mdflash.forcefields.model import ForceField, Network, Term


def info(
    what: Annotated[
        str,
        typer.Argument(
            help="A force field (folder or shipped name), or a run folder.",
            metavar="FORCEFIELD|RUN",
            show_default=False,
        ),
    ],
) -> None:
    """Print a force field's types, terms and networks, or where a run stands and what made it."""

    from mdflash.cli.options import forcefield_folder
    from mdflash.forcefields.forcefield import load_forcefield
    from mdflash.io.runfolder import is_run_folder

    console = PlainConsole()
    if is_run_folder(Path(what)):
        _show_run(Path(what), console)
    else:
        folder = forcefield_folder(what)
        _show_forcefield(load_forcefield(folder), folder, console)


def _span(values: FloatArray) -> str:
    """'-1.25 to 4.5', or the one value."""
    low, high = (f"{v:.4g}" for v in (values.min(), values.max()))
    return low if low == high else f"{low} to {high}"


def _facts(console: Console, facts: dict[str, Any]) -> None:
    from mdflash.cli.lines import show_rows

    show_rows(console, facts)


def _show_forcefield(ff: ForceField, folder: Path, console: Console) -> None:
    from rich.table import Table

    from mdflash.potentials.forms import FORMS

    _facts(
        console,
        {"force field": ff.name, "folder": folder, "mapping": ff.mapping, "digest": ff.digest}
        | {k: _text(v) for k, v in ff.provenance.items()}
        | _surroundings(ff),
    )
    if ff.bead_types:
        names = list(dict.fromkeys(name for t in ff.bead_types for name in t.properties))
        table = Table("type", "index", "mass (Da)", *names, title="Bead types")
        for t in ff.bead_types:
            values = [f"{t.properties[name]:.6g}" if name in t.properties else "-" for name in names]
            table.add_row(t.name, str(t.index), "-" if t.mass is None else f"{t.mass:.6g}", *values)
        console.print(table)
    if ff.terms:
        table = Table("term", "energy", "keyed by", "rows", "parameters", title="Terms (kcal/mol, Å, rad)")
        for term in ff.terms:
            table.add_row(term.name, FORMS[term.form].equation, _keyed(term), str(len(term.keys)), _parameters(term))
        console.print(table)
    for network in ff.networks:
        _show_network(network, console)
        _show_tables(ff, network, console)
    if ff.systems:
        table = Table("system", "beads", "residues", "start frames", title="Systems")
        for system, start in ff.systems:
            table.add_row(
                system.name, str(system.n_beads), str(system.n_residues), str(0 if start is None else len(start))
            )
        console.print(table)


def _surroundings(ff: ForceField) -> dict[str, str]:
    """The environment and what else a force field says that holds for any sequence."""
    found = {}
    if ff.environment is not None:
        own = ff.environment.describe()
        found["environment"] = (
            ", ".join(f"{key} {own[key]}" for key in own if key in ff.needs) + " unless a run says else"
        )
    for end, more in ff.termini.items():
        found[f"{end} bead"] = ", ".join(f"{name} {value:+g}" for name, value in more.items())
    if ff.dynamics:
        found["dynamics"] = _text(dict(ff.dynamics))
    return found


def _text(value: object) -> str:
    if isinstance(value, list):
        return "\n".join(map(_text, value))
    if isinstance(value, dict):
        return ", ".join(f"{k} {v}" for k, v in value.items())
    return str(value)


def _keyed(term: Term) -> str:
    if term.keyed_by != "neighbors":
        return term.keyed_by
    return f"neighbors within {term.cutoff:g} Å, {term.exclude_bonds} bonds excluded"


def _parameters(term: Term) -> str:
    rules = [f"{p}: {mix.describe()}" for p, mix in term.rules.items()]
    return "; ".join([*(f"{p}: {_span(values)}" for p, values in term.parameters.items() if values.size), *rules])


def _show_network(network: Network, console: Console) -> None:
    from rich.table import Table

    from mdflash.engine.gpu.whole_fits import MOST_BEADS, why_not_network
    from mdflash.forcefields.networks import load_schnet

    table = Table("hyper-parameter", "value", title=f"Network {network.name} ({network.kind})")
    for key, value in network.hyperparameters.items():
        table.add_row(key, ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else _text(value))
    count = sum(w.size for w in network.weights.values())
    kinds = ", ".join(sorted({str(w.dtype) for w in network.weights.values()}))
    table.add_row("weights", f"{count:,} numbers in {len(network.weights)} arrays, {kinds}")
    table.add_row("kernels: whole", why_not_network(load_schnet(network)) or f"on a GPU, up to {MOST_BEADS} beads")
    console.print(table)


def _show_tables(ff: ForceField, network: Network, console: Console) -> None:
    """Grid, size and force error of the filter tables, on the start frames of the force field's systems."""
    from dataclasses import replace
    from itertools import product

    from rich.table import Table

    from mdflash.core.types import IN_PARTS
    from mdflash.errors import ForceFieldError
    from mdflash.forcefields.build import network_exclusions, network_types
    from mdflash.forcefields.distances import distances_of
    from mdflash.forcefields.networks import load_schnet
    from mdflash.potentials.schnet.split import MIDDLE, split_filters
    from mdflash.potentials.schnet.tables import Sample, filter_tables, force_error, random_sample, samples_of
    from mdflash.potentials.schnet.tabulated import TABLE_ERROR

    model = load_schnet(network)
    chains = samples_of(model, distances_of(ff))
    samples = {
        f"{system.name}, start frame": Sample(
            start[0], network_types(ff, network, system), network_exclusions(network, system)
        )
        for system, start in ff.systems
        if start is not None
    } or {"a random chain": (*chains, random_sample(model))[0]}
    table = Table("precision", "grid points", "size (MB)", *samples, title="Filter tables: force error / rms force")
    sizes: tuple[tuple[Precision, int], ...] = (("fp64", 8), ("fp32", 4), ("mixed16", 2))
    for precision, size in sizes:
        try:
            tables = filter_tables(model, TABLE_ERROR[precision], chains)
        except ForceFieldError as error:
            console.print(f"{precision}: {error}")
            continue
        kept = tables.rounded() if precision == "mixed16" else tables
        errors = [f"{force_error(model, kept, sample):.1e}" for sample in samples.values()]
        table.add_row(precision, f"{tables.intervals + 1:,}", f"{size * tables.rows.size / 1e6:.1f}", *errors)
    for (precision, size), kind in product(sizes[1:], IN_PARTS):
        try:
            split = split_filters(model, TABLE_ERROR[precision], chains, middle=MIDDLE if kind == "gathered" else 0)
        except ForceFieldError as error:
            console.print(f"{precision}, {kind}: {error}")
            continue
        near = split.near.rounded() if precision == "mixed16" else split.near
        errors = [f"{force_error(model, replace(split, near=near), sample):.1e}" for sample in samples.values()]
        cosines = ", ".join(f"{field.rank} cosines from {field.start:.2f} Å on" for field in split.fields)
        table.add_row(
            f"{precision}, {kind}", f"{near.intervals + 1:,}, and {cosines}", f"{size * near.rows.size / 1e6:.1f}",
            *errors,
        )  # fmt: skip
    console.print(table)


def _show_run(folder: Path, console: Console) -> None:
    from mdflash.config.load import load_run
    from mdflash.errors import InputError
    from mdflash.io.checkpoint import load_checkpoint
    from mdflash.io.runfolder import load_manifest

    facts: dict[str, Any] = {"run": folder}
    manifest: dict[str, Any] = {}
    if (folder / "manifest.json").is_file():
        try:
            manifest = _flat(load_manifest(folder))
        except InputError as error:
            facts["manifest.json"] = error.message
    facts |= {key: manifest.pop(key) for key in ("status", "step", "total_steps") if key in manifest}
    total = None
    resolved = folder / "resolved.yaml"
    if resolved.is_file():
        try:
            config = load_run(resolved)
        except InputError as error:  # a file it names has moved away since
            facts["resolved.yaml"] = error
        else:
            total = config.total_steps
            manifest.pop("systems", None)  # the same, counted below
            ends = dict.fromkeys(f"{t:g}" for t in (min(config.temperatures), max(config.temperatures)))
            facts |= {
                "systems": ", ".join(f"{n} x {s.name}" for s, n in zip(config.system, config.counts, strict=True)),
                "force field": ", ".join(sorted({str(f) for f in config.forcefields})),
                "integrator": f"{config.dynamics.integrator}, {1e3 * config.dynamics.timestep:g} fs",
                "temperature": " to ".join(ends) + " K",
            }
    checkpoint = load_checkpoint(folder / "checkpoint") if (folder / "checkpoint").is_dir() else None
    if checkpoint is not None:
        step = checkpoint.header.get("step")
        facts["last checkpoint"] = f"step {step}" + (f" of {total}" if total else "")
    elif total:
        facts["length"] = f"{plural(total, 'step')}; no checkpoint yet"
    facts |= _written(folder)
    _facts(console, {name: _text(value) for name, value in (facts | manifest).items()})


def _written(folder: Path) -> dict[str, str]:
    """How far the trajectory and the tables are, which may be ahead of the last checkpoint."""
    from mdflash.errors import MdflashError
    from mdflash.io.export import trajectories
    from mdflash.io.read import read_times
    from mdflash.io.repair import TABLES
    from mdflash.io.table import last_row

    found = {}
    try:
        for path in dict.fromkeys(source.path for source in trajectories(folder)):
            steps = read_times(path)[0]
            found[f"trajectory/{path.name}"] = plural(len(steps), "frame") + (
                f", to step {steps[-1]}" if len(steps) else ""
            )
    except MdflashError as error:
        found["trajectory"] = str(error)
    for name in (table.name for table in TABLES):
        if (folder / name).is_file():
            row = last_row(folder / name)
            found[name] = "no row yet" if row is None else f"to step {row.partition(',')[0]}"
    return found


def _flat(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted keys."""
    found: dict[str, Any] = {}
    for key, value in data.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found

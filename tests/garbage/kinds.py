"""The list of inputs: for each kind sound files, how they are damaged, and who reads them."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from hypothesis.strategies import SearchStrategy

from mdflash.analysis.experiment.file import load_experiment
from mdflash.analysis.experiment.saxs import read_curve
from mdflash.analysis.plumed import sum_hills
from mdflash.campaigns.folder import Row, molecules_text, read_rows, rows_text
from mdflash.campaigns.recipe import load_campaign
from mdflash.campaigns.state import last_attempt, stand_of
from mdflash.campaigns.table import table_text
from mdflash.cli.app import main
from mdflash.config.load import load_run
from mdflash.core.system import load_system, save_system
from mdflash.errors import InputError
from mdflash.forcefields.build import build_potential
from mdflash.forcefields.forcefield import load_forcefield, save_forcefield
from mdflash.importers.pae import domains_from_pae, read_pae
from mdflash.importers.plumed import translate_plumed
from mdflash.importers.smog import import_smog
from mdflash.io.checkpoint import load_checkpoint
from mdflash.io.claims import claim
from mdflash.io.frames import load_frames
from mdflash.io.topology import cif_text, write_pdb
from mdflash.mapping.sequence import read_fasta
from mdflash.mapping.structure import map_structure
from mdflash.runs.execute import execute
from mdflash.runs.prepare import prepare
from mdflash.runs.writers import misfit, restore
from mdflash.sampling.dataset import create_dataset, load_dataset
from mdflash.sampling.recipe import load_recipe as load_sampling
from mdflash.sampling.restraint import make_restraint, values_of
from mdflash.sampling.trajectory import TrajectoryWriter
from mdflash.training.recipe import load_recipe
from mdflash.training.state import Progress, load_progress, save_progress
from tests.garbage.binary import hdf5_file, npz_file, safetensors_file, zip_file
from tests.garbage.mutations import changed_bytes, command, json_file, text_file, yaml_file
from tests.helpers import go_helix, helix
from tests.smog_files import write_smog

BEADS = 7
Damage = Callable[[bytes], SearchStrategy[bytes]]


class Seed(NamedTuple):
    """One sound file.

    Attributes:
        file: where it lies.
        content: what it holds.
        how: a strategy for that content, damaged.
        read: reads what `file` is part of.
        names: what a message may name in its place.
    """

    file: Path
    content: bytes
    how: Damage
    read: Callable[[Path], object]
    names: tuple[str, ...] = ()

    @property
    def damaged(self) -> SearchStrategy[bytes]:
        """A strategy for its content."""
        return self.how(self.content)


def _seed(file: Path, how: Damage, read: Callable[[Path], object], *names: str) -> Seed:
    """Of a file that is there."""
    return Seed(file, file.read_bytes(), how, read, names)


class Kind(NamedTuple):
    """One kind of input.

    Attributes:
        name: in the report.
        seeds: makes the sound files in a folder.
        weight: how many of a thousand inputs of the long form are of this kind.
    """

    name: str
    seeds: Callable[[Path], Sequence[Seed]]
    weight: int


def _molecule(folder: Path) -> tuple[Any, Any]:
    """A Gō helix: force field, system, structure and start frames, on the disk."""
    system, ff = go_helix(BEADS)
    save_forcefield(folder / "ff", ff)
    save_system(folder / "m.safetensors", system, helix(BEADS)[None])
    write_pdb(folder / "m.pdb", system, helix(BEADS))
    np.save(folder / "start.npy", np.stack([helix(BEADS)] * 3))
    return system, ff


RUN = """\
mdflash: 1
system: {structure: m.safetensors, start: start.npy, replicas: 2}
model: {forcefield: ff, precision: fp64}
dynamics: {timestep: 10 fs, temperature: 300 K, steps: 40, seed: 7, minimize: 0}
biases:
  - {name: pull, variable: distance, beads: [0, [3, 4]], center: 8 angstrom, force_constant: 2 kcal/mol/angstrom^2}
  - {name: turn, variable: dihedral, beads: [0, 1, 2, 3], form: flat-bottom, center: [60 degree, 70 degree],
     width: 10 degree, force_constant: 20 kcal/mol/rad^2}
monitor: [{name: q, variable: native_contacts}, {name: rg, variable: radius_of_gyration, beads: all}]
guards: {nonfinite: stop, max_force: 5000 kcal/mol/angstrom}
box: [60 angstrom, 60 angstrom, 60 angstrom]
output:
  folder: ./r
  trajectory: {format: hdf5, interval: 200 fs}
  log: {interval: 100 fs}
  checkpoint: {interval: 200 fs, keep: 2}
neighbors: {skin: 2 angstrom}
hardware: {threads: 1, device: cpu}
"""
LADDER = """\
mdflash: 1
system: {structure: m.safetensors, mapping: none, gaps: break}
model: {forcefield: ff}
dynamics: {timestep: 10 fs, length: 1 ps, seed: 7, integrator: langevin-baoab, friction: 5 /ps}
replicas: {count: 4}
exchange: {temperatures: {min: 300 K, max: 400 K, count: 4}, interval: 100 fs, scheme: gibbs}
output: {trajectory: {format: xtc, interval: 100 fs}, log: {interval: 100 fs}}
"""


def _run(file: Path) -> None:
    config = load_run(file).with_seed()
    if config.n_replicas <= 64:
        prepare(config)


def _runs(folder: Path) -> Iterator[Seed]:
    _molecule(folder)
    for name, text in (("run.yaml", RUN), ("ladder.yaml", LADDER)):
        yield Seed(folder / name, text.encode(), yaml_file, _run)


def _forcefield(file: Path) -> None:
    ff = load_forcefield(file if file.is_dir() else file.parent)
    from mdflash.core.state import Layout

    for system, _ in ff.systems:
        build_potential([ff], Layout((system,), (1,)))


RULED = """\
mdflash_forcefield: 1
name: ruled
units: {length: angstrom, energy: kcal/mol, angle: radian, mass: Da}
mapping: ca
environment: {temperature: 293.15 K, ionic_strength: 0.15 M, pH: 7.5}
termini: {first: {mass: 2 Da, charge: 1}, last: {mass: 16 Da, charge: -1}}
bead_types:
  ALA: {index: 0, mass: 71.07 Da, sigma: 5.04, lambda: 0.27, charge: 0}
  LYS: {index: 1, mass: 128.17 Da, sigma: 6.36, lambda: 0.18, charge: 1}
  HIS: {index: 2, mass: 137.14 Da, sigma: 6.08, lambda: 0.47, charge: 0, pKa: 6.0}
terms:
- name: bonds
  form: harmonic_bond
  keyed_by: types
  columns: [type, type, x0]
  rules: {k: {rule: constant, value: 9.6}}
  rows:
  - [ALA, LYS, 3.8]
  - [ALA, HIS, 3.8]
- name: sticky
  form: ashbaugh_hatch
  keyed_by: neighbors
  cutoff: 20 angstrom
  exclude_bonds: 1
  exclude_terms: []
  rules: {epsilon: {rule: constant, value: 0.2}, sigma: {rule: mean, of: sigma}, lambda: {rule: mean, of: lambda}}
- name: charges
  form: yukawa_shifted
  keyed_by: neighbors
  cutoff: 40 angstrom
  exclude_bonds: 1
  exclude_terms: []
  rules: {prefactor: {rule: coulomb, of: charge, permittivity: water}, kappa: {rule: debye, permittivity: water}}
provenance: {source: made up}
"""


def _network(folder: Path) -> Path:
    """A force field with a small network, whose blocks a rule joins."""
    from dataclasses import replace

    import torch

    from mdflash.forcefields.model import Network
    from mdflash.forcefields.networks import schnet_weights
    from mdflash.potentials.backbones.backbone import Backbone
    from mdflash.potentials.schnet.network import Hyperparameters, SchNet

    _, ff = go_helix(BEADS)
    hyper = Hyperparameters(8.0, len(ff.bead_types), features=4, filters=4, blocks=2, basis_size=4, filter_hidden=(4,),
                            output=(2,), backbone=Backbone(rule="prenorm"))  # fmt: skip
    torch.manual_seed(1)
    network = Network("net", "schnet", hyper.to_dict(), schnet_weights(SchNet(hyper)))
    save_forcefield(folder / "net", replace(ff, terms=ff.terms[:1], networks=(network,)))
    return folder / "net"


def _forcefields(folder: Path) -> Iterator[Seed]:
    _molecule(folder)
    (folder / "ruled").mkdir()
    (folder / "ruled" / "forcefield.yaml").write_text(RULED)
    for place in (folder / "ff", folder / "ruled", _network(folder)):
        file = place / "forcefield.yaml"
        yield _seed(file, yaml_file, _forcefield)


def _weights(folder: Path) -> Iterator[Seed]:
    file = _network(folder) / "weights.safetensors"
    yield _seed(file, safetensors_file, _forcefield)


def _systems(folder: Path) -> Iterator[Seed]:
    _molecule(folder)
    file = folder / "m.safetensors"
    yield _seed(file, safetensors_file, load_system)


def _structures(folder: Path) -> Iterator[Seed]:
    system, _ = _molecule(folder)
    (folder / "m.cif").write_text(cif_text(system, helix(BEADS)))
    places = enumerate(helix(BEADS) / 10, start=1)
    rows = "".join(f"{i:5d}ALA     CA{i:5d}{x:8.3f}{y:8.3f}{z:8.3f}\n" for i, (x, y, z) in places)
    (folder / "m.gro").write_text(f"helix\n{BEADS:5d}\n{rows}   6.00000   6.00000   6.00000\n")
    atoms = (Path(__file__).parents[2] / "systems" / "ala2.pdb").read_bytes()
    (folder / "atoms.pdb").write_bytes(atoms)
    for name in ("m.pdb", "m.cif", "m.gro", "atoms.pdb"):
        file = folder / name
        yield _seed(file, text_file, lambda path: map_structure(path, "ca"))


SAMPLE = """\
mdflash: 1
molecule: [{sequence: ACE-ALA-NME, starts: [extended, "-75,145", hot], windows: {torsion: phi, residue: 2, count: 4}}]
mapping: heavy
temperatures: [300 K, 350 K]
walkers: 2
exchange: 0.5 ps
length: 10 ps
interval: 0.5 ps
timestep: 4 fs
equilibration: 1 ps
seed: 3
"""
TRAIN = """\
mdflash: 1
name: net
data: {dataset: data, validation: 0.2, temperature: 300 K, decoys: {share: 0.1, noise: 0.4 angstrom}}
priors: {angles: restricted, degree: 2, exclude_bonds: 3}
network: {cutoff: 10 angstrom, features: 8, blocks: 2, basis_size: 8}
backbone: {rule: prenorm}
training: {epochs: 2, batch: 32, learning_rate: 1e-3, clip: 10, patience: 2, schedule: cosine, ema: 0.9}
folder: t
"""
ENTROPY = """\
mdflash: 1
data:
  dataset: data
  temperature: 300 K
  weights: mbar
  windows:
    - {name: w, variable: rmsd, center: [1 angstrom, 2 angstrom], force_constant: 5 kcal/mol/angstrom^2}
start: go-chignolin
relative_entropy: {updates: 10, hold: start, along: [{name: q, variable: native_contacts}]}
targets:
  - {name: f, variable: native_contacts, above: 0.5, population: 0.7, error: 0.01, temperature: 320 K}
  - {name: d, variable: distance, beads: [0, 4], mean: 8 angstrom, error: 0.2 angstrom, temperature: 320 K}
"""


SWEEP = """\
mdflash: 1
name: sweep
run: run.yaml
set: {dynamics.steps: 20}
sweep: {dynamics.temperature: [300 K, 320 K], dynamics.seed: {from: 1, to: 2}}
together: [{replicas.count: [1, 2], guards.nonfinite: [stop, freeze]}]
share: none
folder: campaign
job: {scheduler: pbs, time: 2 h, cores: 2, gpus: 0, at_once: 4}
"""


def _read_campaign(folder: Path) -> None:
    for row in read_rows(folder):
        stand_of(folder / "runs" / row.name)
        last_attempt(folder / "runs" / row.name)
    table_text(folder, read_rows(folder))


def _dataset(folder: Path) -> Path:
    system, _ = go_helix(BEADS)
    create_dataset(folder / "data", {"helix": (system, helix(BEADS)[None])}, "ca", {"made_for": "tests"})
    rng = np.random.default_rng(1)
    held = make_restraint("rmsd", "all", 0.2, 5.0, helix(BEADS))
    with TrajectoryWriter(
        folder / "data" / "helix" / "000.h5", BEADS, seed=1, aggregation="basic", potential=True, restraint=held
    ) as writer:
        for k in range(5):
            x, f = helix(BEADS) + rng.normal(0, 0.1, (BEADS, 3)), rng.normal(0, 5, (BEADS, 3))
            writer.append(x, f, 300.0, float(k), potential=-2.0 * k)
    return folder / "data"


def _recipes(folder: Path) -> Iterator[Seed]:
    _dataset(folder)
    yield Seed(folder / "train.yaml", TRAIN.encode(), yaml_file, load_recipe)
    yield Seed(folder / "entropy.yaml", ENTROPY.encode(), yaml_file, load_recipe)
    yield Seed(folder / "sample.yaml", SAMPLE.encode(), yaml_file, load_sampling)
    yield Seed(folder / "sweep.yaml", SWEEP.encode(), yaml_file, load_campaign)
    campaign, row = folder / "campaign", Row(1, "a", "0" * 64, {"dynamics.seed": "1"})
    (campaign / "runs" / "a" / "run").mkdir(parents=True)
    claim(campaign, "campaign")
    for name, text, how in (
        ("runs.csv", rows_text([row, Row(2, "b", "1" * 64, {"dynamics.seed": "2"})]), text_file),
        ("molecules.csv", molecules_text({"m": {"system.structure": "m.pdb"}}), text_file),
        ("runs/a/attempts.jsonl", '{"verdict": "again", "tries": 1, "code": -9, "said": "x"}\n', text_file),
        ("runs/a/run/manifest.json", '{"status": "running", "step": 1, "timing": {"wall_seconds": 2.0}}', json_file),
    ):
        (campaign / name).write_text(text)
        yield _seed(campaign / name, how, lambda path: _read_campaign(campaign), str(campaign))


def _read_dataset(folder: Path) -> None:
    from mdflash.training.frames import load_frames as load_training

    load_dataset(folder)
    for molecule in load_training([folder], 0.2, weights="mbar").molecules:
        for restraint in molecule.restraints:
            if restraint is not None:
                restraint.energy(values_of(restraint.variable(molecule.system), molecule.positions))


def _datasets(folder: Path) -> Iterator[Seed]:
    data = _dataset(folder)
    for name, how in (("dataset.yaml", yaml_file), ("helix/system.safetensors", safetensors_file),
                      ("helix/000.h5", hdf5_file)):  # fmt: skip
        file = data / name
        yield _seed(file, how, lambda path: _read_dataset(data), str(data))


def _made_run(folder: Path) -> Path:
    _molecule(folder)
    file = folder / "run.yaml"
    file.write_text(RUN.replace("box: [60 angstrom, 60 angstrom, 60 angstrom]\n", ""))
    execute(load_run(file).with_seed(), file)
    return folder / "r"


def _checkpoints(folder: Path) -> Iterator[Seed]:
    run = _made_run(folder)
    prepared = prepare(load_run(folder / "run.yaml").with_seed())
    engine = prepared.engine()
    newest = max((run / "checkpoint").glob("*.npz"))

    def read(path: Path) -> None:
        found = load_checkpoint(path.parent, lambda arrays, header: misfit(prepared, arrays, header))
        if found is not None:
            restore(engine, found)

    yield _seed(newest, npz_file, read)
    state = folder / "state.safetensors"
    save_progress(state, Progress(identity="x"))
    yield _seed(state, safetensors_file, lambda path: load_progress(path, "x", Progress))


def _read_run(run: Path) -> None:
    from mdflash.analysis.open_run import open_run

    found = open_run(run)
    for name in ("log", "colvars", "events", "states", "topology", "positions", "windows"):
        getattr(found, name)
    load_run(run)


def _run_folders(folder: Path) -> Iterator[Seed]:
    run = _made_run(folder)
    hows: dict[str, Damage] = {
        "manifest.json": json_file, "resolved.yaml": yaml_file, "log.csv": text_file, "colvars.csv": text_file,
        "events.jsonl": text_file, "topology.pdb": text_file,
    }  # fmt: skip
    for name, how in hows.items():
        file = run / name
        yield _seed(file, how, lambda path: _read_run(run), str(run))


def _trajectories(folder: Path) -> Iterator[Seed]:
    from mdflash.io.repair import repair_file

    run = _made_run(folder)
    system, _ = go_helix(BEADS)
    (own,) = (run / "trajectory").glob("*.h5")

    def read(path: Path) -> None:
        with contextlib.suppress(InputError):  # several replicas
            load_frames(path, system)
        repair_file(path)

    yield _seed(own, hdf5_file, read)
    for format in ("xtc", "dcd"):
        file = folder / f"x.{format}"
        _command(["export", str(run), "--replica", "0", "--out", str(file)])
        yield _seed(file, changed_bytes, lambda path: load_frames(path, system))
    npy = folder / "start.npy"
    yield _seed(npy, changed_bytes, lambda path: load_frames(path, system))


def _models(folder: Path) -> Iterator[Seed]:
    import torch
    from torch import nn

    from mdflash.importers.mlcg import import_mlcg
    from tests.importers.fake_mlcg import GradientsOut, SumOut, prior, save
    from tests.importers.test_mlcg import SCHNETS, molecule

    torch.manual_seed(1)
    table = torch.zeros((7, 7))
    table[1, 2] = table[2, 1] = 3.8
    bonds = prior("HarmonicBonds")("bonds", [(1, 2), (2, 1)], k=table, x_0=table)
    net = next(iter(SCHNETS.values()))().double()
    parts = {"SchNet": GradientsOut(net, "SchNet"), "bonds": GradientsOut(bonds, "bonds")}
    model = save(folder / "m.pt", SumOut(nn.ModuleDict(parts)))
    data = save(folder / "data.pt", [molecule(2, [1, 2, 1, 2], bonds=[[0, 1], [1, 2], [2, 3]])])
    for file in (model, data):
        yield _seed(file, zip_file, lambda path: import_mlcg([model], data, "x"), str(model), str(data))


def _xml(folder: Path) -> Iterator[Seed]:
    try:
        import openmm
    except ImportError:
        return
    from mdflash.openmm import create_system
    from mdflash.openmm import load_system as load_xml

    system, ff = go_helix(BEADS)
    save_forcefield(folder / "ff", ff)
    file = folder / "system.xml"
    file.write_text(openmm.XmlSerializer.serialize(create_system(folder / "ff", system)))
    yield _seed(file, text_file, load_xml, str(folder))


def _smog(folder: Path) -> Iterator[Seed]:
    files = write_smog(folder, helix(BEADS))
    for file in files[:2]:
        yield _seed(file, text_file, lambda _: import_smog(files, "m"), *(file.name for file in files))


class _Touched(Exception):
    """A file of others is not what it was."""


def _command(words: Sequence[str]) -> None:
    """`mdflash` with these words, in this process; a refusal becomes an InputError with the message."""
    said, before = io.StringIO(), sys.argv
    sys.argv = ["mdflash", *words]
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
            main()
    except SystemExit as end:
        if end.code not in (None, 0, 2, 3, 75):
            raise RuntimeError(f"exit code {end.code}: {said.getvalue()[-200:]}") from None
        if end.code:
            raise InputError(said.getvalue(), key="the command line") from None
    finally:
        sys.argv = before


COMMANDS = (
    "info ff", "info r", "schema dynamics", "schema biases", "doctor",
    "map m.pdb --mapping ca --out out/x.safetensors --name x", "go m.pdb --out out/go --epsilon '1 kcal/mol'",
    "init m.safetensors --forcefield ff", "init --sequence AAKA --forcefield calvados2",
    "run run.yaml --dry-run --fresh --set system.replicas=2",
    "energy ff --frames start.npy --out out/e.npz --system helix",
    "export r --replica 0 --format xtc --out out/a.xtc --stride 2", "export r --out out/b.dcd", "repair r",
    "repair r/log.csv", "analyze r --out out/a.html",
)  # fmt: skip


def _commands(folder: Path) -> Iterator[Seed]:
    import shlex

    _made_run(folder)
    (folder / "out").mkdir()
    (folder / "run.yaml").write_text(RUN)
    there = {*folder.rglob("*"), *(folder / f"command{k}.json" for k in range(len(COMMANDS)))}
    theirs = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.parent.name != "r"}

    def read(path: Path) -> None:
        os.chdir(folder)
        try:
            _command(json.loads(path.read_bytes()))
        finally:
            changed = [
                str(file) for file, content in theirs.items() if not file.is_file() or file.read_bytes() != content
            ]
            for file in [path for path in folder.rglob("*") if path not in there]:
                shutil.rmtree(file, ignore_errors=True) if file.is_dir() else file.unlink(missing_ok=True)
            for file, content in theirs.items():
                file.parent.mkdir(exist_ok=True)
                file.write_bytes(content)
            (folder / "out").mkdir(exist_ok=True)
            if changed:
                raise _Touched(", ".join(changed))

    for k, words in enumerate(COMMANDS):
        yield Seed(folder / f"command{k}.json", json.dumps(shlex.split(words)).encode(), command, read)


PLUMED = """\
UNITS LENGTH=A ENERGY=kcal/mol TIME=ps
g: GROUP ATOMS=1-7:2
c: CENTER ATOMS=1,2 WEIGHTS=0.5,0.5 NOPBC
d: DISTANCE ATOMS=c,7 NOPBC
phi: TORSION ATOMS=1,3,5,7
r: GYRATION ATOMS=g,2 TYPE=RADIUS
m: RMSD REFERENCE=m.pdb TYPE=OPTIMAL
RESTRAINT ARG=d,phi AT=8,pi/3 KAPPA=2,3 SLOPE=1,0 # both
UPPER_WALLS ARG=r AT=@replicas:9,10 KAPPA=1
pull: MOVINGRESTRAINT ...
  ARG=d STEP0=0 AT0=8 KAPPA0=2 STEP1=1000 AT1=12
... MOVINGRESTRAINT
METAD ...
  ARG=d,phi SIGMA=0.5,0.2 HEIGHT=0.3 BIASFACTOR=8 PACE=50 TEMP=300 GRID_MIN=2,-pi GRID_MAX=30,pi GRID_BIN=200,100
... METAD
OPES_METAD ARG=phi SIGMA=0.2 BARRIER=5 PACE=50 TEMP=300 WALKERS_MPI
PRINT ARG=d,phi,m STRIDE=10 FILE=COLVAR
"""
HILLS = """\
#! FIELDS time d phi sigma_d sigma_phi height biasf
#! SET multivariate false
#! SET kerneltype stretched-gaussian
#! SET min_phi -pi
#! SET max_phi pi
 1 8.1 0.3 0.5 0.2 0.4 8
 2 8.4 -1.3 0.5 0.2 0.3 8
 3 9.0 2.9 0.5 0.2 0.2 8
"""


def _plumed(folder: Path) -> Iterator[Seed]:
    _molecule(folder)
    (folder / "masses.dat").write_text("#! FIELDS index mass charge\n" + "".join(f"{k} 50 0\n" for k in range(BEADS)))
    yield Seed(folder / "plumed.dat", PLUMED.encode(), text_file, lambda file: translate_plumed(file, 0.01))
    yield _seed(folder / "masses.dat", text_file, _beside_masses)
    yield Seed(folder / "HILLS", HILLS.encode(), text_file, sum_hills)


def _beside_masses(file: Path) -> None:
    (file.parent / "plumed.dat").write_text(PLUMED)
    translate_plumed(file.parent / "plumed.dat", 0.01)


MEASURED = """\
mdflash_experiment: 1
molecule: m
temperature: 298 K
theta: 20
saxs: {file: curve.dat, unit: /nm}
fret: [{residues: [1, 6], efficiency: 0.6 +- 0.03, R0: 54 angstrom, linker: 9}]
rg: 2.1 +- 0.1 nm
rh: 1.8 +- 0.2 nm
"""


def _measured(folder: Path) -> Iterator[Seed]:
    rows = "".join(f"{q:.3f} {np.exp(-q * q):.5f} 0.01\n" for q in np.linspace(0.1, 3.0, 12))
    (folder / "curve.dat").write_text(f"# q I error\n{rows}")
    (folder / "experiment.yaml").write_text(MEASURED)

    def read(_: Path) -> None:
        load_experiment([str(folder / "experiment.yaml")])
        read_curve(folder / "curve.dat")

    for name, how in (("experiment.yaml", yaml_file), ("curve.dat", text_file)):
        yield _seed(folder / name, how, read, str(folder))


def _predictions(folder: Path) -> Iterator[Seed]:
    """Sequences, and the errors of predicted structures."""
    yield Seed(folder / "a.fasta", b">one first\nMSRAAGK\nWYV\n\n>two\nGGGSGGS*\n", text_file, read_fasta)
    n = 24
    errors = np.abs(np.subtract.outer(np.arange(n), np.arange(n))).astype(float).tolist()
    pairs = [[i + 1 for i in range(3) for _ in range(3)], [j + 1 for _ in range(3) for j in range(3)]]
    for name, content in (
        ("ebi.json", [{"predicted_aligned_error": errors, "max_predicted_aligned_error": 31.75}]),
        ("colabfold.json", {"pae": errors, "plddt": [90.0] * n, "max_pae": 30.0, "ptm": 0.8}),
        ("old.json", [{"residue1": pairs[0], "residue2": pairs[1], "distance": [0.5] * 9}]),
    ):
        yield Seed(
            folder / name, json.dumps(content).encode(), json_file, lambda file: domains_from_pae(*read_pae(file))
        )


KINDS = (
    Kind("system.yaml", _runs, 130),
    Kind("forcefield.yaml", _forcefields, 130),
    Kind("weights", _weights, 60),
    Kind("systems", _systems, 110),
    Kind("structures", _structures, 110),
    Kind("PLUMED files", _plumed, 20),
    Kind("sequences and PAE", _predictions, 20),
    Kind("experiments", _measured, 20),
    Kind("recipes", _recipes, 90),
    Kind("datasets", _datasets, 50),
    Kind("checkpoints", _checkpoints, 80),
    Kind("run folders", _run_folders, 40),
    Kind("trajectories", _trajectories, 40),
    Kind("mlcg checkpoints", _models, 50),
    Kind("System XML", _xml, 20),
    Kind("SMOG models", _smog, 20),
    Kind("command lines", _commands, 10),
)

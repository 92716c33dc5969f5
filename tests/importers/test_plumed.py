"""plumed.dat read: what mdflash writes comes back as it was; the units of PLUMED; what is refused, with its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

from mdflash.cli.app import app
from mdflash.config.load import load_run
from mdflash.errors import InputError
from mdflash.importers.plumed import translate_plumed
from mdflash.importers.plumed_input import number_of
from mdflash.potentials.bias.metadynamics import Metadynamics
from mdflash.potentials.bias.opes import Opes
from mdflash.runs.plumed import plumed_inputs
from mdflash.runs.prepare import Prepared, prepare

BEADS, REPLICAS, STEP = 10, 4, 0.01
STRUCTURE = Path(__file__).parents[2] / "systems" / "chignolin.pdb"
UNITS = {"distance": "angstrom", "rmsd": "angstrom", "radius_of_gyration": "angstrom"}
"""Of variables; of others, rad."""


def prepared(folder: Path, sections: dict[str, Any], name: str) -> Prepared:
    """A run with these sections."""
    run = {
        "mdflash": 1, "system": {"structure": str(STRUCTURE)}, "model": {"forcefield": "go-chignolin"},
        "dynamics": {"timestep": f"{STEP} ps", "temperature": "310 K", "steps": 1000, "seed": 1},
        "replicas": {"count": REPLICAS}, "output": {"trajectory": {"format": "none"}, "log": {"interval": "1 ps"}},
    }  # fmt: skip
    file = folder / name
    file.write_text(yaml.safe_dump({**run, **sections}, sort_keys=False))
    return prepare(load_run(file))


def drawn_variable(rng: np.random.Generator, kind: str) -> dict[str, Any]:
    """A variable on beads, single ones and groups."""
    takes = {"distance": 2, "angle": 3, "dihedral": 4}.get(kind)
    if takes is None:
        whole = rng.random() < 0.5 or kind == "rmsd"
        beads: Any = "all" if whole else [sorted(rng.choice(BEADS, 5, replace=False).tolist())]
        return {"variable": kind, "beads": beads}
    order = rng.permutation(BEADS).tolist()
    groups = [order[2 * k : 2 * k + int(rng.integers(1, 3))] for k in range(takes)]
    return {"variable": kind, "beads": [g[0] if len(g) == 1 else g for g in groups]}


def drawn_bias(rng: np.random.Generator, name: str) -> dict[str, Any]:
    kind = str(rng.choice(["distance", "angle", "dihedral", "rmsd", "radius_of_gyration"]))
    forms = ["harmonic", "flat-bottom"] + ([] if kind == "dihedral" else ["linear", "lower-wall", "upper-wall"])
    form, unit = str(rng.choice(forms)), UNITS.get(kind, "rad")
    count = int(rng.choice([1, 2, REPLICAS])) if form != "flat-bottom" else 1
    low, high = (1.0, 9.0) if unit == "angstrom" else (0.3, 2.8)
    power = "" if form == "linear" else "^2"
    entry = {
        "name": name, **drawn_variable(rng, kind), "form": form,
        "force_constant": f"{rng.uniform(0.1, 9.0):.6f} kcal/mol/{unit}{power}",
        "center": [f"{c:.6f} {unit}" for c in rng.uniform(low, high, count)],
    }  # fmt: skip
    if form == "flat-bottom" and kind != "dihedral":
        entry["width"] = f"{rng.uniform(0.1, 0.2):.6f} {unit}"
    elif form == "flat-bottom":
        entry["form"] = "harmonic"  # walls of PLUMED know no turn
    if entry["form"] == "harmonic" and rng.random() < 0.4:
        entry["center"] = entry["center"][0]
        entry["center_to"] = f"{rng.uniform(low, high):.6f} {unit}"
        after, length = (float(x) for x in rng.integers(1, 9, 2))
        entry["moving"] = {"after": f"{after} ps", "length": f"{length} ps"}
    return entry


def drawn_hills(rng: np.random.Generator, name: str) -> dict[str, Any]:
    variables = []
    for k in range(int(rng.integers(1, 3))):
        kind = ("distance", "dihedral", "radius_of_gyration")[int(rng.integers(3))]
        low = float(rng.uniform(0.0, 2.0))
        unit, width = UNITS.get(kind, "rad"), rng.uniform(0.4, 0.8)
        grid = {} if kind == "dihedral" else {"min": f"{low} {unit}", "max": f"{low + rng.uniform(8.0, 30.0)} {unit}"}
        variable = {"name": f"{name}_{k}", **drawn_variable(rng, kind), "width": f"{width} {unit}"}
        variables.append(variable | ({"grid": grid} if grid else {}))
    walkers = int(rng.choice([1, REPLICAS]))
    entry: dict[str, Any] = {"name": name, "variables": variables, "every": "0.5 ps", "walkers": walkers}
    if rng.random() < 0.5:
        return entry | {"height": f"{rng.uniform(0.01, 1.0)} kcal/mol", "bias_factor": float(rng.uniform(2.0, 20.0))}
    method = str(rng.choice(["opes", "opes-explore"]))
    return entry | {"method": method, "barrier": f"{rng.uniform(3.0, 9.0)} kcal/mol"}


@pytest.mark.parametrize("seed", range(8))
def test_what_is_written_is_read_back(tmp_path: Path, seed: int) -> None:
    """Energies, paths, hills: whatever the names, of drawn biases on drawn beads."""
    rng = np.random.default_rng(seed)
    sections = {
        "biases": [drawn_bias(rng, f"b{k}") for k in range(int(rng.integers(1, 5)))],
        "metadynamics": [drawn_hills(rng, f"h{k}") for k in range(int(rng.integers(0, 3)))],
        "monitor": [{"name": "seen", **drawn_variable(rng, "distance")}],
    }
    before = prepared(tmp_path, {k: v for k, v in sections.items() if v}, f"before{seed}.yaml")
    for name, text in plumed_inputs(before).items():
        (tmp_path / name).write_text(text)
    ends = {
        v["name"]: (v["grid"]["min"], v["grid"]["max"])
        for entry in sections["metadynamics"] if "method" in entry for v in entry["variables"] if "grid" in v
    }  # fmt: skip
    text = translate_plumed(tmp_path / "plumed.dat", STEP, ends).text(tmp_path / "plumed.dat")
    after = prepared(tmp_path, yaml.safe_load(text), f"after{seed}.yaml")
    assert [m.name for m in after.monitored] == ["seen"]
    x = torch.from_numpy(
        (before.start.numpy().reshape(REPLICAS, BEADS, 3) + rng.normal(size=(REPLICAS, BEADS, 3))).reshape(-1, 3)
    )
    rounded = 0.05 if any(b["variable"] == "rmsd" for b in sections["biases"]) else 1e-6  # a PDB has three digits
    for step in (0, 350, 10_000):
        energies = []
        for each in (before, after):
            total = torch.zeros(REPLICAS, dtype=torch.float64)
            for bias in each.biases:
                at = bias.copy()
                at.parameters = bias.parameters if bias.path is None else bias.path.at(step)
                total += at.energy_and_forces(x, each.layout, None).energy
            energies.append(total)
        torch.testing.assert_close(energies[1], energies[0], rtol=1e-6, atol=rounded)
    seen = [each.monitored[0].variable.value(x.view(REPLICAS, BEADS, 3)) for each in (before, after)]
    torch.testing.assert_close(seen[1], seen[0], rtol=1e-8, atol=1e-8)
    assert len(after.grid_biases) == len(before.grid_biases)
    for one, other in zip(before.grid_biases, after.grid_biases, strict=True):
        assert isinstance(one, (Metadynamics, Opes)) and type(one) is type(other)
        assert (one.every, one.groups, one.name) == (other.every, other.groups, other.name)
        np.testing.assert_allclose(other.widths, one.widths, rtol=1e-8)
        for a, b in zip(one.axes, other.axes, strict=True):
            np.testing.assert_allclose((b.low, b.high), (a.low, a.high), rtol=1e-8)
            value = a.variable.value(x.view(REPLICAS, BEADS, 3))
            torch.testing.assert_close(b.variable.value(x.view(REPLICAS, BEADS, 3)), value, rtol=1e-8, atol=1e-8)
        if isinstance(one, Metadynamics) and isinstance(other, Metadynamics):
            np.testing.assert_allclose((other.height, other.bias_factor), (one.height, one.bias_factor), rtol=1e-8)
            assert [a.points for a in one.axes] == [a.points for a in other.axes]
        elif isinstance(one, Opes) and isinstance(other, Opes):
            np.testing.assert_allclose(other.barrier, one.barrier, rtol=1e-8)
            assert one.explore == other.explore


OWN = """\
d: DISTANCE ATOMS=1,10
phi: TORSION ATOMS=1,4,7,10 NOPBC
RESTRAINT ARG=d,phi AT=1.2,pi/3 KAPPA=500,20 SLOPE=10,0 LABEL=r
UPPER_WALLS ARG=d AT=3.0 KAPPA=100 EPS=0.5
METAD ... # hills
  ARG=d,phi SIGMA=0.05,pi/9 HEIGHT=1.2 BIASFACTOR=8 PACE=500 TEMP=310
  GRID_MIN=0.2,-pi GRID_MAX=4.0,pi GRID_BIN=380,100 WALKERS_MPI
... METAD
ENDPLUMED
what follows is no input
"""


def test_units_of_plumed(tmp_path: Path) -> None:
    """nm and kJ/mol where nothing else is said; walls are KAPPA d^2; the same file in other units is the same."""
    (tmp_path / "plumed.dat").write_text(OWN)
    found = translate_plumed(tmp_path / "plumed.dat", STEP)
    run = prepared(tmp_path, yaml.safe_load(found.text(tmp_path)), "own.yaml")
    d, pull, phi, wall = run.biases
    (hills,) = run.grid_biases
    assert isinstance(hills, Metadynamics) and (hills.every, hills.groups) == (500, 1)
    np.testing.assert_allclose((hills.height, *hills.widths), (1.2 / 4.184, 0.5, np.pi / 9))
    assert [(a.low, a.high, a.points) for a in hills.axes] == [(2.0, 40.0, 381), (-np.pi, np.pi, 100)]
    np.testing.assert_allclose(d.parameters[0, :2], [5.0 / 4.184, 12.0])
    np.testing.assert_allclose(pull.parameters[0, 0], 1.0 / 4.184)
    np.testing.assert_allclose(phi.parameters[0, :2], [20.0 / 4.184, np.pi / 3])
    np.testing.assert_allclose(wall.parameters[0, :2], [8.0 / 4.184, 30.0])
    assert found.notes == ["Hills are made for TEMP=310 K: that must be `dynamics.temperature`."]
    other = OWN.replace("METAD ...", "UNITS LENGTH=A ENERGY=kcal/mol TIME=fs\nMETAD ...")
    kcal = [f"{number / 4.184!r}" for number in (5.0, 20.0, 1.0, 4.0, 1.2)]
    for old, new in (
        ("KAPPA=500,20", f"KAPPA={kcal[0]},{kcal[1]}"),
        ("SLOPE=10", f"SLOPE={kcal[2]}"),
        ("AT=1.2", "AT=12"),
        ("AT=3.0 KAPPA=100 EPS=0.5", f"AT=30 KAPPA={kcal[3]}"),
        ("=0.05,", "=0.5,"),
        ("HEIGHT=1.2", f"HEIGHT={kcal[4]}"),
        ("=0.2,", "=2,"),
        ("=4.0,", "=40,"),
    ):
        other = other.replace(old, new)
    (tmp_path / "other.dat").write_text(other)
    again = prepared(tmp_path, yaml.safe_load(translate_plumed(tmp_path / "other.dat", STEP).text(tmp_path)), "b.yaml")
    for one, two in zip(run.biases, again.biases, strict=True):
        np.testing.assert_allclose(two.parameters, one.parameters)


def test_numbers_stay_as_the_file_has_them(tmp_path: Path) -> None:
    """In the units of the file where they are shorter; a MOLINFO changes nothing."""
    (tmp_path / "plumed.dat").write_text(
        "MOLINFO STRUCTURE=protein.pdb\nd: DISTANCE ATOMS=1,10\nUPPER_WALLS ARG=d AT=3 KAPPA=1000\n"
        "METAD ARG=d SIGMA=0.05 HEIGHT=1.2 BIASFACTOR=6 PACE=500 GRID_MIN=0 GRID_MAX=4\n"
    )
    text = translate_plumed(tmp_path / "plumed.dat", STEP).text(tmp_path)
    assert "force_constant: 2000 kJ/mol/nm^2\n" in text and "height: 1.2 kJ/mol\n" in text


_D = "d: DISTANCE ATOMS=1,2\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("d: DISTANCE ATOMS=1,2 COMPONENTS", "line 1: DISTANCE has COMPONENTS"),
        ("c: COORDINATION GROUPA=1 GROUPB=2 R_0=1", "line 1: COORDINATION has no counterpart.*native_contacts"),
        (_D + "e: CUSTOM ARG=d FUNC=x^2 PERIODIC=NO", "line 2: CUSTOM has no counterpart"),
        ("a: ANGLE ATOMS=1,2,3,4", "line 1: ANGLE of 4 atoms"),
        ("d: DISTANCE ATOMS=0,2", "counted from 1"),
        ("d: DISTANCE ATOMS=@mdatoms", "numbers, ranges such as 3-9"),
        (_D + "RESTRAINT ARG=x AT=1 KAPPA=1", "line 2: RESTRAINT has ARG=x, .*those are: d"),
        (_D + "RESTRAINT ARG=d AT=1,2 KAPPA=1", "2 values of AT for 1 arguments"),
        (_D + "RESTRAINT ARG=d AT=one KAPPA=1", "AT=one, which is no number"),
        (_D + "RESTRAINT ARG=d AT=1 KAPPA=-3", "force_constant: must be 0 or more"),
        (
            _D + "UPPER_WALLS ARG=d AT=1 KAPPA=3 EXP=4",
            "line 2: UPPER_WALLS has walls of another form",
        ),
        (
            _D + "UPPER_WALLS ARG=d AT=1 KAPPA=3 EXP=@replicas:2,4",
            "line 2: UPPER_WALLS has 2 values of EXP, by replica",
        ),
        (_D + "UPPER_WALLS ARG=d AT=1 KAPPA=3 EPS=1e-300", "EPS=1e-300, which is no number"),
        ("UNITS LENGTH=1e-320", "LENGTH=1e-320; known are nm, A"),
        (
            _D + "METAD ARG=d SIGMA=0.1 HEIGHT=1 PACE=5 BIASFACTOR=5 GRID_MIN=@replicas:0,1 GRID_MAX=3",
            "2 values of GRID_MIN, by replica",
        ),
        (_D + "d: DISTANCE ATOMS=1,3", "line 2: the label d is used twice"),
        (_D + "METAD ARG=d SIGMA=0.1 HEIGHT=1 PACE=5", "lacks BIASFACTOR"),
        (
            _D + "METAD ARG=d SIGMA=0.1 HEIGHT=1 PACE=5 BIASFACTOR=5",
            "--grid 'd=2 angstrom:30 angstrom'",
        ),
        (
            _D + "OPES_METAD ARG=d SIGMA=ADAPTIVE BARRIER=9 PACE=5",
            "SIGMA=ADAPTIVE, which is no number",
        ),
        (_D + "MOVINGRESTRAINT ARG=d STEP0=0 AT0=1 KAPPA0=1 STEP1=9 AT1=2 STEP2=20", "other stages"),
        ("c: CENTER ATOMS=1,2\nd: DISTANCE ATOMS=c,9", "no masses.dat lies beside"),
        ("UNITS LENGTH=furlong", "LENGTH=furlong; known are nm, A"),
        ("METAD ...\nARG=d", "line 1: an action begins here"),
        ("r: RMSD REFERENCE=a.pdb", "TYPE=SIMPLE"),
        ("r: RMSD REFERENCE=a.pdb TYPE=OPTIMAL", "which is not there"),
        ("PRINT ARG=d", "has no bias"),
    ],
)
def test_what_is_not_read_is_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "plumed.dat").write_text(text + "\n")
    with pytest.raises(InputError, match=words):
        translate_plumed(tmp_path / "plumed.dat", STEP)


def test_the_command(tmp_path: Path) -> None:
    (tmp_path / "plumed.dat").write_text(OWN)
    command = ["import", "plumed", str(tmp_path / "plumed.dat"), "--out", str(tmp_path / "biases.yaml")]
    said = CliRunner().invoke(app, command)
    assert isinstance(said.exception, InputError) and "METAD counts steps" in str(said.exception)
    said = CliRunner().invoke(app, [*command, "--timestep", "10 fs"])
    assert said.exit_code == 0 and "biases (4), metadynamics (1)" in said.output
    assert len(yaml.safe_load((tmp_path / "biases.yaml").read_text())["biases"]) == 4


def test_a_spacing_is_the_widest_that_bins_may_have(tmp_path: Path) -> None:
    """As in PLUMED, of GRID_BIN and GRID_SPACING the finer one counts, for each variable."""
    text = OWN.replace("GRID_BIN=380,100", "GRID_SPACING=0.0203,0.05")
    for own, points in (
        (text, (189, 126)),
        (text.replace("GRID_SPACING", "GRID_BIN=380,100 GRID_SPACING"), (381, 126)),
    ):
        (tmp_path / "plumed.dat").write_text(own)
        found = yaml.safe_load(translate_plumed(tmp_path / "plumed.dat", STEP).text(tmp_path))
        (entry,) = found["metadynamics"]
        assert tuple(v["grid"]["points"] for v in entry["variables"]) == points
    (tmp_path / "plumed.dat").write_text(text.replace("=0.0203,", "=-1,"))
    with pytest.raises(InputError, match="GRID_SPACING that is not above 0"):
        translate_plumed(tmp_path / "plumed.dat", STEP)


def test_what_is_printed_and_unknown_is_named(tmp_path: Path) -> None:
    (tmp_path / "plumed.dat").write_text("PRINT ARG=d,r.bias,far,pull.bias\n" + OWN.replace("LABEL=r", "LABEL=pull"))
    notes = translate_plumed(tmp_path / "plumed.dat", STEP).notes
    assert [note for note in notes if "PRINT" in note] == [
        f"PRINT in line 1 names {label}, which is no variable of this file: left out." for label in ("r.bias", "far")
    ]


def test_stars_print_every_variable(tmp_path: Path) -> None:
    (tmp_path / "plumed.dat").write_text("rg: GYRATION ATOMS=1-10\nPRINT ARG=*,*.* FILE=COLVAR\n" + OWN)
    found = translate_plumed(tmp_path / "plumed.dat", STEP)
    assert [entry["name"] for entry in found.monitor] == ["rg"]  # colvars.csv has the biased ones anyway
    assert not any("PRINT" in note for note in found.notes)


def test_numbers_are_expressions_of_pi() -> None:
    rng = np.random.default_rng(2)
    for a, b in rng.uniform(0.1, 9.0, (20, 2)).tolist():
        assert number_of(f"-{a!r}*pi/({b!r}+1)") == pytest.approx(-a * np.pi / (b + 1))
    for wrong in ("", "inf", "nan", "2**9", "x", "1/0", "True", "(1", "9" * 80, "1e999", "__import__('os')"):
        with pytest.raises(ValueError):
            number_of(wrong)

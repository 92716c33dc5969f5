"""PLUMED's files of a run: HILLS sum up to the free energy, COLVAR holds the variables, plumed.dat the same biases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import mdflash
from mdflash.analysis.plumed import is_hills, read_plumed, sum_hills
from mdflash.cli.app import app
from mdflash.cli.export import OutFormat, export
from mdflash.errors import InputError
from mdflash.io.checkpoint import load_checkpoint
from mdflash.potentials.bias.surface import Axis, interpolate
from mdflash.potentials.variables.dihedral import Dihedral
from mdflash.potentials.variables.distance import Distance
from mdflash.runs.plumed import export_plumed
from tests.helpers import go_helix
from tests.runs.test_metadynamics import HILLS, run, write

CHAIN = go_helix(10, "helix", 0.4)[0]
BIASES = """biases:
  - {name: wall, variable: distance, beads: [0, 9], form: upper-wall, center: 35 angstrom,
     force_constant: 2 kcal/mol/angstrom^2}
  - {name: pull.1, variable: radius_of_gyration, center: [7 angstrom, 8 angstrom],
     force_constant: 1 kcal/mol/angstrom^2}
  - {name: near, variable: rmsd, form: flat-bottom, center: 1 angstrom, width: 1 angstrom,
     force_constant: 0.5 kcal/mol/angstrom^2}
  - {name: pinned, variable: position, force_constant: 0.01 kcal/mol/angstrom^2}
  - {name: pulled, variable: distance, beads: [0, 9], center: 5 angstrom, center_to: 25 angstrom,
     force_constant: 5 kcal/mol/angstrom^2, moving: {after: 1 ps, length: 2 ps}}
monitor:
  - {name: q, variable: native_contacts}
  - {name: bend, variable: angle, beads: [0, [3, 4], 9]}
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run folder, and the folder of its PLUMED files."""
    folder = tmp_path_factory.mktemp("plumed")
    done = run(write(folder, more=BIASES), folder / "out")
    export_plumed(done, folder / "plumed")
    return done, folder / "plumed"


def test_a_bias_that_moves_moves_there_too(tmp_path: Path) -> None:
    pull = """biases:
  - {name: pull, variable: distance, beads: [0, 9], center: 13 angstrom, center_to: 25 angstrom,
     force_constant: 2 kcal/mol/angstrom^2, moving: {after: 0.4 ps, length: 4 ps, every: 0.04 ps}}
  - {name: wall, variable: radius_of_gyration, form: upper-wall, center: 9 angstrom, center_to: 8 angstrom,
     force_constant: 2 kcal/mol/angstrom^2, moving: {length: 4 ps, every: 0.04 ps}}
"""
    done = run(write(tmp_path, pull, replicas=1), tmp_path / "out", "dynamics.steps=1_100")
    export_plumed(done, tmp_path / "plumed")
    text = (tmp_path / "plumed" / "plumed.dat").read_text()
    assert (
        "bias_pull: MOVINGRESTRAINT ARG=pull ...\n  STEP0=100 AT0=13 KAPPA0=2\n  STEP1=1100 AT1=25 KAPPA1=2\n" in text
    )
    assert "# wall moves, and PLUMED moves harmonic restraints only" in text


def table(file: Path) -> tuple[list[str], np.ndarray]:
    """Names and columns, as PLUMED reads them."""
    return file.read_text().splitlines()[0].split()[2:], np.loadtxt(file, comments="#")


def test_the_sum_of_hills_is_the_free_energy(exported: tuple[Path, Path]) -> None:
    done, out = exported
    checkpoint = load_checkpoint(done / "checkpoint")
    assert checkpoint is not None
    ends, twist = np.linspace(2.0, 40.0, 318), -np.pi + 2 * np.pi / 90 * np.arange(90)
    for group in range(2):
        names, rows = table(out / f"HILLS.fold.{group}")
        assert names == ["time", "ends", "twist", "sigma_ends", "sigma_twist", "height", "biasf"]
        assert "#! SET min_twist -pi\n#! SET max_twist pi\n" in (out / f"HILLS.fold.{group}").read_text()
        total = np.zeros((318, 90))
        for _, e, t, se, st, height, _ in rows:
            images = np.exp(-0.5 * ((twist - t + 2 * np.pi * np.arange(-2, 3)[:, None]) / st) ** 2).sum(axis=0)
            total += height * np.outer(np.exp(-0.5 * ((ends - e) / se) ** 2), images)
        bias = checkpoint.arrays["hills_surface_fold"][group, ..., 0]
        np.testing.assert_allclose(total, 8.0 / 7.0 * bias, atol=1e-6)


def test_hills_are_read_back(exported: tuple[Path, Path]) -> None:
    """What is exported sums to the free energy that the bias says, up to what PLUMED cuts; COLVAR is colvars.csv."""
    done, out = exported
    checkpoint = load_checkpoint(done / "checkpoint")
    assert checkpoint is not None and is_hills(out / "HILLS.fold.0") and not is_hills(done / "hills.csv")
    found = sum_hills(out / "HILLS.fold.0")
    assert (found.names, found.hills) == (("ends", "twist"), 80)
    expected = interpolate(
        torch.from_numpy(checkpoint.arrays["hills_surface_fold"][:1]).expand(400, -1, -1, -1),
        [Axis("e", Distance(CHAIN, 0, 9), 2.0, 40.0, 318), Axis("t", Dihedral(CHAIN, 0, 3, 6, 9), -np.pi, np.pi, 90)],
        torch.from_numpy(
            np.stack([g.ravel() for g in np.meshgrid(*(n[::15][:20] for n in found.nodes), indexing="ij")], 1)
        ),
    )
    mine = found.energy[::15, ::15][:20, :20].ravel()
    assert np.ptp(mine + 8.0 / 7.0 * expected.numpy()) < 0.02
    columns, given = read_plumed(out / "COLVAR.0")
    rows = mdflash.open_run(done).colvars
    np.testing.assert_array_equal(columns["twist"], rows[rows["replica"] == 0]["twist_rad"])
    assert given["min_twist"] == "-pi"


@pytest.mark.parametrize("kind", ["gaussian", "stretched-gaussian"])
def test_a_file_of_plumed_is_summed(tmp_path: Path, kind: str) -> None:
    """As `plumed sum_hills` has it, hill by hill; the door is `mdflash analyze HILLS`."""
    rng = np.random.default_rng(4)
    rows = np.column_stack(
        [np.arange(30.0), rng.uniform(-3, 3, 30), np.full(30, 0.3), rng.uniform(0.1, 1, 30), np.full(30, 8)]
    )
    head = "#! FIELDS time phi sigma_phi height biasf\n#! SET multivariate false\n"
    head += f"#! SET kerneltype {kind}\n#! SET min_phi -pi\n#! SET max_phi pi\n"
    body = "".join(" ".join(map(repr, row)) + "\n" for row in rows.tolist())
    (tmp_path / "HILLS").write_text(head + body + " 30.0 0.1")  # a torn row
    found = sum_hills(tmp_path / "HILLS")
    total = np.zeros_like(found.nodes[0])
    for _, center, sigma, height, _ in rows.tolist():
        away = found.nodes[0] - center
        r = 0.5 * ((away - 2 * np.pi * np.rint(away / (2 * np.pi))) / sigma) ** 2
        stretch = (np.exp(-r) - np.exp(-6.25)) / (1 - np.exp(-6.25)) if kind.startswith("stretched") else np.exp(-r)
        total += np.where(r < 6.25, height * stretch, 0.0)
    np.testing.assert_allclose(found.energy, total.max() - total, atol=1e-12)
    done = CliRunner().invoke(app, ["analyze", str(tmp_path / "HILLS")])
    assert done.exit_code == 0 and "30 hills of HILLS: the free energy is lowest at phi = " in done.output
    assert (tmp_path / "HILLS.pmf.svg").is_file() and (tmp_path / "HILLS.pmf.csv").read_text().count("\n") > 50
    (tmp_path / "HILLS").write_text("what\n" + head)
    with pytest.raises(InputError, match="line 1 stands before the line '#! FIELDS"):
        read_plumed(tmp_path / "HILLS")
    (tmp_path / "HILLS").write_text(head + "1 2 3\n")
    with pytest.raises(InputError, match="line 6 must hold 5 numbers"):
        sum_hills(tmp_path / "HILLS")
    for text, words in (
        (head + "1 2 0 1 8\n", "a hill along phi has no finite place, width above 0"),
        (head + "1 nan 0.3 1 8\n", "a hill along phi has no finite place"),
        (head + "1 2 1e300 1 8\n", "a hill along phi has no finite place, width above 0"),
        (head.replace("height", "hei") + "1 2 0.3 1 8\n", "has no column 'height'"),
        (head.replace("min_phi -pi", "min_phi west") + "1 2 0.3 1 8\n", "period of a variable cannot be read.*west"),
        (head.replace("min_phi -pi", "min_phi pi") + "1 2 0.3 1 8\n", "cannot be read: from pi to pi"),
    ):
        (tmp_path / "HILLS").write_text(text)
        with pytest.raises(InputError, match=words):
            sum_hills(tmp_path / "HILLS")


def test_metadynminer_sums_the_same(tmp_path: Path) -> None:
    """An independent program on hills along one variable; it cuts and stretches Gaussians as PLUMED does."""
    metadynminer = pytest.importorskip("metadynminer", reason="needs metadynminer (pip install metadynminer)")
    one = HILLS.replace("      - {name: twist, variable: dihedral, beads: [0, 3, 6, 9], width: 20 degree}\n", "")
    done = run(write(tmp_path, one.replace("walkers: 2", "walkers: 1")), tmp_path / "out")
    export_plumed(done, tmp_path / "plumed")
    hills = metadynminer.Hills(name=str(tmp_path / "plumed" / "HILLS.fold.0"), periodic=[False])
    fes = metadynminer.Fes(hills, original=True, resolution=317, cv1range=[2.0, 40.0], subtract_min=False)
    checkpoint = load_checkpoint(done / "checkpoint")
    assert checkpoint is not None
    expected = -8.0 / 7.0 * checkpoint.arrays["hills_surface_fold"][0, :317, 0]
    assert np.abs(fes.fes - expected).max() < 0.02 * np.abs(expected).max()


def test_colvar_is_colvars_csv(exported: tuple[Path, Path]) -> None:
    done, out = exported
    rows = mdflash.open_run(done).colvars
    names, columns = table(out / "COLVAR.2")
    mine = rows[rows["replica"] == 2]
    for name, column in (("ends", "ends_A"), ("q", "q"), ("pull_1", "pull.1_A"), ("fold.rbias", "fold_rbias_kcal_mol"),
                         ("bias_wall.bias", "wall_kcal_mol"), ("time", "time_ps")):  # fmt: skip
        np.testing.assert_array_equal(columns[:, names.index(name)], mine[column])


def test_plumed_dat_says_what_acted(exported: tuple[Path, Path]) -> None:
    _, out = exported
    text = (out / "plumed.dat").read_text()
    for line in (
        "UNITS LENGTH=A ENERGY=kcal/mol TIME=ps",
        "ends: DISTANCE ATOMS=1,10 NOPBC",
        "twist: TORSION ATOMS=1,4,7,10 NOPBC",
        "bend_1: CENTER ATOMS=4,5 WEIGHTS=0.5,0.5 NOPBC",
        "bend: ANGLE ATOMS=1,bend_1,10 NOPBC",
        "upper_wall: UPPER_WALLS ARG=wall AT=35 KAPPA=1",
        "bias_pull_1: RESTRAINT ARG=pull_1 AT=@replicas:7,8,7,8 KAPPA=1",
        "lower_near: LOWER_WALLS ARG=near AT=0 KAPPA=0.25",
        "near: RMSD REFERENCE=near.pdb TYPE=OPTIMAL NOPBC",
        "# pinned: PLUMED has no position",
        "bias_pulled: MOVINGRESTRAINT ARG=pulled ...\n  STEP0=250 AT0=5 KAPPA0=5\n  STEP1=750 AT1=25 KAPPA1=5",
        "  BIASFACTOR=8 TEMP=300 PACE=50",
        "  GRID_MIN=2,-pi",
        "  GRID_BIN=317,90",
    ):
        assert f"{line}\n" in text, line
    assert (out / "near.pdb").read_text().count("ATOM") == 10
    assert len(np.loadtxt(out / "masses.dat")) == 10


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no run"):
        export_plumed(tmp_path, tmp_path / "plumed")
    done = run(write(tmp_path, ""), tmp_path / "out", "dynamics.steps=500")
    with pytest.raises(InputError, match="nothing for PLUMED"):
        export_plumed(done, tmp_path / "plumed")


def test_the_command_line_overwrites_nothing(exported: tuple[Path, Path], tmp_path: Path) -> None:
    done, out = exported
    kind = getattr(OutFormat, "plumed")  # noqa: B009 - made from a list
    export(done, tmp_path / "again", format=kind)
    assert {f.name for f in (tmp_path / "again").iterdir()} == {f.name for f in out.iterdir()}
    with pytest.raises(InputError, match="already exists"):
        export(done, tmp_path / "again", format=kind)

"""`mdflash energy`, as a user types it, against mlcg's own numbers."""

from __future__ import annotations

from pathlib import Path

import mdtraj
import numpy as np
import pytest
from typer.testing import CliRunner

from mdflash import Simulation, open_run
from mdflash.cli.app import app
from mdflash.core.types import IN_PARTS
from mdflash.errors import InputError, MdflashError
from mdflash.forcefields.forcefield import save_forcefield
from mdflash.importers.mlcg import import_mlcg
from mdflash.io.read import read_frames
from mdflash.io.topology import mdtraj_topology


def mdflash(*arguments: object) -> str:
    """What the command prints; its error, if it ends in one."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if isinstance(result.exception, MdflashError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def chignolin(reference_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    """The force field folder, and what mlcg computed."""
    folder = tmp_path_factory.mktemp("ff") / "cln"
    ff = import_mlcg([reference_dir / "mlcg" / "schnet_cln_ca_specialized_model_and_config.pt"], None, "cln")
    save_forcefield(folder, ff)
    with np.load(reference_dir / "cln_ca_schnet.npz") as data:
        return folder, {k: data[k] for k in data.files}


def rms(values: np.ndarray) -> float:
    return float(np.sqrt((values**2).mean()))


@pytest.mark.parametrize(("precision", "bar"), [("fp64", 1e-9), ("fp32", 3e-5)])
def test_npy_frames(precision: str, bar: float, chignolin, tmp_path: Path) -> None:
    folder, npz = chignolin
    np.save(tmp_path / "x.npy", npz["positions"])
    mdflash("energy", folder, "--frames", tmp_path / "x.npy", "--precision", precision, "--out", tmp_path / "e.npz")
    with np.load(tmp_path / "e.npz") as found:
        terms = ["SchNet", "angles", "bonds", "dihedrals", "non_bonded"]
        assert sorted(found.files) == sorted(["energy", "forces", *(f"energy_{t}" for t in terms)])
        assert rms(found["forces"] - npz["F_total_f64"]) <= bar * rms(npz["F_total_f64"])
        assert np.abs(found["energy"] - npz["E_total_f64"]).max() <= bar * np.abs(npz["E_total_f64"]).max()
        for term in terms:
            expected = npz[f"E_{'pseudo_ca_dihedral' if term == 'dihedrals' else term}_f64"]
            assert np.abs(found[f"energy_{term}"] - expected).max() <= bar * np.abs(expected).max()


def test_mixed16_says_what_it_costs(chignolin, tmp_path: Path) -> None:
    """Networks with tables in 16 bits, all else as in float64; the cost is printed."""
    folder, npz = chignolin
    np.save(tmp_path / "x.npy", npz["positions"])
    text = mdflash(
        "energy", folder, "--frames", tmp_path / "x.npy", "--precision", "mixed16", "--out", tmp_path / "e.npz"
    )
    with np.load(tmp_path / "e.npz") as found:
        error = rms(found["forces"] - npz["F_total_f64"]) / rms(npz["F_total_f64"])
        shift = (found["energy"] - npz["E_total_f64"]).mean()
        assert np.abs(found["energy_bonds"] - npz["E_bonds_f64"]).max() <= 1e-9 * np.abs(npz["E_bonds_f64"]).max()
    assert 1e-7 < error <= 2e-3
    assert f"against fp64: forces off by {error:.1e} of their rms, mean energy by {shift:+.2g} kcal/mol" in text


def test_info_shows_what_tables_cost(chignolin) -> None:
    folder, _ = chignolin
    text = mdflash("info", folder)
    rows = {
        line.split()[1]: line.split()[3::2]
        for line in text.splitlines()
        if line.startswith(("│ fp", "│ mixed16")) and not any(kind in line for kind in IN_PARTS)
    }
    assert rows.keys() == {"fp64", "fp32", "mixed16"}
    for precision, limit in (("fp64", 1e-6), ("fp32", 1e-5), ("mixed16", 2e-3)):
        points, size, error = rows[precision]
        assert int(points.replace(",", "")) % 2 == 1 and float(size) > 0.0
        assert 0.0 < float(error) <= limit


def test_one_frame_and_trajectories_in_nanometres(chignolin, tmp_path: Path) -> None:
    folder, npz = chignolin
    from mdflash.forcefields.forcefield import load_forcefield

    system, _ = load_forcefield(folder).system()
    frames = npz["positions"] - npz["positions"].mean(axis=1, keepdims=True)
    np.save(tmp_path / "one.npy", frames[3])
    trajectory = mdtraj.Trajectory((frames / 10).astype(np.float32), mdtraj_topology(system))
    trajectory.save_dcd(str(tmp_path / "x.dcd"))
    found = {}
    for name in ("one.npy", "x.dcd"):
        out = tmp_path / f"{name}.npz"
        mdflash("energy", folder, "--frames", tmp_path / name, "--out", out, "--system", "cln")
        with np.load(out) as data:
            found[name] = data["energy"]
    assert found["one.npy"] == pytest.approx(npz["E_total_f64"][[3]], rel=1e-9)
    assert found["x.dcd"] == pytest.approx(npz["E_total_f64"], rel=1e-4)  # DCD keeps float32


def test_wrong_input_is_one_clear_sentence(chignolin, tmp_path: Path) -> None:
    folder, npz = chignolin
    x, out = tmp_path / "x.npy", tmp_path / "e.npz"

    def refused(match: str, frames: np.ndarray | None = None, *more: object, ff: object = folder) -> None:
        if frames is not None:
            np.save(x, frames)
        with pytest.raises(MdflashError, match=match) as caught:
            mdflash("energy", ff, "--frames", x, "--out", out, *more)
        assert caught.value.exit_code == 2 and not out.exists()

    good = npz["positions"]
    refused("no such file")
    refused(r"x\.npy.*\[8, 9, 3\].*needs \[frames, 10, 3\]", good[:, :9])
    refused("holds no frames", good[:0])
    nan = good.copy()
    nan[5, 2, 1] = np.nan
    refused(r"x\.npy: frame 5: the position of ASP 3 CA \(bead 2\)", nan)
    clash = good.copy()
    clash[4, 6] = clash[4, 2]
    refused(r"frame 4: the term 'SchNet'|frame 4: the term 'non_bonded'", clash)
    refused("there is no 'other'|systems are: cln", good, "--system", "other")
    refused("no such folder; shipped force fields", good, ff="nowhere")
    x.write_text("not an array")
    refused(r"x\.npy: cannot be read as a \.npy")


def test_a_force_field_without_its_molecule_asks_for_one(reference_dir: Path, tmp_path: Path) -> None:
    save_forcefield(tmp_path / "ff", import_mlcg([reference_dir / "mlcg" / "prior.pt"], None, "priors"))
    np.save(tmp_path / "x.npy", np.zeros((1, 5, 3)))
    with pytest.raises(InputError, match=r"holds no molecule; import it again with --structures.*--system"):
        mdflash("energy", tmp_path / "ff", "--frames", tmp_path / "x.npy", "--out", tmp_path / "e.npz")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three replicas of chignolin."""
    folder = tmp_path_factory.mktemp("runs") / "go"
    options = {
        "output.folder": folder, "replicas.count": 3, "dynamics.length": "1 ps", "dynamics.timestep": "10 fs",
        "output.trajectory.interval": "200 fs", "output.log.interval": "200 fs",
    }  # fmt: skip
    mdflash("run", "chignolin", *(word for key, value in options.items() for word in ("--set", f"{key}={value}")))
    return folder


@pytest.mark.parametrize("frames", [False, True, "file"])
def test_frames_of_a_run(folder: Path, tmp_path: Path, frames: bool | str) -> None:
    """A run folder brings force field and frames; its trajectory can be given to a force field as well."""
    file = next(folder.glob("trajectory/*.h5"))
    what = ["go-chignolin", "--frames", file if frames == "file" else folder] if frames else [folder]
    text = mdflash("energy", *what, "--replica", 2, "--out", tmp_path / "e.npz")
    assert "6 frames of chignolin (10 beads)" in text
    log = open_run(folder).log.query("replica == 2")
    with np.load(tmp_path / "e.npz") as data:
        assert data["step"].tolist() == log.step.tolist()
        assert data["time_ps"] == pytest.approx(log.time_ps.to_numpy())
        np.testing.assert_allclose(data["energy"], log.potential_kcal_mol, atol=2e-3)  # frames are rounded


def test_which_replica_of_a_run(folder: Path, tmp_path: Path) -> None:
    file, out = next(folder.glob("trajectory/*.h5")), tmp_path / "e.npz"
    for arguments, text in (
        ([folder], r"runs\d*/go: holds 3 replicas, 0 to 2; write for example --replica 0"),
        (["go-chignolin", "--frames", file], r"\.h5: holds 3 replicas, 0 to 2; write for example --replica 0"),
        ([folder, "--replica", 3], "has no replica 3; it has 0 to 2"),
        ([folder, "--replica", 1, "--system", "villin"], "its molecules are chignolin; name one with --system"),
        (["go-chignolin"], "which frames"),
        (["go-chignolin", "--frames", tmp_path], "has no trajectory"),
    ):
        with pytest.raises(InputError, match=text):
            mdflash("energy", *arguments, "--out", out)
    np.save(tmp_path / "x.npy", np.zeros((1, 10, 3)))
    with pytest.raises(InputError, match="holds no replicas by number; leave out --replica"):
        mdflash("energy", "go-chignolin", "--frames", tmp_path / "x.npy", "--replica", 0, "--out", out)
    assert np.array_equal(
        Simulation("chignolin", "go-chignolin", start=file, replicas=2).positions[1], read_frames(file, 1).positions[-1]
    )
    assert not out.exists()

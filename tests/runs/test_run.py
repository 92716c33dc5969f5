"""What `mdflash run` promises about its folder: resume, refuse, start over; nothing half-written."""

from __future__ import annotations

import json
from pathlib import Path

import mdtraj
import numpy as np
import pytest

import mdflash
from mdflash.analysis.watching import look
from mdflash.config.load import load_run, locate
from mdflash.engine.engine import Engine
from mdflash.errors import InputError, StorageError, UnstableError
from mdflash.forcefields.forcefield import load_forcefield
from mdflash.io.claims import claim
from mdflash.io.log import COLUMNS
from mdflash.runs import identity
from mdflash.runs.execute import Plan, Watch, execute
from mdflash.units import ACCELERATION, BOLTZMANN
from tests.processes import python

QUICK = (
    "replicas.count=3",
    "dynamics.timestep=4 fs",
    "dynamics.seed=11",
    "output.log.interval=0.4 ps",
    "output.trajectory.interval=0.8 ps",
    "output.checkpoint.interval=2 ps",
)


def run(folder: Path, *overrides: str, steps: int = 1000, fresh: bool = False, watch: Watch | None = None) -> Plan:
    source = locate("chignolin")
    config = load_run(source, [*QUICK, f"output.folder={folder}", f"dynamics.steps={steps}", *overrides])
    return execute(config, source, fresh=fresh, watch=watch)


def rows(folder: Path) -> np.ndarray:
    table = np.genfromtxt(folder / "log.csv", delimiter=",", names=True, dtype=None, encoding=None)
    assert table.dtype.names == COLUMNS
    return table


def test_a_run_leaves_what_the_readme_promises(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert run(folder).start == "fresh"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["status"], manifest["step"]) == ("finished", 1000)
    table = rows(folder)
    assert sorted(set(table["step"])) == list(range(0, 1001, 100))
    assert len(table) == 3 * 11
    assert np.isfinite(table["potential_kcal_mol"]).all()
    frames = mdtraj.load(str(next((folder / "trajectory").glob("*.h5"))))
    np.testing.assert_allclose(frames.time, 0.8 * np.arange(6), rtol=1e-6)
    assert frames.n_atoms == 30
    assert (folder / "input.yaml").read_bytes() == locate("chignolin").read_bytes()
    assert load_run(folder / "resolved.yaml").total_steps == 1000


def test_the_log_is_what_the_checkpoint_says(tmp_path: Path) -> None:
    """Energies by the force field at the positions of the last checkpoint, and by its velocities and masses."""
    run(tmp_path, steps=100)
    last = rows(tmp_path)[-3:]
    with np.load(tmp_path / "checkpoint" / "step_000000000000100.npz") as kept:
        x, v = kept["positions"], kept["velocities"]
    ff = load_forcefield("go-chignolin")
    system = ff.systems[0][0]
    energy = mdflash.Evaluator(ff, system, 3)(x)[0]
    np.testing.assert_allclose(last["potential_kcal_mol"], energy, rtol=1e-12)
    kinetic = 0.5 * (np.tile(system.masses, 3)[:, None] * v**2).reshape(3, -1).sum(axis=1) / ACCELERATION
    np.testing.assert_allclose(last["kinetic_kcal_mol"], kinetic, rtol=1e-12)
    degrees = 3 * system.n_beads
    np.testing.assert_allclose(last["temperature_K"], 2 * kinetic / (BOLTZMANN * degrees), rtol=1e-12)


def test_longer_goes_on_and_equals_a_long_run(tmp_path: Path) -> None:
    run(tmp_path / "a", steps=600)
    assert run(tmp_path / "a", steps=1000).start == "resume"
    run(tmp_path / "b", steps=1000)
    assert (tmp_path / "a/log.csv").read_bytes() == (tmp_path / "b/log.csv").read_bytes()
    last = "checkpoint/step_000000000001000.npz"
    assert (tmp_path / "a" / last).read_bytes() == (tmp_path / "b" / last).read_bytes()


def test_what_a_kill_left_half_written_goes_and_nothing_else(tmp_path: Path) -> None:
    run(tmp_path, steps=200)
    halves = [tmp_path / part / f".mdflash-{k:016x}.tmp" for k, part in enumerate((".", "checkpoint", "trajectory"))]
    mine = [tmp_path / ".mdflash-notes.tmp", tmp_path / "notes.tmp", tmp_path / "trajectory" / ".mine"]
    for file in (*halves, *mine):
        file.write_text("half")
    run(tmp_path, steps=300)
    assert not any(file.exists() for file in halves) and all(file.exists() for file in mine)


def test_steps_with_tables_of_another_grid_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = locate("chignolin-schnet")
    given = ["replicas.count=1", "dynamics.seed=1", f"output.folder={tmp_path / 'run'}"]

    def steps(count: int) -> Plan:
        return execute(load_run(source, [*given, f"dynamics.steps={count}"]), source)

    with monkeypatch.context() as before:
        before.setattr(identity, "SIZED_BY", 1)
        steps(4)
    (note,) = [note for note in steps(8).notes if "grid of filter tables" in note]
    assert note.startswith("the steps up to 4 were made by mdflash") and "last bits" in note
    assert not [note for note in steps(12).notes if "grid of filter tables" in note]


def test_finished_runs_are_left_alone(tmp_path: Path) -> None:
    run(tmp_path / "run")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*") if p.is_file() and p.name != "lock"}
    assert run(tmp_path / "run").start == "finished"
    after = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*") if p.is_file() and p.name != "lock"}
    assert after == before


def test_a_changed_input_is_refused_by_key(tmp_path: Path) -> None:
    run(tmp_path / "run", steps=500)
    with pytest.raises(InputError, match=r"dynamics\.friction.*--fresh"):
        run(tmp_path / "run", "dynamics.friction=2 /ps")
    with pytest.raises(InputError, match=r"was made with replicas\.count: .*--fresh"):  # no checkpoint is damaged
        run(tmp_path / "run", "replicas.count=7")
    assert run(tmp_path / "run", "neighbors.skin=3 angstrom", "hardware.threads=1").start == "resume"


def test_another_structure_under_the_same_name_is_noticed(tmp_path: Path) -> None:
    frames = np.load(write_frames(tmp_path / "x.npy"))
    started = (f"system.start={tmp_path / 'x.npy'}",)
    run(tmp_path / "run", *started, steps=500)
    assert not any("start frames" in note for note in run(tmp_path / "run", *started, steps=600).notes)
    np.save(tmp_path / "x.npy", frames * (-1, 1, 1))
    for steps in (600, 700, 800):  # finished, and going on twice
        (note,) = (note for note in run(tmp_path / "run", *started, steps=steps).notes if "start frames" in note)
        assert "chignolin" in note and "x.npy" in note and "--fresh" in note
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    del manifest["systems"][0]["start_sha256"]  # as older runs have it
    (tmp_path / "run/manifest.json").write_text(json.dumps(manifest))
    assert not any("start frames" in note for note in run(tmp_path / "run", *started, steps=900).notes)


def write_frames(file: Path) -> Path:
    """The start frames that the shipped chignolin has."""
    np.save(file, load_forcefield("go-chignolin").system()[1])
    return file


def test_fresh_starts_over_and_keeps_what_is_not_ours(tmp_path: Path) -> None:
    run(tmp_path / "run", steps=500)
    (tmp_path / "run/notes.txt").write_text("mine")
    plan = run(tmp_path / "run", "dynamics.friction=2 /ps", steps=500, fresh=True)
    assert plan.start == "fresh"
    assert (tmp_path / "run/notes.txt").read_text() == "mine"


def test_a_drawn_seed_is_recorded_and_kept(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(folder, "dynamics.seed=null", steps=500)
    seed = load_run(folder / "resolved.yaml").dynamics.seed
    assert seed is not None
    assert run(folder, "dynamics.seed=null", steps=700).engine.seed == seed


def test_lost_checkpoints_are_not_taken_for_a_fresh_start(tmp_path: Path) -> None:
    run(tmp_path / "run", steps=500)
    for file in (tmp_path / "run/checkpoint").iterdir():
        file.unlink()
    with pytest.raises(StorageError, match="checkpoints are gone"):
        run(tmp_path / "run")
    assert (tmp_path / "run/log.csv").exists()


def test_a_start_that_never_finished_is_cleaned_up(tmp_path: Path) -> None:
    def killed(plan: Plan) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", watch=Watch(planned=killed))
    (tmp_path / "run/log.csv").write_text("half a li")
    with pytest.raises(StorageError, match=r"would replace log\.csv"):
        run(tmp_path / "run")
    claim(tmp_path / "run", "run", ["chignolin"])  # what a start writes first
    assert run(tmp_path / "run").start == "fresh"
    assert len(rows(tmp_path / "run")) == 33


def test_another_force_field_is_refused(tmp_path: Path) -> None:
    import shutil

    from mdflash.forcefields.shipped import find_shipped

    shipped = find_shipped("forcefields", "go-chignolin")
    assert shipped is not None
    mine = tmp_path / "mine"
    shutil.copytree(shipped, mine)
    run(tmp_path / "run", f"model.forcefield={mine}", steps=500)
    text = (mine / "forcefield.yaml").read_text()
    row = next(line for line in text.splitlines() if line.strip().startswith("- [0, 1, 2, 3,"))
    (mine / "forcefield.yaml").write_text(text.replace(row, row.replace("1, 2, 3, ", "1, 2, 3, 1")))
    with pytest.raises(InputError, match="has changed since"):
        run(tmp_path / "run", f"model.forcefield={mine}")


def test_an_unstable_run_says_where_and_loses_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "run"

    def shake(simulation: Engine) -> None:
        if simulation.state.step >= 600:
            simulation.state.positions[12] += 1e155  # bead 2 of replica 1, between two blocks

    with pytest.raises(UnstableError, match=r"replica 1 .*step 6\d\d .*checkpoint is intact"):
        run(folder, "dynamics.integrator=verlet", watch=Watch(progress=shake))
    assert json.loads((folder / "manifest.json").read_text())["status"] == "unstable"
    assert max(rows(folder)["step"]) == 600
    assert run(folder, "dynamics.integrator=verlet").start == "resume"


def test_a_start_that_cannot_be_writes_nothing(tmp_path: Path) -> None:
    np.save(tmp_path / "collapsed.npy", np.zeros((1, 10, 3)))
    with pytest.raises(InputError, match=r"collapsed.npy: .*TYR 1 CA .* and TYR 2 CA .* are in one place"):
        run(tmp_path / "run", f"system.start={tmp_path / 'collapsed.npy'}")
    np.save(tmp_path / "torn.npy", np.arange(30.0).reshape(1, 10, 3) * 1e200)
    with pytest.raises(UnstableError, match=r"replica 0 .*step 0: .*not the time step") as error:
        run(tmp_path / "run", f"system.start={tmp_path / 'torn.npy'}")
    assert "shorter" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_two_processes_cannot_share_a_folder(tmp_path: Path) -> None:
    def second(plan: Plan) -> None:
        done = python("-m", "mdflash", "run", "chignolin", "--set", f"output.folder={tmp_path / 'run'}")
        assert done.returncode == 2
        assert "is in use by process" in done.stderr
        assert "Traceback" not in done.stderr

    run(tmp_path / "run", watch=Watch(planned=second))


def test_mixed_systems_run_side_by_side(tmp_path: Path) -> None:
    """Two molecules of different size, each with its own force field, in one batch."""
    from mdflash.forcefields.forcefield import save_forcefield
    from mdflash.importers.go_model import build_go
    from mdflash.mapping.structure import map_structure

    chignolin = locate("chignolin").with_suffix(".pdb")
    turn = np.radians(100.0) * np.arange(7)
    helix = np.stack([2.3 * np.cos(turn), 2.3 * np.sin(turn), 1.5 * np.arange(7)], axis=1)
    lines = [
        f"ATOM  {i + 1:5d}  CA  ALA A{i + 1:4d}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00           C\n"
        for i, (x, y, z) in enumerate(helix)
    ]
    other = tmp_path / "helix.pdb"
    other.write_text("".join(lines) + "END\n")
    system, native, _ = map_structure(other)
    save_forcefield(tmp_path / "go-other", build_go(system, native[0]))
    file = tmp_path / "mixed.yaml"
    file.write_text(
        f"""
mdflash: 1
system:
  - {{structure: {chignolin}, forcefield: go-chignolin, replicas: 2}}
  - {{structure: helix.pdb, forcefield: go-other, replicas: 3}}
dynamics: {{temperature: 300 K, steps: 500, timestep: 4 fs, seed: 11}}
output: {{folder: {tmp_path / "run"}, log: {{interval: 0.4 ps}}, trajectory: {{interval: 0.8 ps}}}}
"""
    )
    execute(load_run(file), file)
    run(tmp_path / "alone", "replicas.count=2", "dynamics.temperature=300 K", "dynamics.friction=1 /ps", steps=500)
    mixed, alone = rows(tmp_path / "run"), rows(tmp_path / "alone")
    mixed = mixed[mixed["replica"] < 2]
    assert (mixed["potential_kcal_mol"] == alone["potential_kcal_mol"]).all()
    assert {p.name for p in (tmp_path / "run/trajectory").iterdir()} == {"chignolin.h5", "helix.h5"}


def test_start_frames_in_nm_are_refused_and_wrapped_ones_made_whole(tmp_path: Path) -> None:
    file = write_frames(tmp_path / "x.npy")
    frames, box, started = np.load(file), "box=[60 angstrom,60 angstrom,60 angstrom]", f"system.start={file}"
    np.save(file, frames / 10)
    with pytest.raises(InputError, match=r"x\.npy: start frames .*nm; multiply them by 10"):
        run(tmp_path / "nm", started)
    placed = frames + 61.0 - frames.max(axis=(0, 1))
    np.save(file, placed - 60.0 * np.floor(placed / 60.0))
    plan = run(tmp_path / "box", started, box, steps=100)
    assert any("made whole" in note for note in plan.notes)
    assert np.abs(rows(tmp_path / "box")["potential_kcal_mol"]).max() < 100.0


def test_what_brownian_motion_has_not_is_left_empty(tmp_path: Path) -> None:
    plan = run(tmp_path / "run", "dynamics.integrator=brownian", "dynamics.friction=50 /ps", steps=500)
    assert sum("no velocities" in note for note in plan.notes) == 1
    table = [line.split(",") for line in (tmp_path / "run/log.csv").read_text().splitlines()]
    assert all(row[-2:] == ["", ""] and np.isfinite(float(row[-3])) for row in table[1:])
    longer = run(tmp_path / "run", "dynamics.integrator=brownian", "dynamics.friction=50 /ps", steps=700)
    assert longer.start == "resume"
    followed = look(tmp_path / "run")
    assert followed.temperatures.size and np.isnan(followed.temperatures).all()

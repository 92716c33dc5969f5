"""A box of many molecules, from one command to a run that resumes with the same bits."""

from __future__ import annotations

from pathlib import Path

import gemmi
import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

import mdflash
from mdflash.analysis.analyze import analyze
from mdflash.analysis.open_run import open_run
from mdflash.cli.app import app
from mdflash.config.load import load_run
from mdflash.errors import Interrupted, MdflashError
from mdflash.runs.execute import Watch, execute
from mdflash.runs.prepare import prepare


def call(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception is not None:
        raise result.exception
    return result.output


def init(out: Path, *words: object) -> str:
    return call("init", "--forcefield", "calvados2", "--out", out, *words)


SHORT = ["--set", "dynamics.steps=400", "--set", "output.trajectory.interval=1 ps", "--set", "output.log.interval=1 ps",
         "--set", "dynamics.seed=7", "--set", "dynamics.minimize=100"]  # fmt: skip


def test_a_slab_from_one_command(tmp_path: Path) -> None:
    out = tmp_path / "slab1"
    said = init(out, "--sequence", "GYGSFRGYGSFK", "--count", 70, "--box", "10 nm, 10 nm, 40 nm", "--slab", *SHORT)
    assert "70 molecules, 840 beads, in a slab of 10 nm x 10 nm x 40 nm" in said
    text = (out / "system.yaml").read_text()
    assert "geometry: slab" in text and "count: 70" in text
    call("check", out / "system.yaml")
    config = load_run(out / "system.yaml")
    assert config.box == (100.0, 100.0, 400.0) and config.n_replicas == 1
    execute(config, out / "system.yaml")
    cell = gemmi.read_structure(str(out / "run" / "topology.cif"))
    chains = [chain.name for chain in cell[0]]
    assert len(set(chains)) == 70 and chains[62] == "AA"
    assert cell.cell.parameters[:3] == (100.0, 100.0, 400.0)
    assert (out / "run" / "topology.pdb").read_text().startswith("CRYST1  100.000  100.000  400.000")
    run = open_run(out / "run")
    assert run.positions[0].shape == (5, 840, 3)
    with h5py.File(out / "run" / "trajectory" / "slab1.h5") as file:
        assert np.allclose(file["cell_lengths"][0], [10.0, 10.0, 40.0])


def test_stopped_and_resumed_with_the_same_bits(tmp_path: Path) -> None:
    words = ["--sequence", "GYGSFRGYGSFK", "--count", 12, "--box", "9 nm, 9 nm, 20 nm", "--slab", *SHORT]
    ends = []
    for name, stops in (("a", False), ("b", True)):
        out = tmp_path / name
        init(out, *words)
        config = load_run(out / "system.yaml", ["output.checkpoint.interval=1 ps"])
        if stops:
            seen = []

            def stop(seen: list[int] = seen) -> str | None:
                seen.append(1)
                return "asked to" if len(seen) > 2 else None

            with pytest.raises(Interrupted):
                execute(config, out / "system.yaml", watch=Watch(should_stop=stop))
        execute(config, out / "system.yaml")
        ends.append(open_run(out / "run").positions[0][:])
    assert (ends[0] == ends[1]).all()


def test_replicas_and_kinds_have_their_own_places(tmp_path: Path) -> None:
    file = tmp_path / "mixed.yaml"
    file.write_text(
        "mdflash: 1\n"
        "system:\n"
        "  molecules:\n"
        "    - {sequence: GYGSFRGYGSFK, name: sticky, count: 5}\n"
        "    - {sequence: EEEKKK, name: salty, count: 3}\n"
        "  box: [10 nm, 10 nm, 10 nm]\n"
        "model: {forcefield: calvados2}\n"
        "dynamics: {temperature: 300 K, steps: 100, seed: 3}\n"
        "replicas: {count: 2}\n"
    )
    config = load_run(file)
    assert config.box == (100.0, 100.0, 100.0)
    prepared = prepare(config)
    (system,) = prepared.layout.systems
    assert system.n_beads == 78 and len(set(system.chain_ids)) == 8
    a, b = prepared.start.reshape(2, 78, 3)
    assert (a != b).all()
    assert any("8 chains (78 beads) placed in the box" in note for note in prepared.notes)
    assert (prepare(load_run(file)).start == prepared.start).all()


def test_the_same_places_from_python(tmp_path: Path) -> None:
    file = tmp_path / "system.yaml"
    file.write_text(
        "mdflash: 1\n"
        "system: {molecules: [{sequence: GYGSFRGYGSFK, count: 5}], box: [9 nm, 9 nm, 20 nm], geometry: slab}\n"
        "model: {forcefield: calvados2}\ndynamics: {temperature: 300 K, steps: 100, seed: 3}\n"
    )
    ff = mdflash.load_forcefield("calvados2")
    chain, _ = mdflash.chain_of("GYGSFRGYGSFK", ff, "fus")
    box = (90.0, 90.0, 200.0)
    filled = mdflash.fill_box([mdflash.Copies(ff, chain, 5)], box, 3, slab=True)
    assert (filled.frames[0] == prepare(load_run(file)).start.numpy()).all()
    sim = mdflash.Simulation(filled.system, filled.forcefield, start=filled.frames, box=box, temperatures=300.0)
    sim.minimize(50)
    sim.run(20)
    assert np.isfinite(sim.replicas[0].energy)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("molecules: [{sequence: GSG, count: 3}]", "many molecules need a periodic box: `box: [15 nm, 15 nm, 150 nm]`"),
        ("molecules: [{count: 3}]\n  box: [9 nm, 9 nm, 9 nm]", "`sequence: MSRAALPSLENL`"),
        ("molecules: [{sequence: GSG, cuont: 3}]", "did you mean 'count'"),
        ("molecules: [{sequence: GXG}]", "'X' (any amino acid)"),
        ("molecules: []", "the list is empty"),
        ("sequence: GSG\n  molecules: [{sequence: GSG}]\n  box: [9 nm, 9 nm, 9 nm]", "stands beside `molecules:`"),
        ("sequence: GSG\n  geometry: slab", "places the copies of `molecules:`"),
        ("molecules: [{sequence: GSG}]\n  box: [9 nm, 9 nm, 9 nm]\n  thickness: 3 nm", "write `geometry: slab` too"),
        ("molecules: [{sequence: GSG}]\n  box: [9 nm, 9 nm, 9 nm]\nbox: [8 nm, 8 nm, 8 nm]", "a run has one for all"),
        (
            "molecules: [{sequence: GSG, name: a}, {sequence: RRR, name: a}]\n  box: [9 nm, 9 nm, 9 nm]",
            "'a' is the name of 2 molecules",
        ),
        ("molecules: [{sequence: GSGSGSGSGS, count: 900}]\n  box: [4 nm, 4 nm, 4 nm]", "do not fit into the box"),
        ("molecules: [{sequence: GSG, count: 2}]\n  box: [5 nm, 5 nm, 5 nm]", "too small"),
    ],
)
def test_refused_in_plain_words(lines: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "system.yaml"
    file.write_text(
        f"mdflash: 1\nsystem:\n  {lines}\nmodel: {{forcefield: calvados2}}\n"
        "dynamics: {temperature: 300 K, steps: 100}\n"
    )
    with pytest.raises(MdflashError) as error:
        prepare(load_run(file).with_seed()).engine().evaluate()
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--sequence", "GSG", "--count", "3"], "--box '15 nm, 15 nm, 15 nm'"),
        (["--sequence", "GSG", "--count", "3", "--box", "15 nm"], "expected three lengths"),
        (["--sequence", "GSG", "--slab", "--box", "15, 15, 150"], "has no unit"),
        (["--sequence", "GSG", "absent.pdb", "--slab"], "give one of"),
        (["absent.pdb", "--slab"], "no such file"),
    ],
)
def test_init_refuses_in_plain_words(words: list[str], says: str, tmp_path: Path) -> None:
    with pytest.raises(MdflashError) as error:
        init(tmp_path / "out", *words)
    assert says in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_sticky_slab_stays_and_is_analyzed(tmp_path: Path) -> None:
    """What sticks stays where it was put, what repels spreads; the analysis tells them apart."""
    found = {}
    for name, sequence in (("sticky", "FYWFYWFYWF"), ("salty", "EEEEEEEEEE")):
        out = tmp_path / name
        init(out, "--sequence", sequence, "--count", 20, "--box", "9 nm, 9 nm, 30 nm", "--slab", *SHORT,
             "--set", "dynamics.steps=9000", "--set", "output.trajectory.interval=3 ps")  # fmt: skip
        execute(load_run(out / "system.yaml"), out / "system.yaml")
        found[name] = analyze(open_run(out / "run")).molecules[name]
    last = {name: m.sample.tracks[0].values["condensation"][-5:].mean() for name, m in found.items()}
    assert last["sticky"] > 0.85 and last["salty"] < 0.6, last
    phases = found["sticky"].phases
    assert phases is not None and phases.interface is not None
    assert phases.dense["sticky"].states[0].mean.value > 10.0  # mM
    assert found["salty"].phases is not None and found["salty"].phases.why


def test_a_short_box_has_no_phases(tmp_path: Path) -> None:
    out = tmp_path / "short"
    init(out, "--sequence", "FYWFYWFYWF", "--count", 4, "--box", "9 nm, 9 nm, 12 nm", *SHORT)
    execute(load_run(out / "system.yaml"), out / "system.yaml")
    phases = analyze(open_run(out / "run")).molecules["short"].phases
    assert phases is not None and phases.interface is None and not phases.dilute
    assert "a box of 9 x 9 x 12 nm is too short for a slab" in phases.why

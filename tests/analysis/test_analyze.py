"""`mdflash analyze` on runs as they are found: finished, running, killed, torn, with little in them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
import pandas
import pytest

import mdflash
from mdflash.analysis.analyze import analyze, passages
from mdflash.analysis.observables import OBSERVABLES
from mdflash.analysis.report.files import png, write_figures
from mdflash.analysis.report.page import figures, page
from mdflash.analysis.report.provenance import changes_of, conditions, methods
from mdflash.analysis.report.viewer import view
from mdflash.analysis.result import Analysis
from mdflash.analysis.verdict import Color, Light, enough
from mdflash.config.load import load_run
from mdflash.config.write import to_data
from mdflash.errors import InputError
from mdflash.mapping.choices import Reading
from mdflash.runs.execute import execute

CHIGNOLIN = Path(mdflash.__file__).parents[1] / "systems" / "chignolin.pdb"

LADDER = """
mdflash: 1
name: ladder
system: {{structure: {pdb}, name: chignolin}}
model: {{forcefield: go-chignolin}}
replicas: {{count: 4}}
exchange: {{temperatures: [300 K, 330 K, 360 K, 390 K], interval: 200 fs}}
dynamics: {{timestep: 10 fs, steps: 20000, seed: 7}}
output:
  folder: {folder}
  trajectory: {{interval: 500 fs}}
  log: {{interval: 500 fs}}
"""

PLAIN = """
mdflash: 1
name: plain
system: {{structure: {pdb}, name: chignolin}}
model: {{forcefield: go-chignolin}}
replicas: {{count: {count}}}
dynamics: {{timestep: 10 fs, steps: {steps}, temperature: 340 K, seed: 7}}
output:
  folder: {folder}
  trajectory: {{format: {format}, interval: 500 fs}}
  log: {{interval: 500 fs}}
"""

WINDOWS = """
mdflash: 1
name: windows
system: {{structure: {pdb}, name: chignolin}}
model: {{forcefield: go-chignolin}}
replicas: {{count: 6}}
dynamics: {{timestep: 10 fs, steps: 10000, temperature: 340 K, seed: 7}}
biases:
  - name: pull
    variable: distance
    beads: [0, 9]
    center: {{min: 4 angstrom, max: 14 angstrom, count: 6}}
    force_constant: 0.5 kcal/mol/angstrom^2
{exchange}
output:
  folder: {folder}
  trajectory: {{interval: 1 ps}}
  log: {{interval: 1 ps}}
  colvars: {{interval: 500 fs}}
"""


def make(tmp_path: Path, text: str, **fields: object) -> Path:
    """Run it; the run folder."""
    source = tmp_path / "run.yaml"
    source.write_text(text.format(pdb=CHIGNOLIN, folder=tmp_path / "run", **fields))
    execute(load_run(source), source)
    return tmp_path / "run"


@pytest.fixture(scope="module")
def ladder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("ladder"), LADDER)


@pytest.fixture(scope="module")
def analyzed(ladder: Path) -> Analysis:
    return mdflash.open_run(ladder).analyze()  # type: ignore[no-any-return]


def test_a_ladder(analyzed: Analysis, ladder: Path) -> None:
    m = analyzed.molecules["chignolin"]
    assert m.sample.frames == 4 * 401 and m.key == "q"
    assert {o.name for o in m.sample.observables} == {"q", "rmsd", "rg", "end_to_end", "asphericity"}
    log = pandas.read_csv(ladder / "log.csv")
    for t in m.sample.tracks:
        mine = log[log.replica == t.replica].set_index("step")
        np.testing.assert_array_equal(mine.loc[t.steps, "state"], t.states)
        np.testing.assert_array_equal(mine.loc[t.steps, "potential_kcal_mol"], t.values["energy"])
    after = [t.steps >= m.first_step for t in m.sample.tracks]
    for s, at in m.measured["rg"].states.items():
        x = [t.values["rg"][k & (t.states == s)] for t, k in zip(m.sample.tracks, after, strict=True)]
        assert at.mean.value == pytest.approx(np.concatenate(x).mean()) and at.frames == sum(map(len, x))
    assert m.walk is not None and m.melting is not None and len(m.sentences) == 3
    assert {light.name for light in m.lights} >= {"Equilibrium", "Round trips", "States mix", "Halves agree", "Stable"}
    assert len(m.surfaces) == 3


def test_series_are_mdtrajs(analyzed: Analysis, ladder: Path) -> None:
    import mdtraj

    trajectory = mdflash.open_run(ladder).trajectory(2)
    t = analyzed.molecules["chignolin"].sample.tracks[2]
    ends = mdtraj.compute_distances(trajectory, [[0, 9]], periodic=False)[:, 0]
    assert np.abs(t.values["end_to_end"] - 10 * ends).max() < 1e-4
    reference = mdflash.load_forcefield("go-chignolin").system()[1]
    assert reference is not None
    native = mdtraj.Trajectory(reference[:1] / 10, trajectory.topology)
    assert np.abs(t.values["rmsd"] - 10 * mdtraj.rmsd(trajectory, native)).max() < 5e-3  # mdtraj's is single precision
    profiles = analyzed.molecules["chignolin"].sample.profiles["pairs"]
    assert set(profiles) == {0, 3, *({analyzed.molecules["chignolin"].focus} & {0, 1, 2, 3})}


def test_the_page_stands_alone(analyzed: Analysis, tmp_path: Path) -> None:
    path = analyzed.write(tmp_path)
    text = path.read_text()
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!data:|#)""", text), "nothing comes from elsewhere"
    assert "https://" not in text and "@import" not in text
    for section in ("Over time", "Distributions", "Exchange", "Structure", "Numbers", "Events", "Provenance"):
        assert section in text
    assert text.count('class="csv"') == sum(len(f) for _, _, f in figures(analyzed))
    assert len(text) < 2_000_000
    table = pandas.read_csv(tmp_path / "properties.csv")
    assert len(table) == 4 and list(table.temperature_K) == [300, 330, 360, 390]
    assert (table.q_error > 0).all() and (table.rg_A > 4).all() and set(table.ensemble) == {"unbiased"}
    numbers = json.loads((tmp_path / "analysis.json").read_text())
    assert numbers["molecules"]["chignolin"]["exchange"]["round_trips"]
    assert len(numbers["molecules"]["chignolin"]["states"]) == 4


def test_figures_as_files(analyzed: Analysis, tmp_path: Path) -> None:
    names = {f.key for _, _, found in figures(analyzed) for f in found}
    folder = write_figures(analyzed, tmp_path / "svg", "svg")
    assert {p.stem for p in folder.iterdir()} == names
    assert all(p.read_text().startswith("<svg xmlns=") for p in folder.iterdir())
    every = {type(f): f for _, _, found in figures(analyzed) for f in found}
    assert all(png(f).startswith(b"\x89PNG") for f in every.values()) and len(every) == 2


def test_names_stay_text(analyzed: Analysis) -> None:
    evil = "</script><script>alert(1)</script>"
    other = Analysis(analyzed.run, {**analyzed.manifest, "name": evil}, analyzed.molecules,
                     [{"time": "", "step": 0, "event": evil, "what": evil}], [evil])  # fmt: skip
    text = page(other)
    assert evil not in text and text.count("<script") == 2


@pytest.mark.parametrize("format", ["hdf5", "xtc", "dcd"])
def test_one_replica(tmp_path: Path, format: str) -> None:
    folder = make(tmp_path, PLAIN, count=1, steps=5000, format=format)
    m = analyze(mdflash.open_run(folder)).molecules["chignolin"]
    assert m.walk is None and m.melting is None and m.sample.frames == 101
    assert [light.color for light in m.lights if light.name == "Replicas agree"] == ["unknown"]
    assert m.sentences[-1].endswith("Not judged: replicas agree.")
    assert m.measured["q"].states[0].mean.error > 0
    assert "chignolin" in m.sentences[0] and "340 K" in m.sentences[0]


def test_what_the_command_line_changed(tmp_path: Path) -> None:
    """The page tells it, and the paragraph says what was run; a minimized start is no sample."""
    source = tmp_path / "run.yaml"
    source.write_text(PLAIN.format(pdb=CHIGNOLIN, folder=tmp_path / "run", count=2, steps=10, format="hdf5"))
    overrides = ["dynamics.steps=2000", "dynamics.minimize=20", "dynamics.temperature=310 K"]
    execute(load_run(source, overrides), source)
    found = mdflash.open_run(tmp_path / "run").analyze()
    told = changes_of(found)
    assert "dynamics.temperature: 310 K (in the file: 340 K)" in told
    assert "dynamics.steps: 2000 (in the file: 10)" in told and len(told) == 3
    text = methods(found)
    assert "temperature was 310 K" in text and "minimized in at most 20 steps" in text and "chignolin.pdb" in text
    m = found.molecules["chignolin"]
    assert m.first_step >= 1 and "Changed on the command line" in page(found)


def test_the_paragraph_tells_boxes_moves_and_frames(tmp_path: Path) -> None:
    (tmp_path / "box.yaml").write_text(
        "mdflash: 1\nsystem:\n"
        "  - {name: many, molecules: [{sequence: GSYG, name: a, count: 4}], geometry: slab}\n"
        f"  - {{name: one, sequence: GSYG, start: {{file: {CHIGNOLIN}, frame: 3}}}}\n"
        "box: [9 nm, 9 nm, 20 nm]\nmodel: {forcefield: calvados2}\ndynamics: {temperature: 300 K, steps: 10}\n"
        "biases: {name: pull, system: one, variable: distance, beads: [0, 3], center: 5 angstrom, "
        "center_to: 9 angstrom, force_constant: 1 kcal/mol/angstrom^2, moving: {after: 1 ps, length: 2 ns}}\n"
        "metadynamics: {name: size, variables: {name: rg, system: one, variable: radius_of_gyration, "
        "width: 1 angstrom, grid: {min: 1 angstrom, max: 20 angstrom}}}\n"
    )
    text = " ".join(conditions(to_data(load_run(tmp_path / "box.yaml"))))
    assert "many started from molecules at random places in a slab (4 of a), other ones for each replica." in text
    assert f"one started from frame 3 of {Path(CHIGNOLIN).name}." in text
    assert "periodic, with edges of 90 angstrom x 90 angstrom x 200 angstrom." in text
    assert "a bias factor of 10, and all replicas as walkers" in text
    assert "kcal/mol/angstrom^2; it moved to a center of 9 angstrom within 2 ns after 1 ps." in text


@pytest.mark.parametrize(
    ("colors", "said"),
    [
        ("good good", "yes"),
        ("good unknown", "yes, as far as it can be judged"),
        ("unknown unknown", "not known"),
        ("", "not known"),
        ("care unknown", "not surely"),
        ("unknown bad good", "no"),
    ],
)
def test_what_is_not_judged_is_no_yes(colors: str, said: str) -> None:
    lights = [Light(f"light {k}", color, "", "", "") for k, color in enumerate(cast("list[Color]", colors.split()))]
    beside = [Light("Stable", "good", "", "", "", proof=False), Light("Complete", "good", "", "", "", proof=False)]
    assert enough([*lights, *beside]) == said


def test_one_frame(tmp_path: Path) -> None:
    folder = make(tmp_path, PLAIN, count=2, steps=10, format="hdf5")
    found = analyze(mdflash.open_run(folder))
    assert found.molecules["chignolin"].sample.frames == 2
    assert "too few" in " ".join(found.molecules["chignolin"].notes)
    equilibrium = found.molecules["chignolin"].lights[0]
    assert (equilibrium.color, equilibrium.value) == ("unknown", "not judged")
    assert "Sampled enough: yes" not in found.molecules["chignolin"].sentences[-1]
    assert "Not judged: equilibrium; " in found.molecules["chignolin"].sentences[-1]
    text = found.write(tmp_path / "out").read_text()
    assert "There are too few frames of each replica." in text and "One frame of each replica was saved." in text
    assert re.search(r"\d[eE]-\d|\b0 ps of", text[text.index("<h1") : text.index("<script")]) is None  # absurd digits


@pytest.mark.parametrize(("steps", "frames"), [(1500, 0), (3000, 24), (4000, 64)])
def test_frames_while_the_temperature_moves_count_for_no_temperature(tmp_path: Path, steps: int, frames: int) -> None:
    stages = "[{{to: 500 K, after: 2 ps, length: 8 ps}}, {{to: 320 K, after: 2 ps, length: 12 ps}}]"
    text = PLAIN.replace("temperature: 340 K", f"temperature: 300 K, annealing: {stages}")
    folder = make(tmp_path, text, count=2, steps=steps, format="hdf5")
    found = analyze(mdflash.open_run(folder)).molecules["chignolin"]
    said = "at first. It moved after 2 ps to 500 K in 8 ps, then after 2 ps to 320 K in 12 ps."
    assert said in " ".join(conditions(mdflash.open_run(folder).config))
    states = found.measured["rg"].states
    assert sum(state.frames for state in states.values()) <= frames
    said = " ".join(found.sentences)
    shown = view(found)
    assert shown is not None
    for replica in shown["replicas"]:
        known = zip(replica["kelvin"], replica["time"], strict=True)
        assert all((k is None) == (t <= 24.0 or not frames) for k, t in known)
    if frames:
        assert "at 320 K, annealed until 24 ps" in said and found.sample.temperatures.tolist() == [320.0]
        assert all(t.times[t.steps >= found.first_step].min() > 24.0 for t in found.sample.tracks) and states
    else:
        assert "at a temperature that still moves" in said and "none of them counts" in said and not states


def damage(folder: Path, how: str) -> None:
    trajectory = folder / "trajectory" / "chignolin.h5"
    if how == "torn log":
        log = folder / "log.csv"
        log.write_bytes(log.read_bytes()[:-40])
    elif how == "no log":
        (folder / "log.csv").unlink()
    elif how == "no colvars, no events":
        (folder / "events.jsonl").unlink()
    elif how == "running":
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest |= {"status": "running", "step": 1000}
        (folder / "manifest.json").write_text(json.dumps(manifest))
    elif how == "no settings":
        (folder / "resolved.yaml").unlink()
        (folder / "input.yaml").unlink()
    elif how == "not finite":
        import h5py

        with h5py.File(trajectory, "r+", locking=False) as f:
            x = f["coordinates"]
            x[150:, 10:20] = np.nan
    elif how == "frozen":
        with (folder / "events.jsonl").open("a") as f:
            f.write('{"time": "", "step": 9000, "event": "freeze", "replica": 1, "last_good_step": 8000}\n')
    elif how == "torn events":
        with (folder / "events.jsonl").open("a") as f:
            f.write('{"time": "2026')


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("torn log", "have a row in log.csv"),
        ("no log", "log.csv could not be read"),
        ("no colvars, no events", ""),
        ("running", "step 1,000 of 20,000 (running)"),
        ("no settings", "only the run folder was used"),
        ("not finite", "left out: not finite"),
        ("frozen", "replica was frozen"),
        ("torn events", ""),
    ],
)
def test_damaged(ladder: Path, tmp_path: Path, how: str, says: str) -> None:
    folder = tmp_path / "run"
    shutil.copytree(ladder, folder)
    damage(folder, how)
    found = analyze(mdflash.open_run(folder))
    text = found.write().read_text()
    assert says.replace("'", "&#x27;") in text
    m = found.molecules["chignolin"]
    assert np.isfinite(m.measured["rg"].states[0].mean.value)
    if how in ("not finite", "frozen"):
        assert len(m.sample.tracks[1]) < 401 and len(m.sample.tracks[0]) == 401


def test_a_moved_run(ladder: Path, tmp_path: Path) -> None:
    """Structure and force field are gone: the topology is enough, and the page says what is missing."""
    folder = tmp_path / "run"
    shutil.copytree(ladder, folder)
    text = (folder / "resolved.yaml").read_text()
    (folder / "resolved.yaml").write_text(text.replace(str(CHIGNOLIN), "/nowhere/x.pdb"))
    m = analyze(mdflash.open_run(folder)).molecules["chignolin"]
    assert {o.name for o in m.sample.observables} == {"rg", "end_to_end", "asphericity"}
    assert any("give one with --reference FILE" in n for n in m.notes)
    again = analyze(mdflash.open_run(folder), reference=CHIGNOLIN).molecules["chignolin"]
    assert {"q", "rmsd"} <= {o.name for o in again.sample.observables}


def test_a_reference_of_another_molecule(ladder: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.pdb"
    lines = [line for line in CHIGNOLIN.read_text().splitlines() if not (line[:4] == "ATOM" and int(line[22:26]) > 8)]
    short.write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match="a reference is the same molecule"):
        analyze(mdflash.open_run(ladder), reference=short)


def test_a_reference_is_read_as_it_is_chosen(ladder: Path, tmp_path: Path) -> None:
    """A modified residue is refused with an option that analyze has, and read with it."""
    file = tmp_path / "modified.pdb"
    text = CHIGNOLIN.read_text()
    name = next(line[17:20] for line in text.splitlines() if line.startswith("ATOM"))
    assert name == "TYR"
    file.write_text("MODRES 1UAO PTR A    1  TYR\n" + text.replace("TYR A   1", "PTR A   1"))
    run = mdflash.open_run(ladder)
    with pytest.raises(InputError, match="--modified parent"):
        analyze(run, reference=file)
    assert analyze(run, reference=file, reading=Reading(modified="parent")).molecules["chignolin"].key == "q"


def test_the_text_of_an_analysis(analyzed: Analysis) -> None:
    text = repr(analyzed)
    assert len(text) < 3000 and "array" not in text and "Sampled enough" in text
    assert len(text.splitlines()) == 1 + 3 + 1 + 4


def test_a_folder_above_a_run(ladder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"did you mean {ladder}"):
        mdflash.open_run(ladder.parent)
    (tmp_path / "campaign" / "runs" / "one" / "run").mkdir(parents=True)
    (tmp_path / "campaign" / "runs" / "one" / "run" / "manifest.json").touch()
    with pytest.raises(InputError, match=r"did you mean .*campaign/runs/one/run"):
        mdflash.open_run(tmp_path / "campaign")


@pytest.mark.parametrize("exchange", ["", "exchange: {biases: [pull], interval: 1 ps}"])
def test_windows(tmp_path: Path, exchange: str) -> None:
    folder = make(tmp_path, WINDOWS, exchange=exchange)
    found = analyze(mdflash.open_run(folder))
    m = found.molecules["chignolin"]
    (w,) = m.windows
    np.testing.assert_allclose(w.centers, np.linspace(4, 14, 6))
    table = mdflash.open_run(folder).colvars
    np.testing.assert_allclose(table.pull_kcal_mol, 0.25 * (table.pull_A - w.centers[table.state]) ** 2, atol=1e-6)
    assert w.weakest > 0.03 and np.isfinite(w.profile.energy).sum() > 20
    names = {light.name for light in m.lights}
    assert {"Windows of pull overlap", "Halves of pull agree"} <= names
    assert "Halves agree" not in names and m.sentences[1].startswith("Biases act in this run")
    assert w.effective.shape == (6,) and (w.effective >= 1).all() and w.difference > 0
    keys = {f.key for _, _, parts in figures(found) for f in parts}
    assert {"pmf-pull", "windows-pull", "window-overlap-pull"} <= keys


def test_what_is_monitored_is_no_bias(tmp_path: Path) -> None:
    monitor = "monitor: [{{name: q, variable: native_contacts}}]\noutput:"
    folder = make(tmp_path, PLAIN.replace("output:", monitor), count=2, steps=4000, format="xtc")
    run = mdflash.open_run(folder)
    assert (folder / "colvars.csv").is_file() and not run.biased
    m = run.analyze().molecules["chignolin"]
    assert not m.biased and len(m.surfaces) == 3
    text = (folder / "resolved.yaml").read_text()
    assert text.count("metadynamics: none") == 1  # as it is written where there is none
    (folder / "resolved.yaml").write_text(text.replace("metadynamics: none", "metadynamics: [{name: fill}]"))
    assert mdflash.open_run(folder).biased


def test_several_molecules(tmp_path: Path) -> None:
    two = "".join(f"\n  - {{{{structure: {{pdb}}, name: {name}, replicas: 4}}}}" for name in ("one", "two"))
    text = LADDER.replace(" {{structure: {pdb}, name: chignolin}}", two, 1)
    text = text.replace("replicas: {{count: 4}}\n", "").replace("20000", "4000")
    found = analyze(mdflash.open_run(make(tmp_path, text)))
    assert list(found.molecules) == ["one", "two"]
    assert [t.replica for t in found.molecules["two"].sample.tracks] == [4, 5, 6, 7]
    keys = [f.key for _, _, parts in figures(found) for f in parts]
    assert len(keys) == len(set(keys)) and "two-walk" in keys
    assert all(link in page(found) for link in ('href="#molecule1"', 'id="molecule1"'))
    assert found.write().is_file()


def test_passages() -> None:
    assert passages(np.array([1.0, 0.5, 0.1, 0.5, 0.1, 0.9])) == 2
    assert passages(np.array([0.5])) == 0


@pytest.fixture
def kinds() -> Iterator[list[str]]:
    """By title: a box of many chains and a molecule alone each have their own `rg`."""
    yield [o.title for o in OBSERVABLES]


def test_observables_have_words(kinds: list[str]) -> None:
    """What the page needs of each of the list."""
    assert len(set(kinds)) == len(kinds)
    for o in OBSERVABLES:
        assert o.name.isidentifier() and o.title and o.source and o.unit in ("Å", "kcal/mol/Å", "")

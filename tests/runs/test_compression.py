"""A box too dense to be filled at once: placed in a larger one, compressed before step 0, with the same bits again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from mdflash.analysis.open_run import open_run
from mdflash.analysis.report.provenance import conditions
from mdflash.config.load import load_run
from mdflash.core.state import State
from mdflash.engine.choose import choose_propagator
from mdflash.engine.protocols import Chosen
from mdflash.errors import InputError, Interrupted, MdflashError
from mdflash.forcefields.shipped import shipped_folder
from mdflash.runs import prepare as prepare_module
from mdflash.runs.execute import Watch, execute
from mdflash.runs.prepare import prepare

GO = shipped_folder("forcefields") / "go-chignolin"
DENSE = {"geometry": "slab", "thickness": "26 nm", "compress": "2 ps", "box": "[3.4 nm, 3.4 nm, 40 nm]"}


def write(folder: Path, count: int = 40, **keys: str) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / "system.yaml"
    structure = next((GO / "systems").iterdir())
    own = "".join(f"  {key}: {value}\n" for key, value in (DENSE | keys).items() if value)
    file.write_text(
        f"mdflash: 1\nsystem:\n  molecules: [{{structure: {structure}, count: {count}, name: pep}}]\n"
        f"  name: dense\n{own}"
        f"model: {{forcefield: {GO}}}\n"
        "dynamics: {temperature: 250 K, steps: 100, timestep: 10 fs, seed: 3, friction: 0.01 /ps}\n"
        "replicas: {count: 2}\n"
        "output: {folder: ./run, trajectory: {interval: 500 fs}, log: {interval: 500 fs}}\n"
    )
    return file


def test_a_slab_is_compressed_and_put_into_the_middle(tmp_path: Path) -> None:
    file = write(tmp_path / "a")
    said: list[str] = []
    plan = execute(load_run(file), file, watch=Watch(said=said.append))
    how = plan.prepared.compression
    assert how is not None and how.start[2] > how.end[2] == 260.0 and how.start[:2] == how.end[:2] == (34.0, 34.0)
    assert any("before step 0 the box shrinks in 200 steps" in note for note in plan.notes)
    assert said and "shrinks to 3.4 x 3.4 x 26 nm" in said[0] and "moving on" in said[-1]
    run = open_run(tmp_path / "a" / "run")
    frames = [run.positions[r][:] for r in (0, 1)]
    for x in frames:
        assert x.shape == (3, 400, 3) and np.isfinite(x).all()
        centers = x[0].reshape(40, 10, 3).mean(axis=1)
        assert (abs(centers[:, 2] - 200.0) <= 130.0).all()  # half the thickness; chains are whole
        bonds = np.linalg.norm(np.diff(x[0].reshape(40, 10, 3), axis=1), axis=-1)
        assert bonds.max() < 5.0
    assert (frames[0][0] != frames[1][0]).any()
    assert "compress: 2 ps" in (tmp_path / "a" / "run" / "resolved.yaml").read_text()
    settings = yaml.safe_load((tmp_path / "a" / "run" / "resolved.yaml").read_text())
    assert any("compressed to its size in 2 ps" in sentence for sentence in conditions(settings))


@pytest.mark.parametrize("when", [1, 40])
def test_stopped_while_it_is_compressed(tmp_path: Path, when: int) -> None:
    """No frame of it is kept, and the same command reaches the same bits, also with a seed that was drawn."""
    asked: list[int] = []

    def stop() -> str | None:
        asked.append(1)
        return "asked to" if len(asked) == when else None

    ends = []
    seed = "3"
    for name in ("b", "a"):
        file = write(tmp_path / name)
        file.write_text(file.read_text().replace("seed: 3", f"seed: {'null' if name == 'b' else seed}"))
        run = tmp_path / name / "run"
        if name == "b":
            with pytest.raises(Interrupted, match=r"compressed, before step 0; no frame .* same bits"):
                execute(load_run(file), file, watch=Watch(should_stop=stop))
            assert not (run / "manifest.json").exists() and not list((run / "trajectory").iterdir())
            seed = str(yaml.safe_load((run / "resolved.yaml").read_text())["dynamics"]["seed"])
        execute(load_run(file), file)
        ends.append(open_run(run).positions[0][:])
    assert (ends[0] == ends[1]).all()


def test_a_compression_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """Not its seed either: the next try draws another one."""
    file = write(tmp_path / "a")
    run = tmp_path / "a" / "run"

    def fail(text: str) -> None:
        assert (run / "resolved.yaml").is_file()
        raise MdflashError("no")

    with pytest.raises(MdflashError, match="no"):
        execute(load_run(file), file, watch=Watch(said=fail))
    assert not run.exists()


def test_a_replica_is_compressed_as_if_it_were_alone(tmp_path: Path) -> None:
    both, one = write(tmp_path / "a"), write(tmp_path / "b")
    execute(load_run(both), both)
    execute(load_run(one, ["replicas.count=1"]), one)
    first, second = (open_run(tmp_path / name / "run").positions[0][:] for name in "ab")
    assert (first == second).all()


def test_what_fits_at_once_is_placed_as_ever(tmp_path: Path) -> None:
    plain = prepare(load_run(write(tmp_path / "a", 20, compress="")))
    asked = prepare(load_run(write(tmp_path / "a", 20)))
    assert asked.compression is None and (asked.start == plain.start).all()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"compress": "", "thickness": "5 nm"}, "do not fit into a slab of 5 nm"),
        ({"compress": "0 ps"}, "compress"),
        ({"thickness": "2.2 nm", "count": "20"}, "less than twice cutoff"),
        ({"geometry": "box", "thickness": "", "box": "[2.3 nm, 2.1 nm, 2.2 nm]"}, "box of 23 x 21 x 22 Å is too small"),
    ],
)
def test_what_cannot_be(tmp_path: Path, keys: dict[str, str], message: str) -> None:
    count = int(keys.pop("count", 40))
    with pytest.raises(MdflashError, match=message):
        prepare(load_run(write(tmp_path / "a", count, **keys)))


def test_one_molecule_has_no_box_to_compress(tmp_path: Path) -> None:
    file = tmp_path / "system.yaml"
    file.write_text(
        "mdflash: 1\nsystem: {sequence: GYGSFRG, compress: 1 ns}\nmodel: {forcefield: calvados2}\n"
        "dynamics: {temperature: 300 K, steps: 10}\n"
    )
    with pytest.raises(InputError, match="compress"):
        load_run(file)


def test_kernels_are_chosen_where_molecules_were_placed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the final box the start frames overlap, where no table of a network can be checked."""
    boxes: list[object] = []

    def noting(layout: Any, potential: Any, state: State, *rest: Any) -> Chosen:
        boxes.append(state.box)
        return choose_propagator(layout, potential, state, *rest)

    monkeypatch.setattr(prepare_module, "choose_propagator", noting)
    file = write(tmp_path / "a")
    how = execute(load_run(file), file).prepared.compression
    assert how is not None and boxes[0] == how.start != how.box == boxes[-1]
    boxes.clear()
    execute(load_run(file, ["dynamics.steps=200"]), file)  # goes on from a checkpoint
    assert boxes == [how.box]


def test_a_distance_between_molecules_is_that_in_the_final_box(tmp_path: Path) -> None:
    bias = (
        "biases=[{name: ab, variable: distance, beads: [[0, 1], [10, 11]], center: 10 angstrom, "
        "force_constant: 0.1 kcal/mol/angstrom^2}]"
    )
    prepared = prepare(load_run(write(tmp_path / "a"), [bias]).with_seed())
    assert prepared.compression is not None
    assert prepared.engine(as_placed=True).state.box == prepared.compression.start
    assert prepared.biases[0].variable.box == prepared.compression.box

"""`mdflash watch` on a run that goes on, and on what a kill leaves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mdflash.analysis.open_run import open_run
from mdflash.analysis.watching import event_line, look, sparkline
from mdflash.errors import InputError
from mdflash.io.claims import claim


@pytest.fixture
def running(tmp_path: Path) -> Path:
    """A folder as a run of two replicas leaves it between two reports."""
    manifest = {
        "name": "x", "status": "running", "step": 400, "total_steps": 4000,
        "systems": [{"name": "a", "beads": 5, "replicas": 2}],
        "timing": {"wall_seconds": 4.0, "aggregate_ns_per_day": 50.0},
        "exchange": {"acceptance": {"a": [0.5]}, "round_trips": [1, 2]},
    }  # fmt: skip
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    rows = [
        f"{step},{step / 100},{r},a,{r},{300 + 20 * r}.0,{-step / 100},5.0,{300 + 10 * r}.5\n"
        for step in (0, 200, 400, 600)
        for r in (0, 1)
    ]
    head = "step,time_ps,replica,system,state,target_K,potential_kcal_mol,kinetic_kcal_mol,temperature_K\n"
    (tmp_path / "log.csv").write_text(head + "".join(rows[:-1]) + rows[-1][:11])  # the last row is being written
    (tmp_path / "events.jsonl").write_text('{"time": "t", "step": 0, "event": "start"}\n{"time": ')
    return tmp_path


def test_beside_the_writer(running: Path) -> None:
    before = {p: p.read_bytes() for p in running.iterdir()}
    g = look(running)
    assert (g.step, g.total, g.status) == (600, 4000, "running")
    assert g.replicas == (0, 1) and g.steps.tolist() == [0, 200, 400]
    assert g.targets.tolist() == [300, 320] and g.energies.tolist() == [[0, -2, -4]] * 2
    assert g.speed == 100.0 and g.left == 34.0 and g.round_trips == 3
    assert [event_line(e) for e in g.events] == ["step 0: start"]
    later = look(running, before=(1000.0, 200), now=1002.0)
    assert later.speed == 200.0
    assert {p: p.read_bytes() for p in running.iterdir()} == before


def test_little_to_see(running: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    (running / "events.jsonl").unlink()
    (running / "log.csv").write_text("step,time_ps")
    g = look(running)
    assert g.replicas == () and g.events == () and g.step == 400
    (running / "log.csv").unlink()
    assert look(running).step == 400
    with pytest.raises(InputError, match="holds no run yet"):
        look(tmp_path_factory.mktemp("empty"))


def test_a_campaign_is_no_run(tmp_path: Path) -> None:
    claim(tmp_path, "campaign")
    for read in (look, open_run):
        with pytest.raises(InputError, match=r"is a campaign, and no run.*runs/NAME/run.*`mdflash campaign run"):
            read(tmp_path)
    one = tmp_path / "runs" / "seed1" / "run"
    one.mkdir(parents=True)
    (one / "manifest.json").touch()
    with pytest.raises(InputError, match=f"such as {one}"):
        look(tmp_path)


def test_sparklines() -> None:
    assert sparkline(np.arange(8.0), 8) == "▁▂▃▄▅▆▇█"
    assert len(sparkline(np.random.default_rng().normal(size=500), 20)) == 20
    assert sparkline(np.array([np.nan, 1.0, 2.0]), 3) == "·▁█"
    assert sparkline(np.zeros(0), 5) == "" and sparkline(np.ones(4), 2) == "▁▁"
    assert sparkline(np.full(3, np.nan), 3) == "···"

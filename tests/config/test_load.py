from __future__ import annotations

import random
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdflash import units
from mdflash.config.load import load_run, locate, parse_run
from mdflash.config.rules import warnings
from mdflash.config.write import resolved_yaml
from mdflash.core.quantity import Span, plain_word, show_quantity
from mdflash.errors import InputError
from mdflash.forcefields import shipped

_FILES = Path(__file__).parent / "files"
FULL, SMALL, MIXED = ((_FILES / f"{name}.yaml").read_text() for name in ("full", "small", "mixed"))


def test_every_key_arrives_in_internal_units(folder: Path) -> None:
    run = load_run(folder / "full.yaml")
    (entry,) = run.system
    assert entry.structure == folder / "protein.pdb"
    assert entry.start is not None and entry.start.file == folder / "start.npy"
    assert (entry.name, entry.mapping, run.counts, run.n_replicas) == ("hairpin", "ca", (2,), 2)
    assert run.forcefields == (folder / "ff",)
    assert run.box == (60.0, 65.0, 70.0)
    assert (run.model.precision, run.model.kernels) == ("fp64", "reference")
    assert (run.dynamics.integrator, run.dynamics.timestep, run.dynamics.friction) == (
        "brownian",
        0.0025,
        0.5,
    )
    assert run.temperatures == (300.0, 310.5)
    assert (run.dynamics.minimize, run.dynamics.seed, run.dynamics.remove_com_motion) == (
        200,
        2**32 - 1,
        True,
    )
    assert run.neighbors.skin == 1.5
    assert run.folder == Path.cwd() / "results"
    assert (run.total_steps, run.trajectory_every, run.log_every, run.checkpoint_every) == (
        400_000,
        8000,
        2000,
        40_000,
    )
    assert run.checkpoint_seconds is None
    assert (run.hardware.device, run.hardware.threads) == ("cpu", 2)


def test_defaults(folder: Path) -> None:
    run = load_run(folder / "small.yaml")
    assert run.name == "small"
    assert run.system[0].name == "protein"
    assert run.folder == Path.cwd() / "runs" / "small"
    assert run.counts == (1,)
    assert run.box is None
    assert run.dynamics.integrator == "langevin-middle"
    assert (run.dynamics.timestep, run.dynamics.friction, run.neighbors.skin) == (0.004, 1.0, 2.0)
    assert (run.total_steps, run.trajectory_every, run.log_every) == (250_000, 2500, 2500)
    assert (run.checkpoint_every, run.checkpoint_seconds) == (None, 300.0)
    assert run.dynamics.seed is None


def test_a_seed_is_drawn_once(folder: Path) -> None:
    run = load_run(folder / "small.yaml")
    drawn = [run.with_seed().dynamics.seed for _ in range(20)]
    assert all(seed is not None and 0 <= seed < 2**32 for seed in drawn)
    assert len(set(drawn)) > 1
    assert load_run(folder / "full.yaml").with_seed().dynamics.seed == 2**32 - 1


def test_mixed_batch(folder: Path) -> None:
    run = parse_run(MIXED, folder / "mixed.yaml")
    assert run.counts == (2, 3)
    assert run.forcefields == (folder / "ff", folder / "other")
    assert [entry.name for entry in run.system] == ["protein", "second"]
    assert run.temperatures == (300.0,) * 5
    assert run.total_steps == 1_000_000
    with pytest.raises(InputError, match=r"line 6, key 'system\.1\.structure': is missing"):
        parse_run(MIXED.replace("structure: protein.pdb, name", "name"), folder / "mixed.yaml")
    with pytest.raises(InputError, match=r"key 'system\.0\.name'.*name: protein-1"):
        parse_run(MIXED.replace(" name: second,", ""), folder / "mixed.yaml")
    with pytest.raises(InputError, match=r"key 'model\.forcefield': is missing.*'second'"):
        parse_run(MIXED.replace(", forcefield: other", ""), folder / "mixed.yaml")


@pytest.mark.parametrize("text", [FULL, SMALL, MIXED], ids=["full", "small", "mixed"])
def test_resolved_yaml_is_the_same_run(folder: Path, tmp_path: Path, text: str) -> None:
    run = parse_run(text, folder / "system.yaml").with_seed()
    resolved = resolved_yaml(run)
    (tmp_path / "elsewhere").mkdir()
    again = tmp_path / "elsewhere" / "resolved.yaml"
    again.write_text(resolved)
    assert load_run(again) == run
    assert resolved_yaml(load_run(again)) == resolved


def test_resolved_yaml_keeps_every_bit(folder: Path) -> None:
    """A resumed run reads resolved.yaml: a time step off by one bit would be another trajectory."""
    rng = random.Random(5)
    for _ in range(50):
        values = {
            "dynamics.timestep": f"{rng.choice([rng.randint(1, 30), rng.uniform(0.1, 30)])!r} fs",
            "dynamics.friction": f"{rng.uniform(0.01, 100)!r} /ns",
            "dynamics.temperature": f"{rng.uniform(1, 1000)!r} K",
            "neighbors.skin": f"{rng.uniform(0.01, 1)!r} nm",
            "output.checkpoint.interval": f"{rng.uniform(0.1, 100)!r} {rng.choice(['min', 'h', 's'])}",
            "dynamics.steps": str(rng.randint(1, 10**12)),
            "output.trajectory.format": "none",
        }
        step = values["dynamics.timestep"].split()[0]
        values["output.log.interval"] = f"{float(step) * 1000!r} fs"
        run = parse_run(SMALL, folder / "small.yaml", [f"{key}={value}" for key, value in values.items()])
        assert parse_run(resolved_yaml(run), folder / "resolved.yaml") == run


def test_names_that_yaml_would_misread_survive(folder: Path) -> None:
    for odd in ("1e6", "007", "true", "null", "-.5", "a #b", "a: b", "[x]", "it's", "ünï"):
        (folder / f"{odd}.pdb").touch()
        quoted = odd.replace("'", "''")
        text = SMALL.replace("structure: protein.pdb", f"structure: '{quoted}.pdb'")
        run = parse_run(text, folder / f"{odd}.yaml")
        assert run.name == plain_word(odd)
        assert parse_run(resolved_yaml(run), folder / "resolved.yaml") == run


@given(value=st.floats(1e-9, 1e12))
def test_quantities_are_written_exactly(value: float) -> None:
    assert units.parse(show_quantity(value, "time", ("fs", "ps", "ns")), "time") == value


@settings(max_examples=50)
@given(
    steps=st.integers(1, 10**10),
    timestep=st.one_of(st.integers(1, 30).map(float), st.floats(0.1, 30).map(lambda x: round(x, 3))),
)
def test_whole_numbers_of_steps(tmp_path_factory: pytest.TempPathFactory, steps: int, timestep: float) -> None:
    folder = _plain_folder(tmp_path_factory)
    exact = Decimal(repr(timestep))

    def run(length: str) -> Any:
        overrides = [
            f"dynamics.timestep={timestep} fs",
            f"dynamics.length={length}",
            "output.trajectory.format=none",
        ]
        overrides.append(f"output.log.interval={timestep * 10:.6g} fs")
        return parse_run(SMALL, folder / "small.yaml", overrides)

    assert run(f"{exact * steps} fs").total_steps == steps
    with pytest.raises(InputError, match="not a whole number") as caught:
        run(f"{exact * steps + exact / 3} fs")
    advice = re.findall(r"the nearest: (.*?) (\w+) and (.*?) (\w+); write `length: \1 \2`", str(caught.value))
    (low, low_unit, high, high_unit) = advice[0]
    assert run(f"{low} {low_unit}").total_steps == steps
    assert run(f"{high} {high_unit}").total_steps == steps + 1


def _plain_folder(factory: pytest.TempPathFactory) -> Path:
    folder = factory.getbasetemp() / "plain"
    (folder / "ff").mkdir(parents=True, exist_ok=True)
    (folder / "ff" / "forcefield.yaml").touch()
    (folder / "protein.pdb").touch()
    return folder


def test_intervals_name_the_two_nearest(folder: Path) -> None:
    with pytest.raises(InputError, match=r"5\.25 steps of 4 fs.*20 fs and 24 fs.*`interval: 20 fs`"):
        load_run(folder / "small.yaml", ["output.log.interval=21 fs"])
    with pytest.raises(InputError, match=r"the nearest: 4 fs; write `length: 4 fs`"):
        load_run(folder / "small.yaml", ["dynamics.length=1 fs"])


def test_an_unused_interval_is_not_checked(folder: Path) -> None:
    run = load_run(folder / "small.yaml", ["output.trajectory.format=none", "output.trajectory.interval=21 fs"])
    assert run.trajectory_every is None


def test_overrides(folder: Path) -> None:
    small = folder / "small.yaml"
    assert load_run(small, ["dynamics.timestep=2 fs"]).dynamics.timestep == 0.002
    assert load_run(small, ["replicas.count=8", "replicas.count=9"]).counts == (9,)
    assert load_run(small, ["hardware.threads=1"]).hardware.threads == 1
    assert load_run(small, ["dynamics.temperature=[300 K, 310 K]", "replicas.count=2"]).temperatures == (
        300,
        310,
    )
    assert load_run(small, ["system.replicas=3"]).counts == load_run(small, ["system.0.replicas=3"]).counts == (3,)
    assert load_run(small, ["output.checkpoint.interval=1 ns"]).output.checkpoint.interval == Span(1000.0, "time")
    assert parse_run(MIXED, folder / "mixed.yaml", ["system.1.replicas=7"]).counts == (2, 7)


@pytest.mark.parametrize("empty", ["none", "null", ""])
def test_a_key_may_be_set_below_none(folder: Path, empty: str) -> None:
    """`mdflash init` writes `exchange: none`."""
    ladder = ["exchange.temperatures=[300 K, 310 K]", "dynamics.temperature=none", "replicas.count=2"]
    run = parse_run(f"{SMALL}\nexchange: {empty}\n", folder / "x.yaml", ladder)
    assert run.exchange is not None and run.temperatures == (300, 310)


def test_a_key_below_an_empty_list(folder: Path) -> None:
    with pytest.raises(InputError, match=r"'biases' is a list of 0; set the whole list"):
        parse_run(f"{SMALL}\nbiases: []\n", folder / "x.yaml", ["biases.0.center=4 angstrom"])


def test_steps_take_the_place_of_length(folder: Path) -> None:
    assert load_run(folder / "small.yaml", ["dynamics.steps=1000"]).total_steps == 1000
    run = parse_run(SMALL.replace("length: 1 ns", "steps: 10"), folder / "x.yaml", ["dynamics.length=40 fs"])
    assert (run.dynamics.steps, run.total_steps) == (None, 10)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("dynamics.timestep=4", "4 has no unit; write `timestep: 4 fs`"),
        ("dynamics.timstep=4 fs", "did you mean 'timestep'"),
        ("dynamics.timestep", "expected key=value"),
        ("=4", "expected key=value"),
        ("a..b=4", "expected key=value"),
        ("name.x=4", "expected a word"),
        ("mdflash.x=4", "'mdflash' holds no keys"),
        ("box=[1 nm", "not valid YAML"),
        ("mdflash=2", "schema version 1"),
        ("dynamics=4", "expected a mapping"),
    ],
)
def test_wrong_overrides_are_named_as_given(folder: Path, override: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        load_run(folder / "small.yaml", [override])
    assert str(caught.value).startswith(f"--set {override}")
    assert says in str(caught.value)


def test_overrides_in_a_list(folder: Path) -> None:
    with pytest.raises(InputError, match=r"'system' is a list of 2; expected a number from 0 to 1, found '2'"):
        parse_run(MIXED, folder / "mixed.yaml", ["system.2.replicas=7"])


def test_an_override_without_effect_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match=r"--set replicas\.count=8.*no effect"):
        load_run(folder / "full.yaml", ["replicas.count=8"])


def test_all_mistakes_are_told_at_once(folder: Path) -> None:
    text = SMALL.replace("300 K", "300").replace("1 ns", "1 nn").replace("ff", "gg")
    with pytest.raises(InputError) as caught:
        parse_run(text, folder / "system.yaml")
    for place in (
        "line 5, key 'model.forcefield'",
        "line 7, key 'dynamics.temperature'",
        "line 8, key 'dynamics.length'",
    ):
        assert place in str(caught.value)


def test_a_misspelled_required_key_is_not_also_missing(folder: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'temperature'") as caught:
        parse_run(SMALL.replace("temperature", "temprature"), folder / "system.yaml")
    assert "missing" not in str(caught.value)


def test_a_key_in_the_wrong_section_is_sent_home(folder: Path) -> None:
    said = r"line 1, key 'timestep': does not belong here; write it as 'dynamics\.timestep'"
    with pytest.raises(InputError, match=said):
        parse_run("timestep: 2 fs\n" + SMALL, folder / "system.yaml")


def test_files_are_found_by_name(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "shipped"
    monkeypatch.setattr(shipped, "_PACKAGE", home / "mdflash")
    (home / "systems").mkdir(parents=True)
    (home / "systems" / "chignolin.yaml").write_text(SMALL.replace("ff", "go-chignolin"))
    (home / "systems" / "protein.pdb").touch()
    (home / "forcefields" / "go-chignolin").mkdir(parents=True)
    (home / "forcefields" / "go-chignolin" / "forcefield.yaml").touch()
    run = load_run("chignolin")
    assert run.name == "chignolin"
    assert run.forcefields == (home / "forcefields" / "go-chignolin",)
    assert run.folder == Path.cwd() / "runs" / "chignolin"
    with pytest.raises(InputError, match="shipped systems: chignolin; did you mean 'chignolin'"):
        locate("chignolinn")
    with pytest.raises(InputError, match=r"line 5, key 'model\.forcefield'.*shipped force fields: go-chignolin; did"):
        parse_run(SMALL.replace("ff", "go-chignoli"), folder / "system.yaml")
    with pytest.raises(InputError, match=r"is a directory.*full\.yaml"):
        locate(folder)
    (folder / "system.yaml").touch()
    with pytest.raises(InputError, match=r"is a directory.*system\.yaml"):
        locate(folder)
    with pytest.raises(InputError, match=r"no such file; did you mean '.*system\.yaml'\?"):
        locate(folder / "systam.yml")
    # in a wheel the same data lies inside the package
    (home / "mdflash" / "shipped" / "systems").mkdir(parents=True)
    (home / "mdflash" / "shipped" / "systems" / "villin.yaml").touch()
    assert shipped.shipped_names("systems") == ("villin",)


def test_warnings(folder: Path) -> None:
    assert warnings(load_run(folder / "small.yaml")) == ()
    odd = load_run(folder / "small.yaml", ["dynamics.timestep=25 fs", "output.log.interval=2 ns"])
    assert len(warnings(odd)) == 2
    fold = "name: fold, variables: {name: q, variable: native_contacts, width: 0.02}"
    hills = f"metadynamics=[{{{fold}, height: 5 kcal/mol}}]"
    (high,) = warnings(load_run(folder / "small.yaml", [hills]))
    assert high.startswith("metadynamics.0.height is 5 kcal/mol, 8.4 kT at 300 K")


def test_molecules_with_force_fields_of_their_own_need_no_other(folder: Path) -> None:
    box = "box: [9 nm, 9 nm, 9 nm]\ndynamics: {temperature: 300 K, steps: 10}\n"
    one, two = "{sequence: GG, name: a, forcefield: other}", "{sequence: AA, name: b}"
    run = parse_run(f"mdflash: 1\nname: x\nsystem: {{molecules: [{one}]}}\n{box}", folder / "system.yaml")
    assert run.forcefields == (folder / "other",)
    with pytest.raises(InputError, match="names no force field of its own"):
        parse_run(f"mdflash: 1\nname: x\nsystem: {{molecules: [{one}, {two}]}}\n{box}", folder / "system.yaml")


@pytest.mark.parametrize(
    ("value", "words"),
    [("two", "expected a whole number, found 'two'"), ("2.5", "expected a whole number, found 2.5")],
)
def test_what_is_no_number(folder: Path, value: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_run(
            "mdflash: 1\nname: x\nsystem: {structure: protein.pdb}\nmodel: {forcefield: ff}\n"
            f"dynamics: {{temperature: 300 K, steps: 10}}\nreplicas: {{count: {value}}}\n",
            folder / "system.yaml",
        )


def test_a_campaign_is_no_run_file(tmp_path: Path) -> None:
    (tmp_path / "plan" / "runs").mkdir(parents=True)
    for name in ("runs.csv", "sweep.yaml"):
        (tmp_path / "plan" / name).touch()
    with pytest.raises(InputError, match=r"is a campaign; `mdflash campaign run"):
        load_run(tmp_path / "plan")

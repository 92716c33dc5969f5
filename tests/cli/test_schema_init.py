"""`mdflash schema` as text, and the recipes that `mdflash init` writes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mdflash.cli.app import app
from mdflash.cli.schema import FILES, _sections, file_model
from mdflash.config.load import load_run
from mdflash.core.yamlfile import parse_yaml
from mdflash.errors import InputError, MdflashError
from mdflash.sampling.recipe import load_recipe as load_sampling
from mdflash.training.recipe import load_recipe as load_training

REPO = Path(__file__).parents[2]


def out(*words: str) -> str:
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output or done.exception
    return done.stdout


def test_a_section_shows_default_unit_and_meaning_of_each_key() -> None:
    lines = out("schema", "dynamics").splitlines()
    assert lines[0] == "# dynamics: How positions move."
    assert any(re.match(r"timestep: 4 fs +# one step", line) for line in lines)
    assert "center: {min: 4 angstrom, max: 20 angstrom, count: 16}" in out("schema", "biases")
    assert "beta: 5 /angstrom" in out("schema", "biases")
    assert "noise: 0.4 angstrom" in out("schema", "train.data")


@pytest.mark.parametrize("file", FILES)
def test_every_key_of_every_file_is_there(file: str) -> None:
    """Also inside sections that are absent by default, once their marks are gone."""
    text = out("schema", file)
    for key in file_model(file).model_fields:
        assert re.search(rf"^(# )?{key}:", text, re.MULTILINE), key
    plain = re.sub(r"^( *)# (?=[ #]*[a-z_]+:)", r"\1", re.sub(r"^# \w+: .*\n", "", text), flags=re.MULTILINE)
    assert set(parse_yaml(plain, Path()).data) == set(file_model(file).model_fields)
    for section in _sections(file):
        assert out("schema", section)


def test_json_is_what_it_was() -> None:
    whole = json.loads(out("schema", "--json"))
    assert whole["title"] == "mdflash system.yaml"
    assert whole["properties"]["dynamics"]
    assert json.loads(out("schema", "exchange", "--json"))["properties"]["interval"]["default"] == "2 ps"


def test_an_unknown_section_is_named_with_those_there_are() -> None:
    error = CliRunner().invoke(app, ["schema", "biasses"]).exception
    assert isinstance(error, InputError)
    assert "did you mean 'biases'?" in str(error)


def test_recipes_are_accepted_as_they_were_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-data").mkdir()
    (tmp_path / "my-data" / "dataset.yaml").write_text("")
    assert "next: mdflash sample sample.yaml" in out("init", "--sample")
    assert load_sampling(Path("sample.yaml")).molecule[0].sequence == "ACE-ALA-NME"
    assert load_sampling(Path("sample.yaml")).mapping == "heavy"  # one CA would be no model
    out("init", str(REPO / "systems" / "chignolin.pdb"), "--sample", "--out", "of-structure.yaml")
    assert load_sampling(Path("of-structure.yaml")).molecule[0].starts == ("structure",)
    out("init", "YYDPETGTWY", "--sample", "--out", "of-sequence.yaml")
    assert load_sampling(Path("of-sequence.yaml")).molecule[0].sequence == "YYDPETGTWY"
    assert load_sampling(Path("of-sequence.yaml")).mapping == "ca"

    out("init", "my-data", "--train")
    recipe = load_training(Path("train.yaml"))
    assert recipe.data.dataset == (tmp_path / "my-data",)
    bare = tmp_path / "bare.yaml"
    bare.write_text("mdflash: 1\nname: train\ndata: {dataset: my-data}\n")
    assert recipe == load_training(bare)  # every other line is a default


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["init", "absent.pdb", "--sample"], "is no structure file, and as a sequence"),
        (["init", "absent", "--train"], "has no dataset.yaml"),
        (["init", "--train", "--sample"], "give one of them"),
        (["init"], "a structure and a force field: mdflash init protein.pdb --forcefield"),
    ],
)
def test_init_refuses(words: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    error = CliRunner().invoke(app, words).exception
    assert isinstance(error, InputError)
    assert says in str(error)
    assert not list(tmp_path.iterdir())


def test_init_says_when_the_force_field_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    structure = str(REPO / "systems" / "chignolin.pdb")
    error = CliRunner().invoke(app, ["init", structure, "--forcefield", "ala2"]).exception
    assert isinstance(error, MdflashError)
    assert error.exit_code == 2
    assert not list(tmp_path.iterdir())
    assert "next: mdflash check" in out("init", structure, "--forcefield", "go-chignolin", "--out", "fits.yaml")


def test_init_names_the_run_after_its_file_and_a_folder_holds_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["init", str(REPO / "systems" / "chignolin.pdb"), "--forcefield", "go-chignolin"]
    out(*words, "--out", "mine.yaml", "--set", "dynamics.temperature=310 K")
    config = load_run("mine.yaml")
    assert (config.name, config.folder) == ("mine", tmp_path / "runs" / "mine")
    assert config.dynamics.temperature == (310.0,)
    out(*words, "--out", "sub/own")
    for here in (tmp_path, tmp_path / "sub", tmp_path / "sub" / "own"):
        monkeypatch.chdir(here)
        config = load_run(tmp_path / "sub" / "own" / "system.yaml")
        assert (config.name, config.folder) == ("own", tmp_path / "sub" / "own" / "run")
        typed = load_run(tmp_path / "sub" / "own" / "system.yaml", ["output.folder=./x"])
        assert typed.folder == here / "x"  # typed in a shell, it is the shell's folder

"""The documents: links lead somewhere, run files are valid, commands and options exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from mdflash.analysis import load_experiment
from mdflash.campaigns.recipe import load_campaign
from mdflash.cli.app import app
from mdflash.config.load import load_run
from mdflash.sampling.recipe import load_recipe as load_sampling
from mdflash.training.recipe import load_recipe

ROOT = Path(__file__).parents[2]
USER = [ROOT / "README.md", *sorted((ROOT / "docs" / "user").glob("*.md"))]
EVERY = [*ROOT.glob("*.md"), *(p for d in ("docs", "benchmarks", "studies", "tools", "forcefields", "examples")
         for p in (ROOT / d).rglob("*.md"))]  # fmt: skip
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]*)(?:#([^)\s]*))?\)")
BASE: dict[str, Any] = {
    "mdflash": 1,
    "dynamics": {"temperature": "300 K", "length": "1 ns"},
    "replicas": {"count": 16},
}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    """The code blocks of a page in a language; "" for those that name none."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", EVERY, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        file = page.parent / target if target else page
        assert file.exists(), f"{name(page)} links to {target}, which is not there"
        if anchor:
            assert anchor in anchors(file), f"{name(page)} links to {target}#{anchor}, which is not there"


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


def test_every_page_is_in_its_index() -> None:
    for folder in ("user", "dev"):
        index = (ROOT / "docs" / folder / "README.md").read_text(encoding="utf-8")
        for page in (ROOT / "docs" / folder).glob("*.md"):
            assert page.name == "README.md" or f"({page.name})" in index, f"{name(page)} is in no index"


def run_files() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every run file in the user guide; fragments are completed by `BASE`."""
    for page in USER:
        if page.stem == "own-force-field":
            continue  # files of another kind, see test_own_force_field
        biases = None
        for k, text in enumerate(blocks(page, "yaml")):
            fragment = yaml.safe_load(text)
            if {"mdflash_experiment", "sweep", "data", "molecule"} & set(fragment):
                continue  # files of another kind, see the tests below
            biases = fragment.get("biases", biases)
            dynamics = BASE["dynamics"] | fragment.get("dynamics", {})
            exchange = fragment.get("exchange", {})
            if "temperatures" in exchange:
                del dynamics["temperature"]  # the ladder sets them
            data = BASE | fragment | {"dynamics": dynamics}
            if "biases" in exchange:
                data |= {"biases": biases}
            system = {"structure": str(ROOT / "systems" / "chignolin.pdb")}
            yield f"{page.stem}-{k}", data | {"system": system, "model": {"forcefield": "go-chignolin"}}


@pytest.mark.parametrize(("where", "data"), list(run_files()))
def test_run_files_are_valid(where: str, data: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / f"{where}.yaml"
    file.write_text(yaml.safe_dump(data), encoding="utf-8")
    load_run(file)


def test_experiment_files_are_valid(tmp_path: Path) -> None:
    found = [t for page in USER for t in blocks(page, "yaml") if "mdflash_experiment" in yaml.safe_load(t)]
    (tmp_path / "curve.dat").touch()
    for text in found:
        (tmp_path / "experiment.yaml").write_text(text, encoding="utf-8")
        assert load_experiment([str(tmp_path / "experiment.yaml")])
    assert found


def test_recipes_are_valid(tmp_path: Path) -> None:
    """Those of trainings, with what they name; fragments begin with the version."""
    found = [t for page in USER for t in blocks(page, "yaml") if "data" in yaml.safe_load(t)]
    for text in found:
        recipe = {"mdflash": 1} | yaml.safe_load(text)
        folders = recipe["data"]["dataset"]
        named = [f"{folder}/dataset.yaml" for folder in ([folders] if isinstance(folders, str) else folders)]
        named += [f"{recipe['start']}/forcefield.yaml"] if "start" in recipe else []
        for file in (*named, "native.pdb", "measured.yaml"):
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).touch()
        (tmp_path / "train.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
        assert load_recipe(tmp_path / "train.yaml").data.dataset
    assert found


def test_recipes_of_samples_are_valid(tmp_path: Path) -> None:
    found = [text for page in USER for text in blocks(page, "yaml") if "molecule" in yaml.safe_load(text)]
    for text in found:
        if (hold := yaml.safe_load(text).get("hold")) is not None:
            (tmp_path / hold["dataset"]).mkdir(parents=True, exist_ok=True)
            (tmp_path / hold["dataset"] / "dataset.yaml").touch()
        (tmp_path / "chignolin.pdb").touch()
        (tmp_path / "sample.yaml").write_text(text, encoding="utf-8")
        assert load_sampling(tmp_path / "sample.yaml").molecule
    assert found


def test_sweeps_are_valid(tmp_path: Path) -> None:
    found = [text for page in USER for text in blocks(page, "yaml") if "sweep" in yaml.safe_load(text)]
    for text in found:
        (tmp_path / "sweep.yaml").write_text(text, encoding="utf-8")
        assert load_campaign(tmp_path / "sweep.yaml")[0].axes
    assert found


def commands() -> Iterator[tuple[str, str]]:
    """Every `mdflash ...` line of the user guide, without its comment."""
    for page in USER:
        for text in blocks(page, ""):
            for line in text.splitlines():
                found = re.search(r"(?:^|-m |-exit )mdflash (.*?)\s*(?:#.*)?$", line)
                if found:
                    yield page.stem, found.group(1)


@pytest.mark.parametrize(("page", "line"), list(commands()))
def test_commands_and_options_exist(page: str, line: str) -> None:
    command: Any = typer.main.get_command(app)
    words = line.split()
    while hasattr(command, "commands"):
        verb = words.pop(0)
        assert verb in command.commands, f"{page}.md: mdflash has no verb '{verb}'"
        command = command.commands[verb]
    known = {option for p in command.params for option in p.opts}
    for word in words:
        assert not word.startswith("--") or word.split("=")[0] in known, f"{page}.md: {line}: no option {word}"

"""docs/dev/add_a_collective_variable.md, done as it says."""

from __future__ import annotations

import pytest

from tests.docs.dev_page import DevPage


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> DevPage:
    return DevPage("add_a_collective_variable.md", tmp_path_factory.mktemp("copy"))


def test_two_files_make_a_collective_variable(page: DevPage) -> None:
    assert len(page.touched) == 2
    (command,) = page.examples["sh"]
    pytest_name, *arguments = command.split()
    assert pytest_name == "pytest"
    page.run_tests(*arguments)


def test_a_file_can_use_it(page: DevPage) -> None:
    """The entry of the page, and the schema."""
    (entry,) = page.examples["yaml"]
    (page.folder / "protein.pdb").touch()
    (page.folder / "ff").mkdir()
    (page.folder / "ff" / "forcefield.yaml").touch()
    (page.folder / "system.yaml").write_text(
        "mdflash: 1\nsystem: {structure: protein.pdb}\nmodel: {forcefield: ff}\nreplicas: {count: 2}\n"
        f"dynamics: {{temperature: 300 K, length: 1 ns}}\n{entry}"
    )
    script = (
        "import mdflash; from mdflash.config.load import load_run; from mdflash.config.schema import json_schema\n"
        "bias = load_run('system.yaml').biases[0]; print(mdflash.__file__)\n"
        "print(bias.variable, bias.center, json_schema()['$defs']['BiasEntry']['properties']['variable']['enum'][-1])"
    )
    assert page.python("-c", script).splitlines() == [
        str(page.folder / "mdflash" / "__init__.py"),
        "height (-3.0,) height",
    ]

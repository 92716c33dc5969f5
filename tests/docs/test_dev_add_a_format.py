"""docs/dev/add_a_format.md, done as it says."""

from __future__ import annotations

import re

import pytest

from tests.docs.dev_page import DevPage


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> DevPage:
    return DevPage("add_a_format.md", tmp_path_factory.mktemp("copy"))


def test_two_files_make_a_format(page: DevPage) -> None:
    assert len(page.touched) == 2
    passed = page.run_tests("-rA", "tests/io/test_formats.py", "-k", "xyz or list")
    assert len(re.findall(r"^PASSED .*xyz", passed, re.MULTILINE)) >= 10


def test_the_commands_of_the_page(page: DevPage) -> None:
    commands, _ = page.examples["sh"]
    for command in commands.splitlines():
        page.python("-m", *command.split())
    assert len(list((page.folder / "runs" / "chignolin" / "trajectory").glob("chignolin_*.xyz"))) == 16
    assert (page.folder / "replica.xyz").read_text().startswith("10\nstep=0 time=0.0\nC ")

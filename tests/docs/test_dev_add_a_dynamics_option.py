"""docs/dev/add_a_dynamics_option.md, done as it says."""

from __future__ import annotations

from pathlib import Path

from tests.docs.dev_page import DevPage


def test_four_files_make_a_dynamics_option(tmp_path: Path) -> None:
    page = DevPage("add_a_dynamics_option.md", tmp_path)
    assert len(page.touched) == 4
    page.run_examples()

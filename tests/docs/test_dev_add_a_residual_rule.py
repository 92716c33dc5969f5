"""docs/dev/add_a_residual_rule.md, done as it says."""

from __future__ import annotations

from pathlib import Path

from tests.docs.dev_page import DevPage


def test_two_files_make_a_residual_rule(tmp_path: Path) -> None:
    page = DevPage("add_a_residual_rule.md", tmp_path)
    assert len(page.touched) == 2
    page.run_examples()
    page.run_tests("tests/potentials/test_geometric.py", "tests/training/test_backbones.py", "-k", "limited")
    page.run_kernel_tests("tests/gpu/check_backbones.py", "-k", "limited")

"""docs/dev/add_an_integrator.md, done as it says."""

from __future__ import annotations

from pathlib import Path

from tests.docs.dev_page import DevPage


def test_two_files_make_an_integrator(tmp_path: Path) -> None:
    page = DevPage("add_an_integrator.md", tmp_path)
    assert len(page.touched) == 2
    page.run_examples()
    page.run_tests("tests/integrators/test_schemes.py", "tests/engine/test_same_bits.py", "-k", "obab")
    page.run_kernel_tests("tests/gpu/check_dynamics.py", "-k", "obab")

"""The page on force fields of one's own: its file is complete, its rules are those of the list."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from mdflash import load_forcefield
from mdflash.cli.energy import single_points
from mdflash.errors import ForceFieldError
from mdflash.forcefields.forcefield import save_forcefield
from mdflash.forcefields.mixing import RULES
from mdflash.mapping.chain import chain_of

PAGE = (Path(__file__).parents[2] / "docs" / "user" / "own-force-field.md").read_text(encoding="utf-8")
FILE, BY_PAIR = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
BY_RULE = """    rules:
      epsilon: {rule: constant, value: 0.2}
      sigma: {rule: mean, of: size}
      lambda: {rule: mean, of: stick, plus: -0.05}
"""


def by_pair(table: str) -> str:
    """The file with a table in the place of the rules, and without the numbers that they read."""
    return re.sub(r", stick: [\d.]+", "", FILE.replace(BY_RULE, table))


def write(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "forcefield.yaml").write_text(text, encoding="utf-8")
    return folder


def test_the_file_of_the_page_gives_energies_and_is_written_as_it_is_read(tmp_path: Path) -> None:
    ff = load_forcefield(write(tmp_path / "hp", FILE))
    system, start = chain_of("GLLKHGLLKG", ff, "test")
    found = single_points(ff, system, start, "fp64")
    assert np.isfinite(found["energy"]).all() and found["energy_charges"][0] != 0.0
    save_forcefield(tmp_path / "again", ff)
    again = load_forcefield(tmp_path / "again")
    assert again.digest == ff.digest
    assert (again.environment, dict(again.dynamics)) == (ff.environment, dict(ff.dynamics))


def test_columns_and_rules_mix(tmp_path: Path) -> None:
    assert BY_RULE in FILE
    ff = load_forcefield(write(tmp_path / "hp", by_pair(BY_PAIR)))
    system, start = chain_of("GLLLGG", ff, "pairs")
    with pytest.raises(ForceFieldError, match="no 'lambda' for the bead types GLY-GLY"):
        single_points(ff, system, start, "fp64")
    rows = by_pair(BY_PAIR.rstrip() + "\n      - [GLY, GLY, 0.25]\n")
    ff = load_forcefield(write(tmp_path / "hp", rows))
    mean = load_forcefield(write(tmp_path / "mean", FILE))
    energies = [single_points(f, system, start, "fp64")["energy_stickiness"][0] for f in (ff, mean)]
    assert energies[0] != energies[1]
    same = rows.replace("LEU, 1.1]", "LEU, 0.85]")  # what the rule says
    np.testing.assert_allclose(
        single_points(load_forcefield(write(tmp_path / "same", same)), system, start, "fp64")["energy_stickiness"],
        energies[1], rtol=1e-14,
    )  # fmt: skip


def test_every_rule_stands_in_the_table() -> None:
    for rule in RULES.values():
        row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{rule.name}` |"))
        assert rule.equation in row
        for option in rule.takes:
            assert f"`{option}`" in row


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("rule: coulomb", "rule: colomb", "unknown rule 'colomb'; known: constant, mean"),
        ("{rule: mean, of: size}", "{rule: mean}", "is missing"),
        ("{rule: mean, of: size}", "{rule: mean, of: radius}", "mixes 'radius', which bead type 'LEU' does not have"),
        ("{rule: mean, of: size}", "{rule: mean, of: size, by: 2}", "'mean' takes of, times, plus, found 'by'"),
        ("permittivity: water}\n      kappa", "permittivity: wine}\n      kappa", "one of water, found 'wine'"),
        ("value: 0.2", "value: zero", "expected a number"),
        ("      sigma: {", "      sigmas: {", "has no parameter of this name"),
        ("x0: {rule: constant, value: 3.8}", "x0: {rule: mean, of: size}", "is for near pairs"),
        ("environment: {temperature: 300 K, ionic_strength: 0.1 M, pH: 7}\n", "", "add for example `environment:"),
        ("ionic_strength: 0.1 M", "ionic_strength: 0.1", "0.1 has no unit; write the concentration with one"),
        ("  first: {", "  begin: {", "expected `first:` or `last:`"),
        ("size: 6.2", "size: big", "expected a number, found 'big'"),
        ("      epsilon: {rule: constant, value: 0.2}\n", "", "is missing"),
    ],
)
def test_mistakes_are_named_with_their_line(old: str, new: str, says: str, tmp_path: Path) -> None:
    assert old in FILE
    with pytest.raises(ForceFieldError) as error:
        load_forcefield(write(tmp_path / "hp", FILE.replace(old, new)))
    assert says in error.value.message
    assert error.value.line is not None

"""The `biases:` section: what it means, how it is written out again, and what is wrong with wrong ones."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from mdflash.config.load import load_run, parse_run
from mdflash.config.schema import RunConfig
from mdflash.config.write import resolved_yaml
from mdflash.errors import InputError

K = "force_constant: 2 kcal/mol/angstrom^2"
PULL = f"{{name: pull, variable: distance, beads: [0, 9], center: 8 angstrom, {K}}}"
WINDOWS = (
    f"{{name: pull, variable: distance, beads: [0, 9], center: {{min: 4 angstrom, max: 7 angstrom, count: 4}}, {K}}}"
)


def read(folder: Path, *entries: str, more: str = "", temperature: str = "temperature: 300 K, ") -> RunConfig:
    """A run with these biases, one on each line from line 8 on."""
    text = (
        "mdflash: 1\nname: run\nsystem: {structure: protein.pdb}\nmodel: {forcefield: ff}\n"
        f"dynamics: {{{temperature}length: 1 ns}}\nreplicas: {{count: 8}}\nbiases:\n"
        + "".join(f"  - {entry}\n" for entry in entries)
        + more
    )
    return parse_run(text, folder / "system.yaml")


def test_a_line_of_windows(folder: Path) -> None:
    (bias,) = read(folder, WINDOWS).biases
    assert bias.center == (4.0, 5.0, 6.0, 7.0) and bias.force_constant == (2.0,)
    assert (bias.form, bias.beads, bias.width, bias.windows, bias.reference) == ("harmonic", (0, 9), 0.0, 4, None)


def test_units_follow_the_variable(folder: Path) -> None:
    twist, q, pinned, pushed = read(
        folder,
        "{name: twist, variable: dihedral, beads: [0, 3, [5, 6], name CA and resSeq 9], "
        "center: {min: -180 degree, max: 150 degree, count: 4}, force_constant: 20 kJ/mol/rad^2}",
        "{name: q, variable: native_contacts, center: [0.2, 0.9], force_constant: 4 kcal/mol, "
        "contacts: {cutoff: 1 nm}}",
        "{name: pinned, variable: position, form: flat-bottom, width: 0.1 nm, beads: all, force_constant: 1 eV/nm^2}",
        "{name: pushed, variable: radius_of_gyration, form: linear, force_constant: -2 kcal/mol/angstrom}",
    ).biases
    assert twist.center == pytest.approx([math.radians(a) for a in (-180, -70, 40, 150)], rel=1e-15)
    assert twist.force_constant == pytest.approx([20 / 4.184])
    assert twist.beads == (0, 3, (5, 6), "name CA and resSeq 9")
    assert q.contacts is not None and (q.contacts.cutoff, q.contacts.beta, q.contacts.separation) == (10.0, 5.0, 3)
    assert (q.center, q.reference, q.beads) == ((0.2, 0.9), "start", ("all",))
    assert (pinned.center, pinned.width, pinned.reference) == ((0.0,), 1.0, "start")
    assert pinned.force_constant == pytest.approx([0.23060547830619026])
    assert (pushed.center, pushed.force_constant) == ((0.0,), (-2.0,))


def test_resolved_yaml_reads_back(folder: Path) -> None:
    (folder / "native.pdb").touch()
    config = read(
        folder,
        WINDOWS,
        "{name: twist, variable: angle, beads: [0, 3, [5, 6]], center: {min: 20 degree, max: 150 degree, count: 8}, "
        "force_constant: [2 kcal/mol/degree^2, 3 kcal/mol/rad^2]}",
        "{name: near, variable: rmsd, reference: native.pdb, center: 0.3 nm, form: flat-bottom, width: 2 angstrom, "
        f"beads: [1, 2, 5], {K}}}",
        "{name: q, variable: native_contacts, center: 0.333, force_constant: 4 kcal/mol, contacts: {beta: 3 /nm}}",
    )
    (folder / "resolved.yaml").write_text(resolved_yaml(config))
    assert load_run(folder / "resolved.yaml").biases == config.biases
    assert resolved_yaml(load_run(folder / "resolved.yaml")) == resolved_yaml(config)


@pytest.mark.parametrize(
    ("entry", "key", "words"),
    [
        (PULL.replace("distance", "distanc"), "variable", "expected one of distance, angle"),
        (PULL.replace("distance", "rg"), "variable", "write `variable: radius_of_gyration`"),
        (PULL.replace("[0, 9]", "[0]"), "beads", "groups of beads), found 1; for example `beads: [0, 9]`"),
        (PULL.replace("[0, 9]", "[0, -1]"), "beads", "expected a bead number (counted from 0)"),
        (PULL.replace("[0, 9]", "[0, 1.5]"), "beads", "found 1.5"),
        (PULL.replace("beads: [0, 9], ", ""), "beads", "is missing; `variable: distance` takes 2: add for example"),
        (PULL.replace("8 angstrom", "8"), "center", "8 has no unit; write `center: 8 angstrom`"),
        (PULL.replace("8 angstrom", "60 degree"), "center", "unknown unit 'degree' of length"),
        (PULL.replace("8 angstrom", "{min: 1 nm, max: 2 nm}"), "center", "expected the keys min, max, count"),
        (PULL.replace("8 angstrom", "{min: 2 nm, max: 1 nm, count: 4}"), "center", "min must be below max"),
        (PULL.replace("8 angstrom", "{min: 1 nm, max: 2 nm, count: 1}"), "center", "from 2 to 1,000,000, found 1"),
        (PULL.replace("8 angstrom", "{min: 1 nm, max: 2 nm, count: 3}"), "center", "3 values do not spread evenly"),
        (PULL.replace("8 angstrom", "[]"), "center", "the list is empty"),
        (PULL.replace("center: 8 angstrom, ", ""), "center", "is missing; add for example `center: 8 angstrom`"),
        (PULL.replace("angstrom^2", "rad^2"), "force_constant", "unknown unit 'kcal/mol/rad^2' of stiffness"),
        (PULL.replace(": 2 kcal", ": -2 kcal"), "force_constant", "must be 0 or more"),
        (PULL.replace(K, "k: 3"), "k", "is not a known key"),
        (PULL.replace(K, K + ", width: 1 angstrom"), "width", "remove it, or write `form: flat-bottom`"),
        (PULL.replace(K, K + ", form: flat-bottom"), "width", "is missing; a flat bottom needs it"),
        (PULL.replace(K, K + ", reference: start"), "reference", "`variable: distance` has no reference"),
        (PULL.replace(K, K + ", contacts: {}"), "contacts", "`variable: distance` has no contacts"),
        (PULL.replace(K, K + ", system: other"), "system", "there is no system 'other'; name one of protein"),
        (f"{{name: r, variable: rmsd, reference: gone.pdb, center: 0 angstrom, {K}}}", "reference", "no such file"),
        ("{name: q, variable: native_contacts, center: 1 angstrom, force_constant: 1 kcal/mol}", "center", "plain num"),
        ("{name: t, variable: dihedral, beads: [0, 1, 2, 3], form: linear, force_constant: 1 kcal/mol/rad}", "form",
         "would jump at 180 degrees"),
    ],
)  # fmt: skip
def test_wrong_entries_are_explained(folder: Path, entry: str, key: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        read(folder, entry)
    assert (caught.value.line, caught.value.key) == (8, f"biases.0.{key}")
    assert words in str(caught.value)


def test_names_are_their_own(folder: Path) -> None:
    with pytest.raises(InputError, match=r"'pull' is the name of 2 biases; give each its own.*`name: pull-1`"):
        read(folder, PULL, PULL)


def test_of_several_systems_one_is_named(folder: Path) -> None:
    text = (
        "mdflash: 1\nsystem:\n  - {structure: protein.pdb, name: a}\n"
        "  - {structure: protein.pdb, name: b, replicas: 2}\n"
        f"model: {{forcefield: ff}}\ndynamics: {{temperature: 300 K, length: 1 ns}}\nreplicas: {{count: 4}}\nbiases:\n"
        f"  - {PULL}\n"
    )
    with pytest.raises(
        InputError, match=r"biases\.0\.system': is missing; name one of a, b: write for example `system: a`"
    ):
        parse_run(text, folder / "system.yaml")
    assert (
        parse_run(text.replace("{name: pull", "{system: b, name: pull"), folder / "system.yaml").biases[0].system == "b"
    )


@pytest.mark.parametrize(
    ("entries", "exchange", "temperature", "key", "words"),
    [
        (
            (WINDOWS,),
            "{}",
            "300 K",
            "exchange.temperatures",
            "or name biases whose windows are traded: `biases: [pull]`",
        ),
        ((WINDOWS,), "{biases: push}", "300 K", "exchange.biases", "no bias is called 'push'; there is pull"),
        ((PULL,), "{biases: [pull]}", "300 K", "exchange.biases", "has one window, which leaves nothing to trade"),
        ((WINDOWS,), "{biases: [pull]}", "", "dynamics.temperature", "is missing"),
        ((WINDOWS,), "{biases: [pull]}", "[300 K, 310 K]", "dynamics.temperature", "need one temperature"),
        (
            (WINDOWS,),
            "{biases: [pull], temperatures: [300 K, 310 K]}",
            "",
            "exchange.biases",
            "found [2, 4]",
        ),
        ((WINDOWS,), "{temperatures: [300 K, 310 K]}", "", "biases.0.center", "trade them too: `biases: [pull]`"),
    ],
)
def test_wrong_exchanges_are_explained(
    folder: Path, entries: tuple[str, ...], exchange: str, temperature: str, key: str, words: str
) -> None:
    given = f"temperature: {temperature}, " if temperature else ""
    with pytest.raises(InputError) as caught:
        read(folder, *entries, more=f"exchange: {exchange}\n", temperature=given)
    assert words in str(caught.value)
    assert f"'{key}'" in str(caught.value)
    assert key == "exchange.temperatures" or "exchange.temperatures" not in str(caught.value)


def test_states_of_an_exchange(folder: Path) -> None:
    config = read(folder, WINDOWS, more="exchange: {biases: [pull]}\n")
    assert config.exchange_states == (300.0,) * 4 and config.temperatures == (300.0,) * 8
    both = "exchange: {biases: pull, temperatures: {min: 300 K, max: 400 K, count: 4}}\n"
    config = read(folder, WINDOWS, more=both, temperature="")
    assert config.exchange_states == config.temperatures[:4] and config.temperatures[3] == 400.0
    again = parse_run(resolved_yaml(config), folder / "resolved.yaml")
    assert again.exchange == config.exchange

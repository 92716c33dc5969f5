"""Every collective variable of the list keeps the same promises; a new one is held to them without a new test."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mdflash.compiled import cache
from mdflash.config.biases import BiasEntry
from mdflash.config.load import parse_run
from mdflash.config.schema import json_schema
from mdflash.config.write import resolved_yaml
from mdflash.core.state import Layout
from mdflash.errors import InputError
from mdflash.potentials.bias.bias import Bias
from mdflash.potentials.bias.pack import PackedBiases
from mdflash.potentials.priors import geometry
from mdflash.potentials.variables import VARIABLES, value_gradient
from mdflash.potentials.variables.base import UNITS, Selected, Variable, VariableArrays
from tests.helpers import beads, helix

N = 12
SYSTEM = beads("chain", N, masses=np.random.default_rng(2).uniform(50.0, 200.0, N).tolist())
GROUPS: dict[int | None, list[list[int]]] = {
    None: [[1, 2, 3, 5, 6, 8, 9, 11]],
    1: [[2, 7, 9]],
    2: [[2], [7, 9]],
    3: [[2], [4, 6], [9]],
    4: [[1], [4, 5], [7], [10]],
}
"""Beads for a variable that takes so many groups."""
NAMES = list(VARIABLES)


def make(name: str, seed: int = 0) -> Variable:
    """The variable as a file would ask for it, its reference a helix that is shaken and turned away."""
    kind, rng = VARIABLES[name], np.random.default_rng(seed)
    reference = helix(N) @ np.linalg.qr(rng.normal(size=(3, 3)))[0] + 0.3 * rng.normal(size=(N, 3))
    options = None if kind.options is None else kind.options.section()
    return kind.select(SYSTEM, Selected(GROUPS[kind.takes], reference if kind.needs_reference else None, options))


def frames(seed: int, n: int = 8) -> np.ndarray:
    """[n, N, 3] fresh conformations, away from kinks."""
    rng = np.random.default_rng(seed)
    return helix(N) + rng.normal(size=(n, N, 3)) + 3.0 * rng.normal(size=(n, 1, 3))


def compiled(variable: Variable, x: np.ndarray) -> tuple[float, np.ndarray]:
    """Value and gradient [N, 3] by the compiled function, called as the kernels call it."""
    arrays = PackedBiases([Bias("b", variable, Layout((SYSTEM,), (1,)), 1.0)], Layout((SYSTEM,), (1,))).arrays()
    v = VariableArrays(arrays.beads, arrays.weight, arrays.reference, arrays.start[0], arrays.constants[0])
    g, gradient = np.full((len(arrays.beads), 3), np.nan), np.zeros((N, 3))
    q = value_gradient(arrays.variable[0], v, x, g)
    np.add.at(gradient, arrays.beads, g)
    return q, gradient


@pytest.mark.parametrize("name", NAMES)
def test_compiled_is_torch_and_its_gradient_is_the_slope(name: str) -> None:
    """In float64: the value to the last digits, the gradient of autograd, and finite differences of the value."""
    variable = make(name, seed=4)
    for x in frames(seed=len(name)):
        at = torch.from_numpy(x).requires_grad_()
        truth = variable.value(at[None])[0]
        (slope,) = torch.autograd.grad(truth, at)
        q, gradient = compiled(variable, x)
        assert q == pytest.approx(float(truth.detach()), rel=1e-12, abs=1e-13)
        np.testing.assert_allclose(gradient, slope, rtol=1e-10, atol=1e-12)
        direction, h = np.random.default_rng(1).normal(size=x.shape), 2e-5
        up2, up, down, down2 = (compiled(variable, x + k * h * direction)[0] for k in (2, 1, -1, -2))
        numerical = (8.0 * (up - down) - (up2 - down2)) / (12.0 * h)
        assert numerical == pytest.approx(float((gradient * direction).sum()), rel=1e-6, abs=1e-8)
        assert gradient.any(), "an input at which nothing is tested"


@pytest.mark.parametrize("name", NAMES)
def test_values_are_in_reach_and_do_not_depend_on_the_batch(name: str) -> None:
    variable, x = make(name), frames(seed=3)
    values = variable.value(torch.from_numpy(x))
    assert values.shape == (len(x),)
    assert (values >= variable.lowest).all() and (values <= variable.highest).all()
    alone = torch.cat([variable.value(torch.from_numpy(frame[None])) for frame in x])
    torch.testing.assert_close(values, alone, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_symmetries_are_as_declared(name: str) -> None:
    """A declared one holds; one that is not declared does not, since exactly those are what users must know."""
    variable, rng = make(name), np.random.default_rng(6)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.linalg.det(turn)
    moves = {"translation": lambda x: x + 30.0 * rng.normal(size=3), "rotation": lambda x: x @ turn.T}
    for symmetry, move in moves.items():
        apart = max(abs(compiled(variable, move(x))[0] - compiled(variable, x)[0]) for x in frames(seed=9))
        assert (apart < 1e-9) == (symmetry in variable.symmetries), (symmetry, apart)


@pytest.mark.parametrize("name", NAMES)
def test_digest_tells_variables_apart(name: str) -> None:
    """What a resumed run compares: equal for equal variables, another for each that differs."""
    kind = VARIABLES[name]
    assert make(name).digest == make(name).digest
    others = [make(other).digest for other in NAMES]
    assert len(set(others)) == len(others)
    if kind.needs_reference:
        assert make(name, seed=1).digest != make(name).digest


def text(name: str, beads: object = None, **more: object) -> str:
    """A run with one bias on the variable."""
    kind = VARIABLES[name]
    unit = {"length": " angstrom", "angle": " rad", None: ""}[kind.dimension]
    energy = {"length": "kcal/mol/angstrom^2", "angle": "kcal/mol/rad^2", None: "kcal/mol"}[kind.dimension]
    entry = {"name": "cv", "variable": name, "beads": GROUPS[kind.takes] if beads is None else beads}
    entry |= {"center": f"0.7{unit}", "force_constant": f"3 {energy}"} | more
    rows = "".join(f"    {key}: {value}\n" for key, value in entry.items())
    return (
        "mdflash: 1\nname: run\nsystem: {structure: protein.pdb}\nmodel: {forcefield: ff}\n"
        "dynamics: {temperature: 300 K, length: 1 ns}\nreplicas: {count: 4}\nbiases:\n  -\n" + rows
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "ff").mkdir()
    (tmp_path / "protein.pdb").touch()
    (tmp_path / "ff" / "forcefield.yaml").touch()
    return tmp_path


def read(folder: Path, name: str, beads: object = None, **more: object) -> BiasEntry:
    return parse_run(text(name, beads, **more), folder / "system.yaml").biases[0]


@pytest.mark.parametrize("name", NAMES)
def test_an_entry_reads_back_from_what_is_written(folder: Path, name: str) -> None:
    config = parse_run(text(name), folder / "system.yaml")
    (entry,) = config.biases
    assert (entry.variable, entry.center, entry.force_constant) == (name, (0.7,), (3.0,))
    assert (entry.reference == "start") == VARIABLES[name].needs_reference
    assert (entry.options is None) == (VARIABLES[name].options is None)
    again = parse_run(resolved_yaml(config), folder / "resolved.yaml")
    assert again.biases == config.biases and resolved_yaml(again) == resolved_yaml(config)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", ["harmonic", "flat-bottom", "linear"])
def test_numbers_have_the_units_of_the_variable(folder: Path, name: str, form: str) -> None:
    """A center and a width are of the variable, a force constant is energy by its square, or by itself if linear."""
    kind = VARIABLES[name]
    if form == "linear" and kind.periodic:
        return
    per = {"length": ("nm", 10.0), "angle": ("degree", math.pi / 180.0), None: ("", 1.0)}[kind.dimension]
    power = "" if not per[0] else f"/{per[0]}" if form == "linear" else f"/{per[0]}^2"
    found = read(
        folder, name, form=form, center=f"0.05 {per[0]}", force_constant=f"2 kJ/mol{power}",
        **({"width": f"0.01 {per[0]}"} if form == "flat-bottom" else {}),
    )  # fmt: skip
    assert found.center[0] == pytest.approx(0.05 * per[1])
    assert found.width == pytest.approx(0.01 * per[1] if form == "flat-bottom" else 0.0)
    by = per[1] if form == "linear" else per[1] ** 2
    assert found.force_constant[0] == pytest.approx(2 / 4.184 / by)
    assert make(name).unit == UNITS[kind.dimension]
    assert Bias("b", make(name), Layout((SYSTEM,), (1,)), 1.0, form=form).form == form  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NAMES)
def test_nonsense_is_refused(folder: Path, name: str) -> None:
    """In the file, with the key; of the molecule, by naming the bead."""
    kind = VARIABLES[name]
    unit = {"length": "angstrom", "angle": "rad", None: ""}[kind.dimension]
    groups = GROUPS[kind.takes]
    for beyond in (kind.lowest - 1.0, kind.highest + 1.0):
        if math.isfinite(beyond) and not kind.periodic:
            with pytest.raises(InputError, match=r"out of reach: .* for a constant pull write `form: linear`"):
                read(folder, name, center=f"[0.5 {unit}, {beyond} {unit}]")
    if not kind.needs_reference:
        with pytest.raises(InputError, match="has no reference; remove this line"):
            read(folder, name, reference="start")
    with pytest.raises(InputError, match=r"'biases\.0\.center'"):
        read(folder, name, center="3 kcal/mol")
    if kind.takes is not None:
        with pytest.raises(InputError, match=f"takes {kind.takes} beads"):
            read(folder, name, beads=[0])
    options = None if kind.options is None else kind.options.section()
    for wrong, message in (
        ([*groups[:-1], [N]], f"bead {N} is not in system 'chain'; its beads are 0 to {N - 1}"),
        ([*groups[:-1], [-1]], "bead -1 is not in system"),
        ([*groups[:-1], []], "is empty"),
        ([*groups[:-1], [3, 4, 3]], r"names a bead twice: \[3, 4, 3\]"),
        *(((groups[:1] * kind.takes, "twice"),) if kind.takes else ()),
    ):
        with pytest.raises(InputError, match=message):
            kind.select(SYSTEM, Selected(wrong, helix(N), options))


def test_help_and_schema_follow_from_the_list() -> None:
    entry = json_schema()["$defs"]["BiasEntry"]["properties"]
    assert entry["variable"]["enum"] == NAMES and all(
        name in words and VARIABLES[name].about in words
        for name, words in zip(NAMES, entry["variable"]["description"].split(" | "), strict=True)
    )
    for kind in VARIABLES.values():
        assert kind.__doc__ and sys.modules[kind.__module__].__doc__, "says what it is, and its equation"
        assert (kind.name in entry["reference"]["description"]) == kind.needs_reference
        if kind.options is not None:
            assert kind.options.key in entry


def test_a_file_is_checked_without_torch_and_numba() -> None:
    """Reading and describing biases takes no library that takes long to import."""
    heavy = "{'torch', 'numba', 'scipy', 'mdtraj'}"
    script = f"import sys; from mdflash.config import schema; schema.json_schema(); print({heavy} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "set()\n"


def test_old_names_work_for_one_release() -> None:
    with pytest.warns(DeprecationWarning, match=r"is now mdflash\.potentials\.variables"):
        from mdflash.potentials.bias import variables as old
    assert isinstance(old.distance(SYSTEM, 0, 1), VARIABLES["distance"])
    x = torch.from_numpy(frames(seed=1))
    expected = geometry.distance(x, torch.tensor([[0, 1]]))[:, 0]
    torch.testing.assert_close(old.distance(SYSTEM, 0, 1).value(x), expected)


def test_machine_code_is_made_anew_when_a_variable_changes() -> None:
    """The cache of kernels follows imports at the left margin: from the biases to the file of every variable."""
    reached: set[str] = set()
    todo = [sys.modules["mdflash.potentials.bias.cpu"].__file__ or ""]
    while todo:
        file = todo.pop()
        if file not in reached:
            reached.add(file)
            todo += cache._read(file)[1]
    assert {sys.modules[kind.__module__].__file__ for kind in VARIABLES.values()} <= reached

"""The recipe of `mdflash sample`: strict YAML, every mistake one error with file, line and key."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationError, ValidationInfo

from mdflash.config.explain import explain
from mdflash.config.load import input_error
from mdflash.config.overrides import apply_overrides
from mdflash.config.rules import Problem, whole_steps
from mdflash.config.section import DatasetFolder, ExistingFile, Folder, SchemaVersion, Section, as_list
from mdflash.core.quantity import (
    AngularStiffness,
    Duration,
    Length,
    NoneWord,
    Rate,
    RunLength,
    Stiffness,
    Temperature,
    Timestep,
    Whole,
    Word,
    describe,
    plain_word,
)
from mdflash.core.yamlfile import MOST_OF_A_PLAN, load_yaml
from mdflash.errors import InputError
from mdflash.mapping.peptide import parse_conformation, parse_sequence
from mdflash.sampling.means import BLOCKS
from mdflash.sampling.windows import Window

MAPPINGS = ("ca", "heavy", "five-bead")
HELD_MAPPINGS = ("ca", "heavy")
"""Those whose beads can be held."""


def _sequence(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError(f"expected a sequence such as ACE-ALA-NME or YYDPETGTWY, found {describe(value)}")
    try:
        parse_sequence(value)
    except InputError as error:
        raise ValueError(error.message) from None
    return value


def _start(value: object) -> object:
    if value in ("structure", "hot"):
        return value
    if not isinstance(value, str):
        raise ValueError(f"expected structure, extended, helix, hot, or 'phi,psi' in degrees; found {describe(value)}")
    try:
        parse_conformation(value)
    except InputError:
        raise ValueError(
            f"expected structure, extended, helix, hot, or phi and psi in degrees as in '-75,145'; "
            f"found {describe(value)}"
        ) from None
    return value


def _mapping(value: object, info: ValidationInfo) -> object:
    if value in MAPPINGS:
        return value
    if not isinstance(value, str):
        raise ValueError(f"expected {', '.join(MAPPINGS)} or a mapping file, found {describe(value)}")
    folder: Path = (info.context or {})["folder"]
    path = folder / value
    if not os.path.isfile(path):
        raise ValueError(f"expected {', '.join(MAPPINGS)} or a mapping file; there is no file {path}")
    return str(path)


class TorsionWindows(Section):
    """Walkers held at values of a backbone torsion, spread over the circle."""

    torsion: Literal["phi", "psi"] = Field(description="phi | psi", examples=["phi"])
    residue: Annotated[int, Whole(1, 1_000_000)] = Field(description="its number, from 1, caps included", examples=[2])
    count: Annotated[int, Whole(2, 360)] = Field(default=24, description="windows, evenly spaced from -180 degree on")
    force_constant: AngularStiffness = Field(default=25.0, description="k of k/2 d^2", examples=["25 kcal/mol/rad^2"])

    @property
    def all(self) -> tuple[Window, ...]:
        """Every window."""
        return tuple(
            Window(math.radians(360.0 * k / self.count - 180.0), self.force_constant) for k in range(self.count)
        )

    def label(self, window: Window) -> str:
        """One of them, for people."""
        return f"{self.torsion} {math.degrees(window.center):g}"


class RmsdWindows(Section):
    """Walkers held at values of the RMSD of the beads from the first start."""

    min: Length = Field(default=0.5, description="RMSD of the first window", examples=["0.5 angstrom"])
    max: Length = Field(description="RMSD of the last window", examples=["8 angstrom"])
    count: Annotated[int, Whole(2, 360)] = Field(default=16, description="windows, evenly spaced")
    force_constant: Stiffness = Field(default=5.0, description="k of k/2 d^2", examples=["5 kcal/mol/angstrom^2"])

    @property
    def all(self) -> tuple[Window, ...]:
        """Every window."""
        step = (self.max - self.min) / (self.count - 1)
        return tuple(Window(self.min + k * step, self.force_constant) for k in range(self.count))

    def label(self, window: Window) -> str:
        """One of them, for people."""
        return f"RMSD {window.center:.3g} Å"


class MoleculeEntry(Section):
    """One molecule to sample."""

    sequence: Annotated[str, BeforeValidator(_sequence)] | None = Field(
        default=None, description="ACE-ALA-NME or YYDPETGTWY; default: that of structure", examples=["ACE-ALA-NME"]
    )
    structure: ExistingFile | None = Field(
        default=None, description="PDB or mmCIF of the molecule; hydrogens are added", examples=["protein.pdb"]
    )
    name: Word = Field(default="", description="names its folder; default: the structure's file name, or the sequence")
    starts: Annotated[tuple[Annotated[str, BeforeValidator(_start)], ...], BeforeValidator(as_list)] = Field(
        default=(), description="structure | extended | helix | 'phi,psi' | hot (500 K); walkers use them in turn"
    )
    windows: TorsionWindows | None = Field(
        default=None, description="umbrella windows on a backbone torsion; each has its own walkers"
    )
    rmsd_windows: RmsdWindows | None = Field(
        default=None, description="umbrella windows on the beads' RMSD from the first start"
    )

    @property
    def umbrella(self) -> TorsionWindows | RmsdWindows | None:
        """Its windows, of either kind."""
        return self.windows or self.rmsd_windows


class Hold(Section):
    """Mean forces: beads stay where a frame of a dataset has them, and their forces are averaged"""

    dataset: DatasetFolder = Field(
        description="dataset folder with frames of the same molecules, relative to this file", examples=["my-data"]
    )
    count: Annotated[int, Whole(1, 10_000_000)] = Field(
        default=400,
        description="configurations of each molecule, one from each of so many equal stretches of its frames",
    )
    settle: Duration = Field(default=20.0, description="time before the first force", examples=["20 ps"])
    average: Duration = Field(default=100.0, description="time over which forces are averaged", examples=["100 ps"])


class SampleRecipe(Section):
    """What to simulate, and what to keep of it."""

    mdflash: SchemaVersion = Field(description="schema version", examples=[1])
    name: Word = Field(default="", description="default: the file's name")
    molecule: Annotated[tuple[MoleculeEntry, ...], BeforeValidator(as_list)] = Field(
        description="one molecule or a list", examples=["{sequence: ACE-ALA-NME}"]
    )
    mapping: Annotated[str, BeforeValidator(_mapping)] = Field(
        default="ca", description="ca | heavy | five-bead | mapping.yaml", examples=["ca"]
    )
    aggregation: Literal["basic", "optimised"] = Field(
        default="optimised", description="how atom forces become bead forces: optimised (less noise) | basic"
    )
    temperatures: Annotated[tuple[Temperature, ...], BeforeValidator(as_list)] = Field(
        description="each has its own walkers, or a walker has them all (exchange)", examples=["[300 K]"]
    )
    walkers: Annotated[int, Whole(1, 10_000)] = Field(
        default=1,
        description="independent simulations of each molecule at each temperature and window; with exchange: ladders; "
        "with hold: trajectories that share its configurations",
    )
    exchange: Annotated[Duration | None, NoneWord] = Field(
        default=None, description="time between exchange attempts of a walker's replicas; none: no exchange",
        examples=["1 ps"],
    )  # fmt: skip
    length: RunLength | None = Field(
        default=None, validate_default=True, description="simulated time of each walker; not with hold",
        examples=["10 ns"],
    )  # fmt: skip
    interval: Duration = Field(default=0.5, description="time between frames with forces", examples=["0.5 ps"])
    hold: Hold | None = Field(default=None)
    timestep: Timestep = Field(default=0.004, description="one step; hydrogens weigh 3 Da", examples=["4 fs"])
    friction: Rate = Field(default=1.0, description="coupling to the bath", examples=["1 /ps"])
    equilibration: Duration = Field(
        default=100.0, description="time before the first frame; not with hold", examples=["100 ps"]
    )
    seed: Annotated[int, Whole(0, 2**31 - 1)] = Field(default=1, description="each walker derives its own from it")
    processes: Annotated[int, Whole(1, 256)] = Field(default=2, description="walkers at a time, one core each")
    folder: Folder | None = Field(default=None, description="the dataset; default: data/NAME in the current folder")

    def steps(self, time: float) -> int:
        """Time steps in `time` ps."""
        return round(time / self.timestep)

    @property
    def frames(self) -> int:
        """Frames of each replica; without `hold`."""
        assert self.length is not None  # load_recipe asks for it
        return int(self.length / self.interval + 1e-6)

    @property
    def frames_of_a_walker(self) -> int:
        """Frames of each walker, which has one replica or, with exchange, one for each temperature."""
        return self.frames * (len(self.temperatures) if self.exchange else 1)


def load_recipe(file: Path, overrides: Sequence[str] = ()) -> SampleRecipe:
    """Read a sampling recipe.

    Args:
        file: the recipe.
        overrides: "length=1 ns", each replaces what the file has.

    Raises:
        InputError: anything wrong, with file, line and dotted key (or the override as given).
    """
    document = load_yaml(file, MOST_OF_A_PLAN)
    data, given = apply_overrides({} if document.data is None else document.data, overrides)
    context = {"folder": file.parent.absolute(), "cwd": Path.cwd()}
    try:
        recipe = SampleRecipe.model_validate(data, context=context)
    except ValidationError as error:
        raise input_error(explain(error, data, SampleRecipe), document, given) from None
    recipe = _with_names(recipe, file)
    found = list(_problems(recipe))
    if found:
        single = not isinstance(data["molecule"], list)
        plain = [Problem(tuple(k for k in p.path if not (single and k == 0)), p.message) for p in found]
        raise input_error(plain, document, given)
    return recipe


def _with_names(recipe: SampleRecipe, file: Path) -> SampleRecipe:
    """`recipe` with the defaults that depend on others."""
    name = recipe.name or plain_word(file.stem)
    entries = []
    for entry in recipe.molecule:
        default = entry.structure.stem if entry.structure else (entry.sequence or "molecule")
        starts = entry.starts or (("structure",) if entry.structure else ("extended", "helix"))
        entries.append(entry.model_copy(update={"name": entry.name or plain_word(default), "starts": starts}))
    folder = recipe.folder or Path.cwd() / "data" / name
    return recipe.model_copy(update={"name": name, "molecule": tuple(entries), "folder": folder})


def _problems(recipe: SampleRecipe) -> Iterator[Problem]:
    """What keys get wrong together."""
    if not recipe.molecule:
        yield Problem(("molecule",), "the list is empty; add for example `- sequence: ACE-ALA-NME`")
    if not recipe.temperatures:
        yield Problem(("temperatures",), "the list is empty; write `temperatures: [300 K]`")
    for k, temperature in enumerate(recipe.temperatures):
        if temperature <= 0:
            yield Problem(("temperatures", k), "must be more than 0 K; for example `temperatures: [300 K]`")
    names = Counter(entry.name for entry in recipe.molecule)
    for i, entry in enumerate(recipe.molecule):
        if entry.sequence is None and entry.structure is None:
            yield Problem(("molecule", i), "names no molecule; add `sequence: ACE-ALA-NME` or `structure: protein.pdb`")
        elif entry.structure is None and "structure" in entry.starts:
            yield Problem(
                ("molecule", i, "starts"), "'structure' needs a structure; add `structure: protein.pdb` or leave it out"
            )
        if names[entry.name] > 1:
            yield Problem(("molecule", i, "name"), f"'{entry.name}' names two molecules; give each its own name")
        if entry.windows and entry.rmsd_windows:
            yield Problem(("molecule", i, "rmsd_windows"), "does not go with `windows`; give each its own recipe")
        if entry.rmsd_windows and not entry.rmsd_windows.min < entry.rmsd_windows.max:
            yield Problem(
                ("molecule", i, "rmsd_windows", "max"),
                f"must be more than min, {entry.rmsd_windows.min:g} angstrom; for example `max: 8 angstrom`",
            )
        if entry.starts == ("hot",):
            yield Problem(("molecule", i, "starts"), "'hot' heats the first start; name one before it: [extended, hot]")
    yield from whole_steps(("interval",), recipe.interval, recipe.timestep)
    if recipe.exchange:
        yield from whole_steps(("exchange",), recipe.exchange, recipe.timestep)
        if recipe.steps(recipe.interval) % max(recipe.steps(recipe.exchange), 1):
            yield Problem(
                ("exchange",),
                f"must divide the interval of {recipe.interval:g} ps; write for example "
                f"`exchange: {recipe.interval:g} ps`",
            )
        if len(recipe.temperatures) < 2:
            yield Problem(
                ("exchange",), "needs two temperatures or more; write for example `temperatures: [300 K, 360 K]`"
            )
    if recipe.timestep > 0.0051:
        yield Problem(("timestep",), "more than 5 fs is not stable with hydrogens of 3 Da; write `timestep: 4 fs`")
    if recipe.hold is not None:
        yield from _problems_of_hold(recipe, recipe.hold)
    elif recipe.length is None:
        yield Problem(("length",), "is missing; write for example `length: 10 ns`")
    elif recipe.frames < 1:
        yield Problem(("length",), "is shorter than `interval`, so no frame would be kept")


def _problems_of_hold(recipe: SampleRecipe, hold: Hold) -> Iterator[Problem]:
    """What does not go with held beads."""
    if recipe.mapping not in HELD_MAPPINGS:
        yield Problem(
            ("mapping",), "beads are held where each is one atom that atoms can be rebuilt around: ca or heavy"
        )
    for key, instead in (("length", "hold.average"), ("equilibration", "hold.settle")):
        if key in recipe.model_fields_set:
            yield Problem((key,), f"says nothing where beads are held; leave it out and give `{instead}`")
    if recipe.exchange:
        yield Problem(("exchange",), "does not go with `hold`; leave it out")
    if len(recipe.temperatures) > 1:
        yield Problem(("temperatures",), "beads are held at one temperature; give each its own recipe")
    for i, entry in enumerate(recipe.molecule):
        for key in ("windows", "rmsd_windows"):
            if getattr(entry, key) is not None:
                yield Problem(("molecule", i, key), "does not go with `hold`; leave it out")
    fewest = 2 * BLOCKS
    if hold.average < (fewest - 1e-6) * recipe.interval:
        yield Problem(
            ("hold", "average"),
            f"has too few forces for an error, {fewest} are needed; with `interval: {recipe.interval:g} ps` write "
            f"`average: {fewest * recipe.interval:g} ps` or more",
        )
    if hold.count < recipe.walkers:
        yield Problem(("walkers",), f"{recipe.walkers} trajectories cannot share the {hold.count} of hold.count")

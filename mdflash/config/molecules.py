"""The molecules of a system.yaml: where each is from, how many there are, and the box that they share."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, model_serializer

from mdflash.config.section import (
    MAX_COPIES,
    MAX_REPLICAS,
    ExistingFile,
    ForceFieldFolder,
    Section,
    as_entries,
    as_list,
    read_file,
)
from mdflash.core.quantity import (
    Duration,
    Length,
    NoneWord,
    Whole,
    Word,
    describe,
)
from mdflash.mapping.choices import Gaps, Keep, Modified, Reading
from mdflash.mapping.sequence import read_sequence


def _read_chains(value: object) -> object:
    if value is None:
        return None
    found = as_list(value)
    assert isinstance(found, (list, tuple))
    if not found or any(isinstance(c, bool) or not isinstance(c, (str, int)) or not str(c).strip() for c in found):
        raise ValueError(f"expected a chain id such as 'A', or a list of them, found {describe(value)}")
    return tuple(str(c) for c in found)


def read_systems(value: object) -> object:
    if value == []:
        raise ValueError("the list is empty; name at least one molecule: `- structure: protein.pdb`")
    return as_list(value)


def _read_molecules(value: object) -> object:
    if value == []:
        raise ValueError("the list is empty; name at least one: `molecules: [{sequence: MSRAALPSLENL, count: 100}]`")
    return as_entries(value)


def _read_box(value: object) -> object:
    if value is None or value == "none":
        return None
    if not isinstance(value, (list, tuple)) or len(value) != 3:
        found = f"{len(value)} values" if isinstance(value, (list, tuple)) else describe(value)
        raise ValueError(
            f"expected none or three lengths, found {found}; for example `box: [60 angstrom, 60 angstrom, 60 angstrom]`"
        )
    return value


def _read_sequence(value: object) -> object:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError(f"expected one-letter amino acids, found {describe(value)}; for example `sequence: MSRAALPS`")
    read_sequence(value)
    return value


BoxEdges = Annotated[
    tuple[Length, Length, Length] | None,
    BeforeValidator(_read_box, json_schema_input_type=tuple[Length, Length, Length] | Literal["none"] | None),
]


class StartFrames(Section):
    """The file of the start frames, and which of them are meant."""

    file: ExistingFile = Field(
        description=".npy [F, N, 3] in angstrom, or a trajectory; mdflash's own HDF5 by replica", examples=["run.h5"]
    )
    frame: Literal["each", "last"] | Annotated[int, Whole(0, 2**53)] = Field(
        default="each",
        description="each (replica i: frame i, cycled; of many replicas in one file their last) | last | its number",
    )

    @model_serializer
    def _short(self) -> Any:
        return str(self.file) if self.frame == "each" else {"file": str(self.file), "frame": self.frame}


def _read_start(value: object, info: ValidationInfo) -> object:
    """A path alone stands for its frames in turn."""
    if value is None or value == "none":
        return None
    if isinstance(value, (dict, StartFrames)):
        return value
    return StartFrames.model_construct(file=read_file(value, info), frame="each")


class Source(Section):
    """Where one molecule is from."""

    structure: Annotated[ExistingFile | None, NoneWord] = Field(
        default=None,
        description="PDB, mmCIF, GRO or an mdflash system (.safetensors), relative to this file",
        examples=["protein.pdb"],
    )
    sequence: Annotated[str | None, BeforeValidator(_read_sequence)] = Field(
        default=None,
        description="instead of a structure: one-letter amino acids, one bead each; every replica starts as another "
        "random coil",
        examples=["MSRAALPSLENL"],
    )
    name: Word = Field(default="", description="names its files; default: the structure's file name")
    mapping: Literal["from-forcefield", "ca", "heavy", "five-bead", "none"] = Field(
        default="from-forcefield",
        description="how atoms become beads: from-forcefield | ca | heavy | five-bead | none (beads already)",
    )
    forcefield: ForceFieldFolder | None = Field(default=None, description="null: model.forcefield")
    model: Annotated[int, Whole(0, MAX_REPLICAS)] | None = Field(
        default=None, description="number of the model to read from the structure; null: all, as start frames"
    )
    chain: Annotated[tuple[str, ...] | None, BeforeValidator(_read_chains)] = Field(
        default=None, description="id of the chain to read from the structure, or a list of ids; null: all"
    )
    keep: Keep = Field(
        default="all", description="protein: leave out ligands and nucleic acids of the structure | all: refuse them"
    )
    modified: Modified = Field(
        default="refuse", description="modified amino acids: refuse | parent (read as the amino acid they come from)"
    )
    gaps: Gaps = Field(
        default="refuse",
        description="missing residues: refuse | break (no bond across) | bond (as if none were missing)",
    )

    @property
    def reading(self) -> Reading:
        """How the structure is to be read."""
        return Reading(self.model, self.chain or (), self.keep, self.modified, self.gaps)


class MoleculeEntry(Source):
    """One kind of molecule in a box of many, and how many copies there are."""

    count: Annotated[int, Whole(1, MAX_COPIES)] = Field(default=1, description="copies in the box")
    between_copies: Literal["none", "contacts"] = Field(
        default="none",
        description="of a Gō model: none (copies repel each other) | contacts (its native contacts act between every "
        "two copies too, residue i of one with j of the other)",
    )


class SystemEntry(Source):
    """One molecule (or complex, or a box of many), and how many replicas of it run."""

    molecules: Annotated[
        tuple[MoleculeEntry, ...],
        BeforeValidator(_read_molecules, json_schema_input_type=MoleculeEntry | list[MoleculeEntry] | Literal["none"]),
    ] = Field(
        default=(),
        description="none, or instead of one molecule a list of them, each with its count, placed in the box",
        examples=["[{sequence: MSRAALPSLENL, count: 100}]"],
    )
    geometry: Literal["box", "slab"] = Field(
        default="box",
        description="where molecules are placed: box (all of it) | slab (in the middle of its longest edge)",
    )
    thickness: Length | None = Field(
        default=None,
        description="of the slab at the start; null: as thick as 0.3 g/mL make it",
        examples=["200 angstrom"],
    )
    compress: Duration | None = Field(
        default=None,
        description="null: molecules are placed at once; or a time: where they are denser than 0.3 g/mL (structures: "
        "0.15) they are placed in a larger box, which shrinks in that time before step 0 and stays so for as long",
        examples=["1 ns"],
    )
    box: BoxEdges = Field(default=None, description="the same as `box:` of the run, which is one for all systems")
    start: Annotated[
        StartFrames | None, BeforeValidator(_read_start, json_schema_input_type=str | StartFrames | None)
    ] = Field(
        default=None,
        description="start frames (.npy [F, N, 3] in angstrom, or a trajectory); replica i: frame i, cycled; "
        "{file: run.h5, frame: last} for one of them",
    )
    replicas: Annotated[int, Whole(1, MAX_REPLICAS)] | None = Field(
        default=None, description="replicas of this system; null: replicas.count"
    )

"""Sequences of amino acids in one-letter code, alone or in a FASTA file, checked."""

from __future__ import annotations

import re
from pathlib import Path

from mdflash.core.quantity import plain_word
from mdflash.core.regular import read_text
from mdflash.errors import InputError
from mdflash.mapping.peptide import ONE_LETTER

_MEANS = {
    "B": "aspartate or asparagine", "Z": "glutamate or glutamine", "J": "leucine or isoleucine",
    "X": "any amino acid", "U": "selenocysteine", "O": "pyrrolysine", "-": "a gap", ".": "a gap",
}  # fmt: skip
"""Letters of sequence files that are no amino acid of the twenty."""


def read_sequence(text: str) -> tuple[str, ...]:
    """The residue names (three letters) of a one-letter sequence.

    Raises:
        ValueError: empty, a letter that is no amino acid, lower case, a space or a stop; says which, where, and what to
            write instead.
    """
    if not text:
        raise ValueError("the sequence is empty; expected one-letter amino acids, as in MSRAALPSLENL")
    for place, letter in enumerate(text, start=1):
        if letter not in ONE_LETTER:
            raise ValueError(_wrong(text, place, letter))
    return tuple(ONE_LETTER[letter] for letter in text)


def _wrong(text: str, place: int, letter: str) -> str:
    around = text[max(0, place - 6) : place + 5]
    here = f"at position {place} (in '{around}')"
    if letter.isspace():
        return f"the sequence has a space or line end {here}; write it without: '{_short(''.join(text.split()))}'"
    if letter == "*":
        return f"the sequence has '*', a stop, {here}; remove it{' and what follows' if place < len(text) else ''}"
    if letter.upper() in ONE_LETTER:
        many = " (lower case often marks masked or unsure residues)"
        return f"the sequence has '{letter}' in lower case {here}{many}; write '{_short(text.upper())}'"
    meaning = _MEANS.get(letter.upper())
    known = f"'{letter}' ({meaning})" if meaning else f"'{letter}'"
    return (
        f"the sequence has {known} {here}, which is none of the twenty amino acids {''.join(ONE_LETTER)}; "
        "write one of them in its place"
    )


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."


def read_fasta(file: Path) -> list[tuple[str, str]]:
    """Name and sequence of every entry of a FASTA file. A name is the first word behind '>'.

    A stop `*` may end a sequence. A sequence before the first '>' has the file's name.

    Raises:
        InputError: no such file, no entry, an entry without name or sequence, a name given twice, or a letter that is
            no amino acid; names file and line.
    """
    try:
        lines = read_text(file).splitlines()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}; expected a FASTA file", file=file) from None
    except UnicodeDecodeError:
        raise InputError("is not text; expected a FASTA file", file=file) from None
    found: list[tuple[str, str]] = []
    seen: dict[str, int] = {}

    def fail(message: str, line: int) -> InputError:
        return InputError(message, file=file, line=line)

    start = ended = 0
    bare = plain_word(file.stem)
    for number, line in enumerate(lines, start=1):
        text = line.rstrip()
        if text.startswith(">"):
            if found and not found[-1][1]:
                raise fail(f"'{found[-1][0]}' has no sequence", start)
            words = text[1:].split()
            if not words:
                raise fail("'>' without a name; write for example `>DSS1`", number)
            if words[0] in seen:
                raise fail(
                    f"'{words[0]}' is the name of two sequences, the other at line {seen[words[0]]}; names must "
                    f"differ, for example `>{words[0]}-2`",
                    number,
                )
            seen[words[0]] = start = number
            ended = 0
            found.append((words[0], ""))
        elif text and not text.startswith(";"):
            if not found:  # one sequence alone needs no name
                start = number
                found.append((bare, ""))
            if ended:
                raise fail(f"'{found[-1][0]}' goes on behind the stop '*' of line {ended}; remove what follows", number)
            if text.endswith("*"):
                text, ended = text[:-1], number
            try:
                if text:
                    read_sequence(text)
            except ValueError as error:
                raise fail(f"'{found[-1][0]}': {error}", number) from None
            found[-1] = (found[-1][0], found[-1][1] + text)
    if not found:
        raise InputError("holds no sequence; expected lines such as `>DSS1` with the sequence below", file=file)
    if not found[-1][1]:
        raise fail(f"'{found[-1][0]}' has no sequence", start)
    return found


def named_sequences(file: Path) -> list[tuple[str, str]]:
    """As `read_fasta`, under names that can name files: `sp|P60896|SEM1_HUMAN` is SEM1_HUMAN.

    Raises:
        InputError: as `read_fasta`, or two names that come to the same.
    """
    found: dict[str, tuple[str, str]] = {}
    for name, sequence in read_fasta(file):
        database = re.fullmatch(r"(?:sp|tr)\|[^|]+\|(.+)", name)
        word = plain_word(database[1] if database else name)
        if word in found:
            raise InputError(
                f"'{found[word][0]}' and '{name}' both become '{word}' as the name of a file; rename one", file=file
            )
        found[word] = (name, sequence)
    return [(word, sequence) for word, (_, sequence) in found.items()]

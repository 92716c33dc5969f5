"""Read an OpenMM System from XML, but not the programs that it may hold.

OpenMM writes a PythonForce as a pickle, and a pickle is a program: `openmm.XmlSerializer.deserialize` runs whatever a
stranger put there. A pickle of mdflash is one call of one function with one text; nothing else is let through.
"""

from __future__ import annotations

import pickletools
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any, Final

from mdflash.core.optional import require
from mdflash.core.regular import read_input
from mdflash.errors import InputError, UnsafePickleError
from mdflash.openmm.reference import Reference

_ONE_CALL: Final = "PROTO BINUNICODE BINUNICODE STACK_GLOBAL BINUNICODE TUPLE1 REDUCE STOP".split()
"""Opcodes of `module.name(text)`: module and name are the first two texts."""
_FRAME: Final = 9
"""Bytes of the operation that states the length of what follows."""
_RESTORE: Final = ["mdflash.openmm.computation", "restore"]


def load_system(path: Path | str) -> Any:
    """Read an `openmm.System` from a file written by `openmm.XmlSerializer`.

    Python forces of mdflash are checked: that they hold nothing but a reference to a force field, and that the force
    field is where it was and has not changed. A System with any other Python force is refused, and nothing is run.

    Raises:
        UnsafePickleError: a Python force that is not mdflash's.
        ForceFieldError: a force field is missing or has changed.
        InputError: no such file, or not a System.
        MissingExtraError: openmm is not installed.
    """
    openmm = require("openmm", "openmm", "mdflash.openmm")
    file = Path(path)
    try:
        root = ElementTree.fromstring(read_input(file))
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", file=file) from None
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # the last two of encodings
        raise InputError(f"is no XML: {error}", file=file) from None
    if root.tag != "System" or root.get("type") != "System":
        raise InputError(f"holds no OpenMM System but '{root.get('type', root.tag)}'", file=file)
    for element in root.iter():
        if element.get("type") == "PythonForce":
            try:
                Reference.from_text(pickled_text(element.get("function", ""), file)).load()
            except InputError as error:
                if error.file is not None:
                    raise
                raise type(error)(error.message, file=file) from None
    # What was checked is what is read, whatever two parsers may think of the file.
    try:
        return openmm.XmlSerializer.deserialize(ElementTree.tostring(root, encoding="unicode"))
    except RecursionError:
        raise InputError("is nested too deeply for a System", file=file) from None
    except openmm.OpenMMException as error:
        raise InputError(f"OpenMM cannot read it: {error}", file=file) from None


def pickled_text(pickled: str, file: Path) -> str:
    """The text in a pickle (hexadecimal) of an mdflash force, found without running the pickle.

    Raises:
        UnsafePickleError: it is another pickle.
    """
    try:
        data = bytes.fromhex(pickled)
        if data.hex() != pickled:
            raise ValueError("its digits are not as OpenMM writes them")  # so OpenMM may read something else
        operations = []
        for code, argument, position in pickletools.genops(data):
            if code.name == "FRAME" and argument != len(data) - (position or 0) - _FRAME:
                raise ValueError("it states another length than it has")  # of which OpenMM crashes
            operations.append((code.name, argument))
    except ValueError as error:
        raise UnsafePickleError(f"holds a Python force that is no pickle: {error}", file=file) from None
    texts = [str(argument) for name, argument in operations if name.endswith("BINUNICODE")]
    call = [name.removeprefix("SHORT_") for name, _ in operations if name not in ("MEMOIZE", "FRAME")]
    if call != _ONE_CALL or texts[:2] != _RESTORE:
        asked = next((str(argument) for name, argument in operations if name == "GLOBAL"), " ".join(texts[:2]))
        asked = asked.replace(" ", ".")
        raise UnsafePickleError(
            f"holds a Python force that is not mdflash's: its pickle asks for '{asked}', which OpenMM would run. "
            "Nothing of the file was run; open it with openmm.XmlSerializer only if you trust whoever made it",
            file=file,
        )
    return texts[2]

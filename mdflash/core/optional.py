"""Packages that only some users need: one message where they are missing."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from mdflash.errors import MdflashError


class MissingExtraError(MdflashError, ImportError):
    """An optional package is not installed; the message names the extra that installs it."""


def require(module: str, extra: str, purpose: str) -> ModuleType:
    """Import an optional module.

    Args:
        module: its dotted name.
        extra: the extra of mdflash that brings it.
        purpose: what needs it, as the subject of a sentence ("the ASE calculator").

    Raises:
        MissingExtraError: it is not installed.
    """
    package = module.partition(".")[0]
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise MissingExtraError(
            f"{purpose} needs the package '{package}', which is not installed: pip install 'mdflash[{extra}]'"
        ) from None

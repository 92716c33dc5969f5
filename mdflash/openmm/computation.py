"""What an `openmm.PythonForce` of mdflash calls at every step."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from mdflash.core.optional import require
from mdflash.core.types import Box, FloatArray
from mdflash.errors import InputError
from mdflash.openmm.reference import Reference
from mdflash.units import KCAL_PER_KJ, NM_PER_ANGSTROM

if TYPE_CHECKING:
    from mdflash.engine.evaluator import Evaluator

_ANGSTROMS = 1.0 / NM_PER_ANGSTROM  # of a nm
_ENERGY = 1.0 / KCAL_PER_KJ  # kJ/mol of a kcal/mol
_FORCE = _ENERGY * _ANGSTROMS  # kJ/mol/nm of a kcal/mol/Å

_alive: WeakValueDictionary[int, Computation] = WeakValueDictionary()
"""Every computation of this process by its id: OpenMM pickles a force whenever it copies it. Several may have one text,
and any of them may end first."""

_raised: dict[str, Exception] = {}
"""The last errors by the text under which OpenMM passes them on."""


class Computation:
    """Energy and forces for OpenMM: callable with an `openmm.State`, in nm and kJ/mol. Pickled by reference.

    Args:
        reference: what to evaluate.
        evaluator: that; None: made from the reference at the first call, which is when its errors are raised (OpenMM
            crashes on an exception while it reads a System).
    """

    def __init__(self, reference: Reference, evaluator: Evaluator | None = None) -> None:
        self._reference, self._evaluator = reference, evaluator
        self._lock = threading.Lock()
        self.text = reference.to_text()
        _alive[id(self)] = self

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return restore, (self.text,)

    def __call__(self, state: Any) -> tuple[float, FloatArray]:
        try:
            evaluator = self._evaluator or self._load()
            # `_value` is the array in OpenMM's own units, here nm
            positions = state.getPositions(asNumpy=True)._value * _ANGSTROMS
            box = _edges(state.getPeriodicBoxVectors()._value) if self._reference.periodic else None
            energy, forces = evaluator(positions, box)
        except Exception as error:
            raise RuntimeError(_remember(error, state.getStepCount())) from error
        forces *= _FORCE
        return sum(energy.tolist()) * _ENERGY, forces

    def _load(self) -> Evaluator:
        from mdflash.engine.evaluator import Evaluator

        with self._lock:
            if self._evaluator is None:
                reference = self._reference
                ff, system = reference.load()
                self._evaluator = Evaluator(
                    ff,
                    system,
                    reference.replicas,
                    reference.precision,  # type: ignore[arg-type]
                    reference.device,  # type: ignore[arg-type]
                )
            return self._evaluator


def restore(text: str) -> Computation:
    """What a pickled computation calls."""
    living = (reference() for reference in _alive.valuerefs())
    known = next((c for c in living if c is not None and c.text == text), None)
    return known or Computation(Reference.from_text(text))


def _edges(vectors: Any) -> Box:
    """Edges in Å of a box whose three vectors are in nm."""
    a, b, c = vectors
    if any((a[1], a[2], b[0], b[2], c[0], c[1])):
        raise InputError(
            "mdflash knows rectangular periodic boxes only; this one has the vectors "
            f"{[list(vector) for vector in vectors]} nm"
        )
    return a[0] * _ANGSTROMS, b[1] * _ANGSTROMS, c[2] * _ANGSTROMS


def _remember(error: Exception, step: int) -> str:
    text = f"{type(error).__name__}: {error} (at OpenMM's step {step})"
    if len(_raised) >= 16:
        _raised.clear()
    _raised[text] = error
    return text


@contextmanager
def original_errors() -> Iterator[None]:
    """Inside this context, errors of an mdflash force keep their class; OpenMM keeps no more than their text.

        with original_errors():
            simulation.step(1000)   # UnstableError instead of OpenMMException

    Raises:
        UnstableError, ForceFieldError, ...: what the force raised.
    """
    openmm = require("openmm", "openmm", "mdflash.openmm")
    try:
        yield
    except openmm.OpenMMException as error:
        original = _raised.get(str(error))
        if original is None:
            raise
        raise original from None

"""Which thermodynamic state every replica of a run holds."""

from __future__ import annotations

import numpy as np

from mdflash.core.types import IntArray
from mdflash.engine.engine import Engine
from mdflash.potentials.bias.bias import biases_of


def held_states(engine: Engine) -> IntArray:
    """[R] the number of each replica's state, from 0: of the exchange ladder where there is one.

    Without exchange, the states of a system are its temperatures with the parameters of its biases, in the order of its
    replicas. Biases and temperatures that move make no states.
    """
    if engine.exchange is not None:
        return engine.exchange.labels(engine.state)
    layout = engine.layout
    acting = [
        (bias.parameters, bias.rows(layout).tolist()) for bias in biases_of(engine.potential) if bias.path is None
    ]
    temperatures = (engine.annealing.start if engine.annealing.stages else engine.state.temperature.numpy()).tolist()
    numbers: dict[int, dict[tuple[float, ...], int]] = {}
    held = []
    for r, system in enumerate(layout.system_of_replica.tolist()):
        state = (temperatures[r], *(x for parameters, rows in acting if rows[r] >= 0 for x in parameters[rows[r]]))
        known = numbers.setdefault(system, {})
        held.append(known.setdefault(state, len(known)))
    return np.array(held, np.int64)

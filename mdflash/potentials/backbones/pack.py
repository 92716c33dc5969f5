"""Pack the connections of a residual stack into the flat array that the compiled kernels read."""

from __future__ import annotations

import copy
from typing import Protocol, cast

import numpy as np
import torch
from torch import Tensor

from mdflash.core.types import FloatArray
from mdflash.potentials.backbones.arrays import Rule
from mdflash.potentials.backbones.backbone import ResidualStack
from mdflash.potentials.backbones.delta import Gate
from mdflash.potentials.backbones.maps import FORGET, IDENTITY, PERMUTATION, SINKHORN
from mdflash.potentials.backbones.parts import BranchScale, Parts, StreamMaps
from mdflash.potentials.backbones.residual import Connection

_MIXING = {"identity": IDENTITY, "permutation": PERMUTATION, "sinkhorn": SINKHORN}


class Flat(Protocol):
    """The array being filled; see `schnet.pack`."""

    def up(self, n: int) -> int: ...
    def add(self, values: FloatArray) -> int: ...
    def weights(self, matrix: FloatArray) -> int: ...


def pack_rule(connection: Connection, features: int, data: Flat) -> Rule:
    """One connection over `features` channels; it must have `parts`."""
    parts = _parts(connection)
    rule = Rule(
        streams=1, features=features, padded=data.up(features), norm=int(connection.normed),
        mixing=IDENTITY, iterations=0, logits=0, wide=0, phi=-1, phi_back=-1, bias=-1, gate=-1, erase=0, value=-1,
        numbers=-1, project=-1, project_back=-1, project_bias=-1, opened=-1,
    )  # fmt: skip
    epsilon, alpha = 1.0, 0.0
    if parts.maps is not None:
        rule = _with_maps(rule, parts.maps, data)
    if parts.gate is not None:
        rule = rule._replace(gate=_gate(parts.gate, data))
    if parts.direction is not None:
        rule, epsilon = rule._replace(erase=1), float(_numpy(parts.direction.epsilon))
    if parts.value is not None:
        value = _padded(_numpy(parts.value.weight), rule.padded)
        rule = rule._replace(streams=len(value), value=data.add(value))
    if parts.project is not None:
        weight = _numpy(parts.project.weight)
        rule = rule._replace(
            project=data.weights(weight.T),
            project_back=data.weights(weight),
            project_bias=data.add(_numpy(parts.project.bias)),
        )
    if parts.forget is not None:
        rule, alpha = rule._replace(mixing=FORGET), float(_numpy(parts.forget))
    return rule._replace(numbers=data.add(np.array([_gamma(parts.scale), epsilon, alpha])))


def _parts(connection: Connection) -> Parts:
    parts = connection.parts()
    assert parts is not None, f"'{connection.name}' has no compiled twin"
    return parts


def opened_at_start(residual: ResidualStack, read: FloatArray, data: Flat) -> int:
    """The gate on the first message, by bead type, from what the first block reads [types, H]; -1: there is none."""
    from scipy.special import expit

    project = _parts(cast(Connection, residual.connections[0])).project
    if project is None:
        return -1
    z = read @ _numpy(project.weight).T + _numpy(project.bias)
    return data.add(_padded(expit(z), data.up(z.shape[1])))


def pack_merge(residual: ResidualStack, data: Flat) -> int:
    """Shares of the streams, then of the blocks, in what the output network reads; returns where they begin."""
    depth = len(residual.connections)
    streams = np.ones(1) if residual.collapse is None else _numpy(residual.collapse)
    blocks = np.eye(depth)[-1] if residual.share is None else _numpy(residual.share)
    return data.add(np.concatenate([streams, blocks]))


def start_state(residual: ResidualStack, embedding: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """In front of the first block, of every bead type: the state [types, n, H], what the block reads of it [types, H],
    and the numbers [types, 2 n + n n + 1] of `cpu.start`."""
    residual = copy.deepcopy(residual).double()
    read: list[Tensor] = []

    def silent(c: Tensor) -> Tensor:
        read.append(c)
        return torch.zeros_like(c)

    with torch.no_grad():
        state = residual.split(torch.from_numpy(embedding))
        residual.connections[0](state, silent)
        numbers = _start_numbers(cast(Connection, residual.connections[0]), state, read[0])
    return state.numpy(), read[0].numpy(), numbers.numpy()


def _start_numbers(connection: Connection, state: Tensor, c: Tensor) -> Tensor:
    """w, v, M and beta, from the state [types, n, H] and what the block reads [types, H]."""
    types, n, _ = state.shape
    parts = _parts(connection)
    w, v = state.new_ones(types, n), state.new_zeros(types, n)
    mix, beta = torch.eye(n).to(state).expand(types, n, n), state.new_zeros(types, 1)
    if parts.maps is not None:
        _, w, mixed = parts.maps.of(state)
        mix = mix if mixed is None else mixed
    if parts.value is not None:
        w, v = torch.zeros_like(w), parts.scale(parts.value(c))
    if parts.gate is not None:
        beta = parts.gate(c)[:, None]
    return torch.cat([w, v, mix.flatten(1), beta], dim=1)


def _with_maps(rule: Rule, maps: StreamMaps, data: Flat) -> Rule:
    n, weight = maps.streams, _numpy(maps.phi.weight)  # [2 n + logits, n H]
    scale = _numpy(maps.scale)
    factors = np.concatenate([np.full(n, scale[0]), np.full(n, scale[1]), np.full(len(weight) - 2 * n, scale[2])])
    spread = _padded((factors[:, None] * weight).reshape(-1, rule.features), rule.padded)
    matrix = spread.reshape(len(weight), -1).T  # [n padded, 2 n + logits]
    return rule._replace(
        streams=n,
        mixing=_MIXING[maps.mixing],
        iterations=maps.iterations,
        logits=len(weight) - 2 * n,
        wide=data.up(len(weight)),
        phi=data.weights(matrix),
        phi_back=data.weights(matrix.T),
        bias=data.add(_numpy(maps.bias)),
    )


def _gate(gate: Gate, data: Flat) -> int:
    weight = _numpy(gate.weight)
    bias = _numpy(gate.bias)
    return data.add(np.concatenate([np.pad(weight, (0, data.up(len(weight)) - len(weight))), [float(bias)]]))


def _gamma(scale: BranchScale) -> float:
    return 1.0 if scale.gamma is None else float(_numpy(scale.gamma))


def _padded(rows: FloatArray, width: int) -> FloatArray:
    return np.pad(rows, ((0, 0), (0, width - rows.shape[1])))


def _numpy(tensor: Tensor) -> FloatArray:
    return tensor.detach().cpu().double().numpy()

"""What the compiled residual rules read and write: a rule, the arrays of one replica, and places in them."""

from __future__ import annotations

from typing import NamedTuple

from mdflash.core.types import Reals


class Rule(NamedTuple):
    """One connection: choices, and where its parts begin in `data` (-1: it has none)."""

    streams: int
    features: int  # H without padding
    padded: int  # H in whole panels
    norm: int  # 1 where a block reads c = u / rms(u), 0 where it reads u
    mixing: int
    iterations: int
    logits: int  # of the mixing
    wide: int  # outputs of phi in whole panels; 0 without maps
    phi: int
    phi_back: int
    bias: int  # of the maps
    gate: int  # w of beta, then its bias
    erase: int  # 1 where beta says how much of a direction is erased
    value: int  # V, n rows
    numbers: int  # gamma, epsilon, alpha
    project: int  # P of the gate on the message
    project_back: int
    project_bias: int
    opened: int  # what that gate is in front of the first block, [types, H]


class Streams(NamedTuple):
    """Arrays of one replica, flat; matrices in panels.

    Attributes:
        state: [blocks + 1][n H] X in front of each block, and behind the last.
        message: [blocks][H] o.
        logits: [wide] of the block at work, and their gradient.
        gradient: [n H] dE/dX; it may lie where the state behind the last block did.
        numbers: [1 + blocks][parts][fields][PART] what a bead has once, see `Places`; the first share is for the
            block whose gradient is at work.
        opened: [blocks][H] the gate on the message, see `tangent`.
    """

    state: Reals
    message: Reals
    logits: Reals
    gradient: Reals
    numbers: Reals
    opened: Reals


class Places(NamedTuple):
    """Where the numbers of one part and block begin, and what the first share has in their place.

    Up to beta they are what `start` takes from the network.
    """

    w: int  # [n]; dE/dw
    v: int  # [n]; dE/dv
    mix: int  # [n n]; dE/dM
    beta: int  # dE/dbeta
    a: int  # [n]; h
    along: int  # [n] X o; y
    r: int  # [n]; X dE/dc
    z: int  # [2 n + logits] of the maps, without their bias, then their gradient; X u
    inverse: int  # 1 / D; what o is taken by in dE/do
    state_rms: int  # 1 / rms(X); what X is taken by in dE/dX
    read_rms: int  # 1 / rms(u); what u is taken by in dE/du

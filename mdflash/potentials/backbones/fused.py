"""Residual rules on the device: over channels the kernels of `triton`, a few numbers for each bead in torch.

`fused(rule)` is a Connection that does what the rule does. Only gradients by the state are to be had, as forces need
them: weights are constants.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from mdflash.potentials.backbones import triton as kernels
from mdflash.potentials.backbones.parts import RMS_EPSILON, Parts, StreamMaps
from mdflash.potentials.backbones.residual import Branch, Connection

TILE = 1024
"""Elements of a state that a program holds, about."""
ROWS, DEPTH = 16, 32
"""Tiles of the product of `maps`: beads, channels at a time."""


def fused(rule: Connection) -> nn.Module:
    """What stands for `rule` on the device; weights of the rule must not change any more.

    A rule without `parts` stands for itself, in plain torch.
    """
    return rule if rule.parts() is None else _Fused(rule)


class _Fused(nn.Module):
    """A rule by its parts; see `residual.Parts` for the equations."""

    taps: Tensor

    def __init__(self, rule: Connection) -> None:
        super().__init__()
        self.rule = rule
        parts = cast(Parts, rule.parts())
        taps = [] if parts.gate is None else [parts.gate.weight.detach()[None]]
        taps += [] if parts.value is None else [parts.value.weight.detach()]
        self.register_buffer("taps", torch.cat(taps) if taps else torch.zeros(0, 0), persistent=False)

    def forward(self, state: Tensor, branch: Branch) -> Tensor:
        parts = cast(Parts, self.rule.parts())
        gamma = 1.0 if parts.scale.gamma is None else parts.scale.gamma
        read = mix = beta = value = None
        write = state.new_zeros(state.shape[:2]) if parts.value is not None else state.new_ones(state.shape[:2])
        if parts.maps is not None:
            read, write, mix = _of(parts.maps, state)
        if self.rule.normed:
            c, t = self._read(state, read)
        else:
            c, t = state[:, 0], self.taps
        message = branch(c)
        if parts.project is not None:
            message = message * torch.sigmoid(parts.project(c))
        write = gamma * write
        if parts.gate is not None:
            beta = 2.0 * torch.sigmoid(t[:, 0] + parts.gate.bias)
        if parts.forget is not None and beta is not None:
            write, mix = write * beta[:, None], (1.0 - parts.forget * beta)[:, None, None]
        if parts.direction is None:
            return _written(state, message, write, mix)
        if parts.value is not None:
            value = gamma * t[:, 1:]
        return _written(state, message, write, mix, beta, parts.direction.epsilon, value)

    def _read(self, state: Tensor, read: Tensor | None) -> tuple[Tensor, Tensor]:
        """c [B, H] and its products with the taps [B, J]: those of beta, then of what is written."""
        if read is None:
            read = state.new_full(state.shape[:2], 1.0 / state.shape[1])
        c, t = _Read.apply(state, read, self.taps.to(state))  # type: ignore[no-untyped-call]
        return c, t


def _of(maps: StreamMaps, state: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """read, write [B, n] and mix [B, n, n] or None of a state [B, n, H]."""
    z = _Maps.apply(state, maps.phi.weight)  # type: ignore[no-untyped-call]
    return maps.from_products(z)


def _written(
    state: Tensor, message: Tensor, write: Tensor, mix: Tensor | None = None, beta: Tensor | None = None,
    epsilon: Tensor | None = None, value: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """X' [B, n, H] from X, o [B, H], w [B, n], M [B, n, n], beta [B], epsilon [] and v [B, n]; see `triton`."""
    out: Tensor = _Write.apply(state, message, write, mix, beta, epsilon, value)  # type: ignore[no-untyped-call]
    return out


def _power(n: int, least: int = 1) -> int:
    """The next power of two."""
    return max(least, 1 << (n - 1).bit_length())


class _Maps(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, state: Tensor, phi: Tensor) -> Tensor:
        state = state.contiguous()
        z, inverse = state.new_empty(len(state), len(phi)), state.new_empty(len(state))
        kernels.maps_forward[(-(-len(state) // ROWS),)](
            state, phi, z, inverse, len(state), EPS=RMS_EPSILON, **_Maps.shape(state, phi)
        )
        ctx.save_for_backward(state, phi, z, inverse)
        return z

    @staticmethod
    def backward(ctx: Any, g_z: Tensor) -> tuple[Tensor, None]:
        state, phi, z, inverse = ctx.saved_tensors
        g_state = torch.empty_like(state)
        kernels.maps_backward[(-(-len(state) // ROWS),)](
            state, phi, z, inverse, g_z.contiguous(), g_state, len(state), **_Maps.shape(state, phi)
        )
        return g_state, None

    @staticmethod
    def shape(state: Tensor, phi: Tensor) -> dict[str, Any]:
        return {
            "WIDTH": phi.shape[1], "COUNT": len(phi), "BM": ROWS, "BN": _power(len(phi), 16), "BK": DEPTH,
            "PRECISION": "ieee",
        }  # fmt: skip


class _Read(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, state: Tensor, read: Tensor, taps: Tensor) -> tuple[Tensor, Tensor]:
        state, read = state.contiguous(), read.contiguous()
        beads, _, features = state.shape
        c, t = state.new_empty(beads, features), state.new_empty(beads, len(taps))
        grid, shape = _Read.shape(state, taps)
        kernels.read_forward[grid](state, read, taps, c, t, beads, **shape)
        ctx.save_for_backward(state, read, taps)
        return c, t

    @staticmethod
    def backward(ctx: Any, g_c: Tensor, g_t: Tensor) -> tuple[Tensor, Tensor, None]:
        state, read, taps = ctx.saved_tensors
        g_state, g_read = torch.empty_like(state), torch.empty_like(read)
        grid, shape = _Read.shape(state, taps)
        kernels.read_backward[grid](
            state, read, taps, g_c.contiguous(), g_t.contiguous(), g_state, g_read, len(state), **shape
        )
        return g_state, g_read, None

    @staticmethod
    def shape(state: Tensor, taps: Tensor) -> tuple[tuple[int], dict[str, Any]]:
        beads, streams, features = state.shape
        wide = _power(features)
        rows = max(1, TILE // wide)
        return (-(-beads // rows),), {
            "N": streams, "H": features, "TAPS": len(taps), "EPS": RMS_EPSILON, "BM": rows, "HP": wide,
        }  # fmt: skip


class _Write(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, state: Tensor, message: Tensor, write: Tensor, mix: Tensor | None, beta: Tensor | None,
        epsilon: Tensor | None, value: Tensor | None,
    ) -> Tensor:  # fmt: skip
        given = [None if x is None else x.contiguous() for x in (state, message, mix, write, value, beta, epsilon)]
        ctx.save_for_backward(*given)
        out = torch.empty_like(given[0])  # type: ignore[arg-type]
        grid, shape = _Write.shape(given)
        kernels.write_forward[grid](*_filled(given), out, len(out), **shape)
        return out

    @staticmethod
    def backward(ctx: Any, g_out: Tensor) -> tuple[Tensor | None, ...]:
        given = list(ctx.saved_tensors)
        found = [None if x is None else torch.empty_like(x) for x in given[:-1]]
        grid, shape = _Write.shape(given)
        kernels.write_backward[grid](*_filled(given), g_out.contiguous(), *_filled(found), len(g_out), **shape)
        g_state, g_message, g_mix, g_write, g_value, g_beta = found
        return g_state, g_message, g_write, g_mix, g_beta, None, g_value

    @staticmethod
    def shape(given: list[Any]) -> tuple[tuple[int], dict[str, Any]]:
        state, _, mix, _, value, beta, _ = given
        beads, streams, features = state.shape
        narrow, wide = _power(streams), _power(features)
        rows = max(1, TILE // (narrow * wide))
        return (-(-beads // rows),), {
            "N": streams, "NP": narrow, "H": features, "MIX": mix is not None, "ERASE": beta is not None,
            "VALUE": value is not None, "BM": rows, "HP": wide,
        }  # fmt: skip


def _filled(given: list[Any]) -> list[Any]:
    """Something in place of what there is not; the kernels do not look at it."""
    return [given[0] if x is None else x for x in given]

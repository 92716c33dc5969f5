"""The compiled residual rules against the plain ones: forward, and the gradients that the backward sweep gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from mdflash.potentials.backbones import cpu
from mdflash.potentials.backbones.backbone import Backbone
from mdflash.potentials.backbones.pack import pack_rule
from mdflash.potentials.schnet.pack import _Flat
from tests.potentials.rules import VARIANTS, has_twin


def _to_panels(x: np.ndarray, rows: int, padded: int, width: int) -> np.ndarray:
    """[N, n, H] -> flat [n padded / width, rows, width]."""
    count, n, features = x.shape
    full = np.zeros((rows, n, padded))
    full[:count, :, :features] = x
    return full.reshape(rows, -1, width).transpose(1, 0, 2).ravel()


def _from_panels(flat: np.ndarray, count: int, rows: int, n: int, features: int, width: int) -> np.ndarray:
    full = flat.reshape(-1, rows, width).transpose(1, 0, 2).reshape(rows, n, -1)
    return full[:count, :, :features]


@pytest.mark.parametrize(("dtype", "limit"), [(np.float64, 1e-13), (np.float32, 2e-5)])
@pytest.mark.parametrize("name", [name for name, options in VARIANTS.items() if has_twin(options)])
def test_forward_and_gradients(name: str, dtype: Any, limit: float) -> None:
    """c and X' as functions of X and o, and dE/dX, dE/do for random dE/dc and dE/dX'."""
    torch.manual_seed(11)
    features, count, rows = 40, 21, 24
    connection = Backbone(**VARIANTS[name]).connection(features, 3).double()
    with torch.no_grad():
        for parameter in connection.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    data = _Flat(dtype, 128 // np.dtype(dtype).itemsize)
    rule = pack_rule(connection, features, data)
    packed, width, n = data.array(), data.width, rule.streams
    x = torch.randn(count, n, features, dtype=torch.float64, requires_grad=True)
    o = (2.0 * torch.randn(count, features, dtype=torch.float64)).requires_grad_()
    heard: list[torch.Tensor] = []

    def branch(c: torch.Tensor) -> torch.Tensor:
        heard.append(c)
        return o

    behind = connection(x, branch)
    g_behind, g_heard = torch.randn_like(behind), torch.randn_like(heard[0])
    expected = torch.autograd.grad((behind * g_behind).sum() + (heard[0] * g_heard).sum(), (x, o))

    def panels(t: torch.Tensor) -> np.ndarray:
        values = t.detach().numpy()
        values = values if values.ndim == 3 else values[:, None]
        return _to_panels(values, rows, rule.padded, width).astype(dtype)

    size = n * rule.padded * rows
    streams = cpu.Streams(
        state=np.concatenate([panels(x), np.full(size, np.nan, dtype)]),
        message=panels(o),
        logits=np.zeros(max(rule.wide, 1) * rows, dtype),
        gradient=panels(g_behind),
        numbers=np.full(2 * (rows // cpu.PART + 1) * cpu.PART * cpu.fields(rule), np.nan, dtype),
        opened=np.full(rule.padded * rows, np.nan, dtype),
    )
    c, g_o, g_c = np.empty(rule.padded * rows, dtype), np.empty(rule.padded * rows, dtype), panels(g_heard)
    for begin, end in ((0, 16), (16, 24)):
        cpu.read(rule, packed, streams, 0, 0, rows, begin, end, c, 0)
        cpu.write(rule, packed, streams, 0, 0, rows, begin, end)
        cpu.write_gradient(rule, packed, streams, 0, 0, rows, begin, end, g_o, 0)
        cpu.read_gradient(rule, packed, streams, 0, 0, rows, begin, end, g_c, 0)

    def differs(flat: np.ndarray, wanted: torch.Tensor) -> float:
        values = wanted.detach().numpy()
        values = values if values.ndim == 3 else values[:, None]
        found = _from_panels(flat, count, rows, values.shape[1], features, width)
        return float(np.abs(found - values).max() / np.abs(values).max())

    assert differs(c, heard[0]) < limit
    assert differs(streams.state[size:], behind) < limit
    assert differs(g_o, expected[1]) < 20 * limit
    assert differs(streams.gradient, expected[0]) < 20 * limit

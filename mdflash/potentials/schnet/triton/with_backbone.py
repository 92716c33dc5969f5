"""A SchNet whose blocks are joined by a residual rule, on the device.

What a bead does with its own features (norms, maps, mixing, erasing) are the kernels of `backbones.fused`, its messages
from its neighbors are those of `network`, as one function of autograd for each block. Blocks follow each other,
so their gradients come back in reverse order, as the kernels need them. A CUDA graph holds all, which leaves the
launches to the device; what autograd keeps between the sweeps stays in the graph's memory.

What torch multiplies (MGT's gate on messages, the mixing of permutations, the last sum over streams) may have last bits
that depend on the batch.
"""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from mdflash.potentials.backbones.backbone import ResidualStack
from mdflash.potentials.backbones.fused import fused
from mdflash.potentials.backbones.residual import Connection
from mdflash.potentials.schnet.network import SchNet
from mdflash.potentials.schnet.triton import dense
from mdflash.potentials.schnet.triton.network import DeviceSchNet, NearList


class JoinedSchNet(DeviceSchNet):
    """A network with a backbone; arguments as those of `DeviceSchNet`."""

    def _allocate(self, model: SchNet, types: Tensor) -> None:
        super()._allocate(model, types)
        stack = copy.deepcopy(cast(ResidualStack, model.residual)).requires_grad_(False)
        stack.connections = nn.ModuleList(fused(cast(Connection, rule)) for rule in stack.connections)
        self._residual = stack.to(self.device, self.dtype)
        self._width = model.hyper.features
        self._start = self._x0[:, : self._width].contiguous().requires_grad_()

    def run(self, neighbors: NearList, energy: Tensor, forces: Tensor) -> None:
        """Add the energy of each bead to `energy` [B] float64; write the forces to `forces` [F / C, B, 3]."""
        self._near, self._forces = neighbors, forces
        with torch.enable_grad():
            x = self._residual(self._start, lambda depth, c: _Interaction.apply(c, depth, self))  # type: ignore[no-untyped-call]
        self._x[:, : self._width] = x.detach()
        gradient = self._output_network(energy)[:, : self._width]
        torch.autograd.grad(x, self._start, gradient)

    def interaction(self, depth: int, c: Tensor) -> Tensor:
        """The message of block `depth` to features c [n, H]."""
        first, second = self._update[depth]
        self._dense(self._padded(c), self._input[depth], self._h[depth])
        self._gather(depth, self._near)
        self._dense(self._message, first, self._z[depth])
        out = torch.empty_like(self._x)
        self._dense(self._z[depth], second, out, prelude=dense.ACTIVATED)
        return out[:, : self._width]

    def interaction_gradient(self, depth: int, gradient: Tensor) -> Tensor | None:
        """dE/dc from that with respect to the message; adds to the forces. Nothing comes through the first block."""
        first, second = self._update[depth]
        self._dense(self._padded(gradient), second, self._gt, back=True)
        self._dense(self._gt, first, self._ga, prelude=dense.SLOPED, z=self._z[depth], back=True)
        self._scatter(depth, self._near, self._forces)
        if depth == 0:
            return None
        out = torch.empty_like(self._x)
        self._dense(self._gh, self._input[depth], out, back=True)
        return out[:, : self._width]

    def _padded(self, x: Tensor) -> Tensor:
        return functional.pad(x, (0, self.H - self._width)).contiguous()


class _Interaction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, c: Tensor, depth: int, network: JoinedSchNet) -> Tensor:
        ctx.depth, ctx.network = depth, network
        return network.interaction(depth, c)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, None]:
        return ctx.network.interaction_gradient(ctx.depth, gradient), None, None

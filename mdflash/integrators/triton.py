"""Integrators and noise on a GPU: the same arithmetic and the same random numbers as `integrators/cpu.py`.

State is float64. The step number, kT and the failures live on the device, so a captured graph can be replayed.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from mdflash.compiled.triton.philox import normal3
from mdflash.integrators.base import Integrator
from mdflash.units import ACCELERATION

_MIDDLE, _BAOAB, _VERLET, _BROWNIAN = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2), tl.constexpr(3)
_ACCELERATION = tl.constexpr(ACCELERATION)


@triton.jit
def _moved(x, v, a, noise, thermal, dt, half, c, fluctuation, drift, spread, CODE: tl.constexpr):
    """One component's new position and velocity, up to the evaluation of the forces."""
    if CODE == _VERLET:
        v += half * a
        x += dt * v
    elif CODE == _BROWNIAN:
        x += drift * a + spread * thermal * noise
    else:
        u = v + (dt if CODE == _MIDDLE else half) * a
        x += half * u
        v = c * u + fluctuation * thermal * noise
        x += half * v
    return x, v


@triton.jit(do_not_specialize=["n"])
def before_force(
    x, v, f, mass, kT, replica, origin, replica_id, failed, step, constants, seed, n,
    CODE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """A step of every bead up to the evaluation of the forces; replicas that failed stay where they are.

    Args:
        x, v, f: [B, 3] float64.
        mass: [B] float64 Da; kT: [R] float64 kcal/mol.
        replica, origin: [B] int32, replica of a bead and the replica's first bead.
        replica_id: [R] int64, global numbers.
        failed: [R] int64, step of failure or -1.
        step, seed: [1] int64.
        constants: [6] float64, see `constants_of`.
    """
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    r = tl.load(replica + i, mask=i < n, other=0)
    alive = (i < n) & (tl.load(failed + r) < 0)
    dt = tl.load(constants)
    half = tl.load(constants + 1)
    c = tl.load(constants + 2)
    fluctuation = tl.load(constants + 3)
    drift = tl.load(constants + 4)
    spread = tl.load(constants + 5)
    per_mass = _ACCELERATION / tl.load(mass + i, mask=alive, other=1.0)
    thermal = tl.sqrt(tl.load(kT + r) * per_mass)
    bead = (i - tl.load(origin + i, mask=alive, other=0)).to(tl.int64)
    nx, ny, nz = normal3(tl.load(seed), tl.load(replica_id + r), tl.load(step), bead)
    for k in tl.static_range(3):
        at = 3 * i + k
        noise = nx if k == 0 else (ny if k == 1 else nz)
        a = tl.load(f + at, mask=alive, other=0.0) * per_mass
        x_, v_ = _moved(
            tl.load(x + at, mask=alive, other=0.0), tl.load(v + at, mask=alive, other=0.0), a, noise, thermal,
            dt, half, c, fluctuation, drift, spread, CODE,
        )  # fmt: skip
        tl.store(x + at, x_, mask=alive)
        tl.store(v + at, v_, mask=alive)


@triton.jit(do_not_specialize=["beads"])
def collect(
    prior_forces, prior_energy, shares, bead_offset, f, energy, failed, step, beads,
    SLICES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Forces and energy of replica r from all terms, in a fixed order, and whether it still has a finite energy.

    Args:
        prior_forces: [B, 3], prior_energy: [B] (with the network's share), float64.
        shares: [SLICES, B, 3] of the network.
        f: [B, 3] float64, energy: [R] float64, out.
        failed: [R] int64: set to the step where it is -1 and the energy is not finite.
    """
    r = tl.program_id(0)
    end = tl.load(bead_offset + r + 1)
    sums = tl.zeros([BLOCK], tl.float64)
    for k in range(tl.load(bead_offset + r), end, BLOCK):
        i = k + tl.arange(0, BLOCK)
        inside = i < end
        sums += tl.load(prior_energy + i, mask=inside, other=0.0)
        for c in tl.static_range(3):
            at = 3 * i + c
            total = tl.load(prior_forces + at, mask=inside, other=0.0)
            for s in range(0, SLICES):
                total += tl.load(shares + s * beads * 3 + at, mask=inside, other=0.0).to(tl.float64)
            tl.store(f + at, total, mask=inside)
    e = tl.sum(sums, axis=0)
    tl.store(energy + r, e)
    before = tl.load(failed + r)
    finite = tl.abs(e) < float("inf")
    tl.store(failed + r, tl.where((before < 0) & (finite == 0), tl.load(step), before))


@triton.jit
def after_force(
    v, f, mass, bead_offset, failed, constants,
    CODE: tl.constexpr, REMOVE_COM: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The rest of the step, one program a replica; arguments as above."""
    r = tl.program_id(0)
    if tl.load(failed + r) < 0:
        half = tl.load(constants + 1)
        begin = tl.load(bead_offset + r)
        end = tl.load(bead_offset + r + 1)
        lane = tl.arange(0, BLOCK)
        total = tl.zeros([BLOCK], tl.float64)
        px = tl.zeros([BLOCK], tl.float64)
        py = tl.zeros([BLOCK], tl.float64)
        pz = tl.zeros([BLOCK], tl.float64)
        for k in range(begin, end, BLOCK):
            i = k + lane
            inside = i < end
            m = tl.load(mass + i, mask=inside, other=1.0)
            total += tl.where(inside, m, 0.0)
            for c in tl.static_range(3):
                u = tl.load(v + 3 * i + c, mask=inside, other=0.0)
                if CODE == _BAOAB or CODE == _VERLET:  # noqa: SIM109 (a kernel takes no tuples)
                    u += half * (tl.load(f + 3 * i + c, mask=inside, other=0.0) * (_ACCELERATION / m))
                    tl.store(v + 3 * i + c, u, mask=inside)
                if c == 0:
                    px += m * u
                elif c == 1:
                    py += m * u
                else:
                    pz += m * u
        if REMOVE_COM:
            whole = tl.sum(total, axis=0)
            ux = tl.sum(px, axis=0) / whole
            uy = tl.sum(py, axis=0) / whole
            uz = tl.sum(pz, axis=0) / whole
            tl.debug_barrier()  # the second pass reads what other threads of this program stored in the first
            for k in range(begin, end, BLOCK):
                i = k + lane
                inside = i < end
                tl.store(v + 3 * i, tl.load(v + 3 * i, mask=inside, other=0.0) - ux, mask=inside)
                tl.store(v + 3 * i + 1, tl.load(v + 3 * i + 1, mask=inside, other=0.0) - uy, mask=inside)
                tl.store(v + 3 * i + 2, tl.load(v + 3 * i + 2, mask=inside, other=0.0) - uz, mask=inside)


def constants_of(integrator: Integrator, device: torch.device) -> Tensor:
    """[6] dt, dt/2, exp(-gamma dt), sqrt(1 - exp(-2 gamma dt)), dt/gamma, sqrt(2 dt/gamma), for `before_force`."""
    dt, gamma = integrator.timestep, integrator.friction
    c = math.exp(-gamma * dt)
    overdamped = (dt / gamma, math.sqrt(2.0 * dt / gamma)) if gamma > 0 else (0.0, 0.0)
    values = [dt, 0.5 * dt, c, math.sqrt(1.0 - c * c), *overdamped]
    return torch.tensor(values, dtype=torch.float64, device=device)

"""Integrators and noise on a GPU: the same arithmetic and the same random numbers as `integrators/cpu.py`.

State is float64. The step number, kT and the failures live on the device, so a captured graph can be replayed.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from mdflash.compiled.triton.philox import normal3
from mdflash.integrators import base
from mdflash.integrators.base import Integrator
from mdflash.units import ACCELERATION

_KICK, _DRIFT, _FLUCTUATE = tl.constexpr(base.KICK), tl.constexpr(base.DRIFT), tl.constexpr(base.FLUCTUATE)
_ACCELERATION = tl.constexpr(ACCELERATION)


@triton.jit
def moved(
    x: tl.tensor,
    v: tl.tensor,
    a: tl.tensor,
    noise: tl.tensor,
    thermal: tl.tensor,
    coefficients: tl.tensor,
    MOTIONS: tl.constexpr,
    COUNT: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:
    """One component's new position and velocity, up to the evaluation of the forces."""
    for j in tl.static_range(COUNT):
        p = tl.load(coefficients + 2 * j)
        q = tl.load(coefficients + 2 * j + 1)
        if (MOTIONS >> 4 * j) % 16 == _KICK:
            v += p * a
        elif (MOTIONS >> 4 * j) % 16 == _DRIFT:
            x += p * v
        elif (MOTIONS >> 4 * j) % 16 == _FLUCTUATE:
            v = p * v + q * thermal * noise
        else:
            x += p * a + q * thermal * noise
    return x, v


@triton.jit(do_not_specialize=["n"])
def before_force(
    x: tl.tensor, v: tl.tensor, f: tl.tensor, mass: tl.tensor, kT: tl.tensor, replica: tl.tensor, origin: tl.tensor,
    replica_id: tl.tensor, failed: tl.tensor, step: tl.tensor, coefficients: tl.tensor, seed: tl.tensor, n: tl.tensor,
    MOTIONS: tl.constexpr, COUNT: tl.constexpr, BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    """A step of every bead up to the evaluation of the forces; replicas that failed stay where they are.

    Args:
        x, v, f: [B, 3] float64.
        mass: [B] float64 Da; kT: [R] float64 kcal/mol.
        replica, origin: [B] int32, replica of a bead and the replica's first bead.
        replica_id: [R] int64, global numbers.
        failed: [R] int64, step of failure or -1.
        step, seed: [1] int64.
        coefficients, MOTIONS, COUNT: see `DeviceScheme`.
    """
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    r = tl.load(replica + i, mask=i < n, other=0)
    alive = (i < n) & (tl.load(failed + r) < 0)
    per_mass = _ACCELERATION / tl.load(mass + i, mask=alive, other=1.0)
    thermal = tl.sqrt(tl.load(kT + r) * per_mass)
    bead = (i - tl.load(origin + i, mask=alive, other=0)).to(tl.int64)
    nx, ny, nz = normal3(tl.load(seed), tl.load(replica_id + r), tl.load(step), bead)
    for k in tl.static_range(3):
        at = 3 * i + k
        noise = nx if k == 0 else (ny if k == 1 else nz)
        a = tl.load(f + at, mask=alive, other=0.0) * per_mass
        x_, v_ = moved(
            tl.load(x + at, mask=alive, other=0.0), tl.load(v + at, mask=alive, other=0.0), a, noise, thermal,
            coefficients, MOTIONS, COUNT,
        )  # fmt: skip
        tl.store(x + at, x_, mask=alive)
        tl.store(v + at, v_, mask=alive)


@triton.jit(do_not_specialize=["beads"])
def collect(
    prior_forces: tl.tensor, prior_energy: tl.tensor, shares: tl.tensor, bead_offset: tl.tensor, f: tl.tensor,
    energy: tl.tensor, failed: tl.tensor, step: tl.tensor, beads: tl.tensor, SLICES: tl.constexpr, TIMES: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    """Forces and energy of replica r from all terms, in a fixed order, and whether it still has a finite energy.

    Args:
        prior_forces: [B, 3], prior_energy: [B] (with the network's share), float64.
        shares: [SLICES, B, 3] of the network; TIMES: how often they count in f, see `respa`.
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
                share = tl.load(shares + s * beads * 3 + at, mask=inside, other=0.0).to(tl.float64)
                total += share if TIMES == 1 else TIMES * share
            tl.store(f + at, total, mask=inside)
    e = tl.sum(sums, axis=0)
    tl.store(energy + r, e)
    before = tl.load(failed + r)
    finite = tl.abs(e) < float("inf")
    tl.store(failed + r, tl.where((before < 0) & (finite == 0), tl.load(step), before))


@triton.jit
def after_force(
    v: tl.tensor, f: tl.tensor, mass: tl.tensor, bead_offset: tl.tensor, failed: tl.tensor, coefficients: tl.tensor,
    COUNT: tl.constexpr, LAST_KICK: tl.constexpr, REMOVE_COM: tl.constexpr, BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    """The rest of the step, one program a replica; arguments as above."""
    r = tl.program_id(0)
    if tl.load(failed + r) < 0:
        kick = tl.load(coefficients + 2 * COUNT)
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
                if LAST_KICK:
                    u += kick * (tl.load(f + 3 * i + c, mask=inside, other=0.0) * (_ACCELERATION / m))
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


class DeviceScheme(NamedTuple):
    """An integrator as the kernels see it; see `device_scheme`.

    Attributes:
        coefficients: [COUNT + 1, 2] float64, of each motion up to the forces, then of the last kick (ps).
        motions: the motions up to the forces, 4 bits each.
        length: how many they are.
        last_kick: whether there is a kick by the new forces.
        remove_com: whether the velocity of the center of mass is taken out after every step.
    """

    coefficients: Tensor
    motions: int
    length: int
    last_kick: bool
    remove_com: bool


def device_scheme(integrator: Integrator, remove_com_motion: bool, device: torch.device) -> DeviceScheme:
    """The kernels' view of an integrator."""
    rows = [integrator.coefficients(part) for part in integrator.before]
    return DeviceScheme(
        torch.tensor([*rows, (integrator.last_kick * integrator.timestep, 0.0)], dtype=torch.float64, device=device),
        sum(part.motion << 4 * j for j, part in enumerate(integrator.before)),
        len(rows),
        integrator.has_second_half,
        remove_com_motion and integrator.has_velocities,
    )

"""What the depth study measures on a trained network: errors, features, curvature, conservation of energy."""

from __future__ import annotations

import numpy as np
import torch
from depth_network import AllPairs, AllPairsPotential
from torch import Tensor

from mdflash.core.state import Layout, State
from mdflash.core.system import System
from mdflash.engine.engine import Engine
from mdflash.engine.settings import Dynamics
from mdflash.forcefields.build import build_potential
from mdflash.forcefields.forcefield import ForceField
from mdflash.integrators.verlet import Verlet
from mdflash.potentials.base import SumPotential
from mdflash.units import BOLTZMANN

STEP = 1e-4
"""Å, of the finite differences of forces."""


def force_rmse(network: AllPairs, positions: Tensor, targets: Tensor) -> float:
    """Of one component, in the unit of the targets [M, N, 3]."""
    return float((network.predict(0, positions) - targets).double().square().mean().sqrt())


def effective_rank(x: Tensor) -> float:
    """exp of the entropy of the singular values of x [K, H] less its mean (Roy & Vetterli 2007)."""
    s = torch.linalg.svdvals(x - x.mean(dim=0))
    share = s / s.sum()
    return float(torch.exp(-(share * torch.log(share.clamp_min(1e-30))).sum()))


def features(network: AllPairs, positions: Tensor) -> dict[str, object]:
    """What becomes of the features through the blocks, on frames [M, N, 3]; float64.

    `rank`, `dirichlet`, `angle`, `norm` in front of the first block, at quarters of the depth and behind the last:
    effective rank over all beads; mean over pairs of a frame of |u_i - u_j|^2 and of the angle in degrees, u = x / |x|;
    rms of x. `memory`: mean cos(x_0, x_L). `gradient`: rms over beads of |dE/dx_0|, and over that of |dE/dx_L|.
    """
    states: list[Tensor] = []
    energy = network.energy(positions, states)
    first, last = torch.autograd.grad(energy.sum(), [states[0], states[-1]])
    depth = len(states) - 1
    found: dict[str, list[float]] = {"rank": [], "dirichlet": [], "angle": [], "norm": []}
    collapse = network.model.residual.collapse  # type: ignore[union-attr]
    with torch.no_grad():
        read = [s[:, 0] if collapse is None else torch.einsum("n,bnh->bh", collapse, s) for s in states]  # type: ignore[arg-type]
        for at in (0, depth // 4, depth // 2, 3 * depth // 4, depth):
            u = torch.nn.functional.normalize(read[at], dim=-1).view(len(positions), network.n, -1)
            cos = (u[:, network.first] * u[:, network.second]).sum(dim=-1)
            found["rank"].append(round(effective_rank(read[at]), 3))
            found["dirichlet"].append(round(float((2.0 - 2.0 * cos).mean()), 4))
            found["angle"].append(round(float(torch.rad2deg(torch.acos(cos.clamp(-1.0, 1.0))).mean()), 2))
            found["norm"].append(float(f"{float(read[at].square().mean().sqrt()):.4g}"))
        memory = torch.nn.functional.cosine_similarity(read[0], read[-1], dim=-1).mean()
        size = [float(g.square().sum(dim=(1, 2)).mean().sqrt()) for g in (first, last)]
    return {
        **found,
        "memory": round(float(memory), 4),
        "gradient": float(f"{size[0]:.4g}"),
        "gradient_ratio": float(f"{size[0] / max(size[1], 1e-30):.4g}"),
    }


def curvature(network: AllPairs, priors: ForceField, system: System, positions: Tensor) -> dict[str, float]:
    """Largest eigenvalues of the Hessian over frames [M, N, 3], by central differences of forces; float64.

    `network`: of the network alone, kcal/mol/Å^2. `timestep`: 2 / sqrt(the largest of the whole, mass weighted), fs,
    above which velocity Verlet is unstable. Means over the frames, and the shortest time step.
    """
    frames, beads, _ = positions.shape
    n = 3 * beads
    shifts = torch.cat([STEP * torch.eye(n), -STEP * torch.eye(n)]).to(positions).view(1, 2 * n, beads, 3)
    moved = (positions[:, None] + shifts).reshape(-1, beads, 3)
    own = network.predict(0, moved)
    layout = Layout((system,), (len(moved),))
    state = State.at(layout, moved.reshape(-1, 3), 0.0)
    engine = Engine(layout, build_potential([priors], layout), state, Dynamics(Verlet(0.001), seed=0))
    engine.evaluate()
    root = torch.from_numpy(np.sqrt(np.repeat(system.masses, 3)))

    def largest(forces: Tensor, weight: Tensor) -> Tensor:
        f = forces.reshape(frames, 2, n, n)
        h = -(f[:, 0] - f[:, 1]) / (2.0 * STEP)
        return torch.linalg.eigvalsh(0.5 * (h + h.transpose(1, 2)) / weight / weight[:, None])[:, -1]

    network_alone = largest(own, torch.ones(n, dtype=torch.float64))
    whole = largest(own + state.forces.view(own.shape), root) * 418.4  # kcal/mol/Å^2/Da -> 1/ps^2
    limit = 2e3 / whole.clamp_min(1e-12).sqrt()
    return {
        "network": round(float(network_alone.mean()), 3),
        "timestep": round(float(limit.mean()), 3),
        "shortest_timestep": round(float(limit.min()), 3),
    }


class _Total:
    def __init__(self, every: int) -> None:
        self.every = every
        self.energies: list[np.ndarray] = []

    def next_report(self, step: int) -> int:
        return (step // self.every + 1) * self.every

    def report(self, simulation: Engine) -> None:
        self.energies.append(simulation.state.energy.numpy() + simulation.kinetic_energy())


def conservation(
    network: AllPairs, priors: ForceField, system: System, starts: Tensor, kelvin: float, timestep: float, steps: int
) -> dict[str, float]:
    """Velocity Verlet from frames [R, N, 3] in float64: how the total energy of a replica goes.

    `drift`: rms over replicas of the slope, kT / ns per bead; `fluctuation`: mean standard deviation about that line,
    kT per bead.
    """
    layout = Layout((system,), (len(starts),))
    state = State.at(layout, starts.reshape(-1, 3).double(), kelvin)
    terms = build_potential([priors], layout).terms
    engine = Engine(
        layout, SumPotential([*terms, AllPairsPotential(network)]), state, Dynamics(Verlet(timestep), seed=1)
    )
    engine.draw_velocities()
    watch = _Total(max(1, steps // 100))
    engine.reporters.append(watch)
    engine.run(steps)
    h = np.array(watch.energies) / (system.n_beads * BOLTZMANN * kelvin)  # [T, R]
    time = np.arange(len(h)) * watch.every * timestep
    slope, start = np.polyfit(time, h, 1)
    rest = h - (slope * time[:, None] + start)
    return {
        "drift": float(f"{1e3 * np.sqrt((slope**2).mean()):.4g}"),
        "fluctuation": float(f"{rest.std(axis=0).mean():.4g}"),
    }

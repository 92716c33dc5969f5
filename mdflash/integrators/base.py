"""The contract of an integrator, and the reference step of each scheme in plain torch.

One step is `before_force`, one evaluation of the forces, `after_force`. Between steps the forces of the state
belong to its positions, so every scheme costs one evaluation a step and a run can stop between any two steps.

All functions take `a = forces * ACCELERATION / mass` in Å/ps², `thermal = sqrt(kT * ACCELERATION / mass)` in Å/ps
(the standard deviation of a velocity component) and `noise`, standard normal; all [..., 3]-shaped.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from mdflash.errors import InputError


@dataclass(frozen=True)
class Integrator(ABC):
    """A scheme with its time step in ps."""

    timestep: float

    name: ClassVar[str]
    code: ClassVar[int]
    """The scheme's number in the compiled kernels."""
    thermostatted: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.timestep > 0:
            raise InputError(f"the time step must be positive, found {self.timestep} ps")

    @property
    def friction(self) -> float:
        """1/ps; 0 where the scheme has none."""
        return 0.0

    @abstractmethod
    def before_force(self, x: Tensor, v: Tensor, a: Tensor, thermal: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """New positions and velocities, up to the evaluation of the forces."""

    def after_force(self, v: Tensor, a: Tensor) -> Tensor:
        """New velocities once the forces at the new positions are known."""
        return v


@dataclass(frozen=True)
class _WithFriction(Integrator):
    collision_rate: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.collision_rate > 0:
            raise InputError(f"the friction must be positive, found {self.collision_rate} /ps")

    @property
    def friction(self) -> float:
        return self.collision_rate

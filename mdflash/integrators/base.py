"""The contract of an integrator: a step is a short list of motions, given as data.

One step is the motions of `before`, one evaluation of the forces, and the kick of `last_kick`. Between steps the
forces of the state belong to its positions, so every scheme costs one evaluation a step and a run can stop between
any two steps. Every motion is exact for its part of the equations of motion, over a share h of the time step:

| motion    | letter | what it does                                                          |
|-----------|--------|-----------------------------------------------------------------------|
| KICK      | B      | v <- v + h F/m                                                        |
| DRIFT     | A      | x <- x + h v                                                          |
| FLUCTUATE | O      | v <- c v + sqrt(1 - c^2) sqrt(kT/m) N,  c = exp(-gamma h)             |
| SLIDE     |        | x <- x + h F/(gamma m) + sqrt(2 h / gamma) sqrt(kT/m) N               |

| symbol      | variable | unit  |                              |
|-------------|----------|-------|------------------------------|
| h           | h        | ps    | share times `timestep`       |
| gamma       | friction | 1/ps  |                              |
| F/m         | a        | Å/ps² | forces * ACCELERATION / mass |
| sqrt(kT/m)  | thermal  | Å/ps  | sqrt(kT * ACCELERATION / mass) |
| N           | noise    |       | standard normal, one for each step, bead and direction |

The step here is the reference, in plain torch; `cpu.py` and `triton.py` read the same data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple

from mdflash.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

KICK: Final = 1
DRIFT: Final = 2
FLUCTUATE: Final = 3
SLIDE: Final = 4


class Part(NamedTuple):
    """A motion over a share of the time step."""

    motion: int
    share: float = 1.0


class Coefficients(NamedTuple):
    """The numbers of a motion: of v or a first, of the noise second."""

    of_motion: float
    of_noise: float


@dataclass(frozen=True)
class Integrator:
    """A scheme with its time step in ps. A scheme sets `name`, `before` and, where it has one, `last_kick`.

    Attributes:
        name: how system.yaml calls it.
        about: a word or two in help texts, or "".
        before: the motions up to the evaluation of the forces, in order; at most one of them takes noise.
        last_kick: the share of the time step of a kick by the new forces; 0 for none.
        takes_noise: whether it holds a temperature.
        has_velocities: whether velocities play a part; without, they are left alone.
        has_second_half: whether anything follows the evaluation of the forces.
        has_friction: whether it is made with a friction.
    """

    timestep: float

    name: ClassVar[str]
    about: ClassVar[str] = ""
    before: ClassVar[tuple[Part, ...]] = ()
    last_kick: ClassVar[float] = 0.0
    takes_noise: ClassVar[bool]
    has_velocities: ClassVar[bool]
    has_second_half: ClassVar[bool]
    has_friction: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        motions = [part.motion for part in cls.before]
        noisy = [motion for motion in motions if motion in (FLUCTUATE, SLIDE)]
        if len(noisy) > 1 or (noisy and not cls.has_friction):
            raise TypeError(f"{cls.__name__}: one motion of a step takes noise, and it needs a friction")
        cls.takes_noise = bool(noisy)
        cls.has_velocities = SLIDE not in motions
        cls.has_second_half = cls.last_kick > 0.0

    def __post_init__(self) -> None:
        if not self.timestep > 0:
            raise InputError(f"the time step must be positive, found {self.timestep} ps")

    @classmethod
    def from_settings(cls, timestep: float, friction: float) -> Integrator:
        """The scheme with a time step in ps; `friction`, in 1/ps, is for schemes that have one.

        Raises:
            InputError: a number that is not positive.
        """
        return cls(timestep)

    @property
    def friction(self) -> float:
        """1/ps; 0 where the scheme has none."""
        return 0.0

    def coefficients(self, part: Part) -> Coefficients:
        """The numbers of one motion of `before`; see the table of the module."""
        h, gamma = part.share * self.timestep, self.friction
        if part.motion == FLUCTUATE:
            c = math.exp(-gamma * h)
            return Coefficients(c, math.sqrt(1.0 - c * c))
        if part.motion == SLIDE:
            return Coefficients(h / gamma, math.sqrt(2.0 * h / gamma))
        return Coefficients(h, 0.0)

    def before_force(self, x: Tensor, v: Tensor, a: Tensor, thermal: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """New positions and velocities, up to the evaluation of the forces; all [..., 3]-shaped."""
        for part in self.before:
            p, q = self.coefficients(part)
            if part.motion == KICK:
                v = v + p * a
            elif part.motion == DRIFT:
                x = x + p * v
            elif part.motion == FLUCTUATE:
                v = p * v + q * thermal * noise
            else:
                x = x + (p * a + q * thermal * noise)
        return x, v

    def after_force(self, v: Tensor, a: Tensor) -> Tensor:
        """New velocities once the forces at the new positions are known."""
        return v + self.last_kick * self.timestep * a if self.has_second_half else v


@dataclass(frozen=True)
class WithFriction(Integrator):
    """A scheme coupled to a bath; `collision_rate` is gamma in 1/ps."""

    collision_rate: float = 1.0

    has_friction: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.collision_rate > 0:
            raise InputError(f"the friction must be positive, found {self.collision_rate} /ps")

    @classmethod
    def from_settings(cls, timestep: float, friction: float) -> WithFriction:
        return cls(timestep, friction)

    @property
    def friction(self) -> float:
        return self.collision_rate

"""The `relative_entropy:` section of a training's recipe."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from mdflash.config.biases import VariableEntry
from mdflash.config.section import Section, as_list
from mdflash.core.quantity import Duration, NoneWord, Rate, Temperature, Timestep, Whole, describe
from mdflash.core.types import Device, Kernels


def _read_force_weight(value: object) -> float | str:
    if value == "likelihood":
        return "likelihood"
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 <= value <= 1e6:
        raise ValueError(f"expected `likelihood`, or a number such as 0.17, found {describe(value)}")
    return float(value)


class RelativeEntropy(Section):
    """Goes on from `start` until its molecules are where the frames are, by simulating them between updates."""

    updates: Annotated[int, Whole(1, 10**6)] = Field(default=150, description="of the weights, at most")
    learning_rate: Annotated[float, Field(gt=0, strict=False)] = Field(
        default=4e-3, description="of Adam at first; falls to a twentieth along a cosine", examples=[4e-3]
    )
    batch: Annotated[int, Whole(1, 10**6)] = Field(
        default=512, description="frames of an update, drawn by their weights, and twice as many samples"
    )
    replicas: Annotated[int, Whole(2, 10**6)] = Field(
        default=64, description="in all; shared by the molecules and their temperatures"
    )
    windows: Literal["weigh", "hold"] = Field(
        default="weigh",
        description="weigh (frames of windows count as often as the free molecule is there; replicas are free) | hold "
        "(replicas are held in the windows of the frames, and each window is compared with its own frames: seldom "
        "visited places count as often as they were sampled)",
    )
    ladder: Annotated[tuple[Temperature, ...], BeforeValidator(as_list)] = Field(
        default=(),
        description="higher temperatures: each replica exchanges with one at each of these, which come beside "
        "`replicas` and are no samples, so that it crosses barriers",
        examples=["[350 K, 410 K]"],
    )
    settle: Duration = Field(default=100.0, description="of each replica before the first samples", examples=["1 ns"])
    length: Duration = Field(
        default=40.0, description="of each replica whenever samples are renewed", examples=["40 ps"]
    )
    every: Duration = Field(default=4.0, description="time between samples of a replica", examples=["4 ps"])
    timestep: Timestep = Field(default=0.004, description="of the simulation, as it will be used", examples=["4 fs"])
    friction: Rate = Field(default=1.0, description="coupling to the bath", examples=["1 /ps"])
    renew_below: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.8, description="samples are renewed when fewer are effective than this share of one renewal"
    )
    renew_after: Annotated[int, Whole(1, 10**6)] = Field(
        default=10, description="updates after which samples are renewed at the latest, so that none fits their noise"
    )
    keep: Annotated[int, Whole(1, 100)] = Field(default=6, description="renewals whose samples are used together")
    force_weight: Annotated[
        float | Literal["likelihood"], BeforeValidator(_read_force_weight, json_schema_input_type=float | str)
    ] = Field(
        default="likelihood",
        description="of the force loss beside the relative entropy: likelihood (3N / 2 sigma², sigma² the loss of "
        "`start`), or a number in (kcal/mol/Å)⁻²; 0: none",
    )
    hold: Literal["data", "start"] = Field(
        default="data",
        description="what targets leave open: data (relative entropy and forces of the frames) | start (the ensemble "
        "of `start`, as near as they allow)",
    )
    priors: Literal["fixed", "learn"] = Field(
        default="fixed",
        description="fixed (terms keep their parameters) | learn (the tables of bonds, angles, torsions and contacts "
        "learn along with the network; terms of near pairs stay)",
    )
    patience: Annotated[Annotated[int, Whole(1, 10**6)] | None, NoneWord] = Field(
        default=60, description="none, or updates without a lower relative entropy of the frames held out"
    )
    along: Annotated[tuple[VariableEntry, ...], BeforeValidator(as_list)] = Field(
        default=(),
        description="variables along which free energies are drawn and logged, as in `monitor:` of a system.yaml",
        examples=["[{name: q, variable: native_contacts}]"],
    )
    seed: Annotated[int, Whole(0, 2**32 - 1)] = Field(default=1, description="of simulations and of chosen frames")
    kernels: Kernels = Field(
        default="auto", description="auto (compiled: numba on the CPU, Triton on a GPU) | reference (plain torch)"
    )
    device: Device = Field(default="cpu", description="cpu | cuda")

"""`exchange:`: ladders of states that replicas fill."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from mdflash.config.exchange import Exchange
from mdflash.config.rules.problem import Problem
from mdflash.config.schema import RunConfig
from mdflash.core.quantity import show_quantity
from mdflash.integrators import DEFAULT, INTEGRATORS


def exchange_rules(config: RunConfig) -> Iterator[Problem]:
    if config.exchange is None:
        return
    ladder, given = config.exchange_states, config.exchange.temperatures
    yield from _traded(config, config.exchange)
    if not ladder:
        return
    scheme = INTEGRATORS[config.dynamics.integrator]
    if not scheme.takes_noise:
        yield Problem(
            ("dynamics", "integrator"),
            f"{scheme.name} holds no temperature, so replicas cannot exchange theirs; write `integrator: {DEFAULT}`, "
            "or remove `exchange:`",
        )
    if given is not None and (min(ladder) <= 0 or any(a >= b for a, b in pairwise(given))):
        fixed = ", ".join(show_quantity(t, "temperature", ("K",)) for t in sorted({t for t in ladder if t > 0}))
        yield Problem(
            ("exchange", "temperatures"),
            f"must be above 0 K, increasing and all different; write `temperatures: [{fixed}]`",
        )
    for i, (entry, count) in enumerate(zip(config.system, config.counts, strict=True)):
        if count % len(ladder):
            key = "count" if entry.replicas is None else "replicas"
            least = count - count % len(ladder)
            near = [n for n in (least, least + len(ladder)) if n]
            yield Problem(
                ("replicas", "count") if entry.replicas is None else ("system", i, "replicas"),
                f"{count} replicas of '{entry.name}' do not fill ladders of {len(ladder)} states; the nearest: "
                f"{' and '.join(map(str, near))}; write `{key}: {near[-1]}`",
            )
            break


def _traded(config: RunConfig, exchange: Exchange) -> Iterator[Problem]:
    """What the states of a ladder are made of."""
    here = ("exchange", "biases")
    known = {bias.name: bias for bias in config.biases}
    if exchange.temperatures is None and not exchange.traded:
        yield Problem(
            ("exchange", "temperatures"),
            "is missing; add for example `temperatures: {min: 300 K, max: 450 K, count: 16}`, or name biases whose "
            "windows are traded: `biases: [pull]`, or terms whose strength is: "
            "`scale: {contacts: {min: 0.7, max: 1, count: 8}}`",
        )
    for name in exchange.biases:
        if name not in known:
            there = f"there is {', '.join(known)}" if known else "there is none: see `biases:`"
            yield Problem(here, f"no bias is called '{name}'; {there}")
        elif known[name].windows == 1:
            yield Problem(here, f"'{name}' has one window, which leaves nothing to trade; give it several centers")
    traded = [known[name].windows for name in exchange.biases if name in known]
    if exchange.scale and not exchange.biases:
        here = ("exchange", "scale")
    traded += map(len, exchange.scale.values())
    counts = sorted({*traded} | ({len(exchange.temperatures)} if exchange.temperatures else set()))
    if traded and len(counts) > 1:
        yield Problem(
            here, f"states have one window of each bias, one scale of each term and one temperature, found {counts}"
        )
    if traded and len(config.system) > 1:
        yield Problem(here, f"exchange of biases and scales takes one system; this run has {len(config.system)}")
    if traded and exchange.temperatures is None and len(config.dynamics.temperature or ()) > 1:
        yield Problem(
            ("dynamics", "temperature"), "replicas that trade biases or scales need one temperature; give one"
        )
    for i, bias in enumerate(config.biases):
        if bias.windows > 1 and bias.name not in exchange.biases:
            yield Problem(
                ("biases", i, "center"),
                f"'{bias.name}' has {bias.windows} windows, which would stay with replicas while they exchange; "
                f"trade them too: `biases: [{', '.join([*exchange.biases, bias.name])}]` under `exchange:`",
            )

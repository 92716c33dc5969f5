"""The noise: published Philox vectors, exact Box-Muller values, moments, independence of every part of the key."""

from __future__ import annotations

import hashlib

import mpmath
import numpy as np
import pytest

from mdflash.compiled.box_muller import three_normals
from mdflash.compiled.jit import njit
from mdflash.compiled.noise import EIGHT, normal3, normals, normals8, uniforms8
from mdflash.compiled.philox import LANGEVIN, VELOCITIES, philox4x32, plain_normals
from mdflash.compiled.simd import load, store

FULL = 0xFFFFFFFF
KNOWN_ANSWERS = [
    # counter, key, output: kat_vectors of Random123 1.14, "philox4x32 10"
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((FULL,) * 4, (FULL,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_philox_known_answers(counter: tuple[int, ...], key: tuple[int, ...], expected: tuple[int, ...]) -> None:
    words = [np.uint64(w) for w in counter + key]
    assert tuple(int(w) for w in philox4x32(*words)) == expected


def test_philox_of_arrays_is_the_scalar_form_elementwise() -> None:
    counters = np.array([c + k for c, k, _ in KNOWN_ANSWERS], np.uint64).T  # [6, 3]
    assert np.array_equal(np.stack(philox4x32(*counters), axis=1), [out for *_, out in KNOWN_ANSWERS])
    words = np.random.default_rng(1).integers(0, 2**32, (6, 50), dtype=np.uint64)
    found = np.stack(philox4x32(*words), axis=1)
    assert np.array_equal(found, [philox4x32(*words[:, i]) for i in range(50)])


@njit
def _uniforms8(seed: int, replica: int, step: int, bead: int, purpose: int, out: np.ndarray) -> None:
    for w, numbers in enumerate(uniforms8(seed, replica, step, bead, purpose)):
        store(out, EIGHT * w, numbers)


def test_compiled_words_are_those_of_the_definition() -> None:
    rng = np.random.default_rng()
    keys = [(FULL, FULL, 2**63 - 1, FULL - 7, FULL), (0, 0, 0, 0, 0)]
    keys += [tuple(k) for k in rng.integers(0, (2**32, 2**32, 2**63 - 1, 2**32 - 7, 2**32), (200, 5)).tolist()]
    out = np.empty((4, EIGHT))
    for seed, replica, step, bead, purpose in keys:
        _uniforms8(seed, replica, step, bead, purpose, out.reshape(-1))
        beads = np.arange(bead, bead + EIGHT, dtype=np.uint64)
        rest = (np.uint64(w) for w in (purpose, seed, replica))
        words = philox4x32(np.uint64(step & FULL), np.uint64(step >> 32), beads, *rest)
        assert np.array_equal(out, (np.array(words) + 0.5) / 2**32), (seed, replica, step, bead, purpose)


def test_normals_are_box_muller_of_the_philox_words() -> None:
    """What anybody can recompute elsewhere: counter (step low, step high, bead, purpose), key (seed, replica)."""
    seed, replica, step, bead, purpose = 12345, 17, 3 * 2**32 + 99, 5, VELOCITIES
    words = philox4x32(*(np.uint64(w) for w in (99, 3, bead, purpose, seed, replica)))
    u = [(float(w) + 0.5) / 2**32 for w in words]
    expected = [
        np.sqrt(-2 * np.log(u[0])) * np.cos(2 * np.pi * u[1]),
        np.sqrt(-2 * np.log(u[0])) * np.sin(2 * np.pi * u[1]),
        np.sqrt(-2 * np.log(u[2])) * np.cos(2 * np.pi * u[3]),
    ]
    np.testing.assert_allclose(normal3(seed, replica, step, bead, purpose), expected, rtol=1e-14)
    np.testing.assert_allclose(normals(seed, replica, step, bead + 1, purpose)[bead], expected, rtol=1e-14)


def test_compiled_normals_are_the_plain_ones() -> None:
    seed, replica, step = (int(n) for n in np.random.default_rng().integers(0, 2**32, 3))
    plain, found = (of(seed, replica, step, 50_000, LANGEVIN) for of in (plain_normals, normals))
    assert (np.abs(found - plain) <= 6 * np.spacing(np.abs(plain))).all(), (seed, replica, step)


@njit
def _of_uniforms(u: np.ndarray, found: np.ndarray, one_by_one: np.ndarray) -> None:
    """u [M, 4, 8] -> [M, 3, 8], eight at once and each by itself."""
    flat, out = u.reshape(-1), found.reshape(-1)
    for m in range(u.shape[0]):
        i, k = 4 * EIGHT * m, 3 * EIGHT * m
        x, y, z = three_normals(
            load(flat, i), load(flat, i + EIGHT), load(flat, i + 2 * EIGHT), load(flat, i + 3 * EIGHT)
        )
        store(out, k, x)
        store(out, k + EIGHT, y)
        store(out, k + 2 * EIGHT, z)
        for lane in range(EIGHT):
            one_by_one[m, 0, lane], one_by_one[m, 1, lane], one_by_one[m, 2, lane] = three_normals(
                u[m, 0, lane], u[m, 1, lane], u[m, 2, lane], u[m, 3, lane]
            )


def test_normals_are_within_three_units_of_box_muller() -> None:
    """Of random words and of those where a logarithm, sine or cosine is small or changes its formula."""
    rng = np.random.default_rng()
    turns = np.arange(9) * 2**29
    special = np.concatenate([(turns[:, None] + np.arange(-3, 3)).ravel(), int(2**31.5) + np.arange(-3, 3)])
    special = np.clip(special, 0, FULL)
    words = np.concatenate([rng.integers(0, 2**32, (100, 4, EIGHT)), rng.choice(special, (60, 4, EIGHT))])
    found, one_by_one = np.empty((2, len(words), 3, EIGHT))
    _of_uniforms((words + 0.5) / 2**32, found, one_by_one)
    assert np.array_equal(found, one_by_one)
    with mpmath.workdps(40):
        each = (of.transpose(0, 2, 1).reshape(-1, of.shape[1]) for of in (words, found))
        for four, three in zip(*each, strict=True):
            u = [(mpmath.mpf(int(w)) + 0.5) / 2**32 for w in four]
            radius, third = mpmath.sqrt(-2 * mpmath.log(u[0])), mpmath.sqrt(-2 * mpmath.log(u[2]))
            exact = (radius * mpmath.cospi(2 * u[1]), radius * mpmath.sinpi(2 * u[1]), third * mpmath.cospi(2 * u[3]))
            for normal, value in zip(three.tolist(), exact, strict=True):
                assert abs(normal - value) <= 3 * np.spacing(abs(normal)), four


def test_normals_have_these_bits_on_every_machine() -> None:
    found = normals(2026, 17, 2**40 + 5, 1001, LANGEVIN).astype("<f8").tobytes()
    assert hashlib.sha256(found).hexdigest() == "eb181b3121d963f5cb8eeb914d3144279f69d9ae096962c020c0e476f15f6da8"


def test_normals_have_the_moments_of_a_standard_normal() -> None:
    from scipy import stats

    g = normals(7, 3, 11, 400_000, LANGEVIN)
    for component in g.T:
        n = len(component)
        for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
            assert abs((component**power).mean() - moment) < 4.5 * np.sqrt(variance / n)
        assert stats.kstest(component[:100_000], "norm").pvalue > 1e-4
    correlation = np.corrcoef(g.T) - np.eye(3)
    assert np.abs(correlation).max() < 4.5 / np.sqrt(len(g))
    squares = np.corrcoef(g.T**2) - np.eye(3)  # dependent but uncorrelated numbers would show here
    assert np.abs(squares).max() < 4.5 / np.sqrt(len(g))


BASE = {"seed": 5, "replica": 2, "step": 1000, "purpose": LANGEVIN}


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 6}, {"seed": 2**32 - 1}, {"replica": 3}, {"replica": 100_000}, {"step": 1001}, {"step": 0},
        {"step": 1000 + 2**32}, {"step": 1000 + 2**33}, {"purpose": VELOCITIES}, {"seed": 2, "replica": 5},
    ],
    ids=str,
)  # fmt: skip
def test_every_part_of_the_key_gives_independent_noise(change: dict[str, int]) -> None:
    n = 40_000
    a, b = (normals(**k, n_beads=n).ravel() for k in (BASE, BASE | change))
    assert not np.isclose(a, b, rtol=0, atol=1e-9).any()
    bound = 4.5 / np.sqrt(a.size)
    assert abs((a * b).mean()) < bound
    assert abs(((a**2 - 1) * (b**2 - 1)).mean() / 2) < bound


def test_beads_and_steps_are_independent() -> None:
    g = normals(1, 0, 0, 50_000, LANGEVIN)
    assert abs((g[1:] * g[:-1]).mean()) < 4.5 / np.sqrt(g.size)
    series = np.stack([normals(1, 0, step, 20, LANGEVIN) for step in range(2**32 - 2500, 2**32 + 2500)])
    for lag in (1, 2, 7):
        assert abs((series[lag:] * series[:-lag]).mean()) < 4.5 / np.sqrt(series.size)
    assert len(np.unique(series)) == series.size


def test_noise_of_a_bead_does_not_depend_on_how_many_there_are() -> None:
    assert np.array_equal(normals(1, 2, 3, 10, LANGEVIN), normals(1, 2, 3, 500, LANGEVIN)[:10])


def test_eight_beads_at_once_have_the_same_bits() -> None:
    rng = np.random.default_rng()
    out = np.empty(3 * EIGHT)
    for _ in range(300):
        seed, replica, bead = (int(n) for n in rng.integers(0, 2**32 - EIGHT, 3))
        step, purpose, count = int(rng.integers(0, 2**62)), int(rng.integers(0, 4)), int(rng.integers(1, EIGHT + 1))
        normals8(seed, replica, step, bead, purpose, out)
        found = out.reshape(3, EIGHT)[:, :count].T
        expected = [normal3(seed, replica, step, bead + k, purpose) for k in range(count)]
        assert np.array_equal(found, expected), (seed, replica, step, bead, purpose)

"""The loss with weight along native contacts: which direction counts, and what has none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mdflash import System, load_forcefield
from mdflash.core.types import FloatArray
from mdflash.errors import InputError
from mdflash.potentials.variables.native_contacts import NativeContacts, contacts_of
from mdflash.training.contacts import BETA, CONTACT, FAINT, NEAR, SEPARATION, SHELLS, ContactWeight


def _chignolin() -> tuple[System, FloatArray]:
    system, frames = load_forcefield("go-chignolin").system()
    return system, frames[0]


def test_directions_are_gradients_of_numbers_of_contacts() -> None:
    """Against autograd on the variable that biases act on, shell by shell, near and far in the chain."""
    system, native = _chignolin()
    generator = torch.Generator().manual_seed(3)
    x = torch.from_numpy(native) + 1.5 * torch.randn(6, *native.shape, generator=generator, dtype=torch.float64)
    r = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    pairs = contacts_of(system, np.arange(system.n_beads), native, CONTACT, SEPARATION)
    r0 = np.linalg.norm(native[pairs[:, 1]] - native[pairs[:, 0]], axis=1)
    near = pairs[:, 1] - pairs[:, 0] <= NEAR
    assert near.any() and not near.all()
    expected = torch.zeros_like(r)
    for stretch in SHELLS:
        for kind in (near, ~near):
            q = NativeContacts(system, pairs[kind], r0[kind], BETA, stretch)
            own = x.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(q.value(own).sum() * kind.sum() / BETA, own)
            square = gradient.square().sum(dim=(1, 2), keepdim=True) + FAINT
            expected += 7.0 * (gradient * r).sum(dim=(1, 2), keepdim=True) / square * gradient
    found = ContactWeight(system, native, 7.0)(x, r)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_beads_far_from_all_contacts_weigh_nothing() -> None:
    system, native = _chignolin()
    x = torch.from_numpy(1e4 * native).float()[None]
    assert not ContactWeight(system, native, 7.0)(x, torch.ones_like(x)).any()


def test_molecules_without_native_contacts_are_refused() -> None:
    system, native = _chignolin()
    with pytest.raises(InputError, match="no native contacts: its dataset has no start structure; leave it out"):
        ContactWeight(system, None, 1.0)
    with pytest.raises(InputError, match=r"training\.contact_weight.*no native contacts .CA beads nearer than 8 Å"):
        ContactWeight(system, 3.0 * native, 1.0)
    with pytest.raises(InputError, match="no native contacts: it has no CA beads"):
        ContactWeight(replace(system, bead_names=("X",) * system.n_beads), native, 1.0)

"""Systems taken apart: the terms of every system that names some sum to its right-hand side."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import leads
from leads.environments import System
from leads.errors import UnknownNameError

APART = {
    name: family
    for name in leads.list_families()
    if name not in ("navier_stokes", "kolmogorov")
    and (family := leads.make(name)).system.terms
    and family.system.state_shape[-1] <= 64
}


def some(system: System, seen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Time, states ``(E, 2, *S)`` and parameters ``(E, 1, P)``, no parameter zero."""
    x = system.sample_x0(2, np.random.RandomState(0))
    p = seen[:2] + 0.01 * torch.rand(seen[:2].shape, dtype=seen.dtype, generator=torch.Generator().manual_seed(0))
    return torch.tensor(0.7, dtype=torch.float64), x.expand(len(p), *x.shape) + 0.1, p[:, None]


def test_the_required_systems_are_apart() -> None:
    assert {"pendulum", "reaction_diffusion", "wave", "wave_1d", "lotka_volterra", "gray_scott"} <= set(APART)


@pytest.mark.parametrize("name", list(APART))
def test_terms_sum_to_the_right_hand_side(name: str) -> None:
    system = APART[name].system
    t, x, p = some(system, APART[name].seen)
    names = [term.name for term in system.terms]
    whole = system.rhs(t, x, p)
    scale = float(whole.abs().max())
    torch.testing.assert_close(system.partial_rhs(names, t, x, p), whole, rtol=0, atol=1e-13 * scale)
    each = sum(system.partial_rhs([one], t, x, p) for one in names)
    torch.testing.assert_close(each, whole, rtol=0, atol=1e-13 * scale)
    assert all(bool(system.partial_rhs([one], t, x, p).abs().max() > 0) for one in names)
    assert bool((system.partial_rhs([], t, x, p) == 0).all())


@pytest.mark.parametrize("name", list(APART))
def test_a_term_reads_the_parameters_that_it_names(name: str) -> None:
    system = APART[name].system
    t, x, p = some(system, APART[name].seen)
    for term in system.terms:
        q = p.clone().requires_grad_()
        out = system.partial_rhs([term.name], t, x, q).square().sum()
        (grad,) = torch.autograd.grad(out, q, allow_unused=True) if out.requires_grad else (None,)
        moved = set() if grad is None else {s.name for i, s in enumerate(system.parameters) if grad[..., i].any()}
        assert moved == set(term.parameters)


def test_pendulum_terms_by_hand() -> None:
    system = leads.make("pendulum").system
    t, x = torch.tensor(2.0, dtype=torch.float64), torch.tensor([0.5, -1.5], dtype=torch.float64)
    p = torch.tensor([0.2, 3.0, 0.4, 1.25], dtype=torch.float64)
    for name, expected in (
        ("oscillation", [-1.5, -9 * np.sin(0.5)]),
        ("damping", [0.0, 0.3]),
        ("drive", [0.0, 0.4 * np.cos(2.5)]),
    ):
        got = system.partial_rhs([name], t, x, p)
        torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64))


def test_unknown_term() -> None:
    system = leads.make("pendulum").system
    x = torch.zeros(2, dtype=torch.float64)
    with pytest.raises(UnknownNameError, match="'damping'"):
        system.partial_rhs(["dampin"], torch.zeros(()), x, torch.ones(4, dtype=torch.float64))

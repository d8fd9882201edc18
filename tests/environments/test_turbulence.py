from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import leads
from leads.environments.turbulence import Turbulence, assemble, divergence, faces, project
from leads.errors import DataError, SettingsError, UnknownNameError


def frames(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_projection() -> None:
    w, u = noise(2, 33, 32), noise(2, 32, 33)
    free = project(w, u, 0.5)
    assert float(divergence(*free, 0.5).abs().max()) < 1e-12
    assert float(free[0][:, [0, -1]].abs().max()) == 0.0
    assert float(free[1][:, :, [0, -1]].abs().max()) == 0.0
    torch.testing.assert_close(project(*free, 0.5), free)
    # What it removes is orthogonal to what it leaves, and is all of a gradient.
    inner = w[:, 1:-1], u[:, :, 1:-1]
    lost = inner[0] - free[0][:, 1:-1], inner[1] - free[1][:, :, 1:-1]
    product = (lost[0] * free[0][:, 1:-1]).sum() + (lost[1] * free[1][:, :, 1:-1]).sum()
    assert abs(float(product)) < 1e-10
    q = noise(32, 32)
    gradient = torch.zeros(33, 32).double(), torch.zeros(32, 33).double()
    gradient[0][1:-1], gradient[1][:, 1:-1] = q.diff(dim=0), q.diff(dim=1)
    assert max(float(part.abs().max()) for part in project(*gradient, 1.0)) < 1e-12


def test_the_first_step_lifts_the_disc() -> None:
    family = leads.make("turbulence")
    system, p = family.system, frames(1, 25)[:, None]
    x0 = system.sample_x0(1, np.random.RandomState(0))
    y = system.simulate(x0.expand(2, *x0.shape), p, frames(0, 1, 2, 3, 9))[:, 0]
    values = system.diagnostics(y, p[:, None])
    # From rest the first velocity is the projected lift, so it grows with the buoyancy.
    torch.testing.assert_close(y[1, 1, :2], 25 * y[0, 1, :2])
    middle = np.arange(64) + 0.5
    disc = torch.from_numpy((middle[:, None] - 16) ** 2 + (middle - 32) ** 2 <= 16)
    assert torch.equal(y[0, 1, 2], disc.double())
    lift = 9.81 * (disc[1:].double() + disc[:-1].double()) / 2
    w = torch.zeros(65, 64).double()
    w[1:-1] = lift
    expected = project(w, torch.zeros(64, 65).double(), 1.0)
    torch.testing.assert_close(y[0, 1], assemble(*expected, disc.double()))
    assert bool((values["divergence"] < 1e-10).all())
    # The source works for two steps; then the marker keeps its sum.
    area = float(disc.sum()) / 64**2
    torch.testing.assert_close(values["mass"], area * frames(0, 1, 2, 2, 2).expand(2, 5))
    assert bool((values["vorticity"][1, 1:] > values["vorticity"][0, 1:]).all())


def test_a_flow_along_cells_carries_by_whole_cells() -> None:
    from leads.environments.turbulence import _carried

    field, one = noise(1, 20, 20), torch.ones(1, 20, 20, dtype=torch.float64)
    moved = _carried(field, 2 * one, -one, 1.0)
    torch.testing.assert_close(moved[:, 2:, :-1], field[:, :-2, 1:])
    torch.testing.assert_close(moved[:, :2, :-1], field[:, :1, 1:].expand(1, 2, 19))
    line = torch.arange(20, dtype=torch.float64).expand(1, 20, 20)
    torch.testing.assert_close(_carried(line, 0 * one, 0.25 * one, 0.5)[:, :, 1:], line[:, :, 1:] - 0.5)


def test_the_published_flow_is_symmetric() -> None:
    system = Turbulence(32)
    x0 = system.sample_x0(1, np.random.RandomState(0))
    y = system.simulate(x0[None], frames(3)[:, None], frames(0, 6))[0, 0, 1]
    w, u = faces(y)
    torch.testing.assert_close(y[2].flip(-1), y[2], atol=1e-8, rtol=0)
    torch.testing.assert_close(w.flip(-1), w, atol=1e-8, rtol=0)
    torch.testing.assert_close(u.flip(-1), -u, atol=1e-8, rtol=0)


def first_difference(n: int) -> Tensor:
    """Relative difference of a step and the right-hand side for slow smooth flow, by channel."""
    system, h = Turbulence(n, gravity=1e-4, random_inlet=True), 64 / n
    s = torch.arange(n + 1, dtype=torch.float64) / n
    stream = 0.5 * (torch.sin(np.pi * s)[:, None] * torch.sin(np.pi * s)) ** 2
    w, u = stream.diff(dim=1) / h, -stream.diff(dim=0) / h
    assert float(divergence(w, u, h).abs().max()) < 1e-14
    c = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    d = 1 + 0.1 * torch.cos(np.pi * c)[:, None] * torch.cos(2 * np.pi * c)
    x, p = assemble(w, u, d), frames(5)
    rates = system.rhs(frames(0)[0], x, p)
    assert float(divergence(*faces(rates), h).abs().max()) < 1e-14
    step = system.step(0, x[None], p[None])[0] - x
    return ((step - rates).square().mean((1, 2)) / rates.square().mean((1, 2))).sqrt()


def test_slow_steps_follow_the_right_hand_side() -> None:
    coarse, fine = first_difference(64), first_difference(128)
    assert float(coarse.max()) < 0.1
    # Linear interpolation is of first order in the cells' side.
    assert float((fine / coarse).max()) < 0.6


def test_random_plumes() -> None:
    system = leads.make("turbulence", split="plumes").system
    x = system.sample_x0(50, np.random.RandomState(0))
    assert set(x[:, 2].unique().tolist()) == {0.0, 2.0}
    middle = torch.arange(64, dtype=torch.float64) + 0.5
    mass = x[:, 2].sum((1, 2))
    z, across = (x[:, 2].sum(2) @ middle / mass), (x[:, 2].sum(1) @ middle / mass)
    assert bool(((z > 9) & (z < 33) & (across > 15) & (across < 49)).all())
    p = frames(25)[:, None]
    y = system.simulate(x[None, :4], p, frames(0, 10, 49))
    assert float(y[:, :, :, :2].abs().max()) < 2.5
    height = (y[0, :, :, 2].sum(-1) @ middle) / y[0, :, :, 2].sum((-2, -1))
    assert bool((height.diff(dim=1) > 0).all())


def test_family_and_bad_input() -> None:
    family = leads.make("turbulence")
    assert family.unseen[:, 0].tolist() == [3, 8, 13, 18, 23]
    assert sorted(family.seen[:, 0].tolist() + family.unseen[:, 0].tolist()) == list(range(1, 26))
    assert (len(family.times), len(family.horizon_times), family.budget.train) == (400, 500, 1)
    x0 = family.system.sample_x0(1, np.random.RandomState(0))[None]
    with pytest.raises(DataError, match="whole steps"):
        family.system.simulate(x0, family.seen[:1], frames(0, 0.5))
    with pytest.raises(SettingsError, match="at least 16"):
        leads.make("turbulence", size=8)
    with pytest.raises(UnknownNameError, match="dyad"):
        leads.make("turbulence", split="dyadd")

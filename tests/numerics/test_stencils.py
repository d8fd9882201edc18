from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from leads.errors import SettingsError, UnknownNameError
from leads.numerics import stencils


def test_laplacian_nine_is_the_published_stencil() -> None:
    x = np.random.RandomState(0).rand(32, 32, 3)
    edges = sum(np.roll(x, s, a) for s in (1, -1) for a in (0, 1))
    corners = sum(np.roll(x, (s, r), (0, 1)) for s in (1, -1) for r in (1, -1))
    expected = (-3 * x + 0.5 * edges + 0.25 * corners) / 4
    np.testing.assert_allclose(stencils.laplacian_nine(torch.from_numpy(x), 2.0).numpy(), expected, atol=1e-13)


def wave(n: int) -> tuple[torch.Tensor, float]:
    h = 2 * math.pi / n
    return torch.sin(2 * torch.arange(n, dtype=torch.float64) * h + 0.3), h


@pytest.mark.parametrize("order", [2, 4, 6])
def test_order_of_accuracy(order: int) -> None:
    errors = {1: [], 2: []}
    for n in (32, 64):
        x, h = wave(n)
        phase = 2 * torch.arange(n, dtype=torch.float64) * h + 0.3
        errors[1].append(float((stencils.first_derivative(x, h, 0, order) - 2 * phase.cos()).abs().max()))
        errors[2].append(float((stencils.second_derivative(x, h, 0, order) + 4 * phase.sin()).abs().max()))
    for a, b in errors.values():
        assert math.log2(a / b) == pytest.approx(order, abs=0.15)


def test_laplacian_adds_the_axes() -> None:
    x = torch.randn(8, 9, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    parts = stencils.second_derivative(x, 0.5, 0) + stencils.second_derivative(x, 0.25, 1)
    torch.testing.assert_close(stencils.laplacian(x, (0.5, 0.25)), parts)


@pytest.mark.parametrize(("boundary", "ghosts"), [("periodic", (3.0, 0.0)), ("neumann", (0.0, 3.0)), ("dirichlet", (0.0, 0.0))])  # fmt: skip
def test_boundaries(boundary: stencils.Boundary, ghosts: tuple[float, float]) -> None:
    x = torch.arange(4.0)
    assert stencils.shift(x, -1, 0, boundary).tolist() == [ghosts[0], 0, 1, 2]
    assert stencils.shift(x, 1, 0, boundary).tolist() == [1, 2, 3, ghosts[1]]


@pytest.mark.parametrize("boundary", stencils.BOUNDARIES)
def test_extending_is_shifting(boundary: stencils.Boundary) -> None:
    x = torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(0))
    wide = stencils.extend(x, 2, 1, boundary)
    for by in (-2, -1, 0, 1, 2):
        assert torch.equal(wide.narrow(1, 2 + by, 7), stencils.shift(x, by, 1, boundary) if by else x)


def test_no_flux_boundary_conserves_mass() -> None:
    x = torch.rand(7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert abs(float(stencils.laplacian(x, (1.0, 1.0), boundary="neumann").sum())) < 1e-13


def test_bad_input() -> None:
    with pytest.raises(SettingsError, match="order 2, 4, 6"):
        stencils.first_derivative(torch.ones(4), 1.0, 0, order=3)
    with pytest.raises(UnknownNameError, match="Did you mean 'neumann'"):
        stencils.shift(torch.ones(4), 1, 0, "neuman")  # type: ignore[arg-type]


def test_weno_reaches_order_five_and_does_not_overshoot() -> None:
    errors: dict[str, list[float]] = {"lower": [], "upper": []}
    for n in (32, 64):
        h = 2 * math.pi / n
        edges = torch.arange(n + 1, dtype=torch.float64) * h
        averages = -torch.diff(edges.cos())[:, None] / h
        exact = torch.sin(edges[1:])[:, None]
        for name, face in zip(errors, stencils.weno(averages, 0), strict=True):
            errors[name].append(float((face - exact).abs().max()))
    for a, b in errors.values():
        assert math.log2(a / b) == pytest.approx(5, abs=0.3)
    step = (torch.arange(40, dtype=torch.float64) < 20).double()
    for face in stencils.weno(step, 0):
        assert float(face.min()) > -1e-4
        assert float(face.max()) < 1 + 1e-4


def test_weno_is_the_same_in_the_mirror() -> None:
    x = torch.randn(12, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    lower, upper = stencils.weno(x, 0)
    mirrored_lower, mirrored_upper = stencils.weno(x.flip(0), 0)
    torch.testing.assert_close(upper[:-1], mirrored_lower.flip(0)[1:])
    torch.testing.assert_close(lower[:-1], mirrored_upper.flip(0)[1:])
    # A reflecting wall sees the same on both sides.
    lower, upper = stencils.weno(x, 0, "neumann")
    torch.testing.assert_close(lower[-1], upper[-1])

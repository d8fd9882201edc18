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


def test_no_flux_boundary_conserves_mass() -> None:
    x = torch.rand(7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert abs(float(stencils.laplacian(x, (1.0, 1.0), boundary="neumann").sum())) < 1e-13


def test_bad_input() -> None:
    with pytest.raises(SettingsError, match="order 2, 4, 6"):
        stencils.first_derivative(torch.ones(4), 1.0, 0, order=3)
    with pytest.raises(UnknownNameError, match="Did you mean 'neumann'"):
        stencils.shift(torch.ones(4), 1, 0, "neuman")  # type: ignore[arg-type]

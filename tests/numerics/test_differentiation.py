from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicSpline

from leads.errors import SettingsError, ShapeError, UnknownNameError
from leads.numerics.differentiation import differentiation_matrix


def grid(n: int) -> torch.Tensor:
    return torch.from_numpy(np.sort(np.random.RandomState(n).uniform(0, 3, n)))


@pytest.mark.parametrize("n", [2, 3, 4, 5, 20])
def test_against_scipy_and_numpy(n: int) -> None:
    t = grid(n)
    x = torch.from_numpy(np.random.RandomState(0).normal(size=(n, 3)))
    spline = differentiation_matrix(t, "spline") @ x
    np.testing.assert_allclose(spline, CubicSpline(t.numpy(), x.numpy())(t.numpy(), 1), rtol=1e-9, atol=1e-9)
    differences = differentiation_matrix(t, "differences") @ x
    edge = 2 if n > 2 else 1
    np.testing.assert_allclose(differences, np.gradient(x.numpy(), t.numpy(), axis=0, edge_order=edge), rtol=1e-9)


@pytest.mark.parametrize(("rule", "order"), [("differences", 2), ("spline", 4)])
def test_order_inside(rule: str, order: int) -> None:
    errors = []
    for n in (81, 161):
        t = torch.linspace(0, 4, n, dtype=torch.float64)
        inner = slice(n // 4, -(n // 4))
        errors.append(float((differentiation_matrix(t, rule) @ t.sin() - t.cos())[inner].abs().max()))
    assert errors[0] / errors[1] == pytest.approx(2**order, rel=0.05)


def test_bad_input() -> None:
    with pytest.raises(UnknownNameError, match="'spline'"):
        differentiation_matrix(grid(4), "splin")
    with pytest.raises(ShapeError, match="T >= 2"):
        differentiation_matrix(grid(1))
    with pytest.raises(SettingsError, match="increase"):
        differentiation_matrix(grid(4).flip(0))

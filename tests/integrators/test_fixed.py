from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leads.errors import DataError, SettingsError, ShapeError, UnknownNameError
from leads.integrators import integrate, methods, tableau


def rotation(t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return torch.stack([-x[..., 1], x[..., 0]], -1) + torch.cos(t).expand(x.shape[:-1])[..., None]


def exact(t: float) -> tuple[float, float]:
    """x' = -y + cos t, y' = x + cos t from (1, 0): variation of constants, integrated by hand."""
    c, s = math.cos(t), math.sin(t)
    return c + 0.5 * (t * c + s) - 0.5 * t * s, s + 0.5 * t * s + 0.5 * (s + t * c)


@pytest.mark.parametrize("name", [m for m in methods if tableau(m).order])
def test_order_of_convergence(name: str) -> None:
    order = tableau(name).order
    times = torch.tensor([0.0, 2.0], dtype=torch.float64)
    x0 = torch.tensor([1.0, 0.0], dtype=torch.float64)
    steps = np.array([2, 3, 4] if order > 4 else [20, 40, 80])
    errors = []
    for n in steps:
        end = integrate(rotation, x0, times, method=name, substeps=int(n))[-1]
        errors.append(float((end - torch.tensor(exact(2.0), dtype=torch.float64)).abs().max()))
    slope = -np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert slope > order - 0.35, (slope, errors)


def test_each_entry_on_its_own_times_equals_separate_solves() -> None:
    x0 = torch.randn(3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    times = torch.tensor([[0.0, 0.5, 1.1], [0.3, 0.7, 0.8], [1.0, 1.5, 1.5]], dtype=torch.float64).mT
    ragged = integrate(rotation, x0, times[:, :3], substeps=2)
    for b in range(3):
        own = times[:, b] if b < 2 else times[:2, b]
        alone = integrate(rotation, x0[b], own, substeps=2)
        torch.testing.assert_close(ragged[: len(own), b], alone, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ragged[2, 2], ragged[1, 2])


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(2, 5), st.integers(1, 3))
def test_shapes(e: int, n: int, t: int, c: int) -> None:
    out = integrate(lambda s, x: -x, torch.ones(e, n, c), torch.arange(float(t)))
    assert out.shape == (t, e, n, c)


def test_max_step_divides_intervals() -> None:
    calls = []
    integrate(
        lambda s, x: calls.append(1) or -x, torch.ones(1), torch.tensor([0.0, 1.0, 1.5]), method="euler", max_step=0.3
    )
    assert len(calls) == 4 + 2


def test_bad_input() -> None:
    x = torch.ones(2, 2)
    with pytest.raises(UnknownNameError, match="rk4"):
        integrate(rotation, x, torch.arange(2.0), method="rk5")
    with pytest.raises(DataError, match=r"times\[2\]"):
        integrate(rotation, x, torch.tensor([0.0, 1.0, 1.0]))
    with pytest.raises(SettingsError):
        integrate(rotation, x, torch.arange(2.0), substeps=0)
    with pytest.raises(SettingsError):
        integrate(rotation, x, torch.arange(2.0), max_step=0.0)
    with pytest.raises(ShapeError):
        integrate(rotation, x, torch.zeros(3, 5))

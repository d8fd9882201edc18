from __future__ import annotations

import math
from dataclasses import replace
from statistics import NormalDist

import pytest
import torch
from drift_model import drift

import leads
from leads.adaptation.posterior import (
    central_differences,
    interval,
    linearised,
    normal_quantile,
    push_forward,
    square_root,
    with_noise,
)
from leads.dynamics import DecomposedDynamics
from leads.errors import SettingsError, ShapeError, UnknownNameError
from leads.trajectories import DataSplits


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_push_forward_of_a_linear_map_is_exact() -> None:
    g = rng()
    a = torch.randn(3, 10, 4, dtype=torch.float64, generator=g)
    root = torch.randn(3, 4, 2, dtype=torch.float64, generator=g)  # two of four directions have no spread
    covariance, point = root @ root.mT, torch.randn(3, 4, dtype=torch.float64, generator=g)

    def f(points: torch.Tensor) -> torch.Tensor:
        return torch.einsum("eij,emj->emi", a, points).unflatten(-1, (2, 5, 1))

    mean, variance = push_forward(f, point, covariance, torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64))
    torch.testing.assert_close(mean.flatten(1), torch.einsum("eij,ej->ei", a, point))
    exact = (a @ covariance @ a.mT).diagonal(dim1=1, dim2=2).unflatten(1, (2, 5, 1)).clone()
    exact[:, :, 1:] += torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)[:, None, None, None]
    torch.testing.assert_close(variance, exact, rtol=1e-7, atol=1e-9)


def test_central_differences_are_derivatives() -> None:
    point, directions = torch.tensor([[0.3, -1.2]], dtype=torch.float64), torch.eye(2, dtype=torch.float64)[None]
    f = lambda p: (p[..., :1] * p[..., 1:].exp()).sin()
    exact = torch.func.jacrev(lambda p: f(p)[0])(point[0])
    torch.testing.assert_close(central_differences(f, point, directions)[0, :, 0], exact, rtol=1e-9, atol=0)


def test_bands_of_a_model_that_is_linear_in_its_context() -> None:
    """x = x0 + c t with noise of variance s^2: the posterior of c has variance s^2 / sum t^2, the forecast t^2 times that."""
    t = torch.linspace(0, 2, 9, dtype=torch.float64)
    velocity = torch.randn(3, 1, 1, 2, dtype=torch.float64, generator=rng())
    noise = 0.1 * torch.randn(3, 1, 9, 2, dtype=torch.float64, generator=rng(1))
    noise[:, :, 0] = 0
    adapted = leads.adapt(drift(), leads.Trajectories(velocity * t[:, None] + noise, t))
    later, x0 = torch.linspace(0, 5, 6, dtype=torch.float64), torch.ones(3, 4, 2, dtype=torch.float64)
    bands = adapted.bands(x0, later, level=0.8, noise=False)
    residual = noise - t[:, None] * (noise * t[:, None]).sum(2, keepdim=True) / t.square().sum()
    s2 = residual.square().sum((1, 2, 3)) / (16 - 2)
    exact = (s2[:, None] * later**2 / t.square().sum()).sqrt()[:, None, :, None].expand_as(bands.mean)
    torch.testing.assert_close(bands.standard_deviation, exact, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(bands.width, 2 * NormalDist().inv_cdf(0.9) * exact, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(bands.mean, adapted.forecast(x0, later))
    noisy = adapted.bands(x0, later).standard_deviation
    extra = torch.tensor(adapted.info["loss"], dtype=torch.float64)[:, None, None, None]
    torch.testing.assert_close(noisy[:, :, 1:].square(), exact[:, :, 1:].square() + extra)
    assert float(noisy[:, :, 0].max()) == 0
    draws = adapted.bands(x0, later, level=0.8, method="sampled", draws=20000, noise=False)
    torch.testing.assert_close(draws.standard_deviation, exact, rtol=0.02, atol=1e-9)
    torch.testing.assert_close(draws.width, bands.width, rtol=0.03, atol=1e-9)


def test_linearised_and_sampled_agree_where_the_covariance_is_small(coda: DecomposedDynamics, data: DataSplits) -> None:
    adapted = leads.adapt(coda, data.adapt)
    assert adapted.covariance is not None
    x0, t = data.adapt_test.initial[:, :2], data.adapt_test.times
    ratios = []
    for factor in (1e-4, 1.0):
        smaller = replace(adapted, covariance=factor * adapted.covariance)
        a = smaller.bands(x0, t, noise=False).standard_deviation[:, :, 1:]
        b = smaller.bands(x0, t, method="sampled", noise=False, draws=400, seed=3).standard_deviation[:, :, 1:]
        ratios.append((b / a).log().abs())
    assert float(ratios[0].max()) < 0.15  # 400 draws tell a deviation to 3.5 %
    assert float(ratios[0].median()) < 0.04


def test_sampled_bands_are_quantiles(coda: DecomposedDynamics, data: DataSplits) -> None:
    adapted = leads.adapt(coda, data.adapt)
    x0, t = data.adapt_test.initial[:, :1], data.adapt_test.times
    many = adapted.ensemble(x0, t, n=101, seed=5).double()
    bands = adapted.bands(x0, t, level=0.8, method="sampled", noise=False, draws=101, seed=5)
    torch.testing.assert_close(bands.lower.double(), many.quantile(0.1, dim=0), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(bands.upper.double(), many.quantile(0.9, dim=0), rtol=1e-6, atol=1e-6)
    assert bands.mean.dtype == torch.float32


def test_a_draw_that_diverges_makes_the_band_unbounded(coda: DecomposedDynamics, data: DataSplits) -> None:
    adapted = leads.adapt(coda, data.adapt)
    assert adapted.covariance is not None
    wild = replace(adapted, covariance=1e30 * torch.eye(2, dtype=torch.float64).expand(4, 2, 2))
    bands = wild.bands(data.adapt_test.initial, data.adapt_test.times, method="sampled", draws=8)
    assert bool(torch.isfinite(bands.mean).all())
    assert bool(torch.isinf(bands.upper[:, :, -1]).all())
    assert bool((bands.lower[:, :, -1] == -torch.inf).all())


def test_small_parts() -> None:
    assert normal_quantile(0.9) == pytest.approx(1.6448536269514722)
    c = torch.tensor([[2.0, 1.0], [1.0, 3.0]], dtype=torch.float64)
    torch.testing.assert_close(square_root(c) @ square_root(c).mT, c)
    assert float(with_noise(torch.zeros(1, 1, 3, 1), torch.ones(1))[0, 0, :, 0].sum()) == 2
    unbounded = interval(torch.zeros(1), torch.tensor([torch.inf]), 0.5, 0.0, False)
    assert float(unbounded.upper) == torch.inf
    assert float(interval(torch.zeros(1), torch.zeros(1), 0.5, math.inf, True).lower) == -torch.inf


def test_bad_input(coda: DecomposedDynamics, data: DataSplits) -> None:
    adapted = leads.adapt(coda, data.adapt)
    x0, t = data.adapt_test.initial, data.adapt_test.times
    with pytest.raises(SettingsError, match="between 0 and 1"):
        adapted.bands(x0, t, level=90)
    with pytest.raises(UnknownNameError, match="linearised"):
        adapted.bands(x0, t, method="linear")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="at least 2 draws"):
        adapted.bands(x0, t, method="sampled", draws=1)
    with pytest.raises(SettingsError, match=r"no covariance.*levenberg_marquardt.*Ensemble"):
        linearised(leads.adapt(coda, data.adapt, solver="gradient", steps=2), x0, t)
    with pytest.raises(ShapeError, match="E, N, C"):
        adapted.bands(x0[:, 0], t)
    with pytest.raises(SettingsError, match="whole number of draws"):
        adapted.ensemble(x0, t, n=0)

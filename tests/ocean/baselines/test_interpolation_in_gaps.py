from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from leads.errors import SettingsError, ShapeError
from leads.ocean.baselines import (
    Covariance,
    LinearInterpolation,
    OptimalInterpolation,
    Persistence,
    Window,
    optimal_interpolation,
)

EXACT = Window(reach=math.inf, most=None)
COVARIANCE = Covariance(lt=7.0, ly=1.0, lx=1.5, noise=0.1)
GRID = (torch.tensor([0.0, 3.0]).double(), torch.linspace(0, 2, 5).double(), torch.linspace(0, 3, 6).double())


def scattered(m: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    places = torch.rand(m, 3, dtype=torch.float64, generator=g) * torch.tensor([10.0, 2.0, 3.0])
    return torch.randn(2, m, dtype=torch.float64, generator=g), places


def test_one_observation_by_hand() -> None:
    values = torch.tensor([[2.0]]).double()
    found = optimal_interpolation(values, torch.zeros(1, 3).double(), GRID, COVARIANCE, EXACT)
    d2 = (3 / 7) ** 2 + (0.5 / 1) ** 2 + (1.2 / 1.5) ** 2
    assert float(found.mean[0, 1, 1, 2]) == pytest.approx(2 * math.exp(-d2) / 1.01)
    assert float(found.variance[0, 1, 1, 2]) == pytest.approx(1 - math.exp(-2 * d2) / 1.01)


def test_equals_a_gaussian_process() -> None:
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF

    values, places = scattered(40)
    found = optimal_interpolation(values, places, GRID, COVARIANCE, EXACT)
    kernel = RBF(np.array([7.0, 1.0, 1.5]) / math.sqrt(2))
    targets = torch.cartesian_prod(*GRID).numpy()
    for b in range(2):
        process = GaussianProcessRegressor(kernel, alpha=0.01, optimizer=None).fit(places.numpy(), values[b].numpy())
        mean, deviation = process.predict(targets, return_std=True)
        np.testing.assert_allclose(found.mean[b].numpy().ravel(), mean, atol=1e-8)
        np.testing.assert_allclose(found.variance[b].numpy().ravel(), deviation**2, atol=1e-8)


def test_missing_values_are_left_out_of_each_field() -> None:
    values, places = scattered(30, 1)
    values[0, ::3] = torch.nan
    values[1, 5:25] = torch.nan
    found = optimal_interpolation(values, places, GRID, COVARIANCE, EXACT)
    for b in range(2):
        keep = torch.isfinite(values[b])
        alone = optimal_interpolation(values[b : b + 1, keep], places[keep], GRID, COVARIANCE, EXACT)
        torch.testing.assert_close(found.mean[b], alone.mean[0])
        torch.testing.assert_close(found.variance[b], alone.variance[0])


def test_fields_may_be_observed_at_different_places() -> None:
    """Tracks of different satellites: places ``(B, M, 3)``."""
    values, one = scattered(25, 3)
    _, other = scattered(25, 4)
    found = optimal_interpolation(values, torch.stack([one, other]), GRID, COVARIANCE, EXACT)
    alone = optimal_interpolation(values[1:], other, GRID, COVARIANCE, EXACT)
    torch.testing.assert_close(found.mean[1], alone.mean[0])
    torch.testing.assert_close(found.variance[1], alone.variance[0])


def test_local_solves_come_near_the_exact_one() -> None:
    g = torch.Generator().manual_seed(2)
    places = torch.rand(300, 3, dtype=torch.float64, generator=g) * torch.tensor([10.0, 8.0, 8.0])
    values = torch.sin(places[:, 1] + places[:, 2] / 2 + places[:, 0] / 5)[None]
    grid = (torch.tensor([5.0]).double(), torch.linspace(0, 8, 17).double(), torch.linspace(0, 8, 17).double())
    exact = optimal_interpolation(values, places, grid, COVARIANCE, EXACT)
    errors = [
        float(
            (optimal_interpolation(values, places, grid, COVARIANCE, Window((1, 6, 6), reach, most)).mean - exact.mean)
            .abs()
            .max()
        )
        for reach, most in ((1.5, None), (3.0, None), (3.0, 100))
    ]
    assert errors[0] < 0.25
    assert errors[1] < 0.02
    assert errors[2] < 0.1
    truth = torch.sin(grid[1][:, None] + grid[2] / 2 + 1)
    inside = (slice(2, -2), slice(2, -2))
    assert float((exact.mean[0, 0] - truth)[inside].abs().max()) < 0.1


def test_nothing_near_gives_the_mean() -> None:
    values, places = scattered(10)
    far = optimal_interpolation(values, places + 1e3, GRID, COVARIANCE)
    assert float(far.mean.abs().max()) == 0
    assert float(far.variance.min()) == 1


def test_forecast_from_gappy_frames() -> None:
    g = torch.Generator().manual_seed(3)
    times = torch.arange(4, dtype=torch.float64)
    past = 5 + torch.randn(2, 2, 4, 2, 5, 6, dtype=torch.float64, generator=g)
    past[torch.rand(past.shape, generator=g) < 0.6] = torch.nan
    leads = torch.tensor([0.0, 2.0, 200.0]).double()
    method = OptimalInterpolation(Covariance(3.0, 1.0, 1.5, 0.1), (0.5, 0.5), window=EXACT)
    made, variance = method.analyse(past, times, leads)
    assert made.shape == variance.shape == (2, 2, 3, 2, 5, 6)
    own = past[1, 0, :, 1]
    torch.testing.assert_close(made[1, 0, 2, 1], own.nanmean().expand(5, 6))
    torch.testing.assert_close(variance[1, 0, 2, 1], torch.ones(5, 6).double())
    t, y, x = (own.isfinite()).nonzero(as_tuple=True)
    places = torch.stack([t - 3.0, y * 0.5, x * 0.5], -1).double()
    grid = (leads, torch.arange(5).double() / 2, torch.arange(6).double() / 2)
    direct = optimal_interpolation((own[t, y, x] - own.nanmean())[None], places, grid, method.covariance, EXACT)
    torch.testing.assert_close(made[1, 0, :, 1], direct.mean[0] + own.nanmean())
    assert float((method.forecast(past, times, leads) - made).abs().max()) == 0


def test_strides_keep_the_last_frame() -> None:
    past = torch.zeros(1, 1, 5, 1, 6, 6).double()
    past[:, :, -1] = 1.0
    method = OptimalInterpolation(
        Covariance(0.1, 1.0, 1.0, 0.01), (1.0, 1.0), mean=torch.zeros(1).double(), every=(2, 3, 3)
    )
    made = method.forecast(past, torch.arange(5).double(), torch.tensor([0.0]).double())
    assert float(made[0, 0, 0, 0, 1, 1]) == pytest.approx(1, abs=0.01)


def test_linear_interpolation_is_exact_on_planes() -> None:
    g = torch.Generator().manual_seed(4)
    t, y, x = torch.meshgrid(torch.arange(3.0), torch.arange(7.0), torch.arange(8.0), indexing="ij")
    plane = (2 + 0.3 * t - 0.5 * y + 0.7 * x).double()
    past = plane[None, None, :, None].repeat(2, 2, 1, 1, 1, 1)
    gaps = torch.rand(past.shape, generator=g) < 0.3
    gaps[..., [0, 0, -1, -1], [0, -1, 0, -1]] = False
    holed = torch.where(gaps, torch.nan, past)
    method = LinearInterpolation((1.0, 1.0, 1.0), (1.0, 1.0), hold=0.0)
    made = method.forecast(holed, torch.arange(3).double(), torch.tensor([0.0, 5.0]).double())
    torch.testing.assert_close(made, past[:, :, -1:].expand_as(made))
    holed[0, 0, 1, 0, 3:5, 3:5] = torch.nan
    torch.testing.assert_close(method.fill(holed, torch.arange(3).double()), past)
    whole = method.forecast(past, torch.arange(3).double(), torch.tensor([1.0]).double())
    torch.testing.assert_close(
        whole, Persistence().forecast(past, torch.arange(3).double(), torch.tensor([1.0]).double())
    )


def test_recent_observations_count_as_the_last_frames() -> None:
    past = torch.full((1, 1, 4, 1, 5, 5), math.nan).double()
    past[0, 0, 0, 0] = 9.0
    past[0, 0, 2, 0, :, ::2] = 1.0
    past[0, 0, 3, 0, :, 0] = 2.0
    times, lead = torch.arange(4).double(), torch.zeros(1).double()
    made = LinearInterpolation((1.5, 1.0, 1.0), (1.0, 1.0)).forecast(past, times, lead)[0, 0, 0, 0]
    # The newest of columns 0, 2 and 4 within 1.5 s; linear between them.
    torch.testing.assert_close(made, torch.tensor([2.0, 1.5, 1.0, 1.0, 1.0]).double().expand(5, 5))


def test_linear_interpolation_equals_scipys_and_survives_lines() -> None:
    from scipy.interpolate import griddata

    g = torch.Generator().manual_seed(5)
    past = torch.randn(1, 1, 1, 1, 9, 9, dtype=torch.float64, generator=g)
    past[torch.rand(past.shape, generator=g) < 0.5] = torch.nan
    clock, lead = torch.zeros(1).double(), torch.zeros(1).double()
    made = LinearInterpolation((1.0, 2.0, 2.0), (1.0, 1.0)).forecast(past, clock, lead)[0, 0, 0, 0].numpy()
    frame = past[0, 0, 0, 0].numpy()
    at = np.argwhere(np.isfinite(frame))
    where = np.argwhere(np.isnan(frame))
    linear = griddata(at, frame[np.isfinite(frame)], where)
    inside = np.isfinite(linear)
    np.testing.assert_allclose(made[np.isnan(frame)][inside], linear[inside])
    assert np.isfinite(made).all()
    line = torch.full((1, 1, 1, 1, 5, 5), math.nan).double()
    line[..., 2, :] = torch.arange(5.0).double()
    made = LinearInterpolation((1.0, 1.0, 1.0), (1.0, 1.0)).forecast(line, clock, lead)
    torch.testing.assert_close(made[0, 0, 0, 0], torch.arange(5.0).double().expand(5, 5))


def test_bad_settings_are_refused() -> None:
    with pytest.raises(SettingsError, match="positive"):
        Covariance(1.0, 0.0, 1.0)
    with pytest.raises(SettingsError, match="positive"):
        Window(most=0)
    with pytest.raises(SettingsError, match="strides"):
        OptimalInterpolation(COVARIANCE, (1.0, 1.0), every=(0, 1, 1))
    with pytest.raises(SettingsError, match="Scales"):
        LinearInterpolation((1.0, -1.0, 1.0), (1.0, 1.0))
    with pytest.raises(ShapeError, match=r"\(B, M\)"):
        optimal_interpolation(torch.zeros(2, 3), torch.zeros(4, 3), GRID, COVARIANCE)

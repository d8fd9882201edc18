from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from leads.errors import DataError, SettingsError, ShapeError, UnknownNameError
from leads.ocean.scores import mapping_score, space_time_spectrum, spectral_score

NT, NY, NX = 24, 32, 40


def waves(power: np.ndarray) -> torch.Tensor:
    """``(NT, NY, NX)``: westward waves of ``power[j, m]`` cycles ``(j + 1, m + 1)`` a window.

    Phases turn over the rows such that the mean over them holds no product of two different waves: its spectrum is known
    exactly, for any window.
    """
    t, y, x = np.meshgrid(np.arange(NT) / NT, np.arange(NY) / NY, np.arange(NX) / NX, indexing="ij")
    field = np.zeros((NT, NY, NX))
    for j in range(power.shape[0]):
        for m in range(power.shape[1]):
            turn = (3 * j + 7 * m) * y
            field += math.sqrt(power[j, m]) * np.cos(2 * np.pi * ((j + 1) * t + (m + 1) * x + turn))
    return torch.from_numpy(field)


def hann(power: np.ndarray, axis: int) -> np.ndarray:
    """Power seen through a periodic Hann window, whose transform is 1/2, -1/4, -1/4."""
    wide = np.pad(power, [(1, 1) if a == axis else (0, 0) for a in range(power.ndim)])
    n = power.shape[axis]
    take = lambda i: np.take(wide, np.arange(i, i + n), axis)
    return (take(1) + 0.25 * (take(0) + take(2))) / 1.5


def test_mapping_score_by_hand() -> None:
    truth = torch.tensor([[[3.0, 4.0], [torch.nan, 0.0]], [[6.0, 8.0], [torch.nan, 0.0]]])
    estimate = torch.tensor([[[3.0, 3.0], [9.0, 0.0]], [[6.0, 4.0], [9.0, 0.0]]])
    score = mapping_score(estimate, truth)
    torch.testing.assert_close(score.in_time, torch.tensor([1 - 1 / 5, 1 - 4 / 10]))
    assert float(score.mu) == pytest.approx(1 - math.sqrt(17 / 125))
    assert float(score.sigma) == pytest.approx(0.1)
    assert float(score.rmse) == pytest.approx(math.sqrt(17 / 6))
    assert float(score.rmse_map[0, 1]) == pytest.approx(math.sqrt(17 / 2))
    assert math.isnan(float(score.rmse_map[1, 0]))


def test_mapping_score_is_batched_and_leaves_unknown_days_out() -> None:
    truth = torch.randn(3, 2, 5, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    estimate = 0.9 * truth
    truth[:, :, 2] = torch.nan
    score = mapping_score(estimate, truth)
    assert score.mu.shape == (3, 2)
    torch.testing.assert_close(score.mu, torch.full((3, 2), 0.9, dtype=torch.float64))
    assert torch.isnan(score.in_time[0, 0, 2])
    assert float(score.sigma.abs().max()) < 1e-12


def test_spectrum_of_known_waves() -> None:
    rng = np.random.RandomState(1)
    power = rng.uniform(0.1, 1, (11, 19))
    found = space_time_spectrum(waves(power), 2.0, 0.5)
    # A cosine of amplitude a has two-sided density a^2 / 4 / (df dk) at its own bin.
    expected = hann(hann(power, 0), 1) / 4 * (NT * 2.0) * (NX * 0.5)
    np.testing.assert_allclose(found.density.numpy(), expected, rtol=1e-9)
    assert found.frequency[0].item() == pytest.approx(1 / 48)
    assert len(found.frequency) == 11
    assert found.wavenumber[-1].item() == pytest.approx(19 / 20)


def test_spectrum_equals_scipy() -> None:
    """One axis after the other by SciPy's periodogram, whose density of a complex series is two-sided."""
    from scipy.signal import get_window, periodogram

    field = torch.randn(16, 1, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    h = (field - field.mean()).numpy()[:, 0]
    w = get_window("hann", 20)
    along_x = np.fft.fft(h * w, axis=1) * np.sqrt(0.5 / np.sum(w**2))
    f, power = periodogram(along_x, fs=1 / 3, window="hann", detrend=False, axis=0, return_onesided=False)
    found = space_time_spectrum(field, 3.0, 0.5)
    np.testing.assert_allclose(found.density.numpy(), power[1:8, 1:10], rtol=1e-10)
    np.testing.assert_allclose(found.frequency.numpy(), f[1:8])


@pytest.mark.parametrize("along", ["x", "t"])
@pytest.mark.parametrize("window", ["boxcar", "hann"])
def test_effective_resolution_of_known_waves(along: str, window: str) -> None:
    """Errors that grow towards short waves cross half the power of the truth at a known wavelength."""
    power = np.ones((11, 19))
    axis, n, step = (1, NX, 0.25) if along == "x" else (0, NT, 2.0)
    order = np.arange(1, power.shape[axis] + 1)
    share = np.clip(order / 12.0, 0, 0.95) if along == "x" else np.clip(order / 9.0, 0, 0.95)
    ratio = np.broadcast_to(share if axis else share[:, None], power.shape)
    error = power * ratio
    truth = waves(power)
    score = spectral_score(truth - waves(error), truth, 2.0, 0.25, window=window)
    seen = [hann(p, axis) if window == "hann" else p for p in (error, power)]
    line = np.take(1 - seen[0] / seen[1], 0, 1 - axis)
    wavelength = n * step / order
    expected = np.interp(0.5, line[::-1], wavelength[::-1])
    found = score.lambda_x if along == "x" else score.lambda_t
    assert float(found) == pytest.approx(expected, rel=1e-9)
    if window == "boxcar" and along == "x":
        # Twelve waves a window carry the errors of full power: half of it is at the sixth.
        assert float(found) == pytest.approx(NX * 0.25 / 6, rel=1e-9)
    np.testing.assert_allclose(np.take(score.score.numpy(), 3, 1 - axis), line, atol=1e-9)


def test_contour_is_matplotlibs() -> None:
    from matplotlib.figure import Figure

    g = torch.Generator().manual_seed(3)
    truth = torch.randn(2, 20, 6, 24, dtype=torch.float64, generator=g)
    estimate = truth + 0.7 * torch.randn(2, 20, 6, 24, dtype=torch.float64, generator=g)
    score = spectral_score(estimate, truth, 1.0, 1.0)
    every = spectral_score(estimate, truth, 1.0, 1.0, path="all")
    longest = spectral_score(estimate, truth, 1.0, 1.0, path="longest")
    for e in range(2):
        drawn = Figure().subplots().contour(score.wavelength, score.period, score.score[e], [0.5]).allsegs[0]
        assert float(score.lambda_x[e]) == pytest.approx(drawn[0][:, 0].min())
        assert float(score.lambda_t[e]) == pytest.approx(drawn[0][:, 1].min())
        assert float(longest.lambda_x[e]) == pytest.approx(max(drawn, key=len)[:, 0].min())
        assert float(every.lambda_x[e]) == pytest.approx(min(s[:, 0].min() for s in drawn))


def test_resolution_without_a_crossing() -> None:
    truth = waves(np.ones((11, 19)))
    assert float(spectral_score(truth, truth, 1.0, 0.5).lambda_x) == pytest.approx(NX * 0.5 / 19)
    assert float(spectral_score(-truth, truth, 1.0, 0.5).lambda_t) == math.inf


def test_rows_with_land_are_left_out() -> None:
    g = torch.Generator().manual_seed(4)
    truth = torch.randn(12, 8, 14, dtype=torch.float64, generator=g)
    estimate = truth + 0.6 * torch.randn(12, 8, 14, dtype=torch.float64, generator=g)
    sea = spectral_score(estimate[:, 2:], truth[:, 2:], 1.0, 1.0)
    truth[:, 0, 3] = torch.nan
    estimate[4, 1, 5] = torch.nan
    torch.testing.assert_close(spectral_score(estimate, truth, 1.0, 1.0).score, sea.score)


def test_linear_trend_is_removed() -> None:
    t, x = torch.arange(12.0, dtype=torch.float64), torch.arange(14.0, dtype=torch.float64)
    field = (3 + 0.2 * t[:, None] - 0.7 * x)[:, None]
    assert float(space_time_spectrum(field, 1.0, 1.0, detrend="linear").density.max()) < 1e-24
    assert float(space_time_spectrum(field, 1.0, 1.0).density.max()) > 1e-3


def test_bad_input_is_refused() -> None:
    field = torch.randn(12, 4, 14, dtype=torch.float64)
    with pytest.raises(ShapeError, match="Interpolate one onto the grid of the other"):
        mapping_score(field[..., :7], field)
    with pytest.raises(DataError, match="all land"):
        mapping_score(field, torch.full_like(field, torch.nan))
    holed = field.clone()
    holed[0, 0, 0] = torch.nan
    with pytest.raises(DataError, match="NaN or infinite at 1 of 672"):
        mapping_score(holed, field)
    assert float(mapping_score(holed, field, torch.isfinite(holed)).mu) == 1
    with pytest.raises(ShapeError, match="along time needs at least 5 points, got 4"):
        spectral_score(field[:4], field[:4], 1.0, 1.0)
    with pytest.raises(DataError, match="free of land"):
        spectral_score(field, torch.full_like(field, torch.nan), 1.0, 1.0)
    with pytest.raises(SettingsError, match="x is not uniform: the step after point 0"):
        spectral_score(field, field, 1.0, torch.tensor([0.0, 3.0, *range(4, 16)]))
    with pytest.raises(ShapeError, match="coordinate time has shape"):
        spectral_score(field, field, torch.arange(5.0), 1.0)
    with pytest.raises(UnknownNameError, match="linear"):
        spectral_score(field, field, 1.0, 1.0, detrend="linaer")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="first"):
        spectral_score(field, field, 1.0, 1.0, path="frist")  # type: ignore[arg-type]

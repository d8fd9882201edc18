from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from leads.errors import DataError, SettingsError, ShapeError
from leads.ocean.scores import daily_score, first_crossing, track_segments, track_spectral_score
from leads.ocean.scores.alongtrack import DAY, SAMPLING, STEP

NPT = 156


def track(power: np.ndarray, stretches: int = 8) -> torch.Tensor:
    """Waves of ``power[m]``, m + 1 cycles a stretch. Stretches start a quarter apart, so that over four of them products
    of waves with neighbouring numbers cancel and the averaged spectrum is known exactly."""
    x = np.arange(NPT + NPT // 4 * (stretches - 1)) / NPT
    rng = np.random.RandomState(0)
    waves = [math.sqrt(p) * np.cos(2 * np.pi * (m + 1) * x + rng.uniform(0, 6)) for m, p in enumerate(power)]
    return torch.from_numpy(sum(waves))


def hann(power: np.ndarray) -> np.ndarray:
    wide = np.pad(power, 1)
    return (power + 0.25 * (wide[:-2] + wide[2:])) / 1.5


def test_effective_resolution_of_a_known_spectrum() -> None:
    order = np.arange(1, 78)
    power = order**-2.0
    share = np.clip(order / 20, 0, 0.99)
    # Amplitudes of the error in phase with the truth's: the same random numbers are drawn.
    truth, error = track(power), track(power * share)
    time = torch.arange(len(truth), dtype=torch.float64) * SAMPLING
    found = track_spectral_score(truth + error, truth, time)
    assert found.segments == 8
    np.testing.assert_allclose(found.density[:77].numpy(), hann(power) / 2 * NPT * STEP, rtol=1e-6)
    line = 1 - hann(power * share) / hann(power)
    np.testing.assert_allclose(found.score[:77].numpy(), line, atol=1e-6)
    expected = np.interp(0.5, line[:30][::-1], (NPT * STEP / order)[:30][::-1])
    assert float(found.lambda_x) == pytest.approx(expected, rel=1e-6)
    assert expected == pytest.approx(NPT * STEP / 10, rel=0.02)


def test_crossing_equals_scipys_interpolation_where_the_score_falls() -> None:
    from scipy.interpolate import interp1d

    wavelength = torch.tensor([8.0, 4.0, 2.0, 1.0], dtype=torch.float64)
    score = torch.tensor([0.9, 0.7, 0.2, 0.1], dtype=torch.float64)
    assert float(first_crossing(wavelength, score)) == pytest.approx(float(interp1d(score, wavelength)(0.5)))
    assert float(first_crossing(wavelength, score)) == pytest.approx(4 - 2 * 0.2 / 0.5)
    rising = torch.tensor([[0.9, 0.3, 0.8, 0.1], [0.4, 0.9, 0.9, 0.9], [0.9, 0.9, 0.9, 0.6]], dtype=torch.float64)
    assert first_crossing(wavelength, rising).tolist() == pytest.approx([8 - 4 * 0.4 / 0.6, math.inf, 1.0])


def test_tracks_are_cut_at_gaps() -> None:
    time = np.concatenate([np.arange(10), 20 + np.arange(6), 40 + np.arange(9)]).astype(float)
    assert track_segments(time, 6, overlap=0.34).tolist() == [0, 2, 4, 10, 16, 18]
    assert track_segments(time, 30).tolist() == []
    # Worked out from the published indices: tracks [0, 9) and [9, 15), of which only the first has room for a stretch.
    assert track_segments(time, 6, overlap=0.34, published=True).tolist() == [0, 2]


def test_no_stretch_spans_a_gap() -> None:
    g = torch.Generator().manual_seed(1)
    a, b = (torch.randn(200, dtype=torch.float64, generator=g) for _ in range(2))
    time = torch.cat([torch.arange(200.0), 1e4 + torch.arange(200.0)]).double()
    truth = torch.cat([a, b])
    both = track_spectral_score(0.5 * truth, truth, time, length=40, step=1)
    torch.testing.assert_close(both.score, torch.full_like(both.score, 0.75))
    alone = [track_spectral_score(0.5 * x, x, time[:200], length=40, step=1) for x in (a, b)]
    torch.testing.assert_close(both.density, (alone[0].density + alone[1].density) / 2)


def test_missing_observations_are_left_out_of_all() -> None:
    truth = torch.randn(300, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    time = torch.arange(300, dtype=torch.float64)
    estimate = torch.stack([0.5 * truth, 0.8 * truth])
    holed = truth.clone()
    holed[100:110] = torch.nan
    score = track_spectral_score(estimate, holed, time, length=40, step=1)
    keep = torch.isfinite(holed)
    other = track_spectral_score(estimate[:, keep], truth[keep], time[keep], length=40, step=1)
    torch.testing.assert_close(score.score, other.score)
    assert score.score.shape == (2, 20)
    assert score.lambda_x.shape == (2,)


def test_daily_score_by_hand() -> None:
    # Ten observations on the first day, nine on the second, eleven on the fourth.
    time = torch.cat([torch.linspace(0, 0.9, 10), 1 + torch.linspace(0, 0.9, 9), 3 + torch.linspace(0, 0.9, 11)]) * DAY
    truth = torch.full((30,), 2.0, dtype=torch.float64)
    estimate = torch.cat([torch.full((10,), 1.8), torch.zeros(9), torch.full((11,), 1.4)]).double()
    score = daily_score(torch.stack([estimate, truth]), truth, time)
    assert score.count.tolist() == [10, 9, 0, 11]
    assert score.in_time[0].nan_to_num(-9).tolist() == pytest.approx([0.9, -9, -9, 0.7])
    assert score.mu.tolist() == pytest.approx([0.8, 1.0])
    assert score.sigma.tolist() == pytest.approx([0.1, 0.0])


def test_bad_tracks_are_refused() -> None:
    truth, time = torch.randn(100, dtype=torch.float64), torch.arange(100, dtype=torch.float64)
    with pytest.raises(DataError, match=r"No stretch of 156 observations \(1000 km\)"):
        track_spectral_score(truth, truth, time)
    with pytest.raises(ShapeError, match="at least 5 points, got 2"):
        track_spectral_score(truth, truth, time, length=15)
    with pytest.raises(SettingsError, match="sort the observations"):
        track_spectral_score(truth, truth, time.flip(0), length=60)
    with pytest.raises(ShapeError, match="Along a track"):
        track_spectral_score(truth[:50], truth, time)
    with pytest.raises(SettingsError, match="overlap"):
        track_spectral_score(truth, truth, time, overlap=0)
    with pytest.raises(DataError, match="No day has 500"):
        daily_score(truth, truth, time, least=500)
    with pytest.raises(DataError, match="setting the truth to NaN there"):
        daily_score(truth * torch.nan, truth, time)
    with pytest.raises(DataError, match="all land or all missing"):
        daily_score(truth, truth * torch.nan, time)

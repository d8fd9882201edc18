from __future__ import annotations

import math

import pytest
import torch

import leads
from leads.dynamics import DecomposedDynamics
from leads.environments import EnvironmentFamily
from leads.errors import SettingsError, ShapeError
from leads.evaluation import (
    coverage,
    coverage_in_time,
    crps_ensemble,
    crps_gaussian,
    interval_score,
    interval_width,
    reliability,
    uncertainty_figures,
)
from leads.trajectories import DataSplits

pytestmark = pytest.mark.filterwarnings("ignore::leads.errors.LimitsWarning")


def row(*values: float) -> torch.Tensor:
    """One environment, one trajectory, times as given, one channel."""
    return torch.tensor(values, dtype=torch.float64).reshape(1, 1, -1, 1)


def test_intervals_by_hand() -> None:
    lower, upper, truth = row(0, 0, 0, 0), row(1, 1, 2, 2), row(0.5, 1.5, -1, 2)
    mask = torch.tensor([True, True, False, True]).reshape(1, 1, 4, 1)
    assert float(coverage(lower, upper, truth)) == 0.5
    assert float(coverage(lower, upper, truth, mask)) == pytest.approx(2 / 3)
    assert coverage_in_time(lower, upper, truth).tolist() == [1, 0, 0, 1]
    assert coverage_in_time(lower, upper, truth, mask)[[0, 1, 3]].tolist() == [1, 0, 1]
    assert float(interval_width(lower, upper)) == 1.5
    # Misses of 0.5 and 1 at level 0.9 cost 20 times their size.
    assert float(interval_score(lower, upper, truth, 0.9)) == pytest.approx(1.5 + 20 * 1.5 / 4)
    assert float(interval_width(lower, upper + row(0, math.nan, 0, 0))) == math.inf


def test_crps_by_hand() -> None:
    # The closed form of a Gaussian's at y = mean: sigma (2 phi(0) - 1 / sqrt(pi)).
    exact = 2 * (2 / math.sqrt(2 * math.pi) - 1 / math.sqrt(math.pi))
    assert float(crps_gaussian(row(1), row(2), row(1))) == pytest.approx(exact)
    assert float(crps_gaussian(row(1, 1), row(0, 0), row(1.5, 0))) == 0.75
    draws = torch.stack([row(0), row(2), row(4)])
    # E|X - y| = (1 + 1 + 3) / 3, and half the mean distance of two different draws, (2 + 4 + 2) / 3 / 2.
    assert float(crps_ensemble(draws, row(1))) == pytest.approx(5 / 3 - 8 / 6)
    many = torch.randn(4000, 1, 1, 3, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    sample = crps_ensemble(many, row(0, 1, -2))
    torch.testing.assert_close(sample, crps_gaussian(row(0, 0, 0), row(1, 1, 1), row(0, 1, -2)), rtol=0.03, atol=0)


def test_reliability_of_calibrated_bands(coda: DecomposedDynamics, lotka: EnvironmentFamily, data: DataSplits) -> None:
    calibration = leads.calibrate(coda, *leads.held_out_environments(lotka, 50, truth=2, seed=1))
    support, truth = leads.held_out_environments(lotka, 40, truth=2, seed=2)
    adapted = leads.adapt(coda, support)
    plain, found = reliability(adapted, truth), reliability(adapted, truth, calibration)
    off = lambda r: max(abs(c - q) for c, q in zip(r.coverage, r.levels, strict=True))
    assert off(found) < 0.1 < off(plain)
    bands = adapted.bands(truth.initial, truth.times, calibration=calibration)
    held = coverage(bands.lower[:, :, 1:], bands.upper[:, :, 1:], truth.states[:, :, 1:])
    assert found.per_environment == pytest.approx(held.tolist(), abs=0.03)  # float32 against float64 at the edges
    assert found.coverage[found.levels.index(0.9)] == pytest.approx(sum(found.per_environment) / 40)
    assert sum(found.in_time) / 19 == pytest.approx(sum(found.per_environment) / 40)
    assert found.interval_score < plain.interval_score
    assert found.lead_times == truth.times[1:].tolist()
    results = {"posterior alone": plain, "calibrated": found}
    curve = uncertainty_figures.reliability_curve(results)
    assert list(curve.axes[0].lines[2].get_ydata()) == found.coverage
    lead = uncertainty_figures.coverage_by_lead_time(results)
    assert list(lead.axes[0].lines[2].get_ydata()) == found.in_time
    figure = uncertainty_figures.bands(bands, truth)
    assert len(figure.axes) == 4
    bars = uncertainty_figures.alarm_curve([-0.1, 0.1, 0.2], [False, True, False], [-1, 0, 1], 0.05).axes[0].patches
    assert [b.get_height() for b in bars] == [0.0, 0.5]
    few = leads.calibrate(coda, *leads.held_out_environments(lotka, 12, truth=1, seed=3))
    assert reliability(adapted, truth, few).levels[-1] == 0.9
    with pytest.raises(SettingsError, match="at least 19"):
        reliability(adapted, truth, few, level=0.95)
    with pytest.raises(ShapeError, match="40 environments, the test data have 4"):
        reliability(adapted, data.adapt_test)
    with pytest.raises(SettingsError, match="No level is left"):
        reliability(adapted, truth, few, levels=[0.99])


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(ShapeError, match="lower has shape"):
        coverage(row(0), row(1, 2), row(1, 2))
    with pytest.raises(ShapeError, match="mask has shape"):
        crps_gaussian(row(1, 1), row(1, 1), row(1, 1), torch.ones(1, dtype=torch.bool))
    with pytest.raises(ShapeError, match="at least two draws"):
        crps_ensemble(row(1)[None], row(1))

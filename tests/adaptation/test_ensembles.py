from __future__ import annotations

import pytest
import torch
from drift_model import drift

import leads
from leads.dynamics import DecomposedDynamics
from leads.environments import EnvironmentFamily
from leads.errors import SettingsError, ShapeError
from leads.trajectories import DataSplits

pytestmark = pytest.mark.filterwarnings("ignore::leads.errors.LimitsWarning")


@pytest.fixture(scope="module")
def models(coda: DecomposedDynamics, data: DataSplits) -> list[DecomposedDynamics]:
    other = leads.build("coda", data.train, backbone_settings={"width": 16}, spread=0.1, seed=1)
    leads.fit(other, data.train, data.valid, steps=150, lr=1e-2, validate_every=50)
    return [coda, other]


def test_moments_are_those_of_the_mixture(models: list[DecomposedDynamics], data: DataSplits) -> None:
    together = leads.Ensemble(models).adapt(data.adapt)
    alone = [leads.adapt(m, data.adapt) for m in models]
    x0, t = data.adapt_test.initial, data.adapt_test.times
    a, b = (m.bands(x0, t) for m in alone)
    both = together.bands(x0, t)
    torch.testing.assert_close(both.mean, (a.mean + b.mean) / 2)
    torch.testing.assert_close(both.mean, together.forecast(x0, t), rtol=1e-4, atol=1e-5)
    variance = (a.standard_deviation**2 + b.standard_deviation**2) / 2 + (a.mean - b.mean) ** 2 / 4
    torch.testing.assert_close(both.standard_deviation, variance.sqrt(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(both.width / both.standard_deviation.clamp_min(1e-30), a.width / a.standard_deviation.clamp_min(1e-30), rtol=1e-3, atol=1e-3)  # fmt: skip


def test_members_without_covariance_bring_their_mean(models: list[DecomposedDynamics], data: DataSplits) -> None:
    together = leads.Ensemble(models).adapt(data.adapt, solver="gradient", steps=20)
    x0, t = data.adapt_test.initial, data.adapt_test.times
    a, b = (m.forecast(x0, t) for m in together.members)
    spread = together.bands(x0, t, noise=False).standard_deviation
    torch.testing.assert_close(spread, (a - b).abs() / 2, rtol=1e-4, atol=1e-6)


def test_calibration_of_an_ensemble(models: list[DecomposedDynamics], lotka: EnvironmentFamily) -> None:
    ensemble = leads.Ensemble(models)
    calibration = leads.calibrate(ensemble, *leads.held_out_environments(lotka, 40, truth=2, seed=1))
    support, truth = leads.held_out_environments(lotka, 40, truth=2, seed=2)
    adapted = ensemble.adapt(support)
    bands = adapted.bands(truth.initial, truth.times, calibration=calibration)
    held = ((truth.states >= bands.lower) & (truth.states <= bands.upper))[:, :, 1:].double().mean()
    assert 0.82 < float(held) < 0.98
    assert len(calibration.regions) == 2
    assert calibration.check(adapted, warn=False).p_value.shape == (40,)
    with pytest.raises(SettingsError, match="belongs to another model"):
        calibration.check(leads.adapt(models[0], support))


def test_bad_input(coda: DecomposedDynamics, diffusion: EnvironmentFamily) -> None:
    with pytest.raises(SettingsError, match="at least two models, got 1"):
        leads.Ensemble([coda])
    with pytest.raises(ShapeError, match="differ in"):
        leads.Ensemble([coda, leads.build("coda", diffusion, backbone="conv", backbone_settings={"width": 4})])
    assert len(leads.Ensemble([coda, drift()]).models) == 2

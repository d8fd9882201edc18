"""Bands, calibration and next observations of fields, of models with past frames, and with known parameters."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import leads
from leads.environments import EnvironmentFamily
from leads.trajectories import DataSplits, Trajectories

pytestmark = pytest.mark.filterwarnings("ignore::leads.errors.LimitsWarning")


def test_fields(diffusion: EnvironmentFamily) -> None:
    """Every cell has a score, channels share their scale over the grid."""
    model = leads.build("coda", diffusion, backbone="conv", backbone_settings={"width": 4})
    support, truth = leads.held_out_environments(diffusion, 24, truth=2, seed=1)
    calibration = leads.calibrate(model, support, truth, iterations=2)
    assert calibration.scales.shape == (200, 4, 1)
    fresh, test = leads.held_out_environments(diffusion, 40, truth=2, seed=2)
    adapted = leads.adapt(model, fresh, iterations=2)
    bands = adapted.bands(test.initial, test.times, calibration=calibration)
    assert bands.lower.shape == test.states.shape
    held = ((test.states >= bands.lower) & (test.states <= bands.upper))[:, :, 1:].double().mean()
    assert 0.85 < float(held) <= 1.0


def test_a_calibration_of_sampled_bands(diffusion: EnvironmentFamily) -> None:
    model = leads.build("coda", diffusion, backbone="conv", backbone_settings={"width": 4})
    support, truth = leads.held_out_environments(diffusion, 20, truth=1, seed=1)
    calibration = leads.calibrate(model, support, truth, method="sampled", draws=20, by=(), iterations=2)
    adapted = leads.adapt(model, support, iterations=2).calibrated(calibration)
    bands = adapted.bands(truth.initial, truth.times)
    k = int((calibration.levels - 0.9).abs().argmin())
    own = adapted.moments(truth.initial, truth.times, "sampled", draws=20)[1]
    torch.testing.assert_close(bands.width.double(), 2 * calibration.scales[k] * own, rtol=1e-4, atol=1e-5)


def test_models_with_past_frames() -> None:
    t = 0.4 * torch.arange(10, dtype=torch.float64)
    w = torch.linspace(0.8, 1.2, 24, dtype=torch.float64)
    phase = 6.28 * torch.rand(24, 3, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    data = Trajectories(torch.cos(w[:, None, None] * t + phase)[..., None].float(), t, w[:, None])
    model = leads.build("coda", data, history=2, backbone_settings={"width": 6})
    support, truth = data.select(trajectories=[0]), data.select(trajectories=[1, 2])
    calibration = leads.calibrate(model, support, truth, iterations=3)
    assert calibration.lead_times.tolist() == pytest.approx((t[2:] - t[1]).tolist())
    adapted = leads.adapt(model, support, iterations=3)
    bands = adapted.bands(truth.first(2), t[1:], calibration=calibration)
    held = ((truth.states[:, :, 1:] >= bands.lower) & (truth.states[:, :, 1:] <= bands.upper))[:, :, 1:]
    assert float(held.double().mean()) >= 0.9  # the environments that it was calibrated on
    score = leads.evaluation.reliability(adapted, truth, calibration)
    assert score.per_environment == pytest.approx(held.double().flatten(1).mean(1).tolist(), abs=0.05)
    found = leads.next_observation(adapted, truth.first(2), t[1:], noise=0.1)
    assert found.gains.shape == (24, 2, 8, 1)


def test_known_parameters_have_no_spread(data: DataSplits, lotka: EnvironmentFamily, tmp_path: Path) -> None:
    """beta and delta come with the data; alpha and gamma are found, and their spread is that of bands by finite
    differences of the true equations."""
    physics = {"family": "lotka_volterra", "given": ["delta", "beta"], "own": {"alpha": 0.5, "gamma": 0.5}}
    model = leads.build("aphynity", data.train, physics=physics, network=False, substeps=4)
    g = torch.Generator().manual_seed(0)
    noisy = data.adapt.states + 0.02 * torch.randn(data.adapt.states.shape, generator=g)
    noisy[:, :, 0] = data.adapt.states[:, :, 0]
    adapted = leads.adapt(model, replace(data.adapt, states=noisy))
    assert adapted.covariance is not None
    assert adapted.covariance.shape == (4, 2, 2)
    x0, t = data.adapt_test.initial, data.adapt_test.times
    bands = adapted.bands(x0, t, level=0.95, noise=False)
    error = (bands.mean - data.adapt_test.states)[:, :, 1:]
    ratio = (error / bands.standard_deviation[:, :, 1:]).square().mean()
    assert 0.2 < float(ratio) < 4  # eight estimated numbers: chi squared over its degrees of freedom
    calibration = leads.calibrate(model, *leads.held_out_environments(lotka, 20, truth=1, noise=0.02, seed=1))
    adapted.calibrated(calibration).save(tmp_path / "a.safetensors")
    again = leads.Adapted.load(tmp_path / "a.safetensors")
    assert again.calibration is not None
    assert torch.equal(again.bands(x0, t).lower, adapted.bands(x0, t, calibration=calibration).lower)

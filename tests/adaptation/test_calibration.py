from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from drift_model import drift

import leads
from leads.adaptation import Calibration
from leads.adaptation.conformal import environments_needed, hierarchical_quantiles
from leads.dynamics import DecomposedDynamics
from leads.environments import EnvironmentFamily
from leads.errors import CheckpointError, DataError, LimitsWarning, SettingsError, ShapeError
from leads.trajectories import DataSplits, Trajectories

Pair = tuple[Trajectories, Trajectories]


# Five in a hundred environments alarm, as they should.
pytestmark = pytest.mark.filterwarnings("ignore::leads.errors.LimitsWarning")


@pytest.fixture(scope="module")
def held_out(lotka: EnvironmentFamily) -> Pair:
    return leads.held_out_environments(lotka, 40, truth=3, seed=1)


@pytest.fixture(scope="module")
def calibration(coda: DecomposedDynamics, held_out: Pair) -> Calibration:
    return leads.calibrate(coda, *held_out)


def test_with_one_score_each_it_is_split_conformal() -> None:
    scores = torch.from_numpy(np.random.RandomState(0).permutation(19) + 1.0)[:, None]
    levels = torch.tensor([0.05, 0.5, 0.9, 0.95, 0.96], dtype=torch.float64)
    expected = [math.ceil(20 * q - 1e-9) for q in levels.tolist()]
    assert hierarchical_quantiles(scores, levels).tolist() == [*map(float, expected[:4]), math.inf]


def test_hierarchical_quantiles_by_hand() -> None:
    """Environments of unequal sizes: 1 / ((K + 1) n_k) each, summed in order."""
    draw = np.random.RandomState(1)
    sizes = [3, 1, 5, 2]
    scores = np.full((4, 5), np.nan)
    for k, n in enumerate(sizes):
        scores[k, :n] = draw.uniform(size=n)
    pairs = sorted((scores[k, i], 1 / (5 * n)) for k, n in enumerate(sizes) for i in range(n))
    for level in (0.1, 0.33, 0.5, 0.79, 0.81):
        total, expected = 0.0, math.inf
        for s, w in pairs:
            total += w
            if total >= level - 1e-9:
                expected = s
                break
        found = hierarchical_quantiles(torch.from_numpy(scores), torch.tensor([level], dtype=torch.float64))
        assert float(found) == expected


def test_fresh_environments_are_covered_however_scores_vary_between_them() -> None:
    """Scores share a scale within an environment; pooled quantiles of many scores would say nothing of a new one."""
    g = torch.Generator().manual_seed(0)
    scale = torch.randn(4000, 21, 1, dtype=torch.float64, generator=g).exp()
    scores = scale * torch.randn(4000, 21, 6, dtype=torch.float64, generator=g).abs()
    q = hierarchical_quantiles(scores[:, :20], torch.tensor([0.9], dtype=torch.float64))[0]
    covered = float((scores[:, 20] <= q[:, None]).double().mean())
    assert 0.9 - 0.012 < covered < 0.9 + 2 / 21


def test_calibrated_bands_cover_fresh_environments(
    coda: DecomposedDynamics, calibration: Calibration, lotka: EnvironmentFamily
) -> None:
    support, truth = leads.held_out_environments(lotka, 60, truth=3, seed=2)
    adapted = leads.adapt(coda, support)
    plain = adapted.bands(truth.initial, truth.times)
    bands = adapted.calibrated(calibration).bands(truth.initial, truth.times)
    assert bands.calibrated
    assert not plain.calibrated
    held = lambda b: float(((truth.states >= b.lower) & (truth.states <= b.upper))[:, :, 1:].double().mean())
    assert held(plain) < 0.82  # the model's own error is not in the posterior
    assert 0.83 < held(bands) < 0.97  # sixty environments and forty tell it to about 2.5 %


def test_scales_by_lead_time_and_channel(coda: DecomposedDynamics, held_out: Pair, calibration: Calibration) -> None:
    assert calibration.scales.shape == (200, 19, 2)
    for by, shape in ((("lead_time",), (19, 1)), (("channel",), (1, 2)), ((), (1, 1))):
        other = leads.calibrate(coda, *held_out, by=by)
        assert other.scales.shape == (200, *shape)
        assert bool((other.scales.diff(dim=0)[:150] >= 0).all())
        adapted = leads.adapt(coda, held_out[0])
        t = held_out[1].times
        assert adapted.bands(held_out[1].initial, t, calibration=other).width.shape == held_out[1].states.shape
    k = int((calibration.levels - 0.9).abs().argmin())
    between = calibration.scale(0.9, torch.tensor([0.0, 0.5, 0.7, 9.5], dtype=torch.float64))
    assert torch.equal(between, calibration.scales[k][[0, 0, 1, 18]])


def test_masked_entries_do_not_count(coda: DecomposedDynamics, held_out: Pair, calibration: Calibration) -> None:
    support, truth = held_out
    mask = torch.ones_like(truth.states, dtype=torch.bool)
    mask[:, 0] = False
    broken = truth.states.clone()
    broken[:, 0, 1:] += 100
    some = leads.calibrate(coda, support, replace(truth, states=broken, mask=mask))
    only = leads.calibrate(coda, support, truth.select(trajectories=slice(1, None)))
    torch.testing.assert_close(some.scales, only.scales)


def test_save_and_load(coda: DecomposedDynamics, held_out: Pair, calibration: Calibration, tmp_path: Path) -> None:
    calibration.save(tmp_path / "c.safetensors")
    again = Calibration.load(tmp_path / "c.safetensors")
    adapted = leads.adapt(coda, held_out[0]).calibrated(calibration)
    adapted.save(tmp_path / "a.safetensors")
    loaded = leads.Adapted.load(tmp_path / "a.safetensors")
    x0, t = held_out[1].initial, held_out[1].times
    for other in (adapted.bands(x0, t, calibration=again), loaded.bands(x0, t)):
        assert torch.equal(other.upper, adapted.bands(x0, t).upper)
    assert torch.equal(again.check(adapted, warn=False).p_value, calibration.check(adapted, warn=False).p_value)
    with pytest.raises(CheckpointError, match="holds a adapted model"):
        Calibration.load(tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="cannot be read"):
        Calibration.restore({}, calibration.description(), "x")


def test_bad_input(coda: DecomposedDynamics, held_out: Pair, calibration: Calibration, data: DataSplits) -> None:
    support, truth = held_out
    adapted, x0, t = leads.adapt(coda, support), truth.initial, truth.times
    few = leads.calibrate(coda, *(d.select(environments=range(8)) for d in held_out))
    with pytest.raises(SettingsError, match="at least 9 held-out environments, the calibration has 8"):
        adapted.bands(x0, t, calibration=few)
    assert bool(torch.isfinite(adapted.bands(x0, t, level=0.8, calibration=few).upper).all())
    with pytest.raises(SettingsError, match="at least 19 held-out"):
        few.check(adapted)
    assert [environments_needed(q) for q in (0.5, 0.8, 0.9, 0.95, 0.99)] == [1, 4, 9, 19, 99]
    with pytest.raises(SettingsError, match="belongs to another model"):
        calibration.bands(leads.adapt(drift(), support), x0, t, 0.9)
    with pytest.raises(SettingsError, match=r"made for linearised.*'sampled'"):
        adapted.bands(x0, t, method="sampled", calibration=calibration)
    with pytest.raises(DataError, match="repeats trajectories of the support"):
        leads.calibrate(coda, support, support)
    with pytest.raises(ShapeError, match="40 and 5 environments"):
        leads.calibrate(coda, support, truth.select(environments=range(5)))
    with pytest.raises(DataError, match="parameters of support and truth differ"):
        leads.calibrate(coda, support, truth.select(environments=[*range(1, 40), 0]))
    with pytest.raises(SettingsError, match="'lead_time' and 'channel'"):
        leads.calibrate(coda, support, truth, by=("time",))
    with pytest.raises(SettingsError, match="Ensemble"):
        leads.calibrate(coda, support, truth, solver="gradient", steps=1)
    with pytest.raises(SettingsError, match="support and truth count"):
        leads.held_out_environments(leads.make("lotka_volterra"), 2, support=0)
    with pytest.warns(LimitsWarning, match=r"runs for 19.*up to 9\.5"):
        adapted.bands(x0, torch.arange(39, dtype=torch.float64) * 0.5, calibration=calibration)


def test_held_out_environments(lotka: EnvironmentFamily) -> None:
    support, truth = leads.held_out_environments(lotka, 6, support=2, truth=3, noise=0.1, seed=3, dtype=torch.float64)
    clean, same = leads.held_out_environments(lotka, 6, support=2, truth=3, seed=3, dtype=torch.float64)
    assert support.states.shape == (6, 2, 20, 2)
    assert torch.equal(truth.states, same.states)
    assert 0.08 < float((support.states - clean.states).std()) < 0.12
    assert len(support.initial.flatten(0, 1).unique(dim=0)) == 12
    assert support.parameters is not None
    assert torch.equal(support.parameters, lotka.sample(6, "inside", 3))
    again = leads.simulate(lotka.system, support.parameters, truth.initial, truth.times)
    torch.testing.assert_close(again.states, truth.states, rtol=1e-9, atol=1e-9)

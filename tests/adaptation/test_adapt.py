from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import leads
from leads.contexts.flat import flatten, unflatten
from leads.dynamics import DecomposedDynamics
from leads.errors import CheckpointError, DataError, DivergenceError, SettingsError, ShapeError, UnknownNameError
from leads.trajectories import DataSplits


def test_both_solvers_find_the_same_minimum(coda: DecomposedDynamics, data: DataSplits) -> None:
    fast = leads.adapt(coda, data.adapt)
    slow = leads.adapt(coda, data.adapt, solver="gradient", steps=300, lr=5e-2)
    assert all(fast.info["converged"])
    torch.testing.assert_close(torch.tensor(fast.info["loss"]), torch.tensor(slow.info["loss"]), rtol=2e-3, atol=1e-9)
    assert max(fast.info["loss"]) < float((data.adapt.states[:, :, 1:] - data.adapt.states[:, :, :1]).square().mean())


def test_an_environment_does_not_depend_on_those_beside_it(coda: DecomposedDynamics, data: DataSplits) -> None:
    together = leads.adapt(coda, data.adapt)
    for e in range(4):
        alone = leads.adapt(coda, data.adapt.select(environments=[e]))
        torch.testing.assert_close(alone.contexts["code"][0], together.contexts["code"][e], rtol=1e-5, atol=1e-6)


def test_the_true_context_is_recovered_with_its_covariance(coda: DecomposedDynamics, data: DataSplits) -> None:
    """Data made by the model itself, with noise: the error must be of the size that the covariance says."""
    truth = torch.tensor([[0.1, -0.05]]).expand(200, 2)
    x0 = data.test.initial[:1].expand(200, -1, -1)
    with torch.no_grad():
        clean = coda.rollout(x0, data.test.times, {"code": truth})
    noise = 1e-2 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    noise[:, :, 0] = 0
    adapted = leads.adapt(coda, leads.Trajectories(clean + noise, data.test.times))
    assert adapted.covariance is not None
    error = (adapted.contexts["code"] - truth).double()
    distance = torch.einsum("ei,eij,ej->e", error, torch.linalg.inv(adapted.covariance), error)
    assert 1.6 < float(distance.mean()) < 2.4  # chi squared with two degrees of freedom has mean 2


def test_shared_weights_keep_their_bits(coda: DecomposedDynamics, data: DataSplits) -> None:
    before = {k: v.clone() for k, v in coda.state_dict().items()}
    flags = [p.requires_grad for p in coda.parameters()]
    for solver in ("levenberg_marquardt", "gradient"):
        leads.adapt(coda, data.adapt, solver=solver, steps=3, iterations=2)
    assert all(torch.equal(v, before[k]) for k, v in coda.state_dict().items())
    assert [p.requires_grad for p in coda.parameters()] == flags


def test_a_prior_holds_the_context_back(coda: DecomposedDynamics, data: DataSplits) -> None:
    free, held = leads.adapt(coda, data.adapt), leads.adapt(coda, data.adapt, prior=10.0)
    assert float(held.contexts["code"].norm()) < 0.2 * float(free.contexts["code"].norm())


def test_save_and_load(coda: DecomposedDynamics, data: DataSplits, tmp_path: Path) -> None:
    adapted = leads.adapt(coda, data.adapt)
    adapted.save(tmp_path / "a.safetensors")
    again = leads.Adapted.load(tmp_path / "a.safetensors")
    x0, t = data.adapt_test.initial, data.adapt_test.times
    assert torch.equal(again.forecast(x0, t), adapted.forecast(x0, t))
    assert again.covariance is not None
    assert again.info == adapted.info
    leads.save_model(coda, tmp_path / "m.safetensors")
    with pytest.raises(CheckpointError, match="holds a model, a adapted model"):
        leads.Adapted.load(tmp_path / "m.safetensors")


def test_ensemble_spreads_around_the_forecast(coda: DecomposedDynamics, data: DataSplits) -> None:
    adapted = leads.adapt(coda, data.adapt)
    x0, t = data.adapt_test.initial, data.adapt_test.times
    many = adapted.ensemble(x0, t, n=64)
    assert many.shape == (64, *data.adapt_test.states.shape)
    assert torch.equal(many, adapted.ensemble(x0, t, n=64))
    assert float((many.mean(0) - adapted.forecast(x0, t)).abs().max()) < float(many.std(0).max())
    assert float(many[:, :, :, 0].std(0).max()) == 0
    with pytest.raises(SettingsError, match="no covariance"):
        leads.trained(coda).ensemble(data.train.initial, t)


def test_flatten_round_trip() -> None:
    contexts = {"a": torch.randn(3, 2, 4), "b": torch.randn(3, 5)}
    back = unflatten(flatten(contexts), contexts)
    assert all(torch.equal(back[k], v) for k, v in contexts.items())


def test_masked_support(coda: DecomposedDynamics, data: DataSplits) -> None:
    x, mask = data.adapt.states.clone(), torch.ones_like(data.adapt.states, dtype=torch.bool)
    mask[:, :, 3:, 0] = False
    x[:, :, 3:, 0] = float("nan")
    adapted = leads.adapt(coda, replace(data.adapt, states=x, mask=mask))
    assert bool(torch.isfinite(adapted.contexts["code"]).all())


def test_bad_input(coda: DecomposedDynamics, data: DataSplits) -> None:
    with pytest.raises(UnknownNameError, match="levenberg_marquardt"):
        leads.adapt(coda, data.adapt, solver="levenberg")
    with pytest.raises(SettingsError, match="Did you mean 'iterations'"):
        leads.adapt(coda, data.adapt, iteration=3)
    with pytest.raises(ShapeError, match=r"forecasts states .* \(2,\)"):
        leads.adapt(coda, leads.Trajectories(torch.zeros(1, 1, 3, 5), torch.arange(3, dtype=torch.float64)))
    with pytest.raises(ShapeError, match="at least two"):
        leads.adapt(coda, data.adapt.select(frames=slice(0, 1)))
    broken = copy.deepcopy(coda)
    with torch.no_grad():
        for p in broken.adapter.parameters():
            p.mul_(1e30)
    for solver in ("levenberg_marquardt", "gradient"):
        with pytest.raises(DivergenceError, match="new environment 0"):
            leads.adapt(broken, data.adapt, solver=solver)
    adapted = leads.adapt(coda, data.adapt)
    with pytest.raises(ShapeError, match="E, N, C"):
        adapted.forecast(data.test.initial, data.test.times)
    with pytest.raises(DataError, match="increase"):
        adapted.forecast(data.adapt.initial, data.test.times.flip(0))
    with pytest.raises(DataError, match="NaN"):
        adapted.forecast(data.adapt.initial * float("nan"), data.test.times)
    leads_model = leads.build("leads", data.train)
    with pytest.raises(SettingsError, match="gradient"):
        leads.adapt(leads_model, data.adapt, solver="levenberg_marquardt")

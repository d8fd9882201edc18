"""Updates against fits to all observations at once, and drift alarms against their promised rates."""

from __future__ import annotations

import functools
import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import leads
from leads.adaptation.drift import DriftMonitor, cusum_limit, score
from leads.adaptation.online import Innovation, OnlineAdapter, frame_error
from leads.adaptation.recursive import Quadratic
from leads.adapters import Adapter, Context
from leads.contexts import Table
from leads.dynamics import DecomposedDynamics
from leads.errors import DataError, SettingsError, ShapeError
from leads.trajectories import DataSplits


class Forced(Adapter):
    """dx/dt = c_1 cos t + c_2, in both channels alike but for a factor: rollouts are linear in the context."""

    def init_context(self) -> Context:
        return {"c": torch.zeros(2, dtype=torch.float64)}

    def prepare(self, context: Context) -> Tensor:
        return context["c"]

    def forward(self, t: Tensor, x: Tensor, prepared: Tensor) -> Tensor:
        push = prepared[0] * torch.cos(t) + prepared[1]
        return torch.stack([push.expand_as(x[..., 0]), 0.5 * push.expand_as(x[..., 0])], -1)


def linear() -> DecomposedDynamics:
    adapter = Forced()
    return DecomposedDynamics(adapter, Table(adapter, 1))


def noisy_line(n: int = 2) -> leads.Trajectories:
    """Three environments of the linear model with noise, 31 frames."""
    generator = torch.Generator().manual_seed(0)
    c = torch.randn(3, 2, dtype=torch.float64, generator=generator)
    t = torch.linspace(0, 6, 31, dtype=torch.float64)
    x0 = torch.randn(3, n, 2, dtype=torch.float64, generator=generator)
    clean = linear().rollout(x0, t, {"c": c}).detach()
    noise = 0.1 * torch.randn(clean.shape, dtype=torch.float64, generator=generator)
    return leads.Trajectories(torch.cat([clean[:, :, :1], clean[:, :, 1:] + noise[:, :, 1:]], 2), t)


def frames(data: leads.Trajectories, *cuts: int) -> list[leads.Trajectories]:
    edges = (0, *cuts, len(data.times))
    return [data.select(frames=slice(a, b)) for a, b in itertools.pairwise(edges)]


@functools.cache
def physical() -> DecomposedDynamics:
    """Lotka-Volterra's own equations with beta and delta to be found."""
    known = {"family": "lotka_volterra", "fixed": {"alpha": 0.5, "gamma": 0.5}, "own": {"beta": 0.75, "delta": 0.75}}
    return leads.build("aphynity", leads.make("lotka_volterra"), network=False, physics=known, substeps=2).double()


def record(jump: Tensor | None = None, environments: int = 100, sigma: float = 0.01) -> leads.Trajectories:
    """60 noisy frames of Lotka-Volterra, after frame 39 with other parameters where ``jump`` is given."""
    family = leads.make("lotka_volterra")
    t = 0.5 * torch.arange(60, dtype=torch.float64)
    p = torch.tensor([[0.5, 0.6, 0.5, 0.6]], dtype=torch.float64).expand(environments, 4)
    x0 = torch.from_numpy(np.random.RandomState(5).uniform(1, 2, (environments, 1, 2)))
    states = family.system.simulate(x0, p, t)
    if jump is not None:
        after = family.system.simulate(states[:, :, 39], jump.expand(environments, 4), t[39:])
        states = torch.cat([states[:, :, :40], after[:, :, 1:]], 2)
    noise = sigma * torch.randn(states.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return leads.Trajectories(states + noise, t)


def monitor(data: leads.Trajectories, rate: float = 0.01, **settings: Any) -> DriftMonitor:
    support, more = frames(data, 20)
    adapted = leads.adapt(physical(), support)
    watch = DriftMonitor(OnlineAdapter(adapted, support, estimate_start=True, **settings), rate, frames=40)
    watch.update(more)
    return watch


def test_linear_updates_equal_the_fit_to_everything() -> None:
    data = noisy_line()
    whole = leads.adapt(linear(), data)
    first, *others = frames(data, 8, 9, 20)
    online = OnlineAdapter(leads.adapt(linear(), first), first)
    for more in others:
        adapted = online.update(more)
    torch.testing.assert_close(adapted.contexts["c"], whole.contexts["c"], rtol=1e-6, atol=1e-8)
    # Both Jacobians are central differences.
    torch.testing.assert_close(adapted.covariance, whole.covariance, rtol=1e-5, atol=1e-9)
    forecast = whole.forecast(data.initial, data.times)
    torch.testing.assert_close(online.state, forecast[:, :, -1], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(
        online.forecast(data.times[-1] + torch.tensor([0.5, 1.0], dtype=torch.float64)),
        whole.forecast(data.initial, torch.cat([data.times, data.times[-1] + torch.tensor([0.5, 1.0])]))[:, :, -2:],
        rtol=1e-6,
        atol=1e-6,
    )


def test_missing_values_and_fresh_trajectories_equal_the_fit_to_everything() -> None:
    data = noisy_line()
    mask = torch.rand(data.states.shape, generator=torch.Generator().manual_seed(2)) < 0.6
    mask[:, :, 0] = True
    states = torch.where(mask, data.states, torch.nan)
    data = replace(data, states=states, mask=mask)
    whole = leads.adapt(linear(), data)
    one, two = data.select(trajectories=[0]), data.select(trajectories=[1])
    online = OnlineAdapter(leads.adapt(linear(), one), one)
    early, late = frames(two, 15)
    online.update(early, fresh=True)
    adapted = online.update(late)
    torch.testing.assert_close(adapted.contexts["c"], whole.contexts["c"], rtol=1e-6, atol=1e-8)
    # Both Jacobians are central differences.
    torch.testing.assert_close(adapted.covariance, whole.covariance, rtol=1e-5, atol=1e-9)


def test_noisy_starts_equal_ordinary_least_squares() -> None:
    """All frames are x0 + c_1 s sin t + c_2 s t, s = 1 or 1/2 (rk4 of cos t errs by 1e-8): NumPy fits x0 and c."""
    data = noisy_line(n=1)
    t, y = data.times.numpy(), data.states[:, 0].numpy()
    columns = [np.stack([s * np.sin(t), s * t, s == 1.0 + 0 * t, s == 0.5 + 0 * t], 1) for s in (1.0, 0.5)]
    exact = [np.linalg.lstsq(np.concatenate(columns), np.concatenate(y[e].T), rcond=None)[0] for e in range(3)]
    first, *others = frames(data, 10, 20)
    online = OnlineAdapter(leads.adapt(linear(), first), first, estimate_start=True)
    for more in others:
        adapted = online.update(more)
    np.testing.assert_allclose(adapted.contexts["c"].numpy(), np.stack(exact)[:, :2], rtol=1e-5, atol=1e-6)


def test_forgetting_equals_weighted_least_squares() -> None:
    data = noisy_line(n=1)
    support, *others = frames(data, 2, *range(3, 31))
    online = OnlineAdapter(leads.adapt(linear(), support), support, forgetting=0.9)
    for more in others:
        adapted = online.update(more)
    t, y = data.times.numpy()[1:], (data.states[:, 0] - data.states[:, 0, :1]).numpy()[:, 1:]
    root = np.sqrt(0.9 ** np.arange(29, -1, -1))
    for e in range(3):
        design = np.concatenate([root[:, None] * s * np.stack([np.sin(t), t], 1) for s in (1.0, 0.5)])
        exact = np.linalg.lstsq(design, np.concatenate([root * y[e, :, c] for c in range(2)]), rcond=None)[0]
        np.testing.assert_allclose(adapted.contexts["c"][e].numpy(), exact, rtol=1e-5, atol=1e-6)


def test_updates_of_lotka_volterra_come_close_to_the_fit_to_everything() -> None:
    data = record(environments=20)
    data = replace(
        data, states=torch.cat([record(environments=20, sigma=0.0).states[:, :, :1], data.states[:, :, 1:]], 2)
    )
    whole = leads.adapt(physical(), data)
    assert whole.covariance is not None
    support, *others = frames(data, 10, *range(15, 60, 5))
    first = leads.adapt(physical(), support)
    online = OnlineAdapter(first, support)
    for more in others:
        adapted = online.update(more)
    std = whole.covariance.diagonal(dim1=1, dim2=2).sqrt()
    away = lambda a: float(((a.contexts["physics"] - whole.contexts["physics"]) / std).abs().mean())
    assert away(adapted) < 0.05  # of a standard deviation
    assert away(first) > 20 * away(adapted)
    assert adapted.covariance is not None
    again = adapted.covariance.diagonal(dim1=1, dim2=2).sqrt()
    assert float((again / std - 1).abs().median()) < 0.02
    assert all(adapted.info["converged"])


def test_a_trained_model_improves_with_what_comes_in(coda: DecomposedDynamics, data: DataSplits) -> None:
    support, more = frames(data.adapt, 5)
    before = leads.adapt(coda, support)
    weights = {k: v.clone() for k, v in coda.state_dict().items()}
    after = OnlineAdapter(before, support).update(more)
    error = lambda a: leads.evaluate(a, data.adapt_test).scores["all"]["mse"]
    assert error(after) < error(before)
    assert after.contexts["code"].dtype == torch.float32
    assert all(torch.equal(v, weights[k]) for k, v in coda.state_dict().items())


def test_past_frames_are_carried(data: DataSplits) -> None:
    """A model that sees two frames: its state after an update is its own forecast's."""
    model = leads.build("coda", data.train, backbone_settings={"width": 8}, spread=0.1, history=2)
    support, more = frames(data.adapt, 12)
    online = OnlineAdapter(leads.adapt(model, support, iterations=3), support)
    before = online.forecast(more.times)
    after = online.update(replace(more, mask=torch.zeros(more.states.shape, dtype=torch.bool)))
    torch.testing.assert_close(online.state, before[:, :, -1])
    whole = leads.Adapted(model, after.contexts).forecast(data.adapt.first(2), data.adapt.times[1:])
    torch.testing.assert_close(online.state.float(), whole[:, :, -1], rtol=1e-4, atol=1e-4)


def test_innovations_follow_their_distribution() -> None:
    """2000 environments of the linear model, noise estimated: F with (4, 40 - 2) degrees of freedom."""
    t = torch.linspace(0, 6, 23, dtype=torch.float64)
    generator = torch.Generator().manual_seed(3)
    x0, c = torch.zeros(2000, 1, 2, dtype=torch.float64), torch.ones(2000, 2, dtype=torch.float64)
    states = linear().rollout(x0, t, {"c": c}).detach()
    states = torch.cat([x0[:, :, None], states[:, :, 1:] + 0.1 * torch.randn(2000, 1, 22, 2, generator=generator)], 2)
    support, more = frames(leads.Trajectories(states, t), 21)
    online = OnlineAdapter(leads.adapt(linear(), support), support)
    online.update(more)
    found = online.innovation
    assert found is not None
    assert float(found.degrees[0]) == 4
    assert float(found.freedom[0]) == 38
    mean = found.statistic.mean() / 4
    assert abs(float(mean) - 38 / 36) < 0.05
    z = score(found)
    assert abs(float(z.mean())) < 0.07
    assert abs(float(z.std()) - 1) < 0.05


@pytest.mark.parametrize(("rate", "n"), [(0.01, 100), (0.05, 40)])
def test_the_limit_of_the_sum_keeps_its_rate(rate: float, n: int) -> None:
    limit = cusum_limit(rate, n)
    z = np.random.RandomState(0).standard_normal((n, 50_000)).clip(-4, 4)
    level, passed = np.zeros(50_000), np.zeros(50_000, dtype=bool)
    for row in z:
        level = np.maximum(0, level + row - 0.5)
        passed |= level > limit
    assert abs(passed.mean() - rate) < 4 * np.sqrt(rate / 50_000)


def test_a_jump_is_flagged_within_a_few_frames_and_nothing_else_is() -> None:
    calm = monitor(record())
    # One in a hundred is expected; five or more are seen once in 300.
    assert int(calm.flagged.sum()) < 5
    jump = torch.tensor([[0.5, 0.9, 0.5, 0.8]], dtype=torch.float64)
    moved = monitor(record(jump))
    late = moved.time - 0.5 * 39
    assert float((late > 0).double().mean()) > 0.95
    assert float(late.nanmedian()) <= 0.5 * 4
    assert float(late.nanquantile(0.95)) <= 0.5 * 6
    assert float((moved.began - 0.5 * 40).abs().nanmedian()) <= 0.5


def test_errors_of_the_model_are_added_as_a_kalman_filter_does() -> None:
    generator = torch.Generator().manual_seed(0)
    root, g = (torch.randn(2, 5, n, dtype=torch.float64, generator=generator) for n in (5, 3))
    information = root @ root.mT
    noise = torch.tensor([0.3, 2.0], dtype=torch.float64)
    found = Quadratic(information, noise, noise).carried(g, 2, noise).information
    step = torch.cat([torch.eye(5, dtype=torch.float64)[:2].expand(2, 2, 5), g.mT], 1)
    covariance = step @ torch.linalg.inv(information) @ step.mT
    covariance[:, 2:, 2:] += noise[:, None, None] * torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(found, torch.linalg.inv(covariance))


def test_a_model_that_errs_raises_no_alarm_where_its_error_is_told() -> None:
    """States that are shaken by 0.03 between frames, observed with noise of 0.01."""
    family = leads.make("lotka_volterra")
    generator = torch.Generator().manual_seed(2)
    shake = lambda s, like: s * torch.randn(like.shape, dtype=torch.float64, generator=generator)
    p = torch.tensor([[0.5, 0.6, 0.5, 0.6]], dtype=torch.float64).expand(100, 4)
    states = [torch.from_numpy(np.random.RandomState(5).uniform(1, 2, (100, 1, 2)))]
    t = 0.5 * torch.arange(40, dtype=torch.float64)
    for _ in t[1:]:
        x = (states[-1] + shake(0.03, states[-1])).clamp_min(0.05)
        for _ in range(4):  # classical Runge-Kutta steps of 0.125
            k1 = family.system.rhs(t[0], x, p[:, None])
            k2 = family.system.rhs(t[0], x + k1 / 16, p[:, None])
            k3 = family.system.rhs(t[0], x + k2 / 16, p[:, None])
            k4 = family.system.rhs(t[0], x + k3 / 8, p[:, None])
            x = x + (k1 + 2 * k2 + 2 * k3 + k4) / 48
        states.append(x)
    clean = torch.stack(states, 2)
    support, more = frames(leads.Trajectories(clean + shake(0.01, clean), t), 20)
    adapted = leads.adapt(physical(), support)
    flagged = []
    for error in (0.0, 0.03):
        online = OnlineAdapter(adapted, support, noise=0.01, estimate_start=True, model_error=error)
        watch = DriftMonitor(online, 0.01, frames=20)
        watch.update(more)
        flagged.append(int(watch.flagged.sum()))
    assert flagged[0] > 90
    assert flagged[1] < 5


def test_frame_error_is_the_error_of_one_frame(coda: DecomposedDynamics, data: DataSplits) -> None:
    seen = leads.trained(coda, data=data.train)
    squares = []
    for k in range(len(data.train.times) - 1):
        forecast = seen.forecast(data.train.states[:, :, k], data.train.times[k : k + 2])[:, :, 1]
        squares.append((forecast - data.train.states[:, :, k + 1]).square().mean((1, 2)))
    expected = torch.stack(squares, 1).mean(1).mean().sqrt()
    assert frame_error(seen, data.train) == pytest.approx(float(expected), rel=1e-4)


def test_a_loose_rate_is_kept_too() -> None:
    """At 20 %, a hundred environments give 20 alarms, give or take twice 4."""
    assert 12 <= int(monitor(record(), rate=0.2).flagged.sum()) <= 28


def test_the_estimate_follows_after_a_restart() -> None:
    jump = torch.tensor([[0.5, 0.9, 0.5, 0.8]], dtype=torch.float64)
    data = record(jump, environments=20)
    support, more = frames(data, 20)
    adapted = leads.adapt(physical(), support)
    error = []
    for restart in (1.0, 1e-4):
        online = OnlineAdapter(adapted, support, estimate_start=True)
        DriftMonitor(online, frames=40, restart=restart).update(more)
        beta = 5.0 * torch.sigmoid(online.adapted.contexts["physics"][:, 0])
        error.append(float((beta - 0.9).abs().median()))
    assert error[1] < 0.02 < error[0]


def test_what_was_not_observed_says_nothing() -> None:
    nothing = torch.zeros(2)
    innovation = Innovation(nothing, nothing, torch.full((2,), torch.inf), 0.0)
    assert torch.equal(score(innovation), nothing.double())


def test_bad_input(data: DataSplits) -> None:
    line = noisy_line()
    support, more = frames(line, 10)
    adapted = leads.adapt(linear(), support)
    online = OnlineAdapter(adapted, support)
    kept = online.adapted.contexts["c"].clone()
    for wrong, error, text in (
        (lambda: OnlineAdapter(adapted, support, forgetting=0.0), SettingsError, "forgetting"),
        (lambda: OnlineAdapter(adapted, support, noise=-1.0), SettingsError, "noise"),
        (lambda: OnlineAdapter(adapted, support, model_error=0.1), SettingsError, "estimate_start"),
        (lambda: online.update(support), DataError, "in already"),
        (lambda: online.update(more.states), DataError, "Trajectories"),
        (lambda: online.update(more.select(environments=[0])), ShapeError, "1 environments"),
        (lambda: online.update(more.select(trajectories=[0])), ShapeError, "fresh=True"),
        (lambda: online.forecast(support.times), DataError, "in already"),
        (lambda: online.forget(0.0), SettingsError, "kept of the past"),
        (lambda: cusum_limit(0.0, 10), SettingsError, "rate"),
        (lambda: DriftMonitor(online, restart=0.0), SettingsError, "restart"),
    ):
        with pytest.raises(error, match=text):
            wrong()
    assert torch.equal(online.adapted.contexts["c"], kept)
    erm = leads.build("erm", data.train)
    with pytest.raises(SettingsError, match="no context"):
        OnlineAdapter(leads.Adapted(erm, {}), data.adapt)


def test_an_adapted_model_updates_itself() -> None:
    data = noisy_line()
    first, second, third = frames(data, 12, 20)
    model = linear()
    adapted = leads.adapt(model, first, tolerance=1e-14)
    one = adapted.update(second)
    two = one.update(third)
    everything = leads.adapt(model, data, tolerance=1e-14)
    torch.testing.assert_close(two.contexts["c"], everything.contexts["c"], rtol=1e-6, atol=1e-8)
    # Each stays what it was: the same update again gives the same.
    again = adapted.update(second)
    assert torch.equal(again.contexts["c"], one.contexts["c"])
    with pytest.raises(SettingsError, match="first update"):
        one.update(third, noise=0.1)


def test_an_adapted_model_from_a_file_has_no_observations(tmp_path: Path) -> None:
    family = leads.make("lotka_volterra")
    data = leads.generate(family, seed=0).adapt
    model = leads.build("coda", family, backbone_settings={"width": 4})
    leads.adapt(model, data, iterations=1).save(tmp_path / "adapted.safetensors")
    with pytest.raises(SettingsError, match="not in this file"):
        leads.Adapted.load(tmp_path / "adapted.safetensors").update(data)

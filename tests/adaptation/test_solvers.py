"""Noise, priors, robust losses, bounds and several starts, against SciPy, closed forms and statistics."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from damped_oscillator import SEEN, TIMES, exact, observe, oscillator
from scipy.optimize import least_squares, minimize

import leads
from leads.adaptation.prior import seen_gaussian
from leads.adaptation.robust import LOSSES, noise_by_median
from leads.contexts import Table
from leads.dynamics import DecomposedDynamics
from leads.errors import DivergenceError, SettingsError, UnknownNameError

MODEL = oscillator()
TRUTH = torch.tensor([[1.3, 0.15], [2.2, 0.25]], dtype=torch.float64)
X0 = torch.tensor([[[1.0, 0.0], [0.3, -1.0]], [[0.5, 0.5], [1.0, 1.0]]], dtype=torch.float64)


def errors(data: leads.Trajectories, e: int, context: np.ndarray) -> np.ndarray:
    """Forecast minus observation from given first states, ``(N, T - 1, 2)``."""
    y = data.states[e].numpy()
    return np.stack([exact(context, s[0], TIMES.numpy())[1:] - s[1:] for s in y])


def noisy(noise: float | torch.Tensor = 0.05, seed: int = 0) -> leads.Trajectories:
    """Noise on all but the first frames."""
    clean, rough = observe(TRUTH, X0), observe(TRUTH, X0, noise=1.0, seed=seed)
    scatter = (rough.states - clean.states) * noise
    scatter[:, :, 0] = 0
    return replace(clean, states=clean.states + scatter)


def test_known_noise_of_each_channel() -> None:
    """Weights 1 / sigma^2 a channel, and a covariance that does not depend on the residuals."""
    sigma = np.array([0.02, 0.3])
    data = noisy(torch.tensor(sigma))
    adapted = leads.adapt(MODEL, data, noise=sigma)
    assert adapted.covariance is not None
    for e in range(2):
        found = least_squares(lambda c, e=e: (errors(data, e, c) / sigma).ravel(), [1.5, 0.2], xtol=1e-14, ftol=1e-14)
        np.testing.assert_allclose(adapted.contexts["code"][e], found.x, rtol=1e-4)
        np.testing.assert_allclose(adapted.covariance[e], np.linalg.inv(found.jac.T @ found.jac), rtol=1e-2)
        plain = np.square(errors(data, e, found.x)).mean()
        assert adapted.info["loss"][e] == pytest.approx(plain, rel=1e-3)  # in units of the data
    assert adapted.info["misfit"] == [pytest.approx(1, abs=0.2)] * 2
    double = leads.adapt(MODEL, data, noise=2 * sigma)
    torch.testing.assert_close(double.covariance, 4 * adapted.covariance, rtol=1e-4, atol=0)


@pytest.mark.parametrize("loss", ["huber", "cauchy"])
def test_robust_losses_equal_scipys(loss: str) -> None:
    data = noisy(0.02)
    states = data.states.clone()
    states[:, :, 3::6] += 1.5  # outliers
    data = replace(data, states=states)
    adapted = leads.adapt(MODEL, data, noise=0.02, robust=loss, iterations=200)
    plain = leads.adapt(MODEL, data, noise=0.02)
    unknown = leads.adapt(MODEL, data, robust=loss, iterations=200)
    assert all(adapted.info["converged"])
    assert all(unknown.info["converged"])
    for e in range(2):
        found = least_squares(
            lambda c, e=e: (errors(data, e, c) / 0.02).ravel(),
            TRUTH[e].numpy(),
            loss=loss,
            f_scale=LOSSES[loss].scale,
            xtol=1e-14,
            ftol=1e-14,
            gtol=1e-14,
        )
        np.testing.assert_allclose(adapted.contexts["code"][e], found.x, rtol=1e-4)
    off = lambda a: float((a.contexts["code"] - TRUTH).norm())
    assert off(adapted) < 0.3 * off(plain)
    assert off(unknown) < 0.3 * off(plain)


def test_robust_covariance_is_that_of_many_draws() -> None:
    many, x0 = TRUTH[:1].expand(300, 2), X0[:1].expand(300, -1, -1)
    clean, rough = observe(many, x0), observe(many, x0, noise=0.05)
    data = replace(rough, states=torch.cat([clean.states[:, :, :1], rough.states[:, :, 1:]], 2))
    adapted = leads.adapt(MODEL, data, robust="huber")
    assert adapted.covariance is not None
    error = adapted.contexts["code"] - many
    distance = torch.einsum("ei,eij,ej->e", error, torch.linalg.inv(adapted.covariance), error)
    assert 1.7 < float(distance.mean()) < 2.5


def test_noise_by_median() -> None:
    x = torch.randn(2, 1, 100_001, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3.0
    seen = torch.ones_like(x, dtype=torch.bool)
    seen[1, 0, ::2], x[1, 0, ::2] = False, 0.0
    np.testing.assert_allclose(noise_by_median(x, seen), 3.0, rtol=0.02)


def test_seen_prior_is_shrunk_as_ledoit_and_wolf_say() -> None:
    """Against the formulas of the paper written out, and their limits."""
    x = torch.randn(7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) @ torch.diag(
        torch.tensor([3.0, 1.0, 0.1], dtype=torch.float64)
    )
    mean, covariance = seen_gaussian(x)
    y = (x - x.mean(0)).numpy()
    sample = y.T @ y / 7
    m = np.trace(sample) / 3
    d2 = np.square(sample - m * np.eye(3)).sum() / 3
    b2 = min(d2, sum(np.square(np.outer(r, r) - sample).sum() / 3 for r in y) / 49)
    np.testing.assert_allclose(covariance, b2 / d2 * m * np.eye(3) + (d2 - b2) / d2 * sample)
    torch.testing.assert_close(mean, x.mean(0))
    wide = seen_gaussian(torch.randn(3, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64))[1]
    assert float(torch.linalg.eigvalsh(wide).min()) > 0
    with pytest.raises(SettingsError, match="1 seen context"):
        seen_gaussian(x[:1])


def test_prior_of_the_seen_is_the_posterior_mode() -> None:
    """``sum (r / sigma)^2 + (c - m)^T S^-1 (c - m)`` is least, and the covariance is its curvature."""
    data = noisy(0.5)
    mean, covariance = seen_gaussian(SEEN)
    root = np.linalg.cholesky(np.linalg.inv(covariance.numpy())).T
    adapted = leads.adapt(MODEL, data, prior="seen", noise=0.5)
    free = leads.adapt(MODEL, data, noise=0.5)
    assert adapted.covariance is not None
    for e in range(2):
        found = least_squares(
            lambda c, e=e: np.concatenate([errors(data, e, c).ravel() / 0.5, root @ (c - mean.numpy())]),
            [1.5, 0.2],
            xtol=1e-14,
            ftol=1e-14,
        )
        np.testing.assert_allclose(adapted.contexts["code"][e], found.x, rtol=1e-3)
        np.testing.assert_allclose(adapted.covariance[e], np.linalg.inv(found.jac.T @ found.jac), rtol=1e-2)
    assert float((adapted.contexts["code"] - TRUTH).norm()) < float((free.contexts["code"] - TRUTH).norm())
    unknown = leads.adapt(MODEL, data, prior="seen")  # the estimated noise is near the true one
    torch.testing.assert_close(unknown.contexts["code"], adapted.contexts["code"], rtol=0.1, atol=0.02)


def test_a_prior_carries_what_is_missing() -> None:
    """One observed value for two values of the context: said, and the prior decides the rest."""
    data = observe(TRUTH, X0[:, :1])
    mask = torch.zeros_like(data.states, dtype=torch.bool)
    mask[:, :, 0], mask[:, :, 10, 0] = True, True
    few = replace(data, states=data.states.where(mask, torch.nan), mask=mask)
    with pytest.warns(UserWarning, match=r"1 observed values.*at least 2.*prior of the seen"):
        leads.adapt(MODEL, few, iterations=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        held = leads.adapt(MODEL, few, prior="seen", noise=1e-3)
    assert held.covariance is not None
    assert float(held.covariance.det().min()) > 0
    mean, covariance = seen_gaussian(SEEN)
    root = np.linalg.inv(np.linalg.cholesky(covariance.numpy()))
    for e in range(2):
        y = float(data.states[e, 0, 10, 0])
        start = data.states[e, 0, 0].numpy()
        loss = lambda c, y=y, s=start: (
            ((exact(c, s, TIMES.numpy())[10, 0] - y) / 1e-3) ** 2 + np.square(root @ (c - mean.numpy())).sum()
        )
        found = minimize(loss, held.contexts["code"][e].numpy() + 0.01, method="Nelder-Mead", tol=1e-12)
        np.testing.assert_allclose(held.contexts["code"][e], found.x, rtol=1e-3)
        # The prior's own variance in some direction is all but untouched, the observed one is not.
        ratio = np.linalg.eigvals(held.covariance[e].numpy() @ np.linalg.inv(covariance.numpy())).real
        assert ratio.max() > 0.9
        assert ratio.min() < 1e-2


def test_bounds_equal_scipys() -> None:
    """One bound is active in each environment; the other value moves to the best there."""
    data = noisy(0.05)
    low, high = [1.0, 0.2], [2.0, 1.0]
    adapted = leads.adapt(MODEL, data, bounds=(low, high))
    assert all(adapted.info["converged"])
    for e in range(2):
        found = least_squares(
            lambda c, e=e: errors(data, e, c).ravel(), [1.5, 0.5], bounds=(low, high), xtol=1e-14, ftol=1e-14
        )
        np.testing.assert_allclose(adapted.contexts["code"][e], found.x, rtol=1e-3)
    assert float(adapted.contexts["code"][0, 1]) == 0.2
    assert float(adapted.contexts["code"][1, 0]) == 2.0
    inside = leads.adapt(MODEL, data, bounds=(0.0, 5.0))
    torch.testing.assert_close(inside.contexts["code"], leads.adapt(MODEL, data).contexts["code"], rtol=1e-5, atol=1e-7)


def test_several_starts_leave_a_poor_minimum() -> None:
    """Few frames: a stiffness with another number of turns between them fits worse, but locally best."""
    truth = torch.tensor([[30.0, 0.1]], dtype=torch.float64)
    data = observe(truth, torch.tensor([[[1.0, 0.0]]], dtype=torch.float64))
    mask = torch.zeros_like(data.states, dtype=torch.bool)
    mask[:, :, ::5] = True
    data = replace(data, mask=mask)
    model = oscillator(substeps=4)
    single = leads.adapt(model, data, iterations=30)
    many = leads.adapt(model, data, bounds=(0.02, 50.0), starts=5, iterations=30)
    assert single.info["loss"][0] > 0.1
    assert many.info["loss"][0] < 1e-6
    assert many.info["converged"] == [True]
    torch.testing.assert_close(many.contexts["code"], truth, rtol=1e-3, atol=1e-3)
    losses = many.info["starts"][0]
    assert len(losses) == 5
    assert min(losses) == pytest.approx(many.info["loss"][0])
    few = {"bounds": (0.02, 50.0), "starts": 3, "iterations": 3}
    assert torch.equal(
        leads.adapt(model, data, **few).contexts["code"], leads.adapt(model, data, **few).contexts["code"]
    )


def test_several_starts_with_everything_else() -> None:
    """Where there is one minimum, starts change nothing, whatever else is asked for."""
    data = noisy(0.05).select(frames=slice(0, 11))
    for settings in ({"prior": 0.1}, {"prior": "seen"}, {"robust": "huber"}, {"initial": "estimated", "noise": 0.05}):
        one = leads.adapt(MODEL, data, **settings)
        many = leads.adapt(MODEL, data, starts=4, **settings)
        torch.testing.assert_close(many.contexts["code"], one.contexts["code"], rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(many.covariance, one.covariance, rtol=1e-2, atol=1e-8)
        assert len(many.info["starts"]) == 2


class Exploding(type(MODEL.adapter)):  # type: ignore[misc]
    """The oscillator, not finite where the stiffness is above 1.9."""

    def forward(self, t: torch.Tensor, x: torch.Tensor, prepared: torch.Tensor) -> torch.Tensor:
        return torch.where(prepared[0] > 1.9, torch.nan, super().forward(t, x, prepared))


def exploding() -> DecomposedDynamics:
    adapter = Exploding()
    return DecomposedDynamics(adapter, Table(adapter, 2).double(), substeps=2)


def test_steps_that_leave_the_finite_numbers_are_refused() -> None:
    """The way to the first truth is free; the second lies where rollouts are not finite: said, not crashed."""
    adapted = leads.adapt(exploding(), observe(TRUTH, X0))
    torch.testing.assert_close(adapted.contexts["code"][0], TRUTH[0], rtol=1e-3, atol=1e-4)
    assert adapted.info["converged"] == [True, False]
    assert 1.5 < float(adapted.contexts["code"][1, 0]) <= 1.9
    assert np.isfinite(adapted.info["loss"]).all()


def test_starts_that_are_not_finite_are_left_out() -> None:
    data = observe(TRUTH[:1], X0[:1])
    adapted = leads.adapt(exploding(), data, bounds=(0.01, 5.0), starts=6, noise=0.1)
    torch.testing.assert_close(adapted.contexts["code"], TRUTH[:1], rtol=1e-3, atol=1e-4)
    assert None in adapted.info["starts"][0]
    broken = observe(TRUTH, X0)
    with pytest.raises(DivergenceError, match="new environment 0"):
        leads.adapt(exploding(), broken, bounds=(2.0, 3.0), starts=3)


def test_the_budget_of_iterations_is_not_convergence() -> None:
    assert leads.adapt(MODEL, noisy(), iterations=1).info["converged"] == [False, False]
    assert leads.adapt(MODEL, noisy(), iterations=30).info["converged"] == [True, True]


def test_settings_are_checked() -> None:
    data = noisy()
    for settings, match in (
        ({"prior": "sen"}, "'seen'"),
        ({"robust": "hubber"}, "Did you mean 'huber'"),
        ({"initial": "estimate"}, "Did you mean 'estimated'"),
    ):
        with pytest.raises(UnknownNameError, match=match):
            leads.adapt(MODEL, data, **settings)
    for settings, match in (
        ({"prior": -1.0}, "not negative"),
        ({"noise": 0.0}, "positive"),
        ({"noise": [0.1, 0.2, 0.3]}, "3 values, the observations 2 channels"),
        ({"noise": "much"}, "numbers"),
        ({"bounds": (1.0, 0.0)}, "below"),
        ({"bounds": 3.0}, "pair"),
        ({"bounds": ([0.0, 0.0, 0.0], 1.0)}, "a context has 2"),
        ({"starts": 0}, "at least 1"),
        ({"robust_scale": 2.0}, "robust="),
        ({"robust_scale": -2.0, "robust": "huber"}, "positive"),
        ({"robust": "huber", "solver": "gradient"}, "no use for robust"),
        ({"noise": torch.tensor(0.1), "solver": "gradient"}, "no use for noise"),
        ({"prior": "seen", "solver": "gradient"}, "no prior of the seen"),
    ):
        with pytest.raises(SettingsError, match=match):
            leads.adapt(MODEL, data, **settings)

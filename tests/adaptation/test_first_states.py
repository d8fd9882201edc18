"""First states that are estimated along with the context, against SciPy's joint fit and against statistics."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from damped_oscillator import TIMES, exact, observe, oscillator
from scipy.optimize import least_squares

import leads
from leads.adaptation.problem import Point, Problem
from leads.adaptation.step import information, normal_equations, solve
from leads.errors import SettingsError
from leads.trajectories import DataSplits

MODEL = oscillator()
TRUTH = torch.tensor([[1.3, 0.15], [2.2, 0.25]], dtype=torch.float64)
X0 = torch.tensor([[[1.0, 0.0], [0.3, -1.0], [-1.2, 0.4]], [[0.5, 0.5], [1.0, 1.0], [-0.7, 0.0]]], dtype=torch.float64)


def jointly(data: leads.Trajectories, e: int, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """SciPy's solution for all unknowns of an environment together, and its ``(J^T J)^-1``."""
    y = data.states[e].numpy()
    seen = np.ones_like(y, dtype=bool) if data.mask is None else data.mask[e].numpy()

    def residual(u: np.ndarray) -> np.ndarray:
        forecast = np.stack([exact(u[:2], s, TIMES.numpy()) for s in u[2:].reshape(-1, 2)])
        return ((forecast - y) / noise)[seen]

    start = np.concatenate([[1.5, 0.2], np.nan_to_num(y[:, 0]).ravel()])
    found = least_squares(residual, start, xtol=1e-14, ftol=1e-14, gtol=1e-14)
    return found.x, np.linalg.inv(found.jac.T @ found.jac)


@pytest.mark.parametrize("missing", [False, True])
def test_equals_the_joint_fit(missing: bool) -> None:
    """Contexts, first states and the marginal covariance, with a quarter of the values and two first frames missing."""
    data = observe(TRUTH, X0, noise=0.05)
    if missing:
        mask = torch.rand(data.states.shape, generator=torch.Generator().manual_seed(1)) > 0.25
        mask[0, 1, 0], mask[1, 0, 0, 1] = False, False
        data = replace(data, states=data.states.where(mask, torch.nan), mask=mask)
    adapted = leads.adapt(MODEL, data, initial="estimated", noise=0.05)
    assert all(adapted.info["converged"])
    assert adapted.initial is not None
    assert adapted.initial.shape == (2, 3, 2)
    assert adapted.covariance is not None
    for e in range(2):
        u, covariance = jointly(data, e, noise=0.05)
        np.testing.assert_allclose(adapted.contexts["code"][e], u[:2], rtol=2e-4)
        np.testing.assert_allclose(adapted.initial[e].reshape(-1), u[2:], rtol=2e-4, atol=2e-5)
        np.testing.assert_allclose(adapted.covariance[e], covariance[:2, :2], rtol=1e-2)


def test_elimination_equals_the_whole_system() -> None:
    data = observe(TRUTH, X0, noise=0.1)
    start = {"code": TRUTH.clone()}
    problem = Problem(MODEL, data, start, estimated=True)
    linear = problem.linearise(problem.start(TRUTH.clone()))
    weights = torch.rand(linear.residual.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    normal = normal_equations(linear, weights, problem.count)
    damping = torch.full((2,), 1e-2, dtype=torch.float64)
    step = solve(normal, damping)
    assert step.initial is not None
    assert linear.initial is not None
    for e in range(2):
        blocks = torch.block_diag(*linear.initial[e])
        j = torch.cat([linear.contexts[e].flatten(0, 1), blocks], 1)
        w = weights[e].flatten()[:, None]
        matrix, gradient = j.T @ (w * j), j.T @ (w[:, 0] * linear.residual[e].flatten())
        damped = matrix + 1e-2 * torch.diag(matrix.diagonal())
        whole = torch.linalg.solve(damped, -gradient)
        torch.testing.assert_close(torch.cat([step.contexts[e], step.initial[e].flatten()]), whole)
        marginal = torch.linalg.inv(torch.linalg.inv(matrix)[:2, :2]) / problem.count[e]
        torch.testing.assert_close(information(normal)[e], marginal)


def test_jacobian_against_automatic_derivatives() -> None:
    data = observe(TRUTH, X0)
    problem = Problem(MODEL, data, {"code": TRUTH.clone()}, estimated=True, noise=torch.tensor([0.5, 2.0]))
    point = problem.start(TRUTH + 0.1)
    linear = problem.linearise(point)

    def residual(c: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        return problem.residual(Point(c, s))

    by_context, by_state = torch.func.jacrev(residual, argnums=(0, 1))(point.contexts, point.initial)
    for e in range(2):
        torch.testing.assert_close(linear.contexts[e].detach(), by_context[e, :, :, e], rtol=1e-6, atol=1e-8)
        for n in range(3):
            torch.testing.assert_close(linear.initial[e, n].detach(), by_state[e, n, :, e, n], rtol=1e-6, atol=1e-8)


def test_an_unobserved_channel() -> None:
    """Velocities never seen: positions alone tell stiffness, damping and the first velocities."""
    data = observe(TRUTH, X0)
    mask = torch.ones_like(data.states, dtype=torch.bool)
    mask[..., 1] = False
    adapted = leads.adapt(
        MODEL, replace(data, states=data.states.where(mask, torch.nan), mask=mask), initial="estimated"
    )
    torch.testing.assert_close(adapted.contexts["code"], TRUTH, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(adapted.initial, X0, rtol=1e-3, atol=1e-4)


def test_unequal_numbers_of_trajectories() -> None:
    """A trajectory never observed pads the batch, and changes nothing."""
    data = observe(TRUTH, X0, noise=0.05)
    mask = torch.ones_like(data.states, dtype=torch.bool)
    mask[1, 2] = False
    padded = replace(data, states=data.states.where(mask, torch.nan), mask=mask)
    for initial in ("given", "estimated"):
        both = leads.adapt(MODEL, padded, initial=initial)
        fewer = leads.adapt(MODEL, data.select(environments=[1], trajectories=[0, 1]), initial=initial)
        torch.testing.assert_close(both.contexts["code"][1], fewer.contexts["code"][0], rtol=1e-6, atol=1e-8)
        assert bool(torch.isfinite(both.forecast(padded.initial.nan_to_num(), TIMES)).all())


def test_covariance_is_that_of_many_draws() -> None:
    """300 environments with noise in the first frames too: squared distances follow chi squared of mean 2."""
    many = TRUTH[:1].expand(300, 2)
    data = observe(many, X0[:1, :2].expand(300, -1, -1), noise=0.1)
    adapted = leads.adapt(MODEL, data, initial="estimated")
    assert adapted.covariance is not None
    error = adapted.contexts["code"] - many
    distance = torch.einsum("ei,eij,ej->e", error, torch.linalg.inv(adapted.covariance), error)
    assert 1.75 < float(distance.mean()) < 2.4
    given = leads.adapt(MODEL, data)
    assert float(error.square().mean()) < 0.5 * float((given.contexts["code"] - many).square().mean())
    assert float(torch.tensor(adapted.info["noise"]).mean()) == pytest.approx(0.1, rel=0.02)


def test_gradient_finds_the_same() -> None:
    data = observe(TRUTH, X0, noise=0.05).select(frames=slice(0, None, 5))
    fast = leads.adapt(MODEL, data, initial="estimated")
    slow = leads.adapt(MODEL, data, initial="estimated", solver="gradient", steps=150, lr=8e-2)
    torch.testing.assert_close(torch.tensor(slow.info["loss"]), torch.tensor(fast.info["loss"]), rtol=1e-3, atol=0)
    torch.testing.assert_close(slow.initial, fast.initial, rtol=1e-2, atol=5e-3)


def test_refusals(data: DataSplits) -> None:
    support = observe(TRUTH, X0)
    with pytest.raises(SettingsError, match=r"2 values of every first state.*gauss_newton"):
        leads.adapt(MODEL, support, initial="estimated", solver="levenberg_marquardt", small=1)
    past = leads.build("coda", data.train, history=2, backbone_settings={"width": 4})
    with pytest.raises(SettingsError, match="starts from 2 frames"):
        leads.adapt(past, data.adapt, initial="estimated")
    with pytest.raises(SettingsError, match="no use for initial"):
        leads.adapt(MODEL, support, initial="estimated", solver="none")


def test_first_states_are_saved(tmp_path: Path) -> None:
    family = leads.make("lotka_volterra")
    data = leads.generate(family, seed=0)
    model = leads.build("coda", family, backbone_settings={"width": 4})
    adapted = leads.adapt(model, data.adapt.select(frames=slice(0, 6)), initial="estimated", iterations=2)
    adapted.save(tmp_path / "adapted.safetensors")
    again = leads.Adapted.load(tmp_path / "adapted.safetensors")
    assert adapted.initial is not None
    assert again.initial is not None
    assert torch.equal(again.initial, adapted.initial)

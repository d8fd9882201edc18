"""Contexts in closed form, against NumPy's least squares and against the parameters that made the data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicSpline
from torch import Tensor

import leads
from leads.adapters import Adapter, Context
from leads.adapters.hybrid import hybrid
from leads.adapters.linear_field import LinearField
from leads.adapters.low_rank import LowRank
from leads.backbones import backbones
from leads.contexts import Ridge
from leads.contexts.ridge import ridge_solution
from leads.dynamics import DecomposedDynamics
from leads.errors import DataError, DivergenceError, SettingsError, UnknownNameError
from leads.numerics.differentiation import differentiation_matrix
from leads.trajectories import DataSplits, Trajectories

T0 = torch.zeros((), dtype=torch.float64)


class LotkaVolterra(Adapter):
    """The equations of the data, linear in what differs between environments: the context is (beta, delta)."""

    affine = True

    def init_context(self) -> Context:
        return {"code": torch.zeros(2, dtype=torch.float64)}

    def prepare(self, context: Context) -> Tensor:
        return context["code"]

    def forward(self, t: Tensor, x: Tensor, prepared: Tensor) -> Tensor:
        u, v = x.unbind(-1)
        beta, delta = prepared.unbind(-1)
        return torch.stack([0.5 * u - beta * u * v, delta * u * v - 0.5 * v], -1)


def double(data: Trajectories) -> Trajectories:
    return data.to(dtype=torch.float64)


def network(dim: int = 3, shape: tuple[int, ...] = (2,), backbone: str = "mlp", **settings: Any) -> DecomposedDynamics:
    torch.manual_seed(0)
    adapter = LinearField(lambda: backbones[backbone](shape, width=6), dim).double()
    return DecomposedDynamics(adapter, Ridge(adapter, **settings))


@pytest.mark.parametrize("ridge", [1e-7, 1e-2])
@pytest.mark.parametrize("derivative", ["spline", "differences"])
def test_closed_form_is_numpys(data: DataSplits, derivative: str, ridge: float) -> None:
    """Everything assembled frame by frame with plain loops, SciPy's spline and NumPy's least squares."""
    model, support = network(ridge=ridge, derivative=derivative), double(data.train)
    found = leads.adapt(model, support).contexts["code"]
    adapter, t = model.adapter, support.times.numpy()
    for e in range(support.n_environments):
        rows, right = [], []
        for x in support.states[e]:
            if derivative == "spline":
                rate = CubicSpline(t, x.numpy())(t, 1)
            else:
                rate = np.gradient(x.numpy(), t, axis=0, edge_order=2)
            field = lambda c, y=x: adapter(T0, y, adapter.prepare({"code": c})).detach().numpy()  # type: ignore[misc]
            zero = torch.zeros(3, dtype=torch.float64)
            base = field(zero)
            rows.append(np.stack([field(unit) - base for unit in torch.eye(3, dtype=torch.float64)], -1).reshape(-1, 3))
            right.append((rate - base).reshape(-1))
        a = np.concatenate([*rows, np.sqrt(ridge) * np.eye(3)])
        expected = np.linalg.lstsq(a, np.concatenate([*right, np.zeros(3)]), rcond=None)[0]
        np.testing.assert_allclose(found[e].numpy(), expected, rtol=1e-10, atol=1e-10)


def test_solution_of_an_ill_conditioned_problem() -> None:
    g = np.random.RandomState(0)
    u, _, v = np.linalg.svd(g.normal(size=(40, 4)), full_matrices=False)
    a = (u * np.array([1.0, 1e-1, 1e-3, 1e-5])) @ v
    b = g.normal(size=40)
    ours = ridge_solution(torch.from_numpy(a)[None], torch.from_numpy(b)[None], 1e-16)[0]
    theirs = np.linalg.lstsq(np.vstack([a, 1e-8 * np.eye(4)]), np.concatenate([b, np.zeros(4)]), rcond=None)[0]
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-9)


def test_fields_on_a_grid() -> None:
    model = network(2, (1, 8), "conv", ridge=1e-14)
    g = torch.Generator().manual_seed(1)
    support = Trajectories(
        torch.rand(3, 2, 5, 1, 8, dtype=torch.float64, generator=g), torch.arange(5, dtype=torch.float64)
    )
    found = model.source.new_contexts(model, support)["code"]
    start = {"code": torch.zeros(3, 2, dtype=torch.float64)}
    a, b = model.source.linear_problem(model, support, start, {})  # type: ignore[operator]
    assert a.shape == (3, 2 * 5 * 8, 2)
    assert b.shape == (3, 2 * 5 * 8)
    for e in range(3):
        expected = np.linalg.lstsq(a[e].detach().numpy(), b[e].detach().numpy(), rcond=None)[0]
        np.testing.assert_allclose(found[e].numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("first_order", [False, True])
def test_gradients_through_the_solve(data: DataSplits, first_order: bool) -> None:
    model = network(2, first_order=first_order)
    support = double(data.train).select(environments=slice(0, 2), frames=slice(0, 6))
    weights = next(model.adapter.parameters())
    loss = lambda: model.source.train_contexts(model, None, support)["code"].square().sum()
    if first_order:
        assert not loss().requires_grad
        return
    (got,) = torch.autograd.grad(loss(), weights)
    h, probe = 1e-6, torch.randn(weights.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        weights.add_(h * probe)
        up = float(loss())
        weights.sub_(2 * h * probe)
        down = float(loss())
        weights.add_(h * probe)
    assert float((got * probe).sum()) == pytest.approx((up - down) / (2 * h), rel=1e-5)


def test_true_parameters_are_recovered(data: DataSplits) -> None:
    """With the right equations only the derivative is wrong, at its order; steps on rollouts cure that."""
    adapter = LotkaVolterra()
    truth = data.adapt.parameters
    assert truth is not None
    wanted = truth[:, [1, 3]].contiguous()
    model = lambda **settings: DecomposedDynamics(adapter, Ridge(adapter, ridge=1e-12, **settings), substeps=2)

    def error(frames: int, **settings: Any) -> float:
        t = torch.linspace(0, 5, frames, dtype=torch.float64)
        made = model().rollout(double(data.adapt).initial, t, {"code": wanted})
        found = leads.adapt(model(**settings), Trajectories(made, t)).contexts["code"]
        return float((found - wanted).abs().max())

    coarse, fine = error(26), error(51)
    assert coarse / fine > 5  # between the third order of a spline's ends and the fourth inside
    rough = error(26, derivative="differences"), error(51, derivative="differences")
    assert rough[0] / rough[1] > 3.5  # at least the second order of its differences
    assert fine < 0.5 * rough[1]
    # Gauss-Newton converges quadratically where the residual vanishes.
    once, twice = error(26, steps=1), error(26, steps=2)
    assert once < coarse / 5
    assert twice < once / 20
    assert error(26, steps=4) < 1e-9


def test_one_gauss_newton_step(data: DataSplits) -> None:
    """Against the Jacobian of the rollouts by central differences."""
    support = double(data.adapt).select(frames=slice(0, 8))
    adapter = LotkaVolterra()
    make = lambda steps: DecomposedDynamics(adapter, Ridge(adapter, ridge=1e-3, steps=steps))
    start = leads.adapt(make(0), support).contexts["code"]
    moved = leads.adapt(make(1), support).contexts["code"]
    model = make(0)
    segments = leads.trajectories.segments.whole(support)
    residual = lambda c: model.residuals(segments, {"code": c}).flatten(1)
    for e in range(4):
        columns = []
        for k in range(2):
            h = torch.zeros_like(start)
            h[e, k] = 1e-6
            columns.append((residual(start + h) - residual(start - h))[e] / 2e-6)
        jacobian = torch.stack(columns, 1).numpy()
        a = np.vstack([jacobian, np.sqrt(1e-3) * np.eye(2)])
        b = np.concatenate([jacobian @ start[e].numpy() - residual(start)[e].numpy(), np.zeros(2)])
        np.testing.assert_allclose(moved[e].numpy(), np.linalg.lstsq(a, b, rcond=None)[0], rtol=1e-6)


def test_unobserved_frames_are_left_out(data: DataSplits) -> None:
    support = double(data.train)
    mask = torch.ones_like(support.states, dtype=torch.bool)
    mask[:, :, 12:, 1] = False
    states = torch.where(mask, support.states, torch.nan)
    model = network(2, derivative="differences")
    got = leads.adapt(model, replace(support, states=states, mask=mask), solver="none").contexts["code"]
    # Frames 0 to 10 have a derivative from observed neighbours; the rule of the first is the same in the shorter data.
    start = {"code": torch.zeros(9, 2, dtype=torch.float64)}
    a, b = model.source.linear_problem(model, support.select(frames=slice(0, 12)), start, {})  # type: ignore[operator]
    inner = torch.arange(2 * 12 * 2).reshape(2, 12, 2)[:, :11].flatten()
    expected = ridge_solution(a[:, inner], b[:, inner], 1e-7)
    torch.testing.assert_close(got, expected.detach(), rtol=1e-9, atol=1e-12)
    with pytest.raises(DataError, match="derivative='differences'"):
        leads.adapt(network(2), replace(support, states=states, mask=mask))


def test_beside_known_physics(data: DataSplits) -> None:
    """Physics given in each environment takes its part of the derivative; the weights of the fields explain the rest."""
    torch.manual_seed(0)
    known = {"family": "lotka_volterra", "given": ["alpha", "beta"], "fixed": {"gamma": 0.5, "delta": 0.5}}
    adapter = hybrid(lambda: backbones["mlp"]((2,), width=6), known, "linear_field").double()
    support = double(data.adapt)
    assert support.parameters is not None
    model = DecomposedDynamics(adapter, Ridge(adapter, ridge=1e-4))
    found = leads.adapt(model, support).contexts
    assert torch.equal(found["given"], support.parameters[:, [0, 1]])
    rule = differentiation_matrix(support.times)
    for e in range(4):
        x, (alpha, beta) = support.states[e, 0], support.parameters[e, :2]
        u, v = x.unbind(1)
        physics = torch.stack([alpha * u - beta * u * v, 0.5 * u * v - 0.5 * v], 1)
        fields = adapter.learned.backbone(T0, torch.cat([x] * 3, 1)).detach().unflatten(1, (3, 2))  # type: ignore[union-attr, operator]
        b = (rule @ x - physics - fields[:, 0]).reshape(-1).numpy()
        a = fields[:, 1:].mT.reshape(-1, 2).numpy()
        a, b = np.vstack([a, 1e-2 * np.eye(2)]), np.concatenate([b, np.zeros(2)])
        np.testing.assert_allclose(found["code"][e].numpy(), np.linalg.lstsq(a, b, rcond=None)[0], rtol=1e-9)


def test_one_step_maps_match_the_next_frame(data: DataSplits) -> None:
    support, adapter = double(data.adapt), LotkaVolterra()
    truth = torch.tensor([[0.3, 0.1], [0.2, 0.2], [0.1, 0.3], [0.2, 0.4]], dtype=torch.float64)
    model = DecomposedDynamics(adapter, Ridge(adapter, ridge=1e-20), method="map")
    with torch.no_grad():
        made = model.rollout(support.initial, support.times[:5], {"code": truth})
    found = leads.adapt(model, Trajectories(made, support.times[:5])).contexts["code"]
    torch.testing.assert_close(found, truth, rtol=1e-9, atol=1e-9)


def test_training_recovers_the_parameters_up_to_a_linear_map(data: DataSplits) -> None:
    model = leads.build("camel", data.train, backbone_settings={"width": 16})
    leads.fit(model, data.train, data.valid, steps=150, lr=1e-2, horizons=(1, 3), validate_every=50)
    w = leads.trained(model, data=data.train).contexts["code"].double().numpy()
    truth = data.train.parameters
    assert truth is not None
    varying = truth[:, [1, 3]].numpy()
    design = np.concatenate([w, np.ones((9, 1))], 1)
    left = varying - design @ np.linalg.lstsq(design, varying, rcond=None)[0]
    assert (left**2).mean(0).max() < 0.02 * varying.var(0).min()
    adapted = leads.adapt(model, data.adapt)
    assert adapted.info["solver"] == "none"
    still = leads.adapt(model, data.adapt, solver="levenberg_marquardt")
    assert float(torch.tensor(still.info["loss"]).mean()) < float(torch.tensor(adapted.info["loss"]).mean()) < 5e-2


def test_bad_input(data: DataSplits) -> None:
    make = lambda: backbones["mlp"]((2,), width=4)
    with pytest.raises(SettingsError, match=r"LowRank does not promise.*linear_field"):
        Ridge(LowRank(make))
    with pytest.raises(UnknownNameError, match="'spline'"):
        Ridge(LinearField(make), derivative="splines")
    for settings in ({"ridge": 0.0}, {"steps": -1}):
        with pytest.raises(SettingsError, match="ridge > 0"):
            Ridge(LinearField(make), **settings)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="dim=0"):
        LinearField(make, 0)
    broken = network(2)
    with torch.no_grad():
        next(broken.adapter.parameters()).fill_(torch.inf)
    with pytest.raises(DivergenceError, match="environment 0 is not finite"):
        leads.adapt(broken, double(data.adapt))

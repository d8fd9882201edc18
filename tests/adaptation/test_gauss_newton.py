"""Matrix-free Gauss-Newton against direct solves, forward-mode derivatives, Levenberg-Marquardt and Adam."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from damped_oscillator import observe, oscillator

import leads
from leads.adaptation.conjugate_gradients import conjugate_gradients
from leads.adaptation.gauss_newton import Penalty, Unknowns, _Solver
from leads.adaptation.objective import Objective
from leads.adaptation.problem import Problem
from leads.environments import EnvironmentFamily
from leads.errors import DivergenceError, SettingsError
from leads.trajectories import DataSplits
from leads.trajectories.generate import draw_states

MODEL = oscillator()
TRUTH = torch.tensor([[1.3, 0.15], [2.2, 0.25]], dtype=torch.float64)
X0 = torch.tensor([[[1.0, 0.0], [0.3, -1.0]], [[0.5, 0.5], [1.0, 1.0]]], dtype=torch.float64)


def test_conjugate_gradients() -> None:
    """Against direct solves; the promised decrease is that of the quadratic."""
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(3, 6, 6, generator=generator, dtype=torch.float64)
    a, g = root @ root.mT, torch.randn(3, 6, generator=generator, dtype=torch.float64)
    shift = torch.tensor([0.1, 1.0, 10.0], dtype=torch.float64)
    product = lambda v: torch.einsum("eij,ej->ei", a, v)
    x, promised = conjugate_gradients(product, g, shift, most=30, relative=1e-10)
    damped = a + torch.diag_embed(shift[:, None].expand(3, 6))
    torch.testing.assert_close(x, torch.linalg.solve(damped, -g), rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(promised, -2 * (g * x).sum(1) - (x * product(x)).sum(1))
    few, less = conjugate_gradients(product, g, shift, most=2)
    assert bool((less <= promised + 1e-12).all())
    assert bool(torch.isfinite(few).all())
    concave, _ = conjugate_gradients(lambda v: -v, g, torch.zeros(3, dtype=torch.float64))
    assert float(concave.abs().max()) == 0


def test_products_equal_forward_mode() -> None:
    data = observe(TRUTH, X0)
    start = {"code": TRUTH + 0.2}
    problem = Problem(MODEL, data, start, estimated=True)
    solver = _Solver(problem, Objective(problem, 2, None), Penalty(MODEL, data, start), 2)
    u = Unknowns(problem, 2).pack(problem.start(start["code"]))
    v = torch.randn(u.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = torch.func.jvp(solver.residual, (u,), (v,))[1]
    torch.testing.assert_close(solver.along(u, v), expected.detach(), rtol=1e-6, atol=1e-8)
    again = Unknowns(problem, 2).point(u)
    torch.testing.assert_close(again.initial, X0)


@pytest.mark.parametrize(
    "settings", [{}, {"noise": [0.05, 0.2]}, {"prior": "seen"}, {"prior": 0.1}, {"initial": "estimated"}]
)
def test_the_minimum_of_levenberg_marquardt(settings: dict[str, object]) -> None:
    data = observe(TRUTH, X0, noise=0.05).select(frames=slice(0, 11))
    fast = leads.adapt(MODEL, data, starts=1, **settings)
    free = leads.adapt(MODEL, data, solver="gauss_newton", **settings)
    assert free.info["converged"] == [True, True]
    torch.testing.assert_close(free.contexts["code"], fast.contexts["code"], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(torch.tensor(free.info["loss"]), torch.tensor(fast.info["loss"]), rtol=3e-4, atol=0)
    if fast.initial is not None:
        torch.testing.assert_close(free.initial, fast.initial, rtol=1e-3, atol=1e-3)


def test_lower_than_adam_on_networks_of_their_own(data: DataSplits) -> None:
    """LEADS: the context is a whole network, and the objective holds its penalty."""
    support = data.adapt.select(environments=[0, 1], frames=slice(0, 6))
    model = leads.build("leads", data.train, backbone_settings={"width": 8, "depth": 2})
    leads.fit(model, data.train, steps=40, lr=1e-2, validate_every=10**6)
    ours = leads.adapt(model, support, solver="gauss_newton", iterations=15)
    adam = leads.adapt(model, support, solver="gradient", steps=100, lr=1e-2)

    def objective(adapted: leads.Adapted) -> torch.Tensor:
        penalty = model.adaptation_penalty(adapted.contexts, support).detach()
        assert bool((penalty > 0).all())
        return torch.tensor(adapted.info["loss"]) + penalty

    assert bool((objective(ours) < objective(adam)).all())
    assert torch.allclose(objective(ours).double(), torch.tensor(ours.info["losses"][-1]).double(), rtol=1e-3)
    assert all(b <= a for a, b in zip(ours.info["losses"][:-1], ours.info["losses"][1:], strict=True))


def test_first_states_of_a_field(diffusion: EnvironmentFamily) -> None:
    """Half of the cells of noisy fields unobserved in the first frame: no matrix of 8 values a state is formed."""
    data = leads.generate(diffusion, cache=False)
    model = leads.build("coda", data.train, backbone="conv", backbone_settings={"width": 4, "depth": 2})
    leads.fit(model, data.train, steps=60, lr=1e-2, validate_every=10**6)
    mask = torch.ones_like(data.adapt.states, dtype=torch.bool)
    mask[..., 0, :, ::2] = False
    support = replace(data.adapt, states=data.adapt.states.where(mask, torch.nan), mask=mask)
    direct = leads.adapt(model, support, initial="estimated", iterations=100)
    free = leads.adapt(model, support, initial="estimated", solver="gauss_newton", small=2, iterations=100)
    assert free.initial is not None
    assert free.initial.shape == (1, 1, 1, 8)
    torch.testing.assert_close(torch.tensor(free.info["loss"]), torch.tensor(direct.info["loss"]), rtol=2e-2, atol=1e-9)


def test_first_states_of_gray_scott() -> None:
    """2,048 unknowns of the first state: 5 % noise, a third of all values missing, the model's own forecasts as truth."""
    family = leads.make("gray_scott")
    model = leads.build("coda", family, backbone="conv", backbone_settings={"width": 4, "depth": 2}, spread=0.1)
    x0 = draw_states(family.system, [3])[None].float()
    times = torch.tensor([0.0, 0.2, 0.4], dtype=torch.float64)
    with torch.no_grad():
        truth = model.rollout(x0, times, {"code": torch.tensor([[0.2, -0.1]])})
    generator = torch.Generator().manual_seed(0)
    noise = 0.05 * float(truth.std())
    states = truth + noise * torch.randn(truth.shape, generator=generator)
    mask = torch.rand(truth.shape, generator=generator) > 1 / 3
    support = leads.Trajectories(states.where(mask, torch.nan), times, mask=mask)
    adapted = leads.adapt(model, support, initial="estimated", noise=noise, iterations=12)
    assert adapted.info["solver"] == "gauss_newton"
    assert adapted.initial is not None
    assert adapted.initial.shape == (1, 1, 2, 32, 32)
    gap = adapted.initial - x0
    first, later = mask[:, :, 0], mask[:, :, 1:].any(2)
    size = lambda where: float(gap[where].square().mean().sqrt()) / noise
    # States hardly move, so an entry is known as well as the mean of what was observed of it, 1 / sqrt(number).
    assert size(first & mask[:, :, 1:].all(2)) == pytest.approx(3**-0.5, rel=0.15)
    assert size(first & later) < 0.75
    assert size(~first & later) < 1.1
    with pytest.raises(SettingsError, match=r"2048 values of every first state.*gauss_newton.*estimates first states"):
        leads.adapt(model, support, initial="estimated", solver="levenberg_marquardt")


@pytest.mark.parametrize(
    "settings",
    [
        {"robust": "huber", "noise": 0.02},
        {"robust": "cauchy"},
        {"bounds": ([1.0, 0.2], [2.0, 1.0])},
        {"bounds": ([1.4, 0.0], [5.0, 5.0]), "initial": "estimated"},
        {"starts": 3},
        {"starts": 2, "prior": "seen", "robust": "huber"},
    ],
)
def test_robust_losses_bounds_and_starts_as_levenberg_marquardt(settings: dict[str, object]) -> None:
    data = observe(TRUTH, X0, noise=0.02)
    states = data.states.clone()
    if "robust" in settings:
        states[:, :, 3::6] += 1.0  # outliers
    data = replace(data, states=states).select(frames=slice(0, 13))
    fast = leads.adapt(MODEL, data, iterations=100, **{"starts": 1, **settings})
    free = leads.adapt(MODEL, data, iterations=60, solver="gauss_newton", **settings)
    torch.testing.assert_close(free.contexts["code"], fast.contexts["code"], rtol=2e-3, atol=2e-4)
    torch.testing.assert_close(torch.tensor(free.info["loss"]), torch.tensor(fast.info["loss"]), rtol=1e-2, atol=1e-9)
    if "bounds" in settings:
        low, high = (torch.tensor(b, dtype=torch.float64) for b in settings["bounds"])  # type: ignore[attr-defined]
        assert bool(((free.contexts["code"] >= low) & (free.contexts["code"] <= high)).all())
        assert bool((free.contexts["code"] == low).any())
    if "starts" in settings:
        assert [len(row) for row in free.info["starts"]] == [settings["starts"]] * 2
        assert len(free.info["noise"]) == 2


def test_outliers_do_not_rule_a_network_of_its_own(data: DataSplits) -> None:
    """LEADS, whose context is a network: a robust loss keeps nearer to the frames without outliers than the square does."""
    support = data.adapt.select(environments=[0], frames=slice(0, 11))
    states = support.states.clone()
    states[:, :, 4::5] += 3.0
    spoilt = replace(support, states=states)
    model = leads.build("leads", data.train, backbone_settings={"width": 8, "depth": 2})
    leads.fit(model, data.train, steps=60, lr=2e-2, validate_every=10**6)
    errors = {}
    for loss in (None, "cauchy"):
        adapted = leads.adapt(model, spoilt, robust=loss, solver="gauss_newton", iterations=6)
        gap = adapted.forecast(support.initial, support.times) - support.states
        errors[loss] = float(gap.square().mean().sqrt())
    assert errors["cauchy"] < 0.7 * errors[None]
    assert leads.adapt(model, spoilt, robust="cauchy", iterations=1).info["solver"] == "gauss_newton"
    assert leads.adapt(model, spoilt, steps=2).info["solver"] == "gradient"
    boxed = leads.adapt(model, support, bounds=(-0.01, 0.01), starts=2, iterations=2)
    assert boxed.info["solver"] == "gauss_newton"
    assert all(float(v.abs().max()) <= 0.01 for v in boxed.contexts.values())


def test_refusals(data: DataSplits) -> None:
    model = leads.build("leads", data.train, backbone_settings={"width": 8, "depth": 2})
    for settings in ({"bounds": (0.0, 1.0)}, {"starts": 3}, {"robust": "huber"}, {"noise": 0.1}):
        with pytest.raises(SettingsError, match=r"no use for .* Use solver='gauss_newton'"):
            leads.adapt(model, data.adapt, solver="gradient", **settings)
    wide = leads.build("leads", data.train, backbone_settings={"width": 64, "depth": 2})
    with pytest.raises(SettingsError, match=r"too large \(at most 2048\)\. Give bounds"):
        leads.adapt(wide, data.adapt, solver="gauss_newton", starts=3)
    data = observe(TRUTH, X0)  # type: ignore[assignment]
    with pytest.raises(DivergenceError, match="new environment 0"):
        leads.adapt(MODEL, replace(data, states=data.states * 1e200), solver="gauss_newton", noise=1e-200)

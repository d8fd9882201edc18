"""Rollouts that keep less for gradients give the same gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import leads
from leads.errors import SettingsError, UnknownNameError
from leads.integrators import integrate, integrate_adjoint
from leads.trajectories.segments import whole, windows


def gradient(memory: str, data: leads.Trajectories, cut: Any = whole, **settings: Any) -> torch.Tensor:
    model = leads.build("coda", data, seed=3, spread=0.3, memory=memory, **settings).double()
    table = {"code": torch.linspace(-1, 1, 2 * data.n_environments).double().reshape(-1, 2).requires_grad_()}
    loss = model.loss_per_environment(cut(data), table).mean()
    weights = [table["code"], *model.adapter.parameters()]
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, weights)])


@pytest.fixture(scope="module")
def data() -> leads.Trajectories:
    small = leads.generate(leads.make("lotka_volterra"), cache=False).train.select(
        environments=[0, 4, 8], trajectories=[0, 1], frames=slice(0, 7)
    )
    return small.to(dtype=torch.float64)


@pytest.mark.parametrize("method", ["rk4", "midpoint", "map"])
@pytest.mark.parametrize("cut", [whole, lambda d: windows(d, 2)])
def test_checkpoints_give_the_same_bits(data: leads.Trajectories, method: str, cut: Any) -> None:
    plain, less = (gradient(m, data, cut, method=method) for m in ("store", "checkpoint"))
    assert torch.equal(plain, less)


def test_checkpoints_of_histories(data: leads.Trajectories) -> None:
    cut = lambda d: whole(d, 2)
    plain, less = (gradient(m, data, cut, history=2) for m in ("store", "checkpoint"))
    assert torch.equal(plain, less)


@pytest.mark.parametrize("cut", [whole, lambda d: windows(d, 2)])
def test_the_adjoint_converges_to_backpropagation_at_the_order_of_the_method(
    data: leads.Trajectories, cut: Any
) -> None:
    errors = []
    for substeps in (1, 2, 4):
        exact = gradient("store", data, cut, method="midpoint", substeps=16)
        errors.append(float((gradient("adjoint", data, cut, method="midpoint", substeps=substeps) - exact).norm()))
    assert errors[0] / errors[2] > 12  # second order: 16
    assert errors[2] < 1e-3 * float(exact.norm())


def test_the_adjoint_of_a_linear_system() -> None:
    # dx/dt = a x: x(1) = x0 e^a, so d x(1)/d a = x0 e^a and d x(1)/d x0 = e^a.
    a, x0 = torch.tensor([0.7], dtype=torch.float64, requires_grad=True), torch.tensor([2.0], dtype=torch.float64)
    x0.requires_grad_()
    times = torch.linspace(0, 1, 5, dtype=torch.float64)
    out = integrate_adjoint(lambda t, x, w: w * x, x0, times, [a], substeps=20)
    by_a, by_x = torch.autograd.grad(out[-1].sum(), (a, x0))
    assert float(by_a) == pytest.approx(2 * 2.718281828459045**0.7, rel=1e-7)
    assert float(by_x) == pytest.approx(2.718281828459045**0.7, rel=1e-7)


def test_checkpoints_keep_less() -> None:
    """Bytes that autograd holds on to, counted as they are saved."""

    def held(checkpoint: bool) -> int:
        total = 0

        def save(x: torch.Tensor) -> torch.Tensor:
            nonlocal total
            total += x.numel() * x.element_size()
            return x

        x = torch.ones(1000, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(save, lambda x: x):
            field = lambda t, y: torch.tanh(torch.sin(y)) * torch.cos(y)
            integrate(field, x, torch.linspace(0, 1, 11), substeps=2, checkpoint=checkpoint)
        return total

    # 20 steps of four evaluations of four operators each, against one state a step.
    assert held(True) <= 20 * 4000 < held(False) / 10


def test_second_order_inner_loops_through_checkpoints(data: leads.Trajectories) -> None:
    gradients = []
    for memory in ("store", "checkpoint"):
        model = leads.build("maml", data, seed=0, memory=memory, steps=1, inner_lr=0.05).double()
        contexts = model.source.train_contexts(model, None, data)
        loss = model.loss_per_environment(data, contexts).mean()
        gradients.append(torch.autograd.grad(loss, list(model.adapter.parameters())))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


def test_second_order_inner_loops_through_the_adjoint_are_refused(data: leads.Trajectories) -> None:
    model = leads.build("maml", data, seed=0, memory="adjoint", steps=1, inner_lr=0.05).double()
    with pytest.raises(SettingsError, match="memory='checkpoint'"):
        model.source.train_contexts(model, None, data)


def test_what_cannot_be_is_refused() -> None:
    family = leads.make("lotka_volterra")
    with pytest.raises(UnknownNameError, match="checkpoint"):
        leads.build("coda", family, memory="chekpoint")
    with pytest.raises(SettingsError, match="memory='checkpoint'"):
        leads.build("coda", family, memory="adjoint", method="map")
    with pytest.raises(SettingsError, match="memory='checkpoint'"):
        leads.build("erm", family, memory="adjoint", history=2)
    with pytest.raises(SettingsError, match="memory='checkpoint'"):
        integrate_adjoint(lambda t, x: x, torch.ones(1), torch.arange(2.0), [], method="map")

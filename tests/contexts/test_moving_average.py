"""Contexts from a moving average of the model, against the same steps written out."""

from __future__ import annotations

import copy

import pytest
import torch

import leads
from leads.adapters.concat import Concat
from leads.adapters.separate import Separate
from leads.backbones import backbones
from leads.contexts import InnerLoop, MovingAverage
from leads.dynamics import DecomposedDynamics
from leads.errors import DivergenceError, SettingsError
from leads.trajectories import DataSplits, Trajectories


def double(data: Trajectories) -> Trajectories:
    return data.to(dtype=torch.float64).select(environments=slice(0, 3), frames=slice(0, 5))


def build(data: DataSplits, **settings: float) -> DecomposedDynamics:
    model = leads.build("foca", double(data.train), backbone_settings={"width": 6, "depth": 2}, **settings)  # type: ignore[arg-type]
    return model.double()


def test_a_training_step_by_hand(data: DataSplits) -> None:
    """Average, inner steps on it, and the gradient of the query with contexts fixed; one environment after another."""
    model, train = build(data, steps=3, inner_lr=0.5, rate=0.3), double(data.train)
    before = copy.deepcopy(model.source.target)  # type: ignore[union-attr]
    with torch.no_grad():  # as an optimiser would have moved them
        for p in model.adapter.parameters():
            p.add_(0.1 * torch.randn(p.shape, dtype=p.dtype, generator=torch.Generator().manual_seed(p.numel())))
    averaged = copy.deepcopy(model.adapter)
    for a, b in zip(averaged.parameters(), before.parameters(), strict=True):
        a.data = 0.7 * b.data + 0.3 * a.data
    plain = DecomposedDynamics(averaged, model.source)
    contexts = model.source.train_contexts(model, None, train)
    assert not contexts["code"].requires_grad
    for e in range(3):
        one, code = train.select(environments=[e]), torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
        for _ in range(3):
            (g,) = torch.autograd.grad(plain.loss_per_environment(one, {"code": code}).sum(), code)
            code = (code - 0.5 * g).detach().requires_grad_()
        torch.testing.assert_close(contexts["code"][e : e + 1], code.detach(), rtol=1e-10, atol=1e-12)
    for mine, expected in zip(model.source.target.parameters(), averaged.parameters(), strict=True):  # type: ignore[union-attr]
        torch.testing.assert_close(mine, expected.detach(), rtol=1e-12, atol=1e-14)
        assert not mine.requires_grad
    loss = model.loss_per_environment(train, contexts).mean()
    assert all(g is not None for g in torch.autograd.grad(loss, list(model.adapter.parameters())))


def test_rate_one_is_the_model_itself(data: DataSplits) -> None:
    """Then the contexts are those of first-order inner steps, and no longer differentiated at all."""
    model, train = build(data, steps=2, inner_lr=0.5, rate=1.0), double(data.train)
    other = DecomposedDynamics(model.adapter, InnerLoop(model.adapter, steps=2, lr=0.5, first_order=True))
    with torch.no_grad():
        next(model.adapter.parameters()).mul_(1.5)
    mine = model.source.train_contexts(model, None, train)["code"]
    theirs = other.source.train_contexts(other, None, train)["code"]
    assert torch.equal(mine, theirs.detach())


def test_the_average_moves_in_training_alone(data: DataSplits) -> None:
    model, train = build(data), double(data.train)
    weights = lambda: torch.cat([p.reshape(-1).clone() for p in model.source.target.parameters()])  # type: ignore[union-attr]
    first = weights()
    leads.fit(model, train, train, steps=4, lr=1e-2, horizons=(2,), validate_every=1)
    second = weights()
    assert not torch.equal(first, second)
    leads.adapt(model, double(data.adapt))
    with torch.no_grad():
        model.source.train_contexts(model, None, train)
    assert torch.equal(second, weights())


def test_learns_and_adapts(data: DataSplits) -> None:
    model = leads.build("foca", data.train, backbone_settings={"width": 16, "depth": 2}, steps=3, new_steps=10)
    short, new = (d.select(frames=slice(0, 6)) for d in (data.train, data.adapt))
    leads.fit(model, short, steps=120, lr=1e-2, horizons=(1, 0))
    adapted = leads.adapt(model, new)
    assert adapted.info["solver"] == "none"
    start = {"code": torch.zeros(4, 2)}
    with torch.no_grad():
        assert sum(adapted.info["loss"]) < 0.8 * float(model.loss_per_environment(new, start).sum())


def test_bad_input(data: DataSplits) -> None:
    make = lambda: backbones["mlp"]((2,), width=4)
    for settings in ({"rate": 0.0}, {"rate": 1.5}, {"new_steps": 0}):
        with pytest.raises(SettingsError, match="0 < rate <= 1"):
            MovingAverage(Concat(make), **settings)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="InnerLoop with learn_start=True"):
        MovingAverage(Separate(make))
    with pytest.raises(DivergenceError, match="inner loop of environment"):
        leads.adapt(build(data, inner_lr=1e9), double(data.adapt))

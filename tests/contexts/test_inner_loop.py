"""Meta-gradients against an implementation of its own: plain autograd, one environment after another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import softplus

import leads
from leads.adapters.concat import Concat
from leads.adapters.separate import Separate
from leads.adapters.shared import Shared
from leads.adapters.weight_delta import WeightDelta
from leads.backbones import backbones
from leads.contexts import InnerLoop
from leads.dynamics import DecomposedDynamics
from leads.errors import DivergenceError, SettingsError, ShapeError
from leads.trajectories import DataSplits, Trajectories

Weights = dict[str, Tensor]
WIDTH, DEPTH = 6, 2


def double(data: Trajectories) -> Trajectories:
    return data.to(dtype=torch.float64)


def network(w: Weights, x: Tensor) -> Tensor:
    """The multi-layer perceptron, written out."""
    for i in range(DEPTH):
        z = x @ w[f"linears.{i}.weight"].T + w[f"linears.{i}.bias"]
        x = z * torch.sigmoid(z * softplus(w[f"activations.{i}.slope"])) / 1.1
    return x @ w[f"linears.{DEPTH}.weight"].T + w[f"linears.{DEPTH}.bias"]


def loss_of(field: Callable[[Tensor], Tensor], states: Tensor, times: Tensor) -> Tensor:
    """Mean square error of classical Runge-Kutta from the first frame, ``states`` of shape ``(N, T, C)``."""
    x, frames = states[:, 0], []
    for h in times.diff():
        k1 = field(x)
        k2 = field(x + h / 2 * k1)
        k3 = field(x + h / 2 * k2)
        k4 = field(x + h * k3)
        x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        frames.append(x)
    return (torch.stack(frames, 1) - states[:, 1:]).square().mean()


def by_hand(
    theta: Weights, moving: list[str], rates: Weights, steps: int, first_order: bool, s: Trajectories, q: Trajectories
) -> Tensor:
    """Mean over environments of the query's loss after ``steps`` on the support."""
    total = torch.zeros((), dtype=torch.float64)
    for e in range(s.n_environments):
        phi = dict(theta)
        for _ in range(steps):
            inner = loss_of(lambda x, w=phi: network(w, x), s.states[e], s.times)  # type: ignore[misc]
            gradients = torch.autograd.grad(inner, [phi[k] for k in moving], create_graph=True)
            if first_order:
                gradients = tuple(g.detach() for g in gradients)
            phi = phi | {k: phi[k] - rates[k] * g for k, g in zip(moving, gradients, strict=True)}
        total = total + loss_of(lambda x, w=phi: network(w, x), q.states[e], q.times)  # type: ignore[misc]
    return total / s.n_environments


def build(name: str, data: DataSplits, **settings: Any) -> DecomposedDynamics:
    """A small model in float64."""
    return leads.build(name, data.train, backbone_settings={"width": WIDTH, "depth": DEPTH}, **settings).double()


def parted(data: DataSplits) -> tuple[Trajectories, Trajectories]:
    short = double(data.train).select(environments=slice(0, 4), frames=slice(0, 6))
    return short.select(trajectories=[0]), short.select(trajectories=[1])


def ours(model: DecomposedDynamics, s: Trajectories, q: Trajectories) -> Tensor:
    return model.loss_per_environment(q, model.source.train_contexts(model, None, s)).mean()


@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("name", ["maml", "anil"])
def test_meta_gradients(data: DataSplits, name: str, steps: int, first_order: bool) -> None:
    model = build(name, data, steps=steps, inner_lr=0.05, first_order=first_order)
    s, q = parted(data)
    live = dict(model.adapter.backbone.named_parameters())
    theta = {k: w.detach().clone().requires_grad_() for k, w in live.items()}
    moving = [k for k in theta if name == "maml" or k.startswith(f"linears.{DEPTH}.")]
    rates = dict.fromkeys(moving, torch.tensor(0.05, dtype=torch.float64))
    loss, expected = ours(model, s, q), by_hand(theta, moving, rates, steps, first_order, s, q)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    mine = torch.autograd.grad(loss, list(live.values()))
    theirs = torch.autograd.grad(expected, list(theta.values()))
    for a, b in zip(mine, theirs, strict=True):
        assert float((a - b).abs().max()) <= 1e-10 * max(1.0, float(b.abs().max()))


def test_orders_differ(data: DataSplits) -> None:
    """Otherwise the test above could not tell them apart."""
    s, q = parted(data)
    gradients = []
    for first_order in (False, True):
        model = build("maml", data, inner_lr=0.05, first_order=first_order)
        gradients.append(torch.autograd.grad(ours(model, s, q), next(model.adapter.parameters()))[0])
    assert float((gradients[0] - gradients[1]).norm()) > 1e-3 * float(gradients[0].norm())


@pytest.mark.parametrize("first_order", [False, True])
def test_learned_rates_receive_their_gradients(data: DataSplits, first_order: bool) -> None:
    model = build("meta_sgd", data, steps=2, inner_lr=0.05, first_order=first_order)
    s, q = parted(data)
    theta = {k: w.detach().clone().requires_grad_() for k, w in model.adapter.backbone.named_parameters()}
    learned = [model.source.rates[k.replace(".", "/")] for k in theta]
    rates = {k: r.detach().clone().requires_grad_() for k, r in zip(theta, learned, strict=True)}
    mine = torch.autograd.grad(ours(model, s, q), [*model.adapter.parameters(), *learned])
    expected = by_hand(theta, list(theta), rates, 2, first_order, s, q)
    theirs = torch.autograd.grad(expected, [*theta.values(), *rates.values()])
    assert len(mine) == 2 * len(theta)
    for a, b in zip(mine, theirs, strict=True):
        assert float((a - b).abs().max()) <= 1e-10 * max(1.0, float(b.abs().max()))
    assert float(theirs[-1].abs().max()) > 0


def test_small_context_by_hand(data: DataSplits) -> None:
    model = build("cavia_concat", data, dim=3, steps=2, inner_lr=0.5)
    s, q = parted(data)
    live = dict(model.adapter.backbone.named_parameters())
    theta = {k: w.detach().clone().requires_grad_() for k, w in live.items()}
    expected = torch.zeros((), dtype=torch.float64)
    field = lambda x, c: network(theta, torch.cat([x, c.expand(len(x), 3)], 1))[:, :2]
    for e in range(s.n_environments):
        code = torch.zeros(3, dtype=torch.float64, requires_grad=True)
        for _ in range(2):
            inner = loss_of(lambda x, c=code: field(x, c), s.states[e], s.times)  # type: ignore[misc]
            code = code - 0.5 * torch.autograd.grad(inner, code, create_graph=True)[0]
        expected = expected + loss_of(lambda x, c=code: field(x, c), q.states[e], q.times) / 4  # type: ignore[misc]
    mine = torch.autograd.grad(ours(model, s, q), list(live.values()))
    theirs = torch.autograd.grad(expected, list(theta.values()))
    for a, b in zip(mine, theirs, strict=True):
        assert float((a - b).abs().max()) <= 1e-10 * max(1.0, float(b.abs().max()))


def test_a_learned_start_around_nothing_shared_is_the_same_method(data: DataSplits) -> None:
    s, q = parted(data)
    plain = build("maml", data, steps=2, inner_lr=0.05)
    adapter = Separate(lambda: backbones["mlp"]((2,), width=WIDTH, depth=DEPTH)).double()
    source = InnerLoop(adapter, steps=2, lr=0.05, learn_start=True)
    other = DecomposedDynamics(adapter, source).double()
    with torch.no_grad():
        for k, w in plain.adapter.backbone.named_parameters():
            source.start[k.replace(".", "/")].copy_(w)
    a = torch.autograd.grad(ours(plain, s, q), list(plain.adapter.parameters()))
    b = torch.autograd.grad(ours(other, s, q), list(source.parameters()))
    by_name = dict(zip([k for k, _ in source.start.items()], b, strict=True))
    for (k, _), g in zip(plain.adapter.backbone.named_parameters(), a, strict=True):
        torch.testing.assert_close(by_name[k.replace(".", "/")], g, rtol=1e-10, atol=1e-12)


def test_no_inner_steps_is_training_one_model_for_all(data: DataSplits) -> None:
    train = double(data.train)
    one, tuned = build("erm", data), build("fine_tuning", data)
    for model in (one, tuned):
        leads.fit(model, train, steps=30, horizons=(3,), lr=1e-3)
    pairs = zip(one.adapter.parameters(), tuned.adapter.parameters(), strict=True)
    assert max(float((a - b).detach().abs().max()) for a, b in pairs) < 1e-14
    with torch.no_grad():
        a = one.loss_per_environment(train, {})
        b = tuned.loss_per_environment(train, leads.trained(tuned, data=train).contexts)
    torch.testing.assert_close(a, b, rtol=1e-13, atol=0)


@pytest.mark.parametrize("name", ["maml", "meta_sgd", "cavia_film", "cavia_concat"])
def test_an_environment_does_not_depend_on_those_beside_it(data: DataSplits, name: str) -> None:
    model, support = build(name, data, steps=3, inner_lr=0.05), double(data.adapt)
    together = leads.adapt(model, support).contexts
    for e in (0, 3):
        alone = leads.adapt(model, support.select(environments=[e])).contexts
        for k, v in alone.items():
            torch.testing.assert_close(v[0], together[k][e], rtol=1e-12, atol=1e-14)
            assert float(v.abs().max()) > 0


def test_contexts_start_at_the_shared_model(data: DataSplits) -> None:
    x, t = double(data.train).initial[0], torch.zeros((), dtype=torch.float64)
    film = build("cavia_film", data).adapter
    start = film.init_context()
    assert torch.equal(film(t, x, film.prepare(start)), film.backbone(t, x))
    concat = build("cavia_concat", data).adapter
    padded = torch.cat([x, x.new_zeros(len(x), 2)], 1)
    assert torch.equal(concat(t, x, concat.prepare(concat.init_context())), concat.backbone(t, padded)[:, :2])


def test_nothing_to_find_without_a_context(data: DataSplits) -> None:
    adapter = Shared(lambda: backbones["mlp"]((2,), width=4)).double()
    model = DecomposedDynamics(adapter, InnerLoop(adapter, steps=2))
    assert model.source.train_contexts(model, None, double(data.train)) == {}


def test_bad_input(data: DataSplits) -> None:
    make = lambda: backbones["mlp"]((2,), width=4)
    for settings in ({"steps": -1}, {"lr": 0.0}, {"steps": 0, "learn_rates": True}):
        with pytest.raises(SettingsError, match="steps"):
            InnerLoop(WeightDelta(make), **settings)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="learn_start=True"):
        InnerLoop(Separate(make))
    with pytest.raises(SettingsError, match="dim=0"):
        Concat(make, 0)
    wild = build("maml", data, steps=4, inner_lr=1e6, first_order=True)
    with pytest.raises(DivergenceError, match=r"inner loop of environment \d.*lr=1000000.*first_order=False"):
        leads.adapt(wild, double(data.adapt))
    with pytest.raises(DivergenceError, match=r"training step 0.*inner loop"):
        leads.fit(wild, double(data.train), steps=2, horizons=(0,))
    with pytest.raises(ShapeError, match="2 environments are asked for"):
        wild.source.train_contexts(wild, torch.tensor([0, 1]), double(data.adapt))
    with pytest.raises(SettingsError, match=r"data=data\.train"):
        leads.trained(build("maml", data))

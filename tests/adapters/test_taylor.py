from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import leads
from leads.adapters import Adapter, Context, adapters
from leads.adapters.context_net import ContextNet
from leads.adapters.hybrid import hybrid
from leads.adapters.low_rank import LowRank
from leads.adapters.taylor import Taylor, anchored, taylor
from leads.backbones import backbones
from leads.contexts import NeighbourTable
from leads.dynamics import DecomposedDynamics
from leads.errors import SettingsError, UnknownNameError
from leads.testing import check_adapter
from leads.trajectories import Trajectories

T0 = torch.zeros((), dtype=torch.float64)


class Polynomial(Adapter):
    """dx/dt = x (a + b^2 + a b^3) with the context (a, b); what is prepared is itself a polynomial of the context."""

    def init_context(self) -> Context:
        return {"code": torch.zeros(2, dtype=torch.float64)}

    def prepare(self, context: Context) -> Any:
        a, b = context["code"].unbind(-1)
        return {"a": a, "rest": (b * b, a * b)}

    def forward(self, t: Tensor, x: Tensor, prepared: Any) -> Tensor:
        square, product = prepared["rest"]
        return x * (prepared["a"] + square + product * square)


def pair(dim: int = 2, e: int = 3) -> tuple[Context, Context]:
    g = torch.Generator().manual_seed(4)
    own, anchor = torch.randn(2, e, dim, dtype=torch.float64, generator=g)
    return {"code": own}, {"code": anchor}


@pytest.mark.parametrize("order", [1, 2])
def test_polynomial_field_by_hand(order: int) -> None:
    own, anchor = pair()
    x = torch.randn(3, 4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    adapter = Taylor(Polynomial(), order)
    got = adapter.forward_all(T0, x, adapter.prepare_all(anchored(own, anchor)))
    a, b = anchor["code"].unbind(1)
    da, db = (own["code"] - anchor["code"]).unbind(1)
    value = a + b**2 + a * b**3
    slope = (1 + b**3) * da + (2 * b + 3 * a * b**2) * db
    bend = 0.5 * ((2 + 6 * a * b) * db**2 + 2 * (3 * b**2) * da * db)
    factor = value + slope + (bend if order == 2 else 0)
    torch.testing.assert_close(got, x * factor[:, None, None], rtol=1e-12, atol=1e-12)


def fields() -> list[tuple[str, str]]:
    return [(a, b) for a in ("linear_hyper", "low_rank", "additive_field", "context_net") for b in ("mlp", "conv")]


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize(("name", "network"), fields())
def test_network_against_reverse_mode(name: str, network: str, order: int) -> None:
    torch.manual_seed(0)
    shape = (2,) if network == "mlp" else (1, 5)
    make = lambda: backbones[network](shape, width=3)
    settings = {"context_net": {"dim": 4, "width": 3}}.get(name, {})
    field = adapters[name](make, **settings).double()
    rows = [[{k: v.double() for k, v in field.init_context().items()} for _ in range(2)] for _ in range(2)]
    noise = lambda v: v + 0.5 * torch.randn_like(v)
    own, anchor = ({k: noise(torch.stack([a[k], b[k]])) for k in a} for a, b in rows)
    x = torch.randn(2, 2, *shape, dtype=torch.float64)
    adapter = Taylor(field, order)
    got = adapter.forward_all(T0, x, adapter.prepare_all(anchored(own, anchor)))
    for e in range(2):

        def along(s: Tensor, e: int = e) -> Tensor:
            return field.forward(T0, x[e], field.prepare({k: v[e] + s * (own[k][e] - v[e]) for k, v in anchor.items()}))

        zero = torch.zeros((), dtype=torch.float64, requires_grad=True)
        expected = along(zero).detach()
        for index in range(expected.numel()):
            value = along(zero).flatten()[index]
            (slope,) = torch.autograd.grad(value, zero, create_graph=True)
            (bend,) = torch.autograd.grad(slope, zero)
            expected.view(-1)[index] += slope.detach() + (0.5 * bend if order == 2 else 0)
        torch.testing.assert_close(got[e], expected, rtol=1e-10, atol=1e-10)
        one = {k: v[e] for k, v in anchored(own, anchor).items()}
        torch.testing.assert_close(adapter.forward(T0, x[e], adapter.prepare(one)), got[e], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("order", [1, 2])
def test_a_context_that_is_its_own_anchor_is_not_expanded(order: int) -> None:
    torch.manual_seed(0)
    field = LowRank(lambda: backbones["mlp"]((2,), width=6), dim=2).double()
    adapter, (own, _) = Taylor(field, order), pair()
    x = torch.randn(3, 4, 2, dtype=torch.float64)
    plain = field.forward_all(T0, x, field.prepare_all(own))
    same = adapter.forward_all(T0, x, adapter.prepare_all(anchored(own, own)))
    torch.testing.assert_close(same, plain, rtol=1e-12, atol=1e-12)
    assert torch.equal(adapter.forward_all(T0, x, adapter.prepare_all(own)), plain)


@pytest.mark.parametrize("order", [1, 2])
def test_the_error_falls_at_its_order(order: int) -> None:
    torch.manual_seed(0)
    field = ContextNet(lambda: backbones["mlp"]((2,)), dim=4, width=8).double()
    adapter, (own, anchor) = Taylor(field, order), pair(4)
    x = torch.randn(3, 4, 2, dtype=torch.float64)
    errors = []
    for h in (0.1, 0.05):
        near = {"code": anchor["code"] + h * own["code"]}
        exact = field.forward_all(T0, x, field.prepare_all(near))
        got = adapter.forward_all(T0, x, adapter.prepare_all(anchored(near, anchor)))
        errors.append(float((got - exact).detach().norm()))
    assert errors[0] / errors[1] == pytest.approx(2 ** (order + 1), rel=0.1)


def test_gradients_reach_contexts_anchors_and_weights() -> None:
    torch.manual_seed(0)
    adapter = taylor(lambda: backbones["mlp"]((2,), width=4)).double()
    source = NeighbourTable(adapter, 3).double()
    torch.nn.init.normal_(source.values["code"])
    model = DecomposedDynamics(adapter, source)
    data = Trajectories(torch.rand(3, 2, 3, 2, dtype=torch.float64), torch.arange(3, dtype=torch.float64) * 0.1)
    rows = torch.tensor([1, 2, 0])
    code = source.values["code"]

    def loss() -> Tensor:
        contexts = anchored({"code": code}, {"code": code[rows]})
        return model.loss_per_environment(data, contexts).sum()

    loss().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in model.parameters())
    w, h, ends = adapter.field.weight, 1e-6, []
    with torch.no_grad():
        for target, index in ((code, (0, 1)), (w, (3, 0))):
            start, ends = target[index].clone(), []
            for sign in (1, -1):
                target[index] = start + sign * h
                ends.append(float(loss()))
            target[index] = start
            assert target.grad is not None
            assert float(target.grad[index]) == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=1e-5)


def test_contracts_and_times_that_differ_between_trajectories() -> None:
    for inner in ("low_rank", "context_net", "shared"):
        check_adapter(lambda m, a=inner: taylor(m, a), lambda: backbones["mlp"]((2,), width=4))
    torch.manual_seed(0)
    adapter = taylor(lambda: backbones["mlp"]((2,), width=4)).double()
    own, anchor = pair()
    prepared, x = adapter.prepare_all(anchored(own, anchor)), torch.randn(3, 4, 2, dtype=torch.float64)
    same = adapter.forward_all(T0, x, prepared)
    assert torch.equal(adapter.forward_all(T0.expand(1, 4), x, prepared), same)
    assert torch.equal(adapter.forward_all(T0.expand(3, 4), x, prepared), same)


def test_penalty_by_hand() -> None:
    adapter = taylor(lambda: backbones["mlp"]((2,), width=4), adapter_settings={"code": 2.0}, code=0.5)
    contexts = {"code": torch.tensor([[1.0, -2.0], [0.0, 3.0]])}
    data = Trajectories(torch.rand(2, 1, 3, 2), torch.arange(3, dtype=torch.float64))
    together = anchored(contexts, {"code": torch.ones(2, 2)})
    assert float(adapter.penalty(together, data)) == pytest.approx(2.0 * 14 + 0.5 * 6 / 4)
    assert adapter.adaptation_penalty(together, data).tolist() == pytest.approx([0.5 * 1.5, 0.5 * 1.5])


def test_three_part_network() -> None:
    published = ContextNet(lambda: backbones["mlp"]((2,)), dim=1024)
    assert sum(p.numel() for p in published.parameters()) == 308_233
    torch.manual_seed(0)
    field = ContextNet(lambda: backbones["conv"]((2, 6), width=4), dim=4, width=4, factor=0.5).double()
    x = torch.randn(1, 3, 2, 6, dtype=torch.float64)
    prepared = field.prepare_all({"code": torch.randn(1, 4, dtype=torch.float64)})
    rolled = field.forward_all(T0, x.roll(2, -1), prepared)
    torch.testing.assert_close(rolled, field.forward_all(T0, x, prepared).roll(2, -1))


def test_bad_input() -> None:
    make = lambda: backbones["mlp"]((2,))
    with pytest.raises(SettingsError, match="order=3"):
        taylor(make, order=3)
    with pytest.raises(SettingsError, match="code"):
        taylor(make, code=-1.0)
    with pytest.raises(UnknownNameError, match="'low_rank'"):
        taylor(make, "lowrank")
    for settings in ({"dim": 0}, {"kernel": 2}):
        with pytest.raises(SettingsError):
            ContextNet(make, **settings)
    with pytest.raises(SettingsError, match="smaller than half"):
        ContextNet(lambda: backbones["conv"]((1, 4)), kernel=11)
    assert "taylor" in leads.adapters.adapters


def test_expanded_hybrids() -> None:
    """With a shared network beside it, only the physics moves with the context: its polynomial by hand."""
    torch.manual_seed(0)
    physics = {"family": "lotka_volterra", "terms": ["birth"], "own": {"alpha": 0.8}}
    for network in ("shared", None):
        field = hybrid(lambda: backbones["mlp"]((2,), width=4), physics, network).double()
        own, anchor = torch.randn(2, 3, 1, dtype=torch.float64)
        x = torch.rand(3, 4, 2, dtype=torch.float64)
        adapter = Taylor(field, 2)
        got = adapter.forward_all(T0, x, adapter.prepare_all(anchored({"physics": own}, {"physics": anchor})))
        s, d = anchor.sigmoid(), own - anchor
        alpha = 1e-5 + (5 - 1e-5) * (s + s * (1 - s) * d + 0.5 * s * (1 - s) * (1 - 2 * s) * d**2)
        rest = field.learned.forward_all(T0, x, field.learned.prepare_all({})) if network else torch.zeros_like(x)
        expected = rest + torch.stack([alpha * x[..., 0], torch.zeros(3, 4).double()], -1)
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)

"""Special cases that equal other methods, and derivatives that equal differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

import leads
from leads.adapters import Adapter, adapters
from leads.adapters.low_rank import LowRank
from leads.adapters.weight_delta import WeightDelta
from leads.backbones import backbones
from leads.contexts import Table
from leads.dynamics import DecomposedDynamics
from leads.trajectories import Trajectories

CODED: dict[str, dict[str, Any]] = {
    "linear_hyper": {},
    "low_rank": {"dim": 2},
    "modulation": {},
    "concat": {},
    "linear_field": {},
    "taylor": {},
    "context_net": {"dim": 2, "width": 3},
    "weight_delta": {"only": "last"},
}


def batch(shape: tuple[int, ...], e: int = 2) -> Trajectories:
    states = torch.rand(e, 1, 3, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return Trajectories(states, torch.arange(3, dtype=torch.float64) * 0.2)


def rolled(adapter: Adapter, data: Trajectories) -> tuple[Any, tuple[Tensor, ...], list[str]]:
    """The losses of whole rollouts as a function of the contexts, and contexts to take derivatives at."""
    model = DecomposedDynamics(adapter, Table(adapter, 2))
    g = torch.Generator().manual_seed(1)
    start = {k: v.detach().double() for k, v in adapter.init_context().items()}
    names = list(start)
    at = tuple(
        (v + 0.3 * torch.randn(2, *v.shape, dtype=torch.float64, generator=g)).requires_grad_() for v in start.values()
    )
    return (
        lambda *values: model.loss_per_environment(data, dict(zip(names, values, strict=True))),
        at,
        names,
    )


@pytest.mark.parametrize("name", CODED)
def test_second_derivatives_in_the_context_through_a_rollout(name: str) -> None:
    torch.manual_seed(0)
    adapter = adapters[name](lambda: backbones["mlp"]((2,), width=3, depth=1), **CODED[name]).double()
    loss, at, _ = rolled(adapter, batch((2,)))
    assert gradcheck(loss, at)
    assert gradgradcheck(loss, at)


@pytest.mark.parametrize("name", [b for b in backbones if b not in ("mlp", "pairwise")])
def test_second_derivatives_through_every_backbone(name: str) -> None:
    torch.manual_seed(0)
    adapter = adapters["linear_hyper"](lambda: backbones[name]((1, 8), width=4), dim=1, spread=0.1).double()
    loss, at, _ = rolled(adapter, batch((1, 8)))
    assert gradgradcheck(loss, at, rtol=1e-4, atol=1e-7)


def test_mixed_second_derivatives_of_context_and_weights() -> None:
    """What an inner loop differentiates: the gradient in the context, by the shared weights."""
    torch.manual_seed(0)
    adapter = adapters["concat"](lambda: backbones["mlp"]((2,), width=3, depth=1)).double()
    loss, (code,), _ = rolled(adapter, batch((2,)))
    weights = list(adapter.parameters())
    slope = lambda: torch.autograd.grad(loss(code).sum(), code, create_graph=True)[0]
    probe = torch.randn(code.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    mixed = torch.autograd.grad((slope() * probe).sum(), weights)
    for w, got in zip(weights, mixed, strict=True):
        direction = torch.randn(w.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
        ends = []
        for h in (1e-5, -1e-5):
            with torch.no_grad():
                w.add_(h * direction)
            ends.append(float((slope() * probe).sum().detach()))
            with torch.no_grad():
                w.sub_(h * direction)
        assert float((got * direction).sum()) == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-6, abs=1e-10)


@pytest.mark.parametrize(("backbone", "shape"), [("mlp", (2,)), ("conv", (2, 6)), ("fno", (1, 8))])
def test_low_rank_at_full_rank_is_a_free_shift_of_the_weights(backbone: str, shape: tuple[int, ...]) -> None:
    """Any shift of all weights, from the factors of its singular value decompositions and a code of ones."""
    torch.manual_seed(0)
    free = WeightDelta(lambda: backbones[backbone](shape, width=4)).double()
    own = free.backbone.own_weights()
    shift = {k: 0.3 * torch.randn(w.shape, dtype=torch.float64) for k, w in own.items()}
    dim = max(min(w.shape[:2]) for w in own.values() if w.ndim > 1)
    low = LowRank(lambda: backbones[backbone](shape, width=4), dim=dim).double()
    low.backbone.load_state_dict(free.backbone.state_dict())
    with torch.no_grad():
        for name, delta in shift.items():
            key = name.replace(".", "/")
            if delta.ndim == 1:
                low.shift[key].copy_(delta[:, None].expand(-1, dim) / dim)
                continue
            complex_ = name in low.complex
            m = torch.view_as_complex(delta) if complex_ else delta
            u, s, v = torch.linalg.svd(m.movedim((0, 1), (-2, -1)), full_matrices=False)  # one per kernel position
            missing = dim - s.shape[-1]
            left = torch.nn.functional.pad(u * s.unsqueeze(-2), (0, missing)).movedim((-2, -1), (0, 1))
            right = torch.nn.functional.pad(v, (0, 0, 0, missing)).movedim((-2, -1), (0, 1))
            for factors, value in ((low.left, left), (low.right, right)):
                factors[key].copy_(torch.view_as_real(value.resolve_conj().contiguous()) if complex_ else value)
    x0, t = batch(shape).initial, batch(shape).times
    roll = lambda adapter, c: DecomposedDynamics(adapter, Table(adapter, 2)).rollout(x0, t, c)
    two = lambda c: {k: torch.stack([v, v]) for k, v in c.items()}
    with torch.no_grad():
        ours = roll(low, two({"code": torch.ones(dim, dtype=torch.float64)}))
        theirs = roll(free, two(shift))
        still = roll(free, two({k: torch.zeros_like(v) for k, v in shift.items()}))
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)
    assert float((theirs - still).abs().max()) > 1e-3


def test_the_penalty_of_an_added_field_on_a_grid_by_numpy() -> None:
    """Kernels as matrices with output channels as rows, norms over channels at every cell of every frame. Power
    iteration comes near the largest singular value from below."""
    data = batch((2, 6))
    model = leads.build("leads", data, backbone="conv", backbone_settings={"width": 3}, weight=0.2, alpha=0.5).double()
    contexts = {k: v.detach() for k, v in model.source.table().items()}  # type: ignore[operator]
    expected = 0.0
    for e in range(2):
        own = {k: v[e] for k, v in contexts.items()}
        x = data.states[e].flatten(0, 1)
        g = torch.func.functional_call(model.adapter.residual, own, (torch.zeros(()), x)).detach().numpy()  # type: ignore[arg-type]
        ratio = np.linalg.norm(g, axis=1) / (np.linalg.norm(x.numpy(), axis=1) + 1e-5)
        expected += 0.2 * float((ratio**2).mean())
        kernels = [w.numpy().reshape(len(w), -1) for w in own.values() if w.ndim > 1]
        expected += 0.2 * 0.5 * sum(float(np.linalg.norm(w, 2)) ** 2 for w in kernels)
    assert float(model.adapter.penalty(contexts, data).detach()) == pytest.approx(expected, rel=3e-3)

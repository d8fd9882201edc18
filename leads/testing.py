"""Contracts: what every system, backbone, adapter and algorithm must hold. Our tests run them over all that is
registered; run them on your own::

    from leads.testing import check_system
    check_system(MySystem(), parameters)
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.func import vmap

from leads.adaptation import adapt
from leads.adapters import Adapter, MakeBackbone
from leads.algorithms import Algorithm
from leads.backbones import Backbone
from leads.environments import System
from leads.training import fit
from leads.trajectories import Trajectories


def _same(a: Tensor, b: Tensor, what: str, tolerance: float = 1e-10, size: float = 0.0) -> None:
    """Raise AssertionError unless two tensors agree relative to the size of the second, or to ``size`` if larger."""
    worst = float((a - b).detach().abs().max())
    if a.shape != b.shape or not worst <= tolerance * max(size, float(b.detach().abs().max())):
        raise AssertionError(f"{what}: shapes {tuple(a.shape)} and {tuple(b.shape)}, largest difference {worst:.3g}.")


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise AssertionError(what)


def check_system(system: System, parameters: Tensor, times: Tensor | None = None, accuracy: float = 1e-6) -> None:
    """Shapes, batching, derivatives, determinism, units and the invariant of a system.

    Args:
        system: what to check.
        parameters: admissible parameters ``(E, P)`` of at least two environments.
        times: where given, solutions are followed over it: step doubling and the invariant are checked.
        accuracy: largest difference to the solution with twice the steps, relative to the largest state.
    """
    draw = lambda n: system.sample_x0(n, np.random.RandomState(7))  # noqa: E731
    x, t = draw(3), torch.zeros((), dtype=torch.float64)
    _require(x.shape == (3, *system.state_shape), f"sample_x0(3) has shape {tuple(x.shape)}.")
    _require(x.dtype == torch.float64, "sample_x0 must give float64.")
    _require(torch.equal(x, draw(3)), "sample_x0 must depend on its generator alone.")
    _require(all(c.name and c.unit for c in system.channels), "Every channel needs a name and a unit.")
    _require(
        all(p.name and p.unit and p.low <= p.high for p in system.parameters),
        "Every parameter needs name, unit, range.",
    )
    e = len(parameters)
    many = x.expand(e, *x.shape)
    batched = system.rhs(t, many, parameters[:, None])
    loop = torch.stack([torch.stack([system.rhs(t, xi, p) for xi in x]) for p in parameters])
    _same(batched, loop, "rhs batched over environments and trajectories differs from a loop")
    before = x.clone()
    system.rhs(t, x, parameters[0])
    _require(torch.equal(x, before), "rhs must not write into its input.")
    one, p = x[0].clone().requires_grad_(), parameters[0].clone().requires_grad_()
    direction = torch.randn(one.shape, dtype=one.dtype, generator=torch.Generator().manual_seed(0))
    h = 1e-6
    size = lambda v: v.detach().abs().clamp_min(float(v.detach().abs().max()) or 1.0)  # noqa: E731
    for target, shift in ((one, size(one) * direction.abs()), (p, _within(system, p.detach()))):
        grad = torch.autograd.grad((system.rhs(t, one, p) * direction).sum(), target)[0]
        sides = [[v + s * shift if v is target else v for v in (one, p)] for s in (h, -h)]
        ends = [(system.rhs(t, y, q) * direction).sum() for y, q in sides]
        _same(
            (grad * shift).sum(), (ends[0] - ends[1]) / (2 * h), "rhs' derivative differs from finite differences", 1e-4
        )
    if times is not None:
        states = system.simulate(many, parameters, times)
        _same(
            states,
            system.simulate(many, parameters, times, refine=2),
            "simulate is not at reference accuracy",
            accuracy,
        )
        _same(
            states[:1, :1], system.simulate(many[:1, :1], parameters[:1], times), "simulate depends on the batch", 1e-12
        )
        conserved = system.invariant(states, parameters[:, None, None])
        if conserved is not None:
            # An invariant that is zero by chance, such as a mean, is conserved to the rounding of what it is made of.
            of = float(states.abs().max())
            first = conserved[:, :, :1].expand_as(conserved)
            _same(conserved, first, "the invariant is not conserved", 1e-8, size=min(of, of**2))


def _within(system: System, p: Tensor) -> Tensor:
    """A shift of every parameter in proportion to its value, or to its range where the value is nothing."""
    wide = torch.tensor([min(q.high - q.low, 1.0) for q in system.parameters], dtype=p.dtype)
    return torch.where(p == 0, wide, p.abs())


def check_backbone(make_backbone: Callable[[], Backbone]) -> None:
    """Shapes, the batched form against ``vmap`` and a loop, gradients to every parameter, no buffers."""
    networks = [make_backbone().double() for _ in range(3)]
    shape = networks[0].state_shape
    x = torch.randn(3, 2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    t = torch.zeros((), dtype=torch.float64)
    net = networks[0]
    _require(not list(net.buffers()), "A backbone must have no buffers.")
    stacked = {k: torch.stack([n.own_weights()[k] for n in networks]) for k in net.own_weights()}
    loop = torch.stack([n(t, xi) for n, xi in zip(networks, x, strict=True)])
    _require(loop.shape == x.shape, f"forward of {tuple(x[0].shape)} gives {tuple(loop.shape[1:])}.")
    _same(net.batched(net.ready(stacked), t, x), loop, "the batched form differs from a loop")
    _same(Backbone.batched(net, stacked, t, x), loop, "vmap differs from a loop")
    net(t, x[0]).square().sum().backward()
    silent = [k for k, w in net.named_parameters() if w.grad is None]
    _require(not silent, f"No gradient reaches {silent}.")


def check_adapter(make_adapter: Callable[[MakeBackbone], Adapter], make_backbone: MakeBackbone) -> None:
    """Batching over environments against a loop, gradients to contexts, and a penalty that is a number."""
    adapter = make_adapter(make_backbone).double()
    shape = make_backbone().state_shape
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 2, *shape, dtype=torch.float64, generator=generator)
    t = torch.zeros((), dtype=torch.float64)
    rows = [adapter.init_context() for _ in range(3)]
    rows = [
        {
            k: v.detach().double() + 0.1 * torch.randn(v.shape, dtype=torch.float64, generator=generator)
            for k, v in r.items()
        }
        for r in rows
    ]
    contexts = {k: torch.stack([r[k] for r in rows]).requires_grad_() for k in rows[0]}
    loop = torch.stack([adapter.forward(t, xi, adapter.prepare(r)) for xi, r in zip(x, rows, strict=True)])
    out = adapter.forward_all(t, x, adapter.prepare_all(contexts))
    _same(out, loop, "forward_all differs from a loop over environments")
    if contexts:
        mapped = vmap(lambda c, y: adapter.forward(t, y, adapter.prepare(c)))(contexts, x)
        _same(mapped, loop, "vmap differs from a loop over environments")
        grads = torch.autograd.grad(out.square().sum(), list(contexts.values()), allow_unused=True)
        _require(all(g is not None for g in grads), "No gradient reaches a part of the context.")
    if adapter.affine:
        fields = [
            adapter.forward_all(t, x, adapter.prepare_all({k: s * v for k, v in contexts.items()})) for s in range(3)
        ]
        _same(fields[2] - fields[1], fields[1] - fields[0], "the field is not affine in the context", 1e-10)
    batch = Trajectories(x[:, :, None].expand(-1, -1, 3, *shape).clone(), torch.arange(3.0, dtype=torch.float64))
    penalty = adapter.penalty(contexts, batch)
    _require(penalty.shape == () and bool(torch.isfinite(penalty)), "penalty must be a finite scalar.")
    each = adapter.adaptation_penalty(contexts, batch)
    _require(each.shape == (3,) and bool(torch.isfinite(each).all()), "adaptation_penalty must be finite, shape (E,).")


def check_algorithm(
    algorithm: Algorithm, make_backbone: MakeBackbone, train: Trajectories, support: Trajectories
) -> None:
    """A few training steps move every trained parameter; adapting moves none of them."""
    model = algorithm(make_backbone, train.n_environments)
    before = {k: v.clone() for k, v in model.named_parameters()}
    fit(model, train, steps=3, horizons=(1,), lr=1e-2, schedule="constant")
    still = [k for k, v in model.named_parameters() if v.requires_grad and torch.equal(v, before[k])]
    _require(not still, f"Training did not move {still}.")
    shared = {k: v.detach().clone() for k, v in model.state_dict().items()}
    adapted = adapt(model, support, steps=3, iterations=3)
    changed = [k for k, v in model.state_dict().items() if not torch.equal(v, shared[k])]
    _require(not changed, f"Adapting changed the shared weights {changed}.")
    forecast = adapted.forecast(support.initial, support.times)
    _require(forecast.shape == support.states.shape, f"The forecast has shape {tuple(forecast.shape)}.")

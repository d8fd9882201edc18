"""Cost, gradient and Gauss-Newton matrix of very many environments, block by block, with no Jacobian kept."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

import torch
from torch import Tensor

from leads.adapters import Context
from leads.backbones.coded import Coded, CodedPerceptron
from leads.contexts.flat import size, unflatten
from leads.dynamics import DecomposedDynamics, forecast_error
from leads.integrators import integrate
from leads.integrators.compiled import compiled
from leads.trajectories.segments import Segments

#: Environments of a block that runs compiled: its rows of activations stay in a core's second-level cache.
BLOCK = 512
#: Step of central differences, near the cube root of float64's precision.
STEP = 1e-5


@dataclass(frozen=True)
class Normal:
    """Mean square error ``(E,)``, half its gradient ``(E, d)`` and Gauss-Newton matrix ``(E, d, d)``; float64.

    What is not finite says that the rollout was not.
    """

    cost: Tensor
    gradient: Tensor
    hessian: Tensor

    def take(self, rows: Tensor) -> Normal:
        return Normal(self.cost[rows], self.gradient[rows], self.hessian[rows])

    def where(self, better: Tensor, other: Normal) -> Normal:
        """This one's environments where ``better``, the other's elsewhere."""
        return Normal(
            torch.where(better, self.cost, other.cost),
            torch.where(better[:, None], self.gradient, other.gradient),
            torch.where(better[:, None, None], self.hessian, other.hessian),
        )


#: Normal equations of environments with these numbers ``(B,)`` at these contexts ``(B, d)``.
NormalEquations = Callable[[Tensor, Tensor], Normal]


def by_tangents(
    model: DecomposedDynamics, data: Segments, dtype: torch.dtype, compile: bool = False
) -> NormalEquations | None:
    """Normal equations from one rollout of value and tangents, for adapters that are :class:`leads.backbones.coded.Coded`;
    ``None`` for others.

    Args:
        model: the dynamics.
        data: observations of E environments.
        dtype: precision of the rollout; results are float64.
        compile: compile the field of full blocks, which takes some seconds and pays for thousands of environments.
    """
    own = model.adapter.coded() if isinstance(model.adapter, Coded) and model.history == 1 else None
    if own is None:
        return None
    net = own.to(data.initial.new_zeros((), dtype=dtype))
    weights = net.tensors()
    whole_blocks = _compiled(tuple(type(layer) for layer in net.layers)) if compile else None

    def block(rows: Tensor, contexts: Tensor) -> Normal:
        part, code = _rows(data, rows, dtype), contexts.to(dtype)
        compiles = whole_blocks is not None and len(rows) == BLOCK

        def field(t: Tensor, x: Tensor) -> Tensor:
            del t
            return whole_blocks(x, code, *weights) if compiles and whole_blocks else net(x, code)

        x0 = part.initial[:, :, None]
        start = torch.cat([x0, x0.new_zeros(*x0.shape[:2], code.shape[1], x0.shape[-1])], 2)
        states = integrate(field, start, part.times, method=model.method, substeps=model.substeps).movedim(0, 2)
        residual = forecast_error(states[:, :, :, 0], part)
        slopes = states[:, :, 1:, 1:]
        if part.observed is not None:
            slopes = torch.where(part.observed.unsqueeze(3), slopes, slopes.new_zeros(()))
        jacobian = slopes.movedim(3, 1).flatten(2)  # (B, d, M)
        return _normal(residual.flatten(1), jacobian, part.count(residual))

    return lambda rows, contexts: _in_blocks(block, rows, contexts, BLOCK)


def by_differences(
    model: DecomposedDynamics, data: Segments, like: Context, memory: int, weights: int
) -> NormalEquations:
    """Normal equations by central differences, for any model; each block is one rollout of 2 d + 1 contexts.

    Args:
        model: the dynamics in float64.
        data: observations of E environments.
        like: a stacked context, for its names and shapes.
        memory: bytes that a block's rollout may take.
        weights: values that an adapter may prepare for one context.
    """
    d = size(like)
    copies = 2 * d + 1
    states = math.prod(data.target.shape[1:]) * (8 + model.substeps)
    most = max(1, int(memory // (8 * copies * (states + 3 * weights))))

    def block(rows: Tensor, contexts: Tensor) -> Normal:
        h = STEP * contexts.abs().clamp_min(1.0)
        moves = torch.diag_embed(h)
        stacked = torch.cat([contexts[:, None], contexts[:, None] + moves, contexts[:, None] - moves], 1)
        part = _rows(data, rows.repeat_interleave(copies), torch.float64)
        r = model.residuals(part, unflatten(stacked.flatten(0, 1), like)).reshape(len(rows), copies, -1)
        jacobian = (r[:, 1 : d + 1] - r[:, d + 1 :]) / (2 * h[:, :, None])
        count = part.count(r.flatten(0, 1).unflatten(1, part.target.shape[1:]))
        return _normal(r[:, 0], jacobian, count if count.ndim == 0 else count.reshape(len(rows), copies)[:, 0])

    return lambda rows, contexts: _in_blocks(block, rows, contexts, most)


def _normal(residual: Tensor, jacobian: Tensor, count: Tensor) -> Normal:
    """From residuals ``(B, M)``, their Jacobian ``(B, d, M)`` and how many are observed."""
    r, j = residual.double(), jacobian.double()
    n = count.double().expand(len(r))
    gradient = (j @ r[:, :, None])[:, :, 0] / n[:, None]
    return Normal(r.square().sum(1) / n, gradient, j @ j.mT / n[:, None, None])


def _in_blocks(block: Any, rows: Tensor, contexts: Tensor, most: int) -> Normal:
    parts = [block(r, c) for r, c in zip(rows.split(most), contexts.split(most), strict=True)]
    return Normal(*(torch.cat([getattr(p, name) for p in parts]) for name in ("cost", "gradient", "hessian")))


def _rows(data: Segments, rows: Tensor, dtype: torch.dtype) -> Segments:
    observed = None if data.observed is None else data.observed.expand(len(data.target), *data.observed.shape[1:])[rows]
    return Segments(data.initial[rows].to(dtype), data.target[rows].to(dtype), data.times, observed)


@cache
def _compiled(kinds: tuple[Any, ...]) -> Callable[..., Tensor]:
    """The compiled field of networks with these layers; weights are arguments, so one program serves all models."""

    def field(x: Tensor, code: Tensor, *weights: Tensor) -> Tensor:
        rest = iter(weights)
        layers = [kind(*(next(rest) for _ in fields(kind))) for kind in kinds]
        return CodedPerceptron(layers, next(rest))(x, code)

    return compiled(field)

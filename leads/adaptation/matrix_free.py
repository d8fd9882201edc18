"""What matrix-free Gauss-Newton works on: the unknowns of an environment as one vector, and the adapter's penalty."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from leads.adaptation.problem import Point, Problem
from leads.adapters import Context
from leads.contexts.flat import unflatten
from leads.dynamics import DecomposedDynamics
from leads.trajectories import Trajectories

#: Step of differences along one direction, of unit size relative to the point.
STEP = 1e-5


@dataclass(frozen=True)
class Unknowns:
    """How the unknowns of an environment, ``(E, u)``, are a context and first states in units of their size."""

    problem: Problem
    size: int

    def pack(self, point: Point) -> Tensor:
        if point.initial is None:
            return point.contexts
        return torch.cat([point.contexts, (point.initial / self.problem.scale).flatten(1)], 1)

    def point(self, u: Tensor) -> Point:
        contexts = u[:, : self.size]
        if not self.problem.estimated:
            return Point(contexts)
        initial = u[:, self.size :].unflatten(1, (self.problem.n_trajectories, -1))
        return Point(contexts, initial * self.problem.scale)


@dataclass(frozen=True)
class Penalty:
    """The adapter's penalty on contexts, with its gradient and products with its curvature.

    The curvature is taken by differences of the gradient, from the gradient at the point: penalties may use operators
    (iterations without gradient) that second derivatives pass over.
    """

    model: DecomposedDynamics
    data: Trajectories
    like: Context
    copies: int = 1

    def value(self, contexts: Tensor) -> Tensor:
        data = self.data
        if self.copies > 1:  # rows of an environment side by side, as its starts are
            rows = [e for e in range(data.n_environments) for _ in range(self.copies)]
            data = data.select(environments=rows)
        return self.model.adaptation_penalty(unflatten(contexts, self.like), data)

    def gradient(self, contexts: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = contexts.detach().requires_grad_()
            value = self.value(leaf).sum()
            if not value.requires_grad:
                return torch.zeros_like(contexts)
            return torch.autograd.grad(value, leaf)[0]

    def curvature(self, contexts: Tensor, here: Tensor, v: Tensor) -> Tensor:
        h = small_step(contexts, v)
        return (self.gradient(contexts + h * v) - here) / h


def small_step(u: Tensor, v: Tensor) -> Tensor:
    """Step along ``v`` for central differences, one for each environment, shape ``(E, 1)``."""
    size = (u.square().mean(1, keepdim=True).sqrt() + 1).clamp_min(1.0)
    return STEP * size / v.square().mean(1, keepdim=True).sqrt().clamp_min(1e-300)

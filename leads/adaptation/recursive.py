"""Least squares that goes on: what past observations say, as a quadratic, and the step that joins new ones to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

#: Residuals ``(E, M)``, Jacobian ``(E, M, m)``, and whatever else belongs to that point, as tensors ``(E, ...)``.
Linearised = tuple[Tensor, Tensor, Any]


@dataclass(frozen=True)
class Quadratic:
    """The sum of squares of past observations around its minimum: ``squares + d' information d``.

    Attributes:
        information: shape ``(E, m, m)``, in units of one over the noise variance.
        squares: the sum at the minimum, ``(E,)``.
        count: how many observations, ``(E,)``.
    """

    information: Tensor
    squares: Tensor
    count: Tensor

    @property
    def size(self) -> int:
        """m."""
        return self.information.shape[1]

    def faded(self, keep: float | Tensor) -> Quadratic:
        """With the weight of all observations multiplied by ``keep``, ``()`` or ``(E,)``."""
        factor = torch.as_tensor(keep, dtype=self.squares.dtype, device=self.squares.device)
        return Quadratic(self.information * factor[..., None, None], self.squares * factor, self.count * factor)

    def marginal(self, d: int) -> Quadratic:
        """Minimised over all but the first ``d`` directions: the Schur complement."""
        a, b, c = (
            self.information[:, :d, :d],
            self.information[:, :d, d:],
            self.information[:, d:, d:],
        )
        if not c.shape[1]:
            return self
        return replace(self, information=a - b @ torch.linalg.pinv(c, hermitian=True) @ b.mT)

    def extended(self, q: int) -> Quadratic:
        """With ``q`` more directions, each observed once."""
        e, d = self.information.shape[:2]
        wide = self.information.new_zeros(e, d + q, d + q)
        wide[:, :d, :d] = self.information
        wide[:, range(d, d + q), range(d, d + q)] = 1.0
        return replace(self, information=wide)

    def carried(self, slopes: Tensor, d: int, noise: Tensor) -> Quadratic:
        """In the context and the present state, in place of the context and the start, with noise added to that state.

        Args:
            slopes: derivatives of the present state in all directions, ``(E, m, q)``, q = m - d.
            d: directions of the context.
            noise: variance added to every value of the present state, in units of the noise variance, ``(E,)``.
        """
        e, m = self.information.shape[:2]
        back = torch.linalg.inv(slopes[:, d:].mT)
        turn = torch.eye(m, dtype=slopes.dtype, device=slopes.device).repeat(e, 1, 1)
        turn[:, d:, :d] = -back @ slopes[:, :d].mT
        turn[:, d:, d:] = back
        now = turn.mT @ self.information @ turn
        # (Lambda^-1 + B Q B')^-1 by the matrix inversion lemma: directions not known yet need no inverse.
        q = noise[:, None, None] * torch.eye(m - d, dtype=slopes.dtype, device=slopes.device)
        inner = torch.linalg.solve(torch.eye(m - d, dtype=slopes.dtype, device=slopes.device) + q @ now[:, d:, d:], q)
        return replace(self, information=now - now[:, :, d:] @ inner @ now[:, d:])

    def joined(self, delta: Tensor, residual: Tensor, jacobian: Tensor, count: Tensor) -> Quadratic:
        """With new observations, linearised at ``delta`` ``(E, m)``, which is the new minimum."""
        pulled = torch.einsum("ei,eij,ej->e", delta, self.information, delta)
        return Quadratic(
            self.information + jacobian.mT @ jacobian,
            self.squares + pulled + residual.square().sum(1),
            self.count + count,
        )


def gauss_newton(
    linearise: Callable[[Tensor], Linearised],
    first: Linearised,
    prior: Tensor,
    iterations: int,
    tolerance: float,
    floor: Tensor,
) -> tuple[Tensor, int, Tensor, Linearised]:
    """Minimise ``|r(d)|^2 + d' prior d`` of every environment by damped Gauss-Newton steps from zero.

    A step that does not lower the sum is taken back and damped more, as by Levenberg and Marquardt.

    Args:
        linearise: residuals and their Jacobian at ``(E, m)``.
        first: the same at zero.
        prior: shape ``(E, m, m)``.
        iterations: steps at most.
        tolerance: relative decrease below which an environment has converged.
        floor: a decrease that rounding hides, ``(E,)``.

    Returns:
        Minimum ``(E, m)``, steps taken, which environments converged ``(E,)``, and the linearisation at the minimum.
    """
    e, m = prior.shape[:2]
    best, now = prior.new_zeros(e, m), first
    cost = now[0].square().sum(1)
    damping = torch.full_like(cost, 1e-9)
    converged = torch.zeros_like(cost, dtype=torch.bool)
    steps = 0
    for steps in range(iterations + 1):
        residual, jacobian, _ = now
        gradient = (jacobian.mT @ residual[:, :, None] + prior @ best[:, :, None])[:, :, 0]
        hessian = prior + jacobian.mT @ jacobian
        scale = hessian.diagonal(dim1=1, dim2=2)
        scale = scale.clamp_min(1e-14).maximum(1e-12 * scale.amax(1, keepdim=True))
        step = -torch.linalg.solve(hessian + torch.diag_embed(damping[:, None] * scale), gradient)
        converged = converged | (-(step * gradient).sum(1) <= tolerance * cost + floor)
        if steps == iterations or bool(converged.all()):
            break
        trial = torch.where(converged[:, None], best, best + step)
        there = linearise(trial)
        pulled = torch.einsum("ei,eij,ej->e", trial, prior, trial)
        reached = there[0].square().sum(1) + pulled
        better = torch.isfinite(there[1]).flatten(1).all(1) & (reached <= cost) & ~converged
        best, cost = torch.where(better[:, None], trial, best), torch.where(better, reached, cost)
        now = _chosen(better, there, now)
        damping = torch.where(better, damping / 10, damping.clamp_min(1e-6) * 100).clamp(1e-12, 1e12)
    return best, steps, converged, now


def _chosen(better: Tensor, there: Any, here: Any) -> Any:
    """Entries of ``there`` where better, in tuples of tensors ``(E, ...)``."""
    if isinstance(there, tuple):
        return tuple(_chosen(better, a, b) for a, b in zip(there, here, strict=True))
    return torch.where(better.reshape(-1, *(1,) * (there.ndim - 1)), there, here)

"""Normal equations of a linearised problem, and their solution with the first states eliminated.

With J_c the Jacobian of all residuals of an environment in its context and J_n that of trajectory n in its own first
state, a step solves

    [ A    B_1^T ... B_N^T ] [ dc  ]     [ g   ]        A = sum_n J_c^T W J_c + prior,  B_n = J_n^T W J_c,
    [ B_1  D_1             ] [ ds_1]  = -[ h_1 ]        D_n = J_n^T W J_n.
    [ ...         ...      ] [ ... ]     [ ... ]
    [ B_N            D_N   ] [ ds_N]     [ h_N ]

The first states do not meet each other, so they are eliminated: ``(A - sum_n B_n^T D_n^-1 B_n) dc = -(g - sum_n B_n^T D_n^-1
h_n)``. The cost grows with N, not with ``(d + N k)^3``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from leads.adaptation.problem import Linear

#: What a damping that is nothing is, relative to the diagonal.
NOTHING = 1e-12


@dataclass(frozen=True)
class Normal:
    """The matrix in blocks and half the gradient: ``a (E, d, d)``, ``g (E, d)``; with first states also ``b (E, N, k, d)``,
    ``d (E, N, k, k)`` and ``h (E, N, k)``."""

    a: Tensor
    g: Tensor
    b: Tensor | None = None
    d: Tensor | None = None
    h: Tensor | None = None

    def plus(self, precision: Tensor, pull: Tensor) -> Normal:
        """With a prior of the contexts added: its precision ``(E, d, d)`` and its half gradient ``(E, d)``."""
        return replace(self, a=self.a + precision, g=self.g + pull)


@dataclass(frozen=True)
class Step:
    """Steps of contexts ``(E, d)`` and first states ``(E, N, k)``, and the decrease of the cost that the linear model
    promises, shape ``(E,)``."""

    contexts: Tensor
    initial: Tensor | None
    promised: Tensor


def normal_equations(linear: Linear, weights: Tensor | None, count: Tensor) -> Normal:
    """Of the mean over ``count (E,)`` observed values of squared residuals, weighted by ``weights (E, N, M)``."""
    n = count[:, None, None]
    r = linear.residual if weights is None else linear.residual * weights
    j = linear.contexts.flatten(1, 2)
    wj = j if weights is None else j * weights.flatten(1)[..., None]
    a = wj.mT @ j / n
    g = (j.mT @ r.flatten(1)[..., None])[..., 0] / n[:, 0]
    if linear.initial is None:
        return Normal(a, g)
    s = linear.initial
    ws = s if weights is None else s * weights[..., None]
    n = n[..., None]
    return Normal(a, g, ws.mT @ linear.contexts / n, ws.mT @ s / n, (s.mT @ r[..., None])[..., 0] / n[..., 0])


def solve(normal: Normal, damping: Tensor, held: Tensor | None = None) -> Step:
    """The damped step, ``damping (E,)`` times the diagonal added to it.

    Args:
        normal: the equations.
        damping: shape ``(E,)``.
        held: ``True`` for values of contexts that must not move, shape ``(E, d)``.
    """
    a, g = _damped(normal.a, damping[:, None, None]), normal.g
    if normal.d is None or normal.b is None or normal.h is None:
        step = _solve_held(a, g, held)
        return Step(step, None, -(step * g).sum(1))
    d = _damped(normal.d, damping[:, None, None, None])
    x = _solve(d, torch.cat([normal.b, normal.h[..., None]], -1))
    db, dh = x[..., :-1], x[..., -1]
    reduced = a - (normal.b.mT @ db).sum(1)
    step = _solve_held(reduced, g - torch.einsum("enkd,enk->ed", normal.b, dh), held)
    initial = -dh - torch.einsum("enkd,ed->enk", db, step)
    return Step(step, initial, -(step * g).sum(1) - (initial * normal.h).flatten(1).sum(1))


def reduced_gradient(normal: Normal, damping: Tensor) -> Tensor:
    """Half the gradient in the context once first states have followed, shape ``(E, d)``."""
    if normal.d is None or normal.b is None or normal.h is None:
        return normal.g
    dh = _solve(_damped(normal.d, damping[:, None, None, None]), normal.h[..., None])[..., 0]
    return normal.g - torch.einsum("enkd,enk->ed", normal.b, dh)


def information(normal: Normal) -> Tensor:
    """The matrix of the context alone, the first states left free: ``A - sum_n B_n^T D_n^+ B_n``, ``(E, d, d)``."""
    if normal.d is None or normal.b is None:
        return normal.a
    # What a trajectory's observations do not see of its first state has no entry in B_n either.
    inverse = torch.linalg.pinv(normal.d, hermitian=True)
    reduced = normal.a - (normal.b.mT @ (inverse @ normal.b)).sum(1)
    return 0.5 * (reduced + reduced.mT)


def _damped(matrix: Tensor, damping: Tensor) -> Tensor:
    diagonal = matrix.diagonal(dim1=-2, dim2=-1)
    # An entry that nothing observes has no scale of its own: it takes one from those that are.
    least = (NOTHING * diagonal.amax(-1, keepdim=True)).clamp_min(NOTHING)
    return matrix + damping * torch.diag_embed(torch.maximum(diagonal, least))


def _solve_held(matrix: Tensor, gradient: Tensor, held: Tensor | None) -> Tensor:
    if held is not None:
        matrix = torch.where(held[:, :, None] | held[:, None, :], torch.zeros_like(matrix), matrix)
        matrix = matrix + torch.diag_embed(held.to(matrix))
        gradient = torch.where(held, torch.zeros_like(gradient), gradient)
    return _solve(matrix, -gradient[..., None])[..., 0]


def _solve(matrix: Tensor, right: Tensor) -> Tensor:
    # A singular matrix gives values that are not finite, and a step that is refused, in its environment alone.
    return torch.linalg.solve_ex(matrix, right)[0]

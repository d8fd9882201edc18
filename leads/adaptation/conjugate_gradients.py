"""Conjugate gradients for a batch of systems that share each product."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

#: Most products with the matrix, and the relative residual at which conjugate gradients stop.
PRODUCTS, RELATIVE = 20, 0.1


def conjugate_gradients(
    product: Callable[[Tensor], Tensor],
    gradient: Tensor,
    shift: Tensor,
    most: int = PRODUCTS,
    relative: float = RELATIVE,
) -> tuple[Tensor, Tensor]:
    """Solve ``(A + shift) x = -gradient`` for every row of a batch at once.

    Rows that are solved to ``relative`` of their gradient, or that meet a direction without positive curvature, stand
    still from then on.

    Args:
        product: ``v -> A v``, both ``(E, u)``; A symmetric.
        gradient: shape ``(E, u)``.
        shift: added to the diagonal, shape ``(E,)``.
        most: products that are made at most.
        relative: see above.

    Returns:
        ``x``, shape ``(E, u)``, and the decrease ``-2 gradient . x - x . A x`` of the quadratic whose half gradient and half
        curvature were given, shape ``(E,)``.
    """
    x, r = torch.zeros_like(gradient), -gradient
    ax = torch.zeros_like(gradient)
    p, rr = r, (r * r).sum(1)
    goal = relative**2 * rr
    active = rr > 0
    for _ in range(most):
        if not bool(active.any()):
            break
        ap = product(p)
        curvature = (p * ap).sum(1) + shift * (p * p).sum(1)
        good = active & (curvature > 0) & torch.isfinite(curvature)
        alpha = torch.where(good, rr / curvature, torch.zeros_like(rr))[:, None]
        x, ax, r = x + alpha * p, ax + alpha * ap, r - alpha * (ap + shift[:, None] * p)
        x, ax, r = (torch.where(good[:, None], new, new.nan_to_num()) for new in (x, ax, r))
        new_rr = (r * r).sum(1)
        p = torch.where(good[:, None], r + (new_rr / rr.clamp_min(1e-300))[:, None] * p, p)
        rr = torch.where(good, new_rr, rr)
        active = good & (rr > goal)
    return x, -2 * (gradient * x).sum(1) - (x * ax).sum(1)

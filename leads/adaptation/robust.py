"""Losses that outliers do not rule, as weights of squared residuals.

With u = r / (scale * noise), a robust loss ``sum rho(u)`` is minimised by solving weighted least-squares problems whose
weights ``w = rho'(u) / (2 u)`` come from the last residuals: a quadratic with these weights touches the loss from above,
so every step that lowers the one lowers the other (Holland and Welsch 1977, "Robust regression using iteratively
reweighted least-squares", Communications in Statistics A 6).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

#: From the standard deviation of a Gaussian to its median absolute value: 1 / Phi^-1(3/4).
MAD = 1.482602218505602


@dataclass(frozen=True)
class RobustLoss:
    """A loss, its weight and the slope of its influence, as functions of ``u = r / (scale * noise)``.

    Attributes:
        size: ``rho(u)``.
        weight: ``psi(u) / u`` with ``psi = rho' / 2``.
        slope: ``psi'(u)``.
        scale: the one with 95 % efficiency under Gaussian noise (Holland and Welsch 1977, table 1).
    """

    size: Callable[[Tensor], Tensor]
    weight: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]
    scale: float


LOSSES = {
    # Huber (1964): quadratic up to u = 1, linear beyond.
    "huber": RobustLoss(
        lambda u: torch.where(u.abs() <= 1, u * u, 2 * u.abs() - 1),
        lambda u: 1 / u.abs().clamp_min(1),
        lambda u: (u.abs() <= 1).to(u),
        1.345,
    ),
    # Far outliers have no pull at all, so there may be several minima.
    "cauchy": RobustLoss(
        lambda u: torch.log1p(u * u),
        lambda u: 1 / (1 + u * u),
        lambda u: (1 - u * u) / (1 + u * u).square(),
        2.385,
    ),
}


def noise_by_median(residual: Tensor, seen: Tensor | None) -> Tensor:
    """Standard deviation of Gaussian noise from the median absolute residual, which outliers do not move.

    Args:
        residual: shape ``(E, N, M)``.
        seen: ``True`` where observed, same shape; ``None`` where all is.

    Returns:
        Shape ``(E,)``, positive.
    """
    size = residual.abs().flatten(1)
    if seen is not None:
        size = torch.where(seen.flatten(1), size, torch.nan)
    return (MAD * size.nanmedian(1).values).clamp_min(torch.finfo(residual.dtype).tiny ** 0.5)


def variance_factor(loss: RobustLoss, u: Tensor, seen: Tensor | None, freedom: Tensor) -> Tensor:
    """What ``(J^T J)^-1`` is multiplied by for the covariance of a robust fit, in units of ``(scale noise)^2``.

    ``[sum psi^2 / (n - p)] / [sum psi' / n]^2``, shape ``(E,)``. Source: Huber (1981), "Robust statistics", section 7.6.
    """
    keep = torch.ones_like(u) if seen is None else seen.to(u)
    n = keep.flatten(1).sum(1).clamp_min(1)
    influence = loss.weight(u) * u * keep
    slope = (loss.slope(u) * keep).flatten(1).sum(1) / n
    return influence.square().flatten(1).sum(1) / freedom / slope.clamp_min(1e-3).square()

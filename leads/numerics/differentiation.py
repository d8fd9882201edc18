"""Derivatives in time of what is known at some times only."""

from __future__ import annotations

import torch
from torch import Tensor

from leads.errors import SettingsError, ShapeError, UnknownNameError
from leads.registry import nearest

RULES = ("differences", "spline")


def differentiation_matrix(times: Tensor, rule: str = "spline") -> Tensor:
    """``D`` of shape ``(T, T)``, float64, with ``D @ x`` the derivative at ``times`` of values ``x (T, ...)`` there.

    Args:
        times: shape ``(T,)``, strictly increasing.
        rule: ``"differences"`` (the parabola through each frame and its neighbours, second order, also at the ends and
            with unequal steps) or ``"spline"`` (the cubic spline, not-a-knot at the ends: fourth order inside, third at
            the ends). Fewer than four frames have no such spline: both are then the polynomial through all of them.

    Raises:
        UnknownNameError, ShapeError, SettingsError: an unknown rule; times that are not one axis of at least two; times
            that do not increase.

    Sources: Fornberg (1988), Math. Comp. 51, for three points; de Boor (1978), A Practical Guide to Splines, chapter IV.
    """
    if rule not in RULES:
        raise UnknownNameError(f"No derivative rule is named {rule!r}. {nearest(str(rule), RULES)}")
    if times.ndim != 1 or len(times) < 2:
        raise ShapeError(f"Derivatives need times (T,) with T >= 2, got {tuple(times.shape)}.")
    t = times.to(torch.float64)
    h = t.diff()
    if not bool((h > 0).all()):
        raise SettingsError("Derivatives need times that increase strictly.")
    if len(t) == 2:
        return torch.stack([_slopes(h)[0]] * 2)
    return _spline(h) if rule == "spline" and len(t) > 3 else _parabolas(h)


def _slopes(h: Tensor) -> Tensor:
    """Rows that give the slope of each interval, ``(T - 1, T)``."""
    n = len(h)
    rows = h.new_zeros(n, n + 1)
    at = torch.arange(n)
    rows[at, at], rows[at, at + 1] = -1 / h, 1 / h
    return rows


def _parabolas(h: Tensor) -> Tensor:
    slope = _slopes(h)
    before, after = h[:-1, None], h[1:, None]
    inner = (after * slope[:-1] + before * slope[1:]) / (before + after)
    return torch.cat([2 * slope[:1] - inner[:1], inner, 2 * slope[-1:] - inner[-1:]])


def _spline(h: Tensor) -> Tensor:
    """Solve the tridiagonal system for the derivatives at the knots, with the unit vectors as data."""
    slope, n = _slopes(h), len(h) + 1
    system, right = h.new_zeros(n, n), h.new_zeros(n, n)
    at = torch.arange(1, n - 1)
    system[at, at - 1], system[at, at], system[at, at + 1] = h[1:], 2 * (h[:-1] + h[1:]), h[:-1]
    right[1:-1] = 3 * (h[1:, None] * slope[:-1] + h[:-1, None] * slope[1:])
    first, last = h[0] + h[1], h[-1] + h[-2]
    system[0, 0], system[0, 1] = h[1], first
    right[0] = ((h[0] + 2 * first) * h[1] * slope[0] + h[0] ** 2 * slope[1]) / first
    system[-1, -1], system[-1, -2] = h[-2], last
    right[-1] = ((h[-1] + 2 * last) * h[-2] * slope[-1] + h[-1] ** 2 * slope[-2]) / last
    return torch.linalg.solve(system, right)

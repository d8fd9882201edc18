"""Exponential Runge-Kutta integration of stiff systems whose stiff part is linear and diagonal."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from leads.errors import SettingsError, ShapeError
from leads.integrators.exponential_tableaus import ExponentialTableau, Terms, exponential_methods, exponential_term
from leads.integrators.fixed import check_times
from leads.integrators.phi import phi_sum

#: Sets of coefficients kept within a solve; more are only met where every interval has its own length.
KEPT = 8


@dataclass(frozen=True)
class Coefficients:
    """What a step of length ``h`` multiplies by; ``None`` stands for zero."""

    h: float
    decay: dict[float, Tensor]
    a: tuple[tuple[Tensor | None, ...], ...]
    b: tuple[Tensor | None, ...]


def exponential_coefficients(method: str, linear: Tensor, h: float, like: Tensor | None = None) -> Coefficients:
    """The method's coefficients for ``L = linear`` and one step length, the step's factor ``h`` folded in.

    They are evaluated in double precision and cast to the dtype of ``like``; real ones become complex where the state
    is, since torch would promote them at every product. Differentiable in ``linear``.

    Raises:
        UnknownNameError: unknown method.
    """
    rule = exponential_methods[method]
    wide = linear.to(torch.complex128 if linear.is_complex() else torch.float64)
    dtype = wide.dtype if like is None else like.dtype
    made: dict[tuple[Terms, float], Tensor] = {}

    def value(terms: Terms, factor: float) -> Tensor | None:
        if not terms:
            return None
        if (terms, factor) not in made:
            # The factor comes last: the weights are small fractions whose sums cancel exactly, their multiples are not.
            parts = [phi_sum(wide * (h * scale), weights) for scale, weights in terms]
            made[terms, factor] = (factor * sum(parts[1:], parts[0])).to(dtype)
        return made[terms, factor]

    decay = {c: value(exponential_term(c, 1.0), 1.0) for c in {*rule.c, 1.0} if c}
    return Coefficients(
        h,
        {c: d for c, d in decay.items() if d is not None},
        tuple(tuple(value(terms, h) for terms in row) for row in rule.a),
        tuple(value(terms, h) for terms in rule.b),
    )


def integrate_exponential(
    nonlinear: Callable[[Tensor, Tensor], Tensor],
    linear: Tensor,
    x0: Tensor,
    times: Tensor,
    *,
    method: str = "etdrk4",
    substeps: int = 1,
    max_step: float | None = None,
    filter: Tensor | None = None,
) -> Tensor:
    """Advance ``du/dt = linear * u + nonlinear(t, u)`` from ``x0`` through ``times``.

    The linear part is solved exactly, so the step is limited by the accuracy of the nonlinear part alone. With
    ``nonlinear`` zero every method is exact; with it constant ``"etdrk4"`` and ``"krogstad4"`` are.

    Args:
        nonlinear: called with ``t`` of shape ``()``, real, and ``u`` of the shape of ``x0``; dealiased where that is
            needed.
        linear: diagonal of the linear part, in 1/time, real or complex. It broadcasts against ``x0``, so leading axes
            give each environment its own.
        x0: initial states, any shape, real or complex (Fourier coefficients).
        times: shape ``(T,)``, strictly increasing; ``times[0]`` is the time of ``x0``.
        method: ``"etdrk4"`` (Cox and Matthews, 2002), ``"krogstad4"`` (Krogstad, 2005; usually the most accurate) or
            ``"ifrk4"`` (integrating factor), all of order 4.
        substeps: equal steps between two times.
        max_step: where given, ``substeps`` is ignored and each interval is cut into the fewest equal steps that are no
            longer than this.
        filter: where given, multiplies the state after every step (see ``SpectralGrid.exponential_filter``).

    Returns:
        States at ``times``, shape ``(T, *x0.shape)``; differentiable in ``x0``, ``linear`` and in what ``nonlinear``
        closes over.

    Raises:
        DataError, ShapeError, SettingsError: times that do not increase, a linear part that does not fit the state, or
            steps that are not positive.
        UnknownNameError: unknown method.
    """
    if substeps < 1:
        raise SettingsError(f"substeps must be at least 1, got {substeps}.")
    if max_step is not None and not max_step > 0:
        raise SettingsError(f"max_step must be positive, got {max_step}.")
    rule = exponential_methods[method]
    check_times(times)
    _check_linear(linear, x0)
    smooth = None if filter is None else filter.to(x0)
    grid = times.to(torch.float64).tolist()
    kept: list[Coefficients] = []
    states = [x0]
    x = x0
    for t0, t1 in pairwise(grid):
        n = substeps if max_step is None else max(1, math.ceil((t1 - t0) / max_step - 1e-9))
        h = (t1 - t0) / n
        # Lengths that differ by no more than the rounding of the times are one length.
        slack = 1e-12 * h + 4 * math.ulp(max(abs(t0), abs(t1))) / n
        coefficients = next((k for k in kept if abs(k.h - h) <= slack), None)
        if coefficients is None:
            coefficients = exponential_coefficients(method, linear, h, x0)
            kept = [coefficients, *kept[: KEPT - 1]]
        for i in range(n):
            x = _step(rule, coefficients, nonlinear, t0 + i * h, x)
            if smooth is not None:
                x = x * smooth
        states.append(x)
    return torch.stack(states)


def _step(
    rule: ExponentialTableau,
    coefficients: Coefficients,
    nonlinear: Callable[[Tensor, Tensor], Tensor],
    t: float,
    x: Tensor,
) -> Tensor:
    real = x.dtype.to_real()
    decayed = {0.0: x, **{c: x * d for c, d in coefficients.decay.items()}}
    slopes: list[Tensor] = []
    for row, c in zip(coefficients.a, rule.c, strict=True):
        y = _combine(decayed[c], row, slopes)
        slopes.append(nonlinear(torch.full((), t + c * coefficients.h, dtype=real, device=x.device), y))
    return _combine(decayed[1.0], coefficients.b, slopes)


def _combine(x: Tensor, weights: tuple[Tensor | None, ...], slopes: list[Tensor]) -> Tensor:
    for w, k in zip(weights, slopes, strict=True):
        if w is not None:
            x = torch.addcmul(x, w, k)
    return x


def _check_linear(linear: Tensor, x0: Tensor) -> None:
    if linear.is_complex() and not x0.is_complex():
        raise SettingsError("A complex linear part needs complex states, such as Fourier coefficients; got real ones.")
    try:
        fits = torch.broadcast_shapes(linear.shape, x0.shape) == x0.shape
    except RuntimeError:
        fits = False
    if not fits:
        raise ShapeError(
            f"The linear part must broadcast against the states of shape {tuple(x0.shape)}, got {tuple(linear.shape)}."
        )

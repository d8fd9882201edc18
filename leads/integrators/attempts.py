"""One attempted step of a whole batch, in which every trajectory chooses its own length.

A trajectory tries a step, keeps it or not, and picks the next length by its own error. The controller is SciPy's, step
for step. All of it is one pure function of tensors, which a compiler turns into a few loops.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from leads.integrators.tableaus import Tableau, adaptive_tableau

#: ``(t, x, *arguments) -> dx/dt``; ``t`` has one entry a trajectory.
EachField = Callable[..., Tensor]
SAFETY, SLOWEST, FASTEST = 0.9, 0.2, 10.0


class State(NamedTuple):
    """Where every trajectory of a batch stands.

    Attributes:
        steering: time, length of the next step, and 1 where the last attempt failed; ``(3, B)``, float64.
        x: states.
        slope: ``dx/dt`` there, shape of ``x``.
    """

    steering: Tensor
    x: Tensor
    slope: Tensor


#: ``(steering, x, slope, target, rtol, atol, *arguments)`` to the next steering, states and slopes, then all slopes of
#: the step if they were asked for.
Attempt = Callable[..., tuple[Tensor, ...]]


def make_attempt(field: EachField, method: str = "dop853", *, batch_last: bool = False, dense: bool = False) -> Attempt:
    """An attempt to step towards ``target`` ``(B,)``, not past it.

    Args:
        field: the right-hand side.
        method: a method with an error estimate.
        batch_last: whether trajectories are the last axis of states rather than the first.
        dense: also return all slopes, for interpolation inside the step, and leave lengths as they are. Otherwise they are
            rounded to the eight bits of a bfloat16: the last bits of an error estimate depend on how its sum and its
            root were vectorised, hence on the size of the batch and on compilation, and must not reach the solution.

    Returns:
        A function that can be compiled. A trajectory whose error is not below one stays where it was.
    """
    rule = adaptive_tableau(method)

    def attempt(
        steering: Tensor, x: Tensor, slope: Tensor, target: Tensor, rtol: Tensor, atol: Tensor, *arguments: Any
    ) -> tuple[Tensor, ...]:
        t, step, failed = steering.unbind()
        left = target - t
        lands = step >= left
        h = torch.where(lands, left, step)
        length = h.to(x.dtype)
        wide = over_states(length, x, batch_last)
        slopes = [slope]
        for row, c in zip(rule.a[1:], rule.c[1:], strict=True):
            slopes.append(field(t + c * h, _combine(x, wide, row, slopes), *arguments))
        new = _combine(x, wide, rule.b, slopes)
        slopes.append(field(t + h, new, *arguments))
        old, ends = x.detach(), new.detach()
        error = _error(rule, old, ends, length, [k.detach() for k in slopes], rtol, atol, batch_last)
        size = torch.nan_to_num(error.double(), nan=torch.inf)
        good = size < 1
        factor = (SAFETY * size.clamp_min(1e-30) ** (-1 / (rule.error_order + 1))).clamp(SLOWEST, FASTEST)
        # After a failure the next step does not grow. (Of a failed one the factor is below 1 as it is.)
        longer = h * torch.where(failed > 0, factor.clamp(max=1.0), factor)
        # A step cut short to land on a target says nothing about how long the next may be.
        longer = torch.where(good & lands, torch.maximum(step, longer), longer)
        t = torch.where(good, torch.where(lands, target, t + h), t)
        steering = torch.stack([t, longer if dense else rounded(longer), (~good).double()])
        keep = over_states(good, x, batch_last)
        return (
            steering,
            torch.where(keep, new, x),
            torch.where(keep, slopes[-1], slope),
            *(slopes if dense else ()),
        )

    return attempt


def start(
    field: EachField,
    x0: Tensor,
    begin: float,
    end: float,
    method: str,
    rtol: float,
    atol: float,
    batch_last: bool,
    arguments: tuple[Any, ...],
) -> State:
    """The first step of every trajectory (Hairer, Norsett and Wanner, 1993, section II.4), as SciPy takes it."""
    n = x0.shape[-1 if batch_last else 0]
    order = adaptive_tableau(method).error_order + 1
    t = torch.full((n,), float(begin), dtype=torch.float64, device=x0.device)
    slope = field(t, x0, *arguments)
    axes = _state_axes(x0, batch_last)
    span = float(end) - float(begin)
    with torch.no_grad():
        scale = atol + x0.abs() * rtol
        norm = lambda v: (v / scale).square().mean(axes).sqrt().double()  # noqa: E731
        d0, d1 = norm(x0), norm(slope)
        h0 = torch.where((d0 < 1e-5) | (d1 < 1e-5), torch.full_like(d0, 1e-6), 0.01 * d0 / d1).clamp(max=span)
        wide = over_states(h0.to(x0.dtype), x0, batch_last)
        probe = field(t + h0, torch.addcmul(x0, wide, slope), *arguments)
        d2 = norm(probe - slope) / h0
        largest = torch.maximum(d1, d2)
        h1 = (0.01 / largest) ** (1 / order)
        h1 = torch.where(largest <= 1e-15, (h0 * 1e-3).clamp_min(1e-6), h1)
        step = torch.nan_to_num((100 * h0).minimum(h1), nan=1e-6).clamp(max=span)
    return State(torch.stack([t, step, torch.zeros_like(t)]), x0, slope)


def rounded(step: Tensor) -> Tensor:
    """To the nearest bfloat16."""
    return step.to(torch.bfloat16).double()


def over_states(values: Tensor, x: Tensor, batch_last: bool) -> Tensor:
    """One value a trajectory, shaped to broadcast against states."""
    return values if batch_last else values.reshape(-1, *(1,) * (x.ndim - 1))


def _state_axes(x: Tensor, batch_last: bool) -> tuple[int, ...]:
    return tuple(range(x.ndim - 1)) if batch_last else tuple(range(1, x.ndim))


def _combine(x: Tensor, h: Tensor, weights: tuple[float, ...], slopes: list[Tensor]) -> Tensor:
    for w, k in zip(weights, slopes, strict=False):
        if w:
            x = torch.addcmul(x, h, k, value=w)
    return x


def _error(
    rule: Tableau, x: Tensor, new: Tensor, h: Tensor, slopes: list[Tensor], rtol: Tensor, atol: Tensor, batch_last: bool
) -> Tensor:
    """Error of the step over the tolerance, shape ``(B,)``; NaN where the step left the finite numbers."""
    scale = torch.maximum(x.abs(), new.abs()) * rtol + atol
    axes = _state_axes(x, batch_last)
    squares = []
    for row in rule.error:
        terms = [(w, k) for w, k in zip(row, slopes, strict=True) if w]
        total = terms[0][0] * terms[0][1]
        for w, k in terms[1:]:
            total = torch.add(total, k, alpha=w)
        squares.append((total / scale).square().mean(axes))
    if len(squares) == 1:
        return h * squares[0].sqrt()
    fifth, third = squares
    # Hairer, Norsett and Wanner's blend of two estimates for the method of order 8.
    return h * fifth / (fifth + 0.01 * third).clamp_min(1e-30).sqrt()

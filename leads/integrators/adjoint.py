"""Gradients by the adjoint equation: memory that does not grow with the number of steps between frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from leads.errors import SettingsError
from leads.integrators.fixed import check_times, integrate, wide_shape
from leads.integrators.tableaus import Tableau, tableau

#: ``(t, x, *tensors) -> dx/dt``
OpenField = Callable[..., Tensor]


def integrate_adjoint(
    field: OpenField, x0: Tensor, times: Tensor, tensors: Sequence[Tensor], *, method: str = "rk4", substeps: int = 1
) -> Tensor:
    """:func:`leads.integrators.integrate` whose gradients solve the adjoint equation backwards in time.

    Forwards nothing but the frames is kept. Backwards, from each frame to the one before it, the state is integrated
    back together with ``a`` and the tensors' gradients g:

        dx/dt = f(t, x),    da/dt = -a^T df/dx,    dg/dt = -a^T df/dtheta

    by the same method and steps. These are the gradients of the exact solution to the order of the method, not those of
    the computed one: they differ from backpropagation by the error of the steps, and are wrong where a field that
    contracts is integrated backwards in steps too long for it. Backpropagation through checkpoints
    (``integrate(checkpoint=True)``) is exact and costs one evaluation less; choose this where even the states of all
    steps are too many to keep.

    Args:
        field: ``(t, x, *tensors) -> dx/dt``; closes over nothing that needs a gradient.
        x0, times, method, substeps: as for ``integrate``; not the one-step map.
        tensors: what the field depends on besides time and state.

    Returns:
        States at ``times``, shape ``(T, *x0.shape)``; once differentiable in ``x0`` and ``tensors``.

    Raises:
        SettingsError: second derivatives are asked for; or the one-step map, which has no equation to be adjoint to.

    Source: Chen et al. (2018), Neural ordinary differential equations, section 2.
    """
    rule = tableau(method)
    if not rule.order:
        raise SettingsError("The one-step map (method 'map') has no adjoint equation. Use memory='checkpoint'.")
    if times.ndim == 1:
        check_times(times)
    states: Tensor = _Adjoint.apply(field, rule, method, substeps, times, x0, *tensors)  # type: ignore[no-untyped-call]
    return states


class _Adjoint(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        field: OpenField,
        rule: Tableau,
        method: str,
        substeps: int,
        times: Tensor,
        x0: Tensor,
        *tensors: Tensor,
    ) -> Tensor:
        states = integrate(lambda t, x: field(t, x, *tensors), x0, times, method=method, substeps=substeps)
        ctx.field, ctx.rule, ctx.substeps = field, rule, substeps
        ctx.save_for_backward(states, times, *tensors)
        return states

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        # Not once_differentiable, which lets torch.autograd.grad find a wrong second derivative by other paths.
        if torch.is_grad_enabled():
            raise SettingsError(
                "memory='adjoint' gives first derivatives, and second ones are asked for (by an inner loop, say). Use "
                "memory='checkpoint', or first-order gradients (first_order=True)."
            )
        states, times, *tensors = ctx.saved_tensors
        a, sums = torch.zeros_like(states[0]), [torch.zeros_like(w) for w in tensors]
        shape = () if times.ndim == 1 else wide_shape(states[0], times)
        times = times.to(states)
        for k in range(len(states) - 1, 0, -1):
            a = a + gradient[k]
            h = (times[k] - times[k - 1]) / ctx.substeps
            x = states[k]
            for i in range(ctx.substeps):
                now = (x, a, sums)
                x, a, sums = _back(ctx.rule, ctx.field, tensors, times[k] - i * h, h, h.reshape(shape), now)
        return None, None, None, None, None, a + gradient[0], *sums


def _back(
    rule: Tableau,
    field: OpenField,
    tensors: list[Tensor],
    t: Tensor,
    h: Tensor,
    step: Tensor,
    now: tuple[Tensor, Tensor, list[Tensor]],
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """One step of length ``-h`` from ``t`` of state, adjoint and gradients; ``step`` is h as it broadcasts against states."""
    x, a, sums = now
    slopes: list[tuple[Tensor, Tensor, tuple[Tensor, ...]]] = []
    for row, c in zip(rule.a, rule.c, strict=True):
        y, b = x, a
        for weight, (dx, da, _) in zip(row, slopes, strict=True):
            if weight:
                y, b = y - weight * dx, b + weight * da
        slopes.append(_slopes(field, tensors, t - c * h, y, b, step))
    for weight, (dx, da, dw) in zip(rule.b, slopes, strict=True):
        if weight:
            x, a = x - weight * dx, a + weight * da
            sums = [s + weight * d for s, d in zip(sums, dw, strict=True)]
    return x, a, sums


def _slopes(
    field: OpenField, tensors: list[Tensor], t: Tensor, x: Tensor, a: Tensor, step: Tensor
) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """``h f``, ``h a^T df/dx`` and ``h a^T df/dtheta``; h before the products, as every entry may have its own."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        leaves = [w.detach().requires_grad_() for w in tensors]
        f = field(t, x, *leaves)
        found = torch.autograd.grad(f, (x, *leaves), step * a, allow_unused=True)
    dx, *dw = (torch.zeros_like(w) if g is None else g for g, w in zip(found, (x, *leaves), strict=True))
    return step * f.detach(), dx, tuple(dw)

"""Fixed-step Runge-Kutta integration of any batch of states."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint as recomputed

from leads.errors import DataError, SettingsError, ShapeError
from leads.integrators.tableaus import Tableau, tableau

Field = Callable[[Tensor, Tensor], Tensor]


def integrate(
    field: Field,
    x0: Tensor,
    times: Tensor,
    *,
    method: str = "rk4",
    substeps: int = 1,
    max_step: float | None = None,
    checkpoint: bool = False,
) -> Tensor:
    """Advance ``dx/dt = field(t, x)`` from ``x0`` through ``times``.

    With ``method="map"`` the field is a one-step map instead: ``x + field(t, x)`` is the next frame. The field is then
    evaluated once per frame and no time step enters, so all frames must be equally far apart.

    Args:
        field: called with ``t`` of shape ``()`` (or ``B``, see below) and ``x`` of the shape of ``x0``.
        x0: initial states, any shape.
        times: shape ``(T,)``, strictly increasing; ``times[0]`` is the time of ``x0``. Shape ``(T, *B)``, with axes B
            that broadcast against the leading axes of ``x0``, gives each entry its own times; they need not increase
            then (a step of zero length leaves the state as it is, which pads short segments).
        method: see :func:`leads.integrators.tableau`.
        substeps: equal steps between two times.
        max_step: where given, ``substeps`` is ignored and each interval is cut into the fewest equal steps that are
            no longer than this.
        checkpoint: keep for gradients only the state before every step, and evaluate the step again on the way back: the
            same gradients for one more evaluation. Memory is that of the frames, of a state for each step and of ONE
            step's evaluations; the frames are returned anyway, so fewer checkpoints (one in sqrt(T), say) save nothing.

    Returns:
        States at ``times``, shape ``(T, *x0.shape)``; differentiable in ``x0`` and in what ``field`` closes over.

    Raises:
        DataError, ShapeError, SettingsError: times that do not increase or fit, steps that are not positive, or a map
            with frames that are not equally far apart or with steps between them.
    """
    if substeps < 1:
        raise SettingsError(f"substeps must be at least 1, got {substeps}.")
    if max_step is not None and not max_step > 0:
        raise SettingsError(f"max_step must be positive, got {max_step}.")
    rule = tableau(method)
    if not rule.order:
        return _iterate(field, x0, times, substeps, max_step, checkpoint)
    if times.ndim > 1:
        return _integrate_ragged(rule, field, x0, times, substeps, checkpoint)
    check_times(times)
    grid = times.to(torch.float64).tolist()
    states = [x0]
    x = x0
    for t0, t1 in pairwise(grid):
        n = substeps if max_step is None else max(1, math.ceil((t1 - t0) / max_step - 1e-9))
        h = (t1 - t0) / n
        for i in range(n):
            x = _again(checkpoint, _step, rule, field, t0 + i * h, x, h)
        states.append(x)
    return torch.stack(states)


def check_times(times: Tensor) -> None:
    """Raise unless ``times`` is one axis of finite, strictly increasing values."""
    if times.ndim != 1 or len(times) < 1:
        raise ShapeError(f"Times need shape (T,) with T >= 1, got {tuple(times.shape)}.")
    if not bool(torch.isfinite(times).all()):
        raise DataError("Times contain NaN or infinite values.")
    steps = times.diff()
    if bool((steps <= 0).any()):
        i = int((steps <= 0).nonzero()[0])
        raise DataError(
            f"Times must increase strictly, but times[{i + 1}] = {float(times[i + 1]):g} follows "
            f"times[{i}] = {float(times[i]):g}. Sort the frames by time and drop duplicates."
        )


def _step(rule: Tableau, field: Field, t: float | Tensor, x: Tensor, h: float) -> Tensor:
    """One step of scalar length ``h`` from time ``t``, a number or a tensor that the field broadcasts."""
    slopes: list[Tensor] = []
    for row, c in zip(rule.a, rule.c, strict=True):
        y = x
        for a, k in zip(row, slopes, strict=True):
            if a:
                y = torch.add(y, k, alpha=a * h)
        slopes.append(field(t + c * h if isinstance(t, Tensor) else x.new_full((), t + c * h), y))
    for b, k in zip(rule.b, slopes, strict=True):
        if b:
            x = torch.add(x, k, alpha=b * h)
    return x


def _again(checkpoint: bool, step: Callable[..., Tensor], *args: Any) -> Tensor:
    """``step(*args)``, kept whole for gradients or evaluated again for them."""
    if checkpoint and torch.is_grad_enabled():
        result: Tensor = recomputed(step, *args, use_reentrant=False)
        return result
    return step(*args)


def _integrate_ragged(
    rule: Tableau, field: Field, x0: Tensor, times: Tensor, substeps: int, checkpoint: bool
) -> Tensor:
    """Every entry of the leading axes of ``x0`` on its own times ``(T, *B)``."""
    wide = wide_shape(x0, times)
    steps = times.diff(dim=0) / substeps
    # A step length that all entries share is a plain number: half the operations of a tensor of lengths.
    common = [common_length(h) for h in steps]
    steps, times = steps.to(x0), times.to(x0)
    states = [x0]
    x = x0
    for t, h, same in zip(times, steps, common, strict=False):
        for i in range(substeps):
            start = t + i * h if i else t
            if same is None:
                x = _again(checkpoint, _ragged_step, rule, field, start, x, h, h.reshape(wide))
            else:
                x = _again(checkpoint, _step, rule, field, start, x, same)
        states.append(x)
    return torch.stack(states)


def wide_shape(x0: Tensor, times: Tensor) -> tuple[int, ...]:
    """Shape in which one frame of ``times (T, *B)`` broadcasts against ``x0``."""
    batch = times.shape[1:]
    if len(batch) > x0.ndim or any(b not in (1, n) for b, n in zip(batch, x0.shape, strict=False)):
        raise ShapeError(
            f"times of shape (T, *B) need axes B that broadcast against the leading axes of the states {tuple(x0.shape)}, "
            f"got {tuple(times.shape)}."
        )
    return (*batch, *(1,) * (x0.ndim - len(batch)))


def _iterate(
    field: Field, x0: Tensor, times: Tensor, substeps: int, max_step: float | None, checkpoint: bool
) -> Tensor:
    """``x + field(t, x)`` from frame to frame; entries whose time does not change stay where they are."""
    if substeps != 1 or max_step is not None:
        raise SettingsError("The one-step map (method 'map') has no steps between frames: leave substeps at 1.")
    if times.ndim == 1:
        check_times(times)
    wide = wide_shape(x0, times) if times.ndim > 1 else ()
    check_even(times, "The one-step map (method 'map')", "choose an integration method, e.g. 'rk4'")
    moving = times.diff(dim=0) != 0
    states = [x0]
    x = x0
    for t, go in zip(times.to(x0), moving, strict=False):
        if bool(go.any()):
            moved = x + _again(checkpoint, field, t, x)
            x = moved if bool(go.all()) else torch.where(go.to(x.device).reshape(wide), moved, x)
        states.append(x)
    return torch.stack(states)


def check_even(times: Tensor, what: str, instead: str) -> None:
    """Raise DataError unless all steps of ``times`` ``(T, *B)`` that are not nothing are equally long."""
    steps = times.diff(dim=0)
    moving = steps != 0
    if not bool(moving.any()):
        return
    low, high = float(steps[moving].min()), float(steps[moving].max())
    # Times may have come through float32, whose rounding grows with the time itself.
    slack = 1e-5 * high + 4 * torch.finfo(torch.float32).eps * float(times.abs().max())
    if low <= 0 or high - low > slack:
        raise DataError(
            f"{what} needs frames that are equally far apart, but these lie between {low:g} and {high:g} apart. "
            f"Resample them, or {instead}."
        )


def common_length(h: Tensor) -> float | None:
    """The value that all entries of ``h`` share to rounding, or ``None``."""
    low, high = float(h.min()), float(h.max())
    return high if high - low <= 1e-12 * abs(high) else None


def _ragged_step(rule: Tableau, field: Field, t: Tensor, x: Tensor, h: Tensor, step: Tensor) -> Tensor:
    slopes: list[Tensor] = []
    for row, c in zip(rule.a, rule.c, strict=True):
        y = x
        for a, k in zip(row, slopes, strict=True):
            if a:
                y = torch.addcmul(y, step, k, value=a)
        slopes.append(field(t + c * h, y))
    for b, k in zip(rule.b, slopes, strict=True):
        if b:
            x = torch.addcmul(x, step, k, value=b)
    return x

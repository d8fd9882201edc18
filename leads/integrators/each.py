"""Adaptive Runge-Kutta integration in which every trajectory of a batch chooses its own steps.

A batch is advanced by whole attempts: every trajectory tries one step of its own length, keeps it or not, and picks the
next length. No trajectory sees another's error, so a result does not depend on what is solved beside it, and a stiff
trajectory does not slow the others' steps down. The controller is SciPy's, step for step.

Lengths of steps are rounded to the eight bits of a bfloat16: the last bits of an error estimate depend on how its sum
and its root were vectorised, hence on the size of the batch and on compilation, and must not reach the solution.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch._higher_order_ops.while_loop import while_loop

from leads.errors import DivergenceError
from leads.integrators.fixed import check_times
from leads.integrators.tableaus import Tableau, adaptive_tableau

#: ``(t, x, *arguments) -> dx/dt``; ``t`` has one entry a trajectory.
EachField = Callable[..., Tensor]
SAFETY, SLOWEST, FASTEST = 0.9, 0.2, 10.0
#: Attempted steps without reaching a frame after which a trajectory is given up.
MOST_ATTEMPTS = 20_000


class State(NamedTuple):
    """Where every trajectory of a batch stands: time, state, slope, next step, whether its last attempt failed.

    What steers the steps are NumPy arrays: a few numbers a trajectory cost least on the host, also beside a GPU.
    """

    t: np.ndarray
    x: Tensor
    slope: Tensor
    step: np.ndarray
    failed: np.ndarray


Attempt = Callable[..., tuple[Tensor, Tensor, Tensor, tuple[Tensor, ...]]]


def make_attempt(
    field: EachField, method: str = "dop853", *, batch_last: bool = False, keep_slopes: bool = False
) -> Attempt:
    """One attempted step of a whole batch, as a pure function that can be compiled.

    Args:
        field: see :func:`integrate_each`.
        method: a method with an error estimate.
        batch_last: whether trajectories are the last axis of states rather than the first.
        keep_slopes: also return all slopes, for interpolation within the step.

    Returns:
        ``attempt(t, h, length, x, slope, rtol, atol, *arguments) -> (x, slope, error, slopes)`` with ``h`` of shape
        ``(B,)`` and ``length`` the same in the dtype of ``x``. A trajectory whose error is not below one stays where it
        was.
    """
    rule = adaptive_tableau(method)

    def attempt(
        t: Tensor, h: Tensor, length: Tensor, x: Tensor, slope: Tensor, rtol: Tensor, atol: Tensor, *arguments: Any
    ) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, ...]]:
        wide = _wide(length, x, batch_last)
        slopes = [slope]
        for row, c in zip(rule.a[1:], rule.c[1:], strict=True):
            slopes.append(field(t + c * h, _combine(x, wide, row, slopes), *arguments))
        new = _combine(x, wide, rule.b, slopes)
        slopes.append(field(t + h, new, *arguments))
        old, ends = x.detach(), new.detach()
        error = _error(rule, old, ends, length.detach(), [k.detach() for k in slopes], rtol, atol, batch_last)
        keep = _wide(error < 1, x, batch_last)
        kept = tuple(slopes) if keep_slopes else ()
        return torch.where(keep, new, x), torch.where(keep, slopes[-1], slope), error, kept

    return attempt


def _advance(
    run: Attempt, rule: Tableau, state: State, target: np.ndarray, rtol: Tensor, atol: Tensor, *arguments: Any
) -> tuple[State, tuple[Tensor, ...]]:
    """Attempt a step, no trajectory past its ``target`` ``(B,)``, and choose the next lengths."""
    t, x, slope, step, failed = state
    left = target - t
    lands = step >= left
    h = np.where(lands, left, step)
    start, length = torch.from_numpy(np.stack([t, h])).to(x.device).unbind()
    x, slope, error, slopes = run(start, length, length.to(x.dtype), x, slope, rtol, atol, *arguments)
    size = error.detach().double().cpu().numpy()
    size = np.where(np.isnan(size), np.inf, size)
    good = size < 1
    factor = np.clip(SAFETY * np.maximum(size, 1e-30) ** (-1 / (rule.error_order + 1)), SLOWEST, FASTEST)
    # After a failure the next step does not grow. (Of a failed one the factor is below 1 as it is.)
    longer = h * np.where(failed, np.minimum(factor, 1.0), factor)
    # A step cut short to land on a target says nothing about how long the next may be.
    longer = np.where(good & lands, np.maximum(step, longer), longer)
    t = np.where(good, np.where(lands, target, t + h), t)
    return State(t, x, slope, longer, ~good), slopes


ToFrame = Callable[..., tuple[Tensor, ...]]


def make_to_frame(field: EachField, method: str = "dop853") -> ToFrame:
    """All attempts from one frame to the next as one function, batch first, for the compiler: small states cost little
    more than the calls between them.

    Returns:
        ``to_frame(t, x, slope, step, failed, target, most, rtol, atol, *arguments)``, which gives the first five at the
        frame, or before it where a trajectory is stuck or ``most`` attempts were not enough.
    """
    rule = adaptive_tableau(method)
    attempt = make_attempt(field, method)

    def to_frame(
        t: Tensor,
        x: Tensor,
        slope: Tensor,
        step: Tensor,
        failed: Tensor,
        target: Tensor,
        most: Tensor,
        rtol: Tensor,
        atol: Tensor,
        *arguments: Tensor,
    ) -> tuple[Tensor, ...]:
        def goes_on(*carried: Tensor) -> Tensor:
            t, _, _, step, failed, n = carried[:6]
            stuck = failed & (step <= _SHORTEST * t.abs().clamp_min(1e-10))
            return (t < target).any() & (n < most) & ~stuck.any()

        def once(
            t: Tensor, x: Tensor, slope: Tensor, step: Tensor, failed: Tensor, n: Tensor, *given: Tensor
        ) -> tuple[Tensor, ...]:
            # The same decisions as those of _advance, in torch.
            step = step.to(torch.bfloat16).double()
            left = target - t
            lands = step >= left
            h = torch.where(lands, left, step)
            x, slope, error, _ = attempt(t, h, h.to(x.dtype), x, slope, rtol, atol, *given)
            size = torch.nan_to_num(error.double(), nan=torch.inf)
            good = size < 1
            factor = (SAFETY * size.clamp_min(1e-30) ** (-1 / (rule.error_order + 1))).clamp(SLOWEST, FASTEST)
            longer = h * torch.where(failed, factor.clamp(max=1.0), factor)
            longer = torch.where(good & lands, torch.maximum(step, longer), longer)
            t = torch.where(good, torch.where(lands, target, t + h), t)
            # What is given goes along as copies: the loop's function must not return what it was handed.
            return (t, x, slope, longer, ~good, n + 1, *(g.clone() for g in given))

        carried: tuple[Tensor, ...] = (t, x, slope, step, failed, torch.zeros_like(most), *arguments)
        if torch.compiler.is_compiling():
            carried = while_loop(goes_on, once, carried)
        else:
            while bool(goes_on(*carried)):
                carried = once(*carried)
        return carried[:5]

    return to_frame


def integrate_frames(
    field: EachField,
    x0: Tensor,
    times: Tensor,
    *arguments: Tensor,
    to_frame: ToFrame,
    method: str = "dop853",
    rtol: float = 1e-10,
    atol: float = 1e-12,
) -> Tensor:
    """What :func:`integrate_each` gives for states ``(B, *S)``, by a compiled :func:`make_to_frame` of the same field and
    method. Those that reach a frame first wait there for the others."""
    check_times(times)
    grid = times.detach().to(x0.device, torch.float64)
    begin = _start(field, x0, float(grid[0]), float(grid[-1]), adaptive_tableau(method), rtol, atol, False, arguments)
    t, step, failed = (torch.from_numpy(v).to(x0.device) for v in (begin.t, begin.step, begin.failed))
    x, slope, frames = x0, begin.slope, [x0]
    limits = (torch.tensor(MOST_ATTEMPTS, device=x0.device), x0.new_tensor(rtol), x0.new_tensor(atol))
    for target in grid[1:]:
        t, x, slope, step, failed = to_frame(t, x, slope, step, failed, target.expand_as(t), *limits, *arguments)
        late = (t < target).cpu().numpy()
        if late.any():
            state = State(t.cpu().numpy(), x, slope, step.cpu().numpy(), failed.cpu().numpy())
            _check_steps(state)
            _check_headway(state, late, MOST_ATTEMPTS)
        frames.append(x)
    return torch.stack(frames)


def integrate_each(
    field: EachField,
    x0: Tensor,
    times: Tensor,
    *arguments: Any,
    method: str = "dop853",
    rtol: float = 1e-10,
    atol: float = 1e-12,
    batch_last: bool = False,
    attempt: Attempt | None = None,
    most_attempts: int | None = None,
) -> Tensor:
    """Advance ``dx/dt = field(t, x, *arguments)`` of every trajectory by its own adaptive steps.

    Args:
        field: called with ``t`` of shape ``(B,)``, states of the shape of ``x0`` and the arguments.
        x0: initial states ``(B, *S)``, or ``(*S, B)`` with ``batch_last``.
        times: strictly increasing, shape ``(T,)``, float64; steps land on them exactly.
        arguments: tensors that the field needs (parameters ...), passed on as they are.
        method: ``"dop853"`` or ``"dopri5"``.
        rtol, atol: a step is kept where the root mean square over the state of ``error / (atol + rtol |x|)`` is below 1.
        batch_last: the layout in which stencils run fastest: neighbours in memory are neighbouring trajectories.
        attempt: a compiled :func:`make_attempt` of the same field, method and layout.
        most_attempts: give up on a trajectory that has not reached its next frame in so many (``MOST_ATTEMPTS``).

    Returns:
        States ``(T, *x0.shape)``, in the dtype of ``x0``; differentiable in ``x0`` and the arguments at the steps taken.

    Raises:
        DivergenceError: a trajectory's step shrank to nothing (it blows up), or it makes no headway (it is far too
            stiff); its index and the time are named and stand in the exception's ``trajectory`` and ``time``.
    """
    check_times(times)
    most = MOST_ATTEMPTS if most_attempts is None else most_attempts
    run = attempt or make_attempt(field, method, batch_last=batch_last)
    grid = times.detach().to(torch.float64).cpu().numpy()
    axis = -1 if batch_last else 0
    n = x0.shape[axis]
    out = x0.new_empty((len(grid), n, *x0.movedim(axis, 0).shape[1:]))
    out[0] = x0.movedim(axis, 0)
    if len(grid) == 1 or n == 0:
        return out.movedim(1, axis) if batch_last else out
    rule = adaptive_tableau(method)
    state = _start(field, x0, grid[0], grid[-1], rule, rtol, atol, batch_last, arguments)
    # As tensors: a compiled attempt would be compiled again for every other number.
    relative, absolute = x0.new_tensor(rtol), x0.new_tensor(atol)
    frame, last = np.ones(n, dtype=np.int64), len(grid) - 1
    floor = _SHORTEST * max(float(np.abs(grid).max()), 1e-10)
    seen = frame
    for attempts in count(1):
        target = grid[np.minimum(frame, last)]
        state, _ = _advance(
            run, rule, state._replace(step=_rounded(state.step)), target, relative, absolute, *arguments
        )
        landed = (state.t >= target) & (frame <= last)
        if landed.any():
            _write(out, frame, landed, state.x.movedim(axis, 0))
            frame = frame + landed
            if (frame > last).all():
                return out.movedim(1, -1) if batch_last else out
        elif state.step.min() < floor:
            _check_steps(state)
        if attempts % most == 0:
            _check_headway(state, (frame == seen) & (frame <= last), most)
            seen = frame
    raise AssertionError("unreachable")


def interpolate_each(
    field: EachField,
    x0: Tensor,
    times: Tensor,
    end: float,
    *arguments: Any,
    rtol: float = 1e-3,
    atol: float = 1e-6,
    batch_last: bool = False,
    attempt: Attempt | None = None,
) -> Tensor:
    """The same with steps that run freely towards ``end`` and frames interpolated between them (dopri5).

    With the default tolerances this is what SciPy's ``solve_ivp(..., method="RK45", t_eval=times)`` gives for every
    trajectory, to rounding. A compiled ``attempt`` must keep its slopes. Errors as above.
    """
    check_times(times)
    rule = adaptive_tableau("dopri5")
    run = attempt or make_attempt(field, "dopri5", batch_last=batch_last, keep_slopes=True)
    axis = -1 if batch_last else 0
    n = x0.shape[axis]
    grid = np.append(times.detach().to(torch.float64).cpu().numpy(), np.inf)
    out = x0.new_empty((len(times), n, *x0.movedim(axis, 0).shape[1:]))
    out[0] = x0.movedim(axis, 0)
    state = _start(field, x0, grid[0], end, rule, rtol, atol, batch_last, arguments)
    target = np.full(n, float(end))
    relative, absolute = x0.new_tensor(rtol), x0.new_tensor(atol)
    frame = np.ones(n, dtype=np.int64)
    seen, attempts = frame, 0
    while (frame < len(times)).any():
        before, attempts = state, attempts + 1
        state, slopes = _advance(run, rule, state, target, relative, absolute, *arguments)
        while True:
            inside = (grid[frame] <= state.t) & (state.t > before.t)
            if not inside.any():
                break
            whole = bool(inside.all())
            here = slice(None) if whole else torch.from_numpy(inside.nonzero()[0]).to(x0.device)
            h = (state.t - before.t)[inside]
            part = (grid[frame] - before.t)[inside] / h
            y = before.x.movedim(axis, 0)[here]
            # Horner's rule, elementwise: a matrix product would round differently in another batch.
            weights = np.zeros((len(rule.dense), len(h)))
            for column in reversed(range(len(rule.dense[0]))):
                weights = (weights + np.array([row[column] for row in rule.dense])[:, None]) * part
            for weight, k in zip(torch.from_numpy(weights * h).to(x0), slopes, strict=True):
                y = torch.addcmul(y, _wide(weight, y, False), k.movedim(axis, 0)[here])
            out[
                torch.from_numpy(frame[inside]).to(x0.device), here if not whole else torch.arange(n, device=x0.device)
            ] = y
            frame = frame + inside
        _check_steps(state)
        if attempts % MOST_ATTEMPTS == 0:
            _check_headway(state, (frame == seen) & (frame < len(times)), MOST_ATTEMPTS)
            seen = frame
    return out.movedim(1, -1) if batch_last else out


def _wide(values: Tensor, x: Tensor, batch_last: bool) -> Tensor:
    """One value a trajectory, shaped to broadcast against states."""
    return values if batch_last else values.reshape(-1, *(1,) * (x.ndim - 1))


def _rounded(step: np.ndarray) -> np.ndarray:
    """To the nearest bfloat16, ties to even: the upper half of a float32."""
    bits = step.astype(np.float32).view(np.uint32)
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    return bits.view(np.float32).astype(np.float64)


def _write(out: Tensor, frame: np.ndarray, landed: np.ndarray, x: Tensor) -> None:
    """Put the states ``(B, ...)`` of the trajectories that landed into their frames of ``out`` ``(T, B, ...)``."""
    if landed.all() and (frame == frame[0]).all():
        out[int(frame[0])] = x
        return
    here = torch.from_numpy(landed.nonzero()[0]).to(x.device)
    out[torch.from_numpy(frame[landed]).to(x.device), here] = x[here]


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
    axes = tuple(range(x.ndim - 1)) if batch_last else tuple(range(1, x.ndim))
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


def _start(
    field: EachField,
    x0: Tensor,
    begin: float,
    end: float,
    rule: Tableau,
    rtol: float,
    atol: float,
    batch_last: bool,
    arguments: tuple[Any, ...],
) -> State:
    """The first step of every trajectory (Hairer, Norsett and Wanner, 1993, section II.4), as SciPy takes it."""
    n = x0.shape[-1 if batch_last else 0]
    t = torch.full((n,), float(begin), dtype=torch.float64, device=x0.device)
    slope = field(t, x0, *arguments)
    axes = tuple(range(x0.ndim - 1)) if batch_last else tuple(range(1, x0.ndim))
    span = float(end) - float(begin)
    with torch.no_grad():
        scale = atol + x0.abs() * rtol
        norm = lambda v: (v / scale).square().mean(axes).sqrt().double()  # noqa: E731
        d0, d1 = norm(x0), norm(slope)
        h0 = torch.where((d0 < 1e-5) | (d1 < 1e-5), torch.full_like(d0, 1e-6), 0.01 * d0 / d1).clamp(max=span)
        probe = field(t + h0, torch.addcmul(x0, _wide(h0.to(x0.dtype), x0, batch_last), slope), *arguments)
        d2 = norm(probe - slope) / h0
        largest = torch.maximum(d1, d2)
        h1 = (0.01 / largest) ** (1 / (rule.error_order + 1))
        h1 = torch.where(largest <= 1e-15, (h0 * 1e-3).clamp_min(1e-6), h1)
        step = torch.nan_to_num((100 * h0).minimum(h1), nan=1e-6).clamp(max=span)
    return State(t.cpu().numpy(), x0, slope, step.cpu().numpy(), np.zeros(n, dtype=bool))


#: A step shorter than this part of the time does not change it.
_SHORTEST = 1e-15


def _check_steps(state: State) -> None:
    """Raise where a trajectory's next step is too short to change its time."""
    stuck = state.failed & (state.step <= _SHORTEST * np.maximum(np.abs(state.t), 1e-10))
    _give_up(state, stuck, "blows up at t = {time:g}: no step is short enough.")


def _check_headway(state: State, idle: np.ndarray, attempts: int) -> None:
    """Raise where a trajectory is ``idle``: it reached no frame in so many attempts."""
    end = f"in {attempts} attempted steps: it blows up or is far too stiff."
    _give_up(state, idle, "got no further than t = {time:g} " + end)


def _give_up(state: State, lost: np.ndarray, what: str) -> None:
    """Raise for the first trajectory that is ``lost``, if one is; ``what`` happened to it at ``{time}``."""
    if not lost.any():
        return
    worst = int(lost.argmax())
    time = float(state.t[worst])
    raise DivergenceError(
        f"Trajectory {worst} {what.format(time=time)} Shorten the horizon, or check its parameters and initial state.",
        trajectory=worst,
        time=time,
    )


def check_finite(states: Tensor, t: Tensor) -> Tensor:
    """``states`` ``(T, B, ...)`` at times ``t`` as they are, where all are finite.

    Raises:
        DivergenceError: names the first trajectory that left the finite numbers, and the first frame without it.
    """
    bad = ~torch.isfinite(states).flatten(2).all(2)
    if not bool(bad.any()):
        return states
    frame = int(bad.any(1).nonzero()[0])
    worst, time = int(bad[frame].nonzero()[0]), float(t[frame])
    raise DivergenceError(
        f"Trajectory {worst} blows up before t = {time:g}. Shorten the horizon or the step.",
        trajectory=worst,
        time=time,
    )

"""Adaptive Runge-Kutta integration in which every trajectory of a batch chooses its own steps.

A batch is advanced by whole attempts (:mod:`leads.integrators.attempts`). No trajectory sees another's error, so a
result does not depend on what is solved beside it, and a stiff trajectory does not slow the others' steps down.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from leads.errors import DivergenceError
from leads.integrators.attempts import Attempt, EachField, State, make_attempt, over_states, rounded, start
from leads.integrators.fixed import check_times
from leads.integrators.tableaus import adaptive_tableau

#: Attempted steps without reaching a frame after which a trajectory is given up.
MOST_ATTEMPTS = 20_000


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
    state = start(field, x0, grid[0], grid[-1], method, rtol, atol, batch_last, arguments)
    t, step, failed = state.steering
    state = state._replace(steering=torch.stack([t, rounded(step), failed]))
    # As tensors: a compiled attempt would be compiled again for every other number.
    limits = x0.new_tensor(rtol), x0.new_tensor(atol)
    frame, last = np.ones(n, dtype=np.int64), len(grid) - 1
    goal = grid[frame]
    target = torch.from_numpy(goal).to(x0.device)
    seen = frame
    for attempts in count(1):
        state = State(*run(*state, target, *limits, *arguments))
        steering = state.steering.cpu().numpy()
        landed = (steering[0] >= goal) & (frame <= last)
        if landed.any():
            _write(out, frame, landed, state.x.movedim(axis, 0))
            frame = frame + landed
            if (frame > last).all():
                return out.movedim(1, -1) if batch_last else out
            goal = grid[np.minimum(frame, last)]
            target = torch.from_numpy(goal).to(x0.device)
        else:
            _check_steps(steering)
        if attempts % most == 0:
            _check_headway(steering, (frame == seen) & (frame <= last), most)
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
    trajectory, to rounding. A compiled ``attempt`` must be dense. Errors as above.
    """
    check_times(times)
    run = attempt or make_attempt(field, "dopri5", batch_last=batch_last, dense=True)
    axis = -1 if batch_last else 0
    n = x0.shape[axis]
    grid = times.detach().to(torch.float64).cpu().numpy()
    out = x0.new_empty((len(grid), n, *x0.movedim(axis, 0).shape[1:]))
    out[0] = x0.movedim(axis, 0)
    state = start(field, x0, grid[0], end, "dopri5", rtol, atol, batch_last, arguments)
    t = np.full(n, grid[0])
    target = torch.full((n,), float(end), dtype=torch.float64, device=x0.device)
    limits = x0.new_tensor(rtol), x0.new_tensor(atol)
    # Small states wait for some attempts and are interpolated together.
    together = max(1, REMEMBERED_VALUES // max(x0.numel(), 1))
    steps: list[Step] = []
    done = seen = np.ones(n, dtype=np.int64)
    for attempts in count(1):
        if not (t < grid[-1]).any():
            break
        steering, x, slope, *slopes = run(*state, target, *limits, *arguments)
        now = steering.cpu().numpy()
        steps.append(Step(t, now[0], state.x, slopes))
        state, t = State(steering, x, slope), now[0]
        if len(steps) == together:
            done, steps = _interpolate(out, grid, done, steps, axis), []
        _check_steps(now)
        if attempts % MOST_ATTEMPTS == 0:
            frame = np.searchsorted(grid, t, side="right")
            _check_headway(now, (frame == seen) & (frame < len(grid)), MOST_ATTEMPTS)
            seen = frame
    _interpolate(out, grid, done, steps, axis)
    return out.movedim(1, -1) if batch_last else out


#: Values of states, over steps and trajectories, that wait for their interpolation.
REMEMBERED_VALUES = 2**15


class Step(NamedTuple):
    """An attempt of a batch: the times before and after it (equal where it failed), the states before it, its slopes."""

    begin: np.ndarray
    end: np.ndarray
    x: Tensor
    slopes: list[Tensor]


def _interpolate(out: Tensor, grid: np.ndarray, done: np.ndarray, steps: list[Step], axis: int) -> np.ndarray:
    """Fill the frames of ``out`` that lie inside the steps; of every trajectory ``done`` frames are there, and then as
    many as are returned."""
    if not steps:
        return done
    begin, end = np.stack([s.begin for s in steps]), np.stack([s.end for s in steps])
    reached = np.searchsorted(grid, end[-1], side="right")
    if (reached == done).all():
        return done
    frames = np.arange(len(grid))[:, None]
    frame, who = ((done <= frames) & (frames < reached)).nonzero()
    step = (end[:, who] < grid[frame]).sum(0)
    h = end[step, who] - begin[step, who]
    part = (grid[frame] - begin[step, who]) / h
    # Horner's rule, elementwise: a matrix product would round differently in another batch.
    polynomials = np.array(adaptive_tableau("dopri5").dense)
    weights = np.zeros((len(polynomials), len(h)))
    for column in reversed(polynomials.T):
        weights = (weights + column[:, None]) * part
    frame, who, step = (torch.from_numpy(v).to(out.device) for v in (frame, who, step))
    y = _pick([s.x for s in steps], step, who, axis)
    for weight, slopes in zip(
        torch.from_numpy(weights * h).to(y), zip(*(s.slopes for s in steps), strict=True), strict=True
    ):
        y = torch.addcmul(y, over_states(weight, y, False), _pick(slopes, step, who, axis))
    out[frame, who] = y
    return reached


def _pick(states: Sequence[Tensor], step: Tensor, who: Tensor, axis: int) -> Tensor:
    """The states of the trajectories ``who`` at the steps ``step``: ``(len(who), *S)``."""
    if len(states) == 1:
        return states[0].movedim(axis, 0)[who]
    return torch.stack([s.movedim(axis, 0) for s in states])[step, who]


def _write(out: Tensor, frame: np.ndarray, which: np.ndarray, x: Tensor) -> None:
    """Put the states ``(B, ...)`` of ``which`` trajectories into their frames of ``out`` ``(T, B, ...)``."""
    if which.all() and (frame == frame[0]).all():
        out[int(frame[0])] = x
        return
    here = torch.from_numpy(which.nonzero()[0]).to(x.device)
    out[torch.from_numpy(frame[which]).to(x.device), here] = x[here]


#: A step shorter than this part of the time does not change it.
_SHORTEST = 1e-15


def _check_steps(steering: np.ndarray) -> None:
    """Raise where a trajectory's next step is too short to change its time."""
    t, step, failed = steering
    if not failed.any():
        return
    stuck = (failed > 0) & (step <= _SHORTEST * np.maximum(np.abs(t), 1e-10))
    _give_up(t, stuck, "blows up at t = {time:g}: no step is short enough.")


def _check_headway(steering: np.ndarray, idle: np.ndarray, attempts: int) -> None:
    """Raise where a trajectory is ``idle``: it reached no frame in so many attempts."""
    end = f"in {attempts} attempted steps: it blows up or is far too stiff."
    _give_up(steering[0], idle, "got no further than t = {time:g} " + end)


def _give_up(t: np.ndarray, lost: np.ndarray, what: str) -> None:
    """Raise for the first trajectory that is ``lost``, if one is; ``what`` happened to it at ``{time}``."""
    if not lost.any():
        return
    worst = int(lost.argmax())
    time = float(t[worst])
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
    # One pass is enough where all is well: what is not finite stays so in the sum.
    if bool(torch.isfinite(states.detach().sum())):
        return states
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

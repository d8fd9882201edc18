"""Simulating one chunk of a set that is never in memory as a whole."""

from __future__ import annotations

import torch
from torch import Tensor

from leads.errors import DivergenceError
from leads.trajectories.job import Job
from leads.trajectories.store import write_chunk


def prepare(job: Job, i: int, j: int) -> int:
    """Spin up the initial states of chunk ``(i, j)``, and keep them where all environments share them."""
    with torch.no_grad():
        job.initial_states(*job.block(i, j))
    return 0


def make_chunk(job: Job, i: int, j: int) -> int:
    """Simulate chunk ``(i, j)`` and write it; how many of its trajectories blow up.

    Raises:
        DivergenceError: a trajectory blows up and is not to be marked; the numbers of its environment and trajectory in
            the whole set, and the time, are named and stand in ``environment``, ``trajectory`` and ``time``.
        FileError: the chunk could not be written.
    """
    environments, trajectories = job.block(i, j)
    with torch.no_grad():
        states, blown = solve_chunk(job, environments, trajectories)
    write_chunk(job, environments, trajectories, states, blown)
    return int(torch.isfinite(blown).sum())


def solve_chunk(job: Job, environments: range, trajectories: range) -> tuple[Tensor, Tensor]:
    """States ``(e, n, T, C, *X)``, NaN from a blow-up on, and its times ``(e, n)``, NaN where there is none."""
    p = job.parameters[environments.start : environments.stop]
    x0 = job.initial_states(environments, trajectories)
    try:
        states = job.simulate(x0, p, job.times)
        blown = states.new_full(states.shape[:2], torch.nan, dtype=torch.float64)
    except DivergenceError as error:
        e, n, time = error.environment, error.trajectory, error.time
        if not job.mark and e is not None and n is not None and time is not None:
            raise _named(job, environments, trajectories, e, n, time) from error
        wide = p[:, None].expand(*x0.shape[:2], -1)
        flat, when = _halves(job, x0.flatten(0, 1), wide.flatten(0, 1))
        states, blown = flat.unflatten(0, x0.shape[:2]), when.unflatten(0, x0.shape[:2])
    states = states.to(job.dtype)
    # A solver need not notice that it left the finite numbers, and float32 ends long before float64.
    bad = ~torch.isfinite(states).flatten(3).all(-1)
    first = job.times[bad.long().argmax(-1)]
    blown = torch.where(bad.any(-1) & ~(blown <= first), first, blown)
    if not job.mark and bool(torch.isfinite(blown).any()):
        e, n = (int(k) for k in torch.isfinite(blown).nonzero()[0])
        raise _named(job, environments, trajectories, e, n, float(blown[e, n]))
    after = bad.long().cumsum(-1) > 0
    return states.masked_fill(after.reshape(*after.shape, *(1,) * (states.ndim - 3)), torch.nan), blown


def _halves(job: Job, x0: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
    """Solve a batch ``(B, C, *X)``, ``(B, P)`` some of whose trajectories blow up: ``(B, T, C, *X)`` and ``(B,)``.

    Halving finds them at the cost of a few more solutions each, whatever the solver says of its failure.
    """
    try:
        return job.simulate(x0[:, None], p, job.times)[:, 0], x0.new_full((len(x0),), torch.nan)
    except DivergenceError as error:
        if len(x0) > 1:
            middle = len(x0) // 2
            parts = [_halves(job, x0[part], p[part]) for part in (slice(middle), slice(middle, None))]
            return torch.cat([a for a, _ in parts]), torch.cat([b for _, b in parts])
        states, time = _until(job, x0, p, error.time)
        return states, x0.new_tensor([time])


def _until(job: Job, x0: Tensor, p: Tensor, time: float | None) -> tuple[Tensor, float]:
    """One trajectory up to its blow-up, ``(1, T, C, *X)``, NaN from there on, and the time of the blow-up."""
    t = job.times
    states = x0[:, None].expand(1, len(t), *x0.shape[1:]).clone()
    # The first frame is given, whatever becomes of it.
    kept = len(t) - 1 if time is None else max(int((t < time).sum()), 1)
    while kept > 1:
        try:
            states[:, :kept] = job.simulate(x0[:, None], p, t[:kept])[:, 0]
            break
        except DivergenceError as error:
            earlier = error.time
            time = earlier if earlier is not None else float(t[kept - 1])
            kept -= 1
    states[:, kept:] = torch.nan
    return states, float(t[kept]) if time is None else time


def _named(job: Job, environments: range, trajectories: range, e: int, n: int, time: float) -> DivergenceError:
    e, n = environments[e], trajectories[n]
    values = ", ".join(
        f"{q.name} = {float(v):g}" for q, v in zip(job.system.parameters, job.parameters[e], strict=True)
    )
    return DivergenceError(
        f"Trajectory {n} of environment {e} ({values}) of {type(job.system).__name__} blows up at t = {time:g}. The "
        f"chunks that were complete are kept in {job.path}. Shorten the horizon, choose other parameters, or go on with "
        "on_blowup='mark' (--on-blowup mark).",
        environment=e,
        trajectory=n,
        time=time,
    )

"""Simulating the sets whose published generators are not SciPy's explicit methods: ours, all trajectories side by side,
against those generators in NumPy (`reference.py`), one trajectory at a time.

A generator that takes long is timed over a part of a trajectory and scaled. Where it solves on another grid than ours
(Burgers, Kolmogorov flow), the errors of both are those of their grids, and only the work for the same set is compared.
Part of benchmarks/simulation.py.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import reference
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

import leads
from leads.environments import EnvironmentFamily
from leads.trajectories.generate import initial_states


def _timed(call: Callable[[], object], repeats: int = 1) -> float:
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def _row(
    name: str, case: str, n: int, seconds: float, first: float, theirs: str, needed: float, error: float | None
) -> dict[str, object]:
    said = "" if error is None else f" (difference {error:.1e})"
    print(
        f"{name:22s} {case:30s} {seconds:7.3f} s{said}; {theirs} {needed:7.1f} s; {needed / seconds:.0f}x", flush=True
    )
    return {
        "family": name, "case": case, "trajectories": n, "our_error": error, "our_seconds": seconds,
        "first_call_extra_seconds": first, "scipy": theirs, "rtol": None, "scipy_error": None, "scipy_seconds": needed,
        "ratio": needed / seconds,
    }  # fmt: skip


def _ours(call: Callable[[], Tensor]) -> tuple[Tensor, float, float]:
    """States, the best of three times, and what the first call took longer."""
    with torch.no_grad():
        first = _timed(call)
        best = _timed(call, 3)
        return call(), best, max(first - best, 0.0)


def _starts(name: str, most: int) -> tuple[EnvironmentFamily, Tensor]:
    family = leads.make(name)
    n = min(family.budget.train + family.budget.test + family.budget.valid, most)
    return family, initial_states(family, lambda k: k, n, len(family.seen))


def navier_stokes(steps: int = 500) -> list[dict[str, object]]:
    """The published stepper, over a part of the horizon; its own precision is float32."""
    family, x0 = _starts("navier_stokes", 16)
    times = torch.tensor([0.0, steps * 1e-3], dtype=torch.float64)
    rows = []
    for dtype in (torch.float64, torch.float32):
        states, seconds, first = _ours(partial(family.system.simulate_published, x0.to(dtype), family.seen, times))
        began = time.perf_counter()
        theirs = [
            reference.navier_stokes_step(p, x[0, 0].numpy(), steps)
            for p, x in zip(family.seen.numpy(), x0, strict=True)
        ]
        needed = (time.perf_counter() - began) * x0.shape[1]
        error = float((states[:, 0, -1, 0].double() - torch.from_numpy(np.stack(theirs))).abs().max())
        case = f"published, {str(dtype).removeprefix('torch.')}"
        rows.append(_row(family.name, case, x0.shape[0] * x0.shape[1], seconds, first, "its stepper", needed, error))
    return rows


def wave() -> list[dict[str, object]]:
    """The published Runge-Kutta steps, which ours takes mode by mode, and SciPy at a tight tolerance against our exact
    solution."""
    family, x0 = _starts("wave", 64)
    rhs, count, rows = reference.wave(family.seen[0].numpy()), x0.shape[1], []
    t = family.times.numpy()

    def steps(x: np.ndarray) -> np.ndarray:
        frames = [x.ravel()]
        for _ in t[1:]:
            frames.append(reference.rk4(rhs, frames[-1], 1e-3, 1))
        return np.stack(frames)

    def tight(x: np.ndarray) -> np.ndarray:
        return solve_ivp(rhs, (t[0], t[-1]), x.ravel(), method="DOP853", t_eval=t, rtol=1e-12, atol=1e-13).y.T

    system = family.system
    for case, solve, theirs, name in (
        ("published, float64", system.simulate_published, steps, "its rk4"),
        ("default, float64", system.simulate, tight, "SciPy DOP853 at rtol 1e-12"),
    ):
        states, seconds, first = _ours(partial(solve, x0, family.seen, family.times))
        began = time.perf_counter()
        found = np.stack([theirs(x) for x in x0[0, :4].numpy()])
        needed = (time.perf_counter() - began) / 4 * count
        error = float((states[0, :4] - torch.from_numpy(found).unflatten(-1, x0.shape[2:])).abs().max())
        rows.append(_row("wave", case, count, seconds, first, name, needed, error))
    return rows


def combined_equation() -> list[dict[str, object]]:
    """Radau at the published tolerances; ours by default, and in steps that are about as accurate as Radau's."""
    family, x0 = _starts("combined_equation", 16)
    t = family.times.numpy()
    few = range(0, len(family.seen), 5)
    began, theirs = time.perf_counter(), []
    for e in few:
        rhs, start = reference.combined_equation(family.seen[e].numpy()), x0[e, 0, 0].numpy()
        theirs.append(solve_ivp(rhs, (t[0], t[-1]), start, method="Radau", t_eval=t, rtol=1e-7, atol=1e-9).y.T)
    count = x0.shape[0] * x0.shape[1]
    needed = (time.perf_counter() - began) / len(few) * count
    system = copy.copy(family.system)
    truth = system.simulate(x0[:, :1], family.seen, family.times, refine=4)[few, 0, :, 0]
    error = lambda states: float((states - truth).abs().max())
    radau, rows = error(torch.from_numpy(np.stack(theirs))), []
    for max_step in (system.max_step, 0.1):
        system.max_step = max_step
        states, seconds, first = _ours(lambda: system.simulate(x0, family.seen, family.times))
        row = _row(
            family.name,
            f"steps of {max_step}",
            count,
            seconds,
            first,
            "SciPy Radau",
            needed,
            error(states[few, 0, :, 0]),
        )
        rows.append(row | {"rtol": 1e-7, "scipy_error": radau})
    return rows


def burgers(part: float = 2e-5) -> list[dict[str, object]]:
    """RK45 on 16384 cells, over a part of the horizon for each viscosity (its steps are bound by stability)."""
    family, x0 = _starts("burgers", 4)
    _, seconds, first = _ours(lambda: family.system.simulate(x0, family.seen, family.times))
    x = np.arange(16384) * (2 * np.pi / 16384)
    start, horizon, needed = np.sin(x) + np.cos(5 * x), float(family.times[-1]), 0.0
    for p in family.seen.numpy():
        rhs = reference.burgers(p)
        began = time.perf_counter()
        solve_ivp(rhs, (0, part), start, method="RK45")
        needed += (time.perf_counter() - began) * horizon / part * x0.shape[1]
    return [_row("burgers", "default, float64", x0.shape[0] * x0.shape[1], seconds, first, "SciPy RK45", needed, None)]


def kolmogorov(steps: int = 4) -> list[dict[str, object]]:
    """Arakawa's differences on 512 points, a few of the published Runge-Kutta steps."""
    family, x0 = _starts("kolmogorov", 2)
    _, seconds, first = _ours(lambda: family.system.simulate(x0, family.seen, family.times))
    noise = np.random.RandomState(0).randn(512, 512)
    began = time.perf_counter()
    reference.rk4(reference.kolmogorov(family.seen[0].numpy()), noise, 1e-7, steps)
    count = x0.shape[0] * x0.shape[1]
    needed = (time.perf_counter() - began) / steps * round(float(family.times[-1]) / 0.005) * count
    return [_row("kolmogorov", "default, float64", count, seconds, first, "its rk4 on 512^2", needed, None)]


def compare() -> list[dict[str, object]]:
    """All of them."""
    return [*navier_stokes(), *wave(), *combined_equation(), *burgers(), *kolmogorov()]

"""Simulating the benchmark sets: batched over environments and trajectories, against SciPy one trajectory at a time.

    OMP_NUM_THREADS=1 python benchmarks/simulation.py

Three accuracies, each the same on both sides. Published: the generators' own, RK45 at rtol 1e-3 and atol 1e-6 with frames
interpolated, which `simulate_published` repeats step for step. Default: what `leads.generate` makes unless told otherwise;
tight: ours at rtol 1e-8. These two against the cheapest of SciPy's RK45 and DOP853 at 13 tolerances each whose largest
error, measured against a finer solution, is no larger than ours. Then generators that are not SciPy's explicit methods:
`stepping.py`.
SciPy is timed on a few trajectories and scaled to the whole set; its right-hand sides are NumPy (`reference.py`), as in
the public codes. Compiling happens once for each machine and shape; its time is given apart.
Writes benchmarks/results/simulation.json.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import reference
import stepping
import torch
from reference import Rhs
from scipy.integrate import solve_ivp
from torch import Tensor

import leads
from leads.environments import EnvironmentFamily
from leads.experiment import provenance
from leads.trajectories.generate import initial_states


@dataclass(frozen=True)
class Case:
    """One way of ours to simulate a set: tolerance (``None``: as the published generator, ``"default"``: the system's), precision, compiled or not."""

    name: str
    rtol: float | Literal["default"] | None
    compile: bool = False
    dtype: torch.dtype = torch.float64


PUBLISHED = (1e-3, 1e-6)


def ours(case: Case, family: EnvironmentFamily, x0: Tensor) -> tuple[Tensor, float, float]:
    """States, the best of five times, and what the first call took longer (compilation)."""
    system = copy.copy(family.system)
    system.compile = case.compile
    if isinstance(case.rtol, float):
        system.rtol, system.atol = case.rtol, case.rtol * 0.1
    solve = system.simulate_published if case.rtol is None else system.simulate
    seconds = []
    for _ in range(6):
        began = time.perf_counter()
        with torch.no_grad():
            states = solve(x0.to(case.dtype), family.seen, family.times)
        seconds.append(time.perf_counter() - began)
    best = min(seconds[1:])
    return states.double(), best, max(seconds[0] - best, 0.0)


def scipy(
    method: str, tolerance: tuple[float, float], rhs: Callable[[np.ndarray], Rhs], family: EnvironmentFamily, x0: Tensor
) -> tuple[Tensor, float]:
    """States and seconds, one trajectory at a time."""
    began, rows = time.perf_counter(), []
    t = family.times.numpy()
    rtol, atol = tolerance
    for p, starts in zip(family.seen.numpy(), x0.numpy(), strict=True):
        for x in starts:
            y = solve_ivp(rhs(p), (0, t[-1]), x.ravel(), method=method, t_eval=t, rtol=rtol, atol=atol).y
            rows.append(torch.from_numpy(y.T.reshape(len(t), *x.shape)))
    seconds = time.perf_counter() - began
    return torch.stack(rows).unflatten(0, x0.shape[:2]), seconds


def compare(name: str, rhs: Callable[[np.ndarray], Rhs], sample: int, cases: Sequence[Case]) -> list[dict[str, object]]:
    family = leads.make(name)
    n = min(family.budget.train + family.budget.test + family.budget.valid, 64)
    x0 = initial_states(family, lambda k: k, n, len(family.seen))
    few = x0[:, :sample]
    truth = family.system.simulate(few, family.seen, family.times, refine=4)
    error = lambda states: float((states - truth).abs().max())
    ladder: dict[str, list[tuple[str, float, float, float]]] = {"published": [], "tight": []}
    states, seconds = scipy("RK45", PUBLISHED, rhs, family, few)
    ladder["published"].append(("RK45", PUBLISHED[0], error(states), seconds / sample * n))
    for method in ("RK45", "DOP853"):
        for rtol in 10.0 ** -np.arange(7, 13.1, 0.5):
            states, seconds = scipy(method, (float(rtol), float(rtol) * 0.1), rhs, family, few)
            ladder["tight"].append((method, float(rtol), error(states), seconds / sample * n))
    rows: list[dict[str, object]] = []
    for case in cases:
        states, seconds, first = ours(case, family, x0)
        mine = error(states[:, :sample])
        # The published error is theirs by definition; a tight one must be reached.
        steps = ladder["published"] if case.rtol is None else [s for s in ladder["tight"] if s[2] <= mine]
        if not steps:
            print(f"{name}: SciPy does not reach our error {mine:.1e} of the case {case.name}")
            continue
        method, rtol, theirs, needed = min(steps, key=lambda step: step[3])
        rows.append({
            "family": name, "case": case.name, "trajectories": n * len(family.seen), "our_error": mine,
            "our_seconds": seconds, "first_call_extra_seconds": first, "scipy": method, "rtol": rtol,
            "scipy_error": theirs, "scipy_seconds": needed, "ratio": needed / seconds,
        })  # fmt: skip
        print(
            f"{name:22s} {case.name:30s} {seconds:7.3f} s (error {mine:.1e}, first call +{first:.1f} s); SciPy {method} "
            f"rtol {rtol:.0e} {needed:7.2f} s (error {theirs:.1e}); {needed / seconds:.0f}x", flush=True,
        )  # fmt: skip
    return rows


CASES = [
    Case("published, plain", None),
    Case("published, compiled", None, compile=True),
    Case("tight, plain", 1e-8),
    Case("tight, compiled", 1e-8, compile=True),
    Case("default, plain", "default"),
    Case("default, compiled", "default", compile=True),
]
FIELDS = [*CASES[:2], Case("published, compiled float32", None, compile=True, dtype=torch.float32), *CASES[2:]]
#: Families, trajectories that SciPy is timed on, and our cases.
SETS: dict[str, tuple[int, Sequence[Case]]] = {
    "lotka_volterra": (2, CASES),
    "glycolytic_oscillator": (1, CASES),
    "selkov": (1, CASES),
    "pendulum": (2, CASES),
    "gray_scott": (1, FIELDS),
    "brusselator": (1, FIELDS),
    "reaction_diffusion": (4, FIELDS),
}


def main() -> None:
    torch.set_num_threads(1)
    rows = []
    for name, (sample, cases) in SETS.items():
        rows += compare(name, getattr(reference, name), sample, cases)
    rows += stepping.compare()
    result = {"provenance": provenance(command="OMP_NUM_THREADS=1 python benchmarks/simulation.py"), "rows": rows}
    (Path(__file__).parent / "results" / "simulation.json").write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

"""Simulating the benchmark sets: batched over environments and trajectories, against SciPy one trajectory at a time.

    OMP_NUM_THREADS=1 python benchmarks/simulation.py

Both at the same accuracy: SciPy's DOP853 with the loosest rtol whose largest error, measured against a finer solution,
is no larger than ours. SciPy is timed on a few trajectories and scaled to the whole set. Its right-hand sides are
NumPy, as in the public codes (np.roll for Gray-Scott). Writes benchmarks/results/simulation.json.
"""

from __future__ import annotations

import datetime
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy.integrate import solve_ivp

import leads
from leads.trajectories.generate import initial_states

Rhs = Callable[[float, np.ndarray], np.ndarray]


def lotka_volterra(p: np.ndarray) -> Rhs:
    a, b, g, d = p
    return lambda t, y: np.array([a * y[0] - b * y[0] * y[1], d * y[0] * y[1] - g * y[1]])


def gray_scott(p: np.ndarray) -> Rhs:
    feed, kill = p

    def laplacian(x: np.ndarray) -> np.ndarray:
        edges = sum(np.roll(x, s, a) for s in (1, -1) for a in (0, 1))
        corners = sum(np.roll(np.roll(x, s, 0), r, 1) for s in (1, -1) for r in (1, -1))
        return 0.5 * edges + 0.25 * corners - 3 * x

    def rhs(t: float, y: np.ndarray) -> np.ndarray:
        u, v = y.reshape(2, 32, 32)
        uvv = u * v * v
        return np.stack(
            [0.2097 * laplacian(u) - uvv + feed * (1 - u), 0.105 * laplacian(v) + uvv - (feed + kill) * v]
        ).ravel()

    return rhs


def compare(
    name: str, rhs: Callable[[np.ndarray], Rhs], sample: int, rates: dict[str, float]
) -> list[dict[str, object]]:
    family = leads.make(name)
    system, times = family.system, family.times
    n = family.budget.train + family.budget.test + family.budget.valid
    x0 = initial_states(family, lambda k: k, n, len(family.seen))
    rows = []
    for level, rate in rates.items():
        system.reference_rate = rate
        system.simulate(x0[:, :1], family.seen, times)
        best = float("inf")
        for _ in range(3):
            began = time.perf_counter()
            ours = system.simulate(x0, family.seen, times)
            best = min(best, time.perf_counter() - began)
        system.reference_rate = 4 * max(rates.values())
        truth = system.simulate(x0[:, :sample], family.seen, times)
        error = float((ours[:, :sample] - truth).abs().max())
        for method in ("RK45", "DOP853"):
            for rtol in 10.0 ** -np.arange(3, 14):
                began, worst = time.perf_counter(), 0.0
                for e, p in enumerate(family.seen.numpy()):
                    for k in range(sample):
                        y = solve_ivp(
                            rhs(p), (0, float(times[-1])), x0[e, k].numpy().ravel(),
                            method=method, t_eval=times.numpy(), rtol=rtol, atol=rtol * 1e-1,
                        ).y  # fmt: skip
                        worst = max(worst, float(np.abs(y.T - truth[e, k].flatten(1).numpy()).max()))
                scaled = (time.perf_counter() - began) / sample * n
                if worst <= error:
                    break
            row = {
                "family": name, "level": level, "trajectories": n * len(family.seen), "our_error": error, "our_seconds": best,
                "scipy": method, "rtol": float(rtol), "scipy_error": worst, "scipy_seconds": scaled, "ratio": scaled / best,
            }  # fmt: skip
            rows.append(row)
            print(
                f"{name:15s} {level:7s} ours {best:7.3f} s (error {error:.1e}); SciPy {method} rtol {rtol:.0e} {scaled:8.2f} s "
                f"(error {worst:.1e}); {scaled / best:.0f}x", flush=True,
            )  # fmt: skip
    return rows


def main() -> None:
    torch.set_num_threads(1)
    rows = compare("lotka_volterra", lotka_volterra, 2, {"coarse": 2.0, "tight": 5.0})
    rows += compare("gray_scott", gray_scott, 1, {"coarse": 0.4, "tight": 1.0})
    result = {
        "command": "OMP_NUM_THREADS=1 python benchmarks/simulation.py",
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "rows": rows,
    }
    (Path(__file__).parent / "results" / "simulation.json").write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

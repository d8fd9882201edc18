"""Cost of a time step of the two-layer model: 64 x 64 points, float32, one core.

    OMP_NUM_THREADS=1 python benchmarks/ocean/two_layer_speed.py

Two schemes: "adams-bashforth" is ``simulate_published``, pyqg's stepper, one evaluation of the right-hand side and the filter
in a step of 7200 s; "krogstad" is ``simulate``, the exponential Runge-Kutta method of order 4 behind all reference data,
four evaluations in a step of 5400 s. The times of all evaluations of a solve are recorded, and a step is the time from one
evaluation to the one that a step's number of evaluations later: all work of a step is in it. The least is what the code costs on
a core of its own; the median also holds what other processes took of a shared one. Writes
benchmarks/results/ocean/two_layer_speed.json.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from leads.environments.two_layer_qg import DAY, TwoLayerQG
from leads.experiment import provenance

#: Method of the system, evaluations and seconds in a step.
SCHEMES = {"adams-bashforth": ("simulate_published", 1, 7200.0), "krogstad": ("simulate", 4, 5400.0)}
P = (1.5e-11, 15e3, 0.25, 0.05, 5.787e-7)
#: The issue's floors in ms a step and environment.
ASKED = {1: 0.4, 8: 0.25, 16: 0.25}


def evaluations(scheme: str, batch: int, days: float) -> list[tuple[float, int]]:
    """Time and batch of every evaluation of the right-hand side in a solve."""
    system = TwoLayerQG(64)
    x0 = system.sample_x0(batch, np.random.RandomState(0)).float()[:, None]
    p = torch.tensor([P], dtype=torch.float64).expand(batch, -1)
    calls: list[tuple[float, int]] = []
    plain = TwoLayerQG.tendency

    def recording(self: TwoLayerQG, q: Tensor) -> Callable[[Tensor], Tensor]:
        tendency = plain(self, q)

        def recorded(qh: Tensor) -> Tensor:
            calls.append((time.perf_counter(), len(qh)))
            return tendency(qh)

        return recorded

    method = SCHEMES[scheme][0]
    with patch.object(TwoLayerQG, "tendency", recording):
        getattr(system, method)(x0, p, torch.tensor([0.0, days * DAY], dtype=torch.float64))
    return calls


def measure(scheme: str, batch: int, repeats: int = 2, days: float = 3.0) -> dict[str, object]:
    _, each, seconds = SCHEMES[scheme]
    steps = []
    for _ in range(repeats):
        calls = evaluations(scheme, batch, days)
        for (begin, n), (end, m) in zip(calls, calls[each:], strict=False):
            # Chunks of a batch follow each other: an interval across two of them is no step.
            if n == m:
                steps.append((end - begin) / n * 1e3)
    per_chunk = max(n for _, n in calls)
    return {
        "scheme": scheme, "evaluations_a_step": each, "step_s": seconds, "environments": batch,
        "advanced_together": per_chunk, "least_ms": min(steps), "median_ms": statistics.median(steps),
        "asked_ms": ASKED[batch], "steps_timed": len(steps),
    }  # fmt: skip


def main() -> None:
    torch.set_num_threads(1)
    rows = []
    for scheme, batch in product(SCHEMES, ASKED):
        r = measure(scheme, batch)
        rows.append(r)
        print(
            f"{r['scheme']:16s} {r['environments']:3d} environments: {r['least_ms']:.3f} ms a step and environment "
            f"(median {r['median_ms']:.3f}), asked {r['asked_ms']}",
            flush=True,
        )
    out = Path(__file__).resolve().parents[1] / "results" / "ocean" / "two_layer_speed.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    origin = provenance(command="OMP_NUM_THREADS=1 python benchmarks/ocean/two_layer_speed.py")
    out.write_text(json.dumps({"provenance": origin, "size": 64, "dtype": "float32", "rows": rows}, indent=1))


if __name__ == "__main__":
    main()

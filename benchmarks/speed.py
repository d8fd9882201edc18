"""Cost of a training step and of an adaptation on Lotka-Volterra with the published sizes.

    OMP_NUM_THREADS=1 python benchmarks/speed.py

9 environments, 4 trajectories, 20 frames, rk4, three hidden layers of 64: the configuration whose reference
implementation takes 95-100 ms a step (shared/BASELINES.md, measured on a machine of the same kind). Medians over
repeats; writes benchmarks/results/speed.json.
"""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path

import torch

import leads
from leads.dynamics import DecomposedDynamics
from leads.experiment import provenance
from leads.training import ScheduledSampling

REFERENCE = {"whole rollout": 96.0, "teacher forcing 0.99": 101.0, "windows of 1": 101.0, "windows of 5": 101.0}
CASES = {
    "whole rollout": {"horizons": (0,)},
    "teacher forcing 0.99": {"scheduled_sampling": ScheduledSampling()},
    "windows of 1": {"horizons": (1,)},
    "windows of 5": {"horizons": (5,)},
}


def step_time(model: DecomposedDynamics, data: leads.Trajectories, **settings: object) -> float:
    """Median milliseconds of an optimiser step."""
    leads.fit(model, data, steps=20, validate_every=10**6, **settings)
    times = []
    for _ in range(7):
        began = time.perf_counter()
        leads.fit(model, data, steps=40, validate_every=10**6, **settings)
        times.append((time.perf_counter() - began) / 40 * 1e3)
    return statistics.median(times)


def main() -> None:
    torch.set_num_threads(1)
    family = leads.make("lotka_volterra")
    data = leads.generate(family)
    rows = []
    for name, settings in CASES.items():
        model = leads.build("coda", family)
        ms = step_time(model, data.train, **settings)
        rows.append({"case": name, "ms": ms, "reference_ms": REFERENCE[name], "ratio": REFERENCE[name] / ms})
        print(f"{name:22s} {ms:7.2f} ms a step; reference {REFERENCE[name]:.0f} ms; {REFERENCE[name] / ms:.1f}x")
    model = leads.build("coda", family, spread=0.1, context_penalty=1e-6)
    leads.fit(model, data.train, data.valid, steps=2000, average=0.999)
    infos = [leads.adapt(model, data.adapt).info for _ in range(5)]
    seconds = statistics.median(i["seconds"] for i in infos)
    print(
        f"adapting 4 environments: {seconds:.3f} s, {infos[0]['iterations']} iterations, converged {infos[0]['converged']}"
    )
    result = {
        "provenance": provenance(command="OMP_NUM_THREADS=1 python benchmarks/speed.py"),
        "steps": rows,
        "adaptation": {"seconds": seconds, "iterations": infos[0]["iterations"], "converged": infos[0]["converged"]},
    }
    out = Path(__file__).parent / "results" / "speed.json"
    out.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

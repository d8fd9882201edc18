"""Adapting to 10,000 Lotka-Volterra environments on one core: environments a second and peak memory.

    OMP_NUM_THREADS=1 python benchmarks/adaptation/fleet.py [model.safetensors]

CoDA with the published sizes (code of two values, three hidden layers of 64, rk4), one trajectory of 20 frames each,
streamed to Zarr first. Without a model file one is trained, 3000 steps. In the same run, side by side: ``leads.adapt`` on
some of the environments, the loss there, and the fleet without compilation. Rates are after warm-up (compiling, first
calls); writes benchmarks/results/adaptation_fleet.json.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import torch

import leads
from leads.experiment import provenance
from leads.trajectories import fresh_environments, load, stream

ENVIRONMENTS, BESIDE = 10_000, 256
COMMAND = "OMP_NUM_THREADS=1 python benchmarks/adaptation/fleet.py"


def peak() -> float:
    """Largest resident memory of this process so far, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    torch.set_num_threads(1)
    family = leads.make("lotka_volterra")
    if len(sys.argv) > 1:
        model = leads.load_model(sys.argv[1])
    else:
        data = leads.generate(family)
        model = leads.build("coda", family, spread=0.1, context_penalty=1e-6)
        leads.fit(model, data.train, data.valid, steps=3000, average=0.998)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        many = fresh_environments(family, ENVIRONMENTS)
        source = stream(many, many.seen, 1, many.times, folder / "observations.zarr")
        some = load(source).select(environments=slice(0, BESIDE))
        began = time.perf_counter()
        leads.adapt_many(model, load(source).select(environments=slice(0, 1024)), folder / "warm.zarr", compile=True)
        warm = time.perf_counter() - began
        rates = {}
        for label, settings in (("compiled", {"compile": True}), ("plain", {"compile": False})):
            began = time.perf_counter()
            results = leads.adapt_many(model, source, folder / f"{label}.zarr", **settings)
            rates[label] = ENVIRONMENTS / (time.perf_counter() - began)
            print(f"fleet, {label:9s} {rates[label]:7.0f} environments/s, peak memory {peak():.2f} GiB", flush=True)
        memory = peak()
        began = time.perf_counter()
        beside = leads.adapt(model, some)
        rates["adapt"] = BESIDE / (time.perf_counter() - began)
        print(
            f"leads.adapt      {rates['adapt']:7.0f} environments/s (weights of each environment, differences, float64)"
        )
        found = results.adapted(range(BESIDE)).info
        want, got = (torch.tensor(i["loss"], dtype=torch.float64) for i in (beside.info, found))
        difference = float(((got - want) / want).max())
        summary = results.summary()
        iterations = float(results.open()["iterations"].mean())
    print(f"{summary}, {iterations:.2f} iterations; largest excess of the loss over adapt's {difference:.1e}")
    result = {
        "provenance": provenance(command=COMMAND),
        "environments_per_second": rates,
        "warm_up_seconds": warm,
        "peak_memory_gib": memory,
        "iterations": iterations,
        "largest_relative_excess_over_adapt": difference,
        **summary,
    }
    out = Path(__file__).parents[1] / "results" / "adaptation_fleet.json"
    out.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

"""Adapting to very many Lotka-Volterra environments on one core: environments a second and memory.

    OMP_NUM_THREADS=1 python benchmarks/adaptation/fleet.py [model.safetensors] [--environments 10000]

CoDA with the published sizes (code of two values, three hidden layers of 64, rk4), one trajectory of 20 frames each,
streamed to Zarr first. Without a model file one is trained, 3000 steps. In the same run, side by side: ``leads.adapt`` on
some of the environments, the loss there, and, up to 10,000 environments, the fleet without compilation. Rates are after
warm-up (compiling, first calls).

Beyond 10,000 environments the fleet runs in a process of its own, which is killed after a third of the chunks and started
again: what was done is not done twice, and its resident memory is read when a tenth, a half and all of the chunks are done.
Writes benchmarks/results/adaptation_fleet.json, or adaptation_fleet_N.json for another number of environments.
"""

from __future__ import annotations

import argparse
import json
import resource
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

import leads
from leads.experiment import provenance
from leads.trajectories import fresh_environments, load, store, stream

USUAL, BESIDE = 10_000, 256


def peak() -> float:
    """Largest resident memory of this process so far, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def resident() -> float:
    """Resident memory of this process now, in GiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 2**20


def child(model: str, source: str, path: str, stop: int) -> None:
    """Run the fleet, print a line of JSON; with ``stop``, be killed after so many chunks."""
    torch.set_num_threads(1)
    mark, done, memory, seconds = store.Journal.mark, [0], [], []
    began = time.perf_counter()

    def marked(self: Any, *item: int) -> None:
        mark(self, *item)
        done[0] += 1
        memory.append(resident())
        seconds.append(time.perf_counter() - began)
        if done[0] == stop:
            print(json.dumps({"chunks": done[0], "seconds": seconds, "memory": memory, "peak": peak()}), flush=True)
            signal.raise_signal(signal.SIGKILL)

    store.Journal.mark = marked  # type: ignore[method-assign, assignment]
    leads.adapt_many(leads.load_model(model), source, path, compile=True, progress=False)
    print(json.dumps({"chunks": done[0], "seconds": seconds, "memory": memory, "peak": peak()}))


def large(model: Path, source: Path, folder: Path, environments: int) -> dict[str, Any]:
    """The fleet in a process that is killed after a third of its chunks, and in one that goes on."""
    chunks = -(-environments // 4096)  # no more than this many are in one chunk
    path = folder / "large.zarr"
    command = [sys.executable, __file__, "--child", str(model), str(source), str(path)]
    first = subprocess.run([*command, str(max(1, chunks // 3))], capture_output=True, text=True, check=False)
    assert first.returncode == -signal.SIGKILL, first.stderr
    again = subprocess.run([*command, "0"], capture_output=True, text=True, check=True)
    parts = [json.loads(run.stdout.splitlines()[-1]) for run in (first, again)]
    memory, seconds = parts[1]["memory"], parts[1]["seconds"]
    # The first chunk of a process compiles.
    rate = 4096 * (len(seconds) - 2) / (seconds[-2] - seconds[0])
    summary = leads.adaptation.FleetResults(leads.load_model(model), path).summary()
    return {
        "environments_per_second": {"compiled": rate},
        "chunks_before_the_kill": parts[0]["chunks"],
        "chunks_after_it": parts[1]["chunks"],
        "seconds": parts[0]["seconds"][-1] + seconds[-1],
        "resident_gib_after_a_tenth_a_half_all": [memory[len(memory) // 10], memory[len(memory) // 2], memory[-1]],
        "peak_memory_gib": max(p["peak"] for p in parts),
        "extrapolated_hours_for_1000000": 1e6 / rate / 3600,
        **summary,
    }


def usual(model: Any, source: Path, folder: Path, environments: int) -> dict[str, Any]:
    """Compiled and plain, with ``leads.adapt`` beside them."""
    some = load(source).select(environments=slice(0, BESIDE))
    began = time.perf_counter()
    leads.adapt_many(model, load(source).select(environments=slice(0, 1024)), folder / "warm.zarr", compile=True)
    warm = time.perf_counter() - began
    rates = {}
    for label, settings in (("compiled", {"compile": True}), ("plain", {"compile": False})):
        began = time.perf_counter()
        results = leads.adapt_many(model, source, folder / f"{label}.zarr", **settings)
        rates[label] = environments / (time.perf_counter() - began)
        print(f"fleet, {label:9s} {rates[label]:7.0f} environments/s, peak memory {peak():.2f} GiB", flush=True)
    memory = peak()
    began = time.perf_counter()
    beside = leads.adapt(model, some)
    rates["adapt"] = BESIDE / (time.perf_counter() - began)
    found = results.adapted(range(BESIDE)).info
    want, got = (torch.tensor(i["loss"], dtype=torch.float64) for i in (beside.info, found))
    return {
        "environments_per_second": rates,
        "warm_up_seconds": warm,
        "peak_memory_gib": memory,
        "iterations": float(results.open()["iterations"].mean()),
        "largest_relative_excess_over_adapt": float(((got - want) / want).max()),
        **results.summary(),
    }


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--environments", type=int, default=USUAL)
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    family = leads.make("lotka_volterra")
    if args.model:
        model = leads.load_model(args.model)
    else:
        data = leads.generate(family)
        model = leads.build("coda", family, spread=0.1, context_penalty=1e-6)
        leads.fit(model, data.train, data.valid, steps=3000, average=0.998)
    n = args.environments
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        many = fresh_environments(family, n)
        began = time.perf_counter()
        source = stream(many, many.seen, 1, many.times, folder / "observations.zarr")
        print(f"{n} environments simulated in {time.perf_counter() - began:.0f} s", flush=True)
        if n <= USUAL:
            result = usual(model, source, folder, n)
        else:
            leads.save_model(model, folder / "model.safetensors")
            result = large(folder / "model.safetensors", source, folder, n)
    print(json.dumps(result, indent=1))
    command = shlex.join(["python", "benchmarks/adaptation/fleet.py", *arguments])
    out = Path(__file__).parents[1] / "results" / f"adaptation_fleet{'' if n == USUAL else f'_{n}'}.json"
    out.write_text(json.dumps({"provenance": provenance(command=f"OMP_NUM_THREADS=1 {command}"), **result}, indent=1))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:5], int(sys.argv[5]))
    else:
        main(sys.argv[1:])

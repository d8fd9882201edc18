"""Training steps a second on one and on two processes of one thread each, under torchrun with gloo.

    python benchmarks/speed/processes.py [--steps 60] [--family glycolytic_oscillator]

CoDA's published configuration, whole rollouts, environments dealt out. The rate is of all steps but those of the first call, by
process 0. Needs two free cores: on a busy machine it measures the others. Writes benchmarks/results/speed_processes.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import torch

import leads
from leads.experiment import provenance
from leads.training import launched, reports
from leads.trajectories.cache import write_whole

ROOT = Path(__file__).resolve().parent.parent.parent


def train(family: str, steps: int) -> None:
    """In every process: print the rate."""
    torch.set_num_threads(1)
    processes = launched("cpu")
    data = leads.generate(leads.make(family, split="coda"), seed=0).train
    model = leads.build("coda", data, "mlp", seed=0, spread=0.1)
    settings = {"horizons": (0,), "lr": 1e-3, "validate_every": 10**6, "processes": processes}
    leads.fit(model, data, steps=5, **settings)
    began = time.perf_counter()
    leads.fit(model, data, steps=steps, **settings)
    if reports():
        print("rate", steps / (time.perf_counter() - began))


def rate(family: str, steps: int, processes: int) -> float:
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        str(processes),
        __file__,
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--inside", family, str(steps)], capture_output=True, text=True, check=True, env=environment
    )
    return float(next(line.split()[1] for line in done.stdout.splitlines() if line.startswith("rate")))


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--family", default="glycolytic_oscillator")
    parser.add_argument("--inside", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.inside:
        train(args.inside[0], int(args.inside[1]))
        return
    rates = {n: [] for n in (1, 2)}
    for _ in range(3):
        for n, found in rates.items():
            found.append(rate(args.family, args.steps, n))
    best = {n: max(found) for n, found in rates.items()}
    print(f"{best[1]:.1f} steps a second on one process, {best[2]:.1f} on two: {best[2] / best[1]:.2f}x")
    result = {
        "provenance": provenance(command="python benchmarks/speed/processes.py " + shlex.join(arguments)),
        "family": args.family, "steps": args.steps, "steps_per_second": rates, "ratio_of_best": best[2] / best[1],
    }  # fmt: skip
    out = ROOT / "benchmarks" / "results" / "speed_processes.json"
    write_whole(out, json.dumps(result, indent=1).encode())
    print(out)


if __name__ == "__main__":
    main(sys.argv[1:])

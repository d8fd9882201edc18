"""Achieved against possible: training steps of the published configurations, beside the reference codes' way of taking them.

    OMP_NUM_THREADS=1 python benchmarks/speed/run.py [--only lotka_volterra] [--device cpu] [--repeats 5] [--out FILE]

First the ceilings of this machine are measured, then for each configuration, in the same run and in turns, one training
step of ours and one naive step (naive.py: weights rebuilt at every stage, grouped convolutions, torchdiffeq, one frame at
a time while teacher forcing). Work is counted by operator (counting.py), and a step's limit is the longest of what its
arithmetic, its compulsory memory traffic and its launches would take at the ceilings:

- arithmetic: products, convolutions and transforms of OUR step, at the rates of large ones;
- launch: operators of our step. Fusion and batching are what lower it; a compiled step has few.

"memory" is what a run without any fusion would move; it is printed for orientation and is no limit. Peak memory is of a
process of its own for each step. Every row is the median of alternating repeats. Writes benchmarks/results/speed.json.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import leads
from leads.experiment import provenance
from leads.training.fit import _Run
from leads.training.settings import TrainerSettings
from leads.trajectories.cache import write_whole

sys.path.insert(0, str(Path(__file__).resolve().parent))
import ceilings
import counting
import naive
from plans import PLANS, Plan

ROOT = Path(__file__).resolve().parent.parent.parent
RESULT = ROOT / "benchmarks" / "results" / "speed.json"


def data_of(plan: Plan) -> leads.Trajectories:
    return leads.generate(leads.make(plan.family, split="coda"), seed=0).train


def ours(plan: Plan, train: leads.Trajectories) -> Callable[[], float]:
    """One optimiser step of ``leads.fit``: drawing the episode, loss, penalty, gradients, clipping, Adam."""
    model = leads.build("coda", train, plan.backbone, plan.settings, seed=0, **plan.rollout, **plan.model)
    horizons = (1,) if plan.phase == "forced" else (0,)
    settings = TrainerSettings(steps=10**6, lr=1e-3, horizons=horizons, validate_every=10**6, clip=1.0)
    model.source.begin(train)
    return _Run(model, train, None, settings, None, None)._update


def theirs(plan: Plan, train: leads.Trajectories) -> Callable[[], float]:
    return naive.step(plan.backbone, train.states, train.times, plan.rollout["method"], plan.phase == "forced")


WAYS: dict[str, Callable[[Plan, leads.Trajectories], Callable[[], float]]] = {"leads": ours, "naive": theirs}


def in_turns(steps: dict[str, Callable[[], float]], repeats: int) -> dict[str, float]:
    """Median seconds of each, measured in turns so that a busy machine slows all alike."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    calls = {}
    for name, step in steps.items():
        step()
        began = time.perf_counter()
        step()
        calls[name] = max(1, int(0.2 / (time.perf_counter() - began)))
    for _ in range(repeats):
        for name, step in steps.items():
            began = time.perf_counter()
            for _ in range(calls[name]):
                step()
            times[name].append((time.perf_counter() - began) / calls[name])
    return {name: statistics.median(t) for name, t in times.items()}


def peak_of(way: str, plan: Plan) -> float:
    """Peak resident set of two steps in a process of their own, above what importing and the data take; MiB."""
    command = [sys.executable, __file__, "--peak", way, plan.key]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.strip().splitlines()[-1])


def print_peak(way: str, key: str) -> None:
    plan = next(p for p in PLANS if p.key == key)
    torch.set_num_threads(1)
    train = data_of(plan)
    step = WAYS[way](plan, train)
    # From here on the peak counts: Linux forgets the one that simulating and importing have left.
    Path("/proc/self/clear_refs").write_text("5")
    before = _resident("VmRSS")
    step(), step()
    print(_resident("VmHWM") - before)


def _resident(what: str) -> float:
    """Resident set now (``VmRSS``) or at its peak (``VmHWM``), MiB."""
    rows = Path("/proc/self/status").read_text().splitlines()
    return next(int(r.split()[1]) for r in rows if r.startswith(what)) / 2**10


def measure(plan: Plan, machine: ceilings.Ceilings, repeats: int) -> dict[str, Any]:
    train = data_of(plan)
    steps = {name: make(plan, train) for name, make in WAYS.items()}
    seconds = in_turns(steps, repeats)
    work = {name: counting.count(step) for name, step in steps.items()}
    limits = work["leads"].limits(machine)
    limit = max(limits["arithmetic"], limits["launch"])
    return {
        "name": plan.name, "family": plan.family, "phase": plan.phase, "goal": plan.goal,
        "ms": 1e3 * seconds["leads"], "naive_ms": 1e3 * seconds["naive"], "ratio": seconds["naive"] / seconds["leads"],
        "reference_ms": plan.reference_ms, "work": {k: w.as_dict() for k, w in work.items()},
        "limits_ms": {k: 1e3 * v for k, v in limits.items()}, "limit_ms": 1e3 * limit,
        "achieved": limit / seconds["leads"],
        "peak_MiB": peak_of("leads", plan), "naive_peak_MiB": peak_of("naive", plan),
    }  # fmt: skip


def line(r: dict[str, Any]) -> str:
    bound = max(("arithmetic", "launch"), key=r["limits_ms"].get)
    return (
        f"{r['name']:38s} {r['phase']:8s} {r['ms']:8.1f} ms; naive {r['naive_ms']:8.1f} ms: {r['ratio']:5.1f}x (goal "
        f"{r['goal']:g}x); limit {r['limit_ms']:7.1f} ms ({bound}), {100 * r['achieved']:3.0f} % of it; operators "
        f"{r['work']['leads']['operators']} of {r['work']['naive']['operators']}; peak {r['peak_MiB']:.0f} of "
        f"{r['naive_peak_MiB']:.0f} MiB"
    )


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", help="families")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.peak:
        print_peak(*args.peak)
        return
    torch.set_num_threads(1)
    machine = ceilings.measure(torch.device("cpu"))
    print(json.dumps(machine.as_dict()), flush=True)
    rows = []
    for plan in PLANS:
        if args.only and plan.family not in args.only:
            continue
        rows.append(measure(plan, machine, args.repeats))
        print(line(rows[-1]), flush=True)
    origin = provenance(command="OMP_NUM_THREADS=1 python benchmarks/speed/run.py " + shlex.join(arguments))
    result = {"provenance": origin, "ceilings": machine.as_dict(), "rows": rows}
    write_whole(args.out, json.dumps(result, indent=1).encode())
    print(args.out)


if __name__ == "__main__":
    main(sys.argv[1:])

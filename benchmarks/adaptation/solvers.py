"""Time to adapt to four environments, and whether the optimum is the one that thousands of Adam steps find.

    OMP_NUM_THREADS=1 python benchmarks/adaptation/solvers.py [--steps 5000] [--starts 10]

CoDA is trained on Lotka-Volterra and on the glycolytic oscillator (CoDA splits, exact data, seed 0) for some minutes at
most, and kept in runs/adaptation. Then, on the four unseen environments with one trajectory each:

1. seconds of `leads.adapt`: the median of 20 calls after one warm-up, and its iterations;
2. seconds of one Adam step on the same contexts in the reference's way (a rollout and its gradient), and the number of
   steps until it is within 1e-3 and 1e-6 (relative) of its own best loss, from zero;
3. how far the loss of `leads.adapt` lies from the best that Adam finds from zero in ``--steps`` steps, relative to that, and
   the same for `leads.adapt` from ``--starts`` random contexts drawn with the spread of the seen ones.

Writes benchmarks/results/adaptation_solvers.json.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch

import leads
from leads.adaptation.settings import AdaptSettings
from leads.adaptation.small_contexts import fit_small
from leads.experiment import provenance
from leads.trajectories.cache import write_whole
from leads.trajectories.segments import whole

ROOT = Path(__file__).resolve().parent.parent.parent
FAMILIES: dict[str, dict[str, Any]] = {
    "lotka_volterra": {"steps": 3000, "lr": 3e-3, "average": 0.998},
    "glycolytic_oscillator": {"steps": 2000, "lr": 1e-2, "average": 0.998, "batch": 8},
}
MODEL = {"spread": 0.1, "context_penalty": 1e-6, "l1": 1e-6}


def model_of(name: str) -> tuple[Any, Any]:
    family = leads.make(name, split="coda")
    data = leads.generate(family, seed=0)
    model = leads.build("coda", family, seed=0, **MODEL)
    leads.fit(model, data.train, data.valid, run_dir=ROOT / "runs" / "adaptation" / name, seed=0, **FAMILIES[name])
    return model, data


def adam(model: Any, support: leads.Trajectories, steps: int, lr: float = 1e-2) -> tuple[list[list[float]], float]:
    """Losses of every environment after every step from zero, in float64, and seconds a step."""
    double = model.double()
    segments = whole(support.to(dtype=torch.float64))
    start = double.source.new_contexts(double, support)
    contexts = {k: v.detach().double().requires_grad_() for k, v in start.items()}
    leaves = list(contexts.values())
    optimizer = torch.optim.Adam(leaves, lr=lr)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    losses, began = [], time.perf_counter()
    for _ in range(steps):
        loss = double.loss_per_environment(segments, contexts)
        losses.append(loss.tolist())
        for leaf, g in zip(leaves, torch.autograd.grad(loss.sum(), leaves), strict=True):
            leaf.grad = g
        optimizer.step()
        decay.step()
    return losses, (time.perf_counter() - began) / steps


def within(losses: list[float], share: float) -> int:
    """Steps until a loss is within this share of the smallest."""
    best = min(losses)
    return next(i for i, v in enumerate(losses) if v <= best * (1 + share))


def measure(name: str, steps: int, starts: int) -> dict[str, Any]:
    model, data = model_of(name)
    support = data.adapt
    leads.adapt(model, support)
    seconds = []
    for _ in range(20):
        began = time.perf_counter()
        adapted = leads.adapt(model, support)
        seconds.append(time.perf_counter() - began)
    found = adapted.info["loss"]
    settings = AdaptSettings()
    table = model.source.table()["code"].double()
    generator = torch.Generator().manual_seed(0)
    apart: list[float] = []
    for _ in range(starts):
        noise = torch.randn(len(found), table.shape[1], generator=generator, dtype=torch.float64)
        start = {"code": (table.mean(0) + table.std(0) * noise).to(next(model.parameters()))}
        fit = fit_small(model, support.to(dtype=torch.float32), start, settings)
        apart += [abs(a / b - 1) for a, b in zip(fit.loss.tolist(), found, strict=True)]
    losses, step = adam(model, support, steps)
    columns = list(zip(*losses, strict=True))
    return {
        "family": name,
        "seconds_median": statistics.median(seconds),
        "seconds_quickest": min(seconds),
        "iterations": adapted.info["iterations"],
        "restarted": adapted.info.get("restarted"),
        "converged": adapted.info["converged"],
        "adam_seconds_a_step": step,
        "adam_steps_to_1e-3": [within(c, 1e-3) for c in columns],
        "adam_steps_to_1e-6": [within(c, 1e-6) for c in columns],
        "loss": found,
        "above_adam": [a / min(c) - 1 for a, c in zip(found, columns, strict=True)],
        "random_starts": starts,
        "random_starts_largest_difference": max(apart),
        "random_starts_share_within_1e-6": sum(a < 1e-6 for a in apart) / len(apart),
    }


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5000, help="of Adam")
    parser.add_argument("--starts", type=int, default=10)
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows = []
    for name in FAMILIES:
        rows.append(measure(name, args.steps, args.starts))
        print(json.dumps(rows[-1], indent=1), flush=True)
    origin = provenance(command="OMP_NUM_THREADS=1 python benchmarks/adaptation/solvers.py " + shlex.join(arguments))
    out = ROOT / "benchmarks" / "results" / "adaptation_solvers.json"
    write_whole(out, json.dumps({"provenance": origin, "rows": rows}, indent=1).encode())
    print(out)


if __name__ == "__main__":
    main(sys.argv[1:])

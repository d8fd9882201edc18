"""Work to adapt to fields at published size: field evaluations of `leads.adapt` against the reference codes' procedure.

    OMP_NUM_THREADS=1 python benchmarks/adaptation/work.py [--families gray_scott navier_stokes] [--steps 4000]

CoDA is trained for some minutes on Gray-Scott (the network of the README's table) and on Navier-Stokes (FNO of the
published 12 modes, Euler), CoDA's splits at published size, exact data, seed 0, and kept in runs/adaptation/work. It is then
adapted to the four unseen environments, one trajectory each, from a code of zero:

- by `leads.adapt` with its default settings;
- by Adam on the codes at 1e-3, the reference procedure (CoDA's adaptation.py, which always takes 120,000 such steps), and at
  1e-2, GEPS' rate.

Counted is the work until every environment's support loss is within 1e-2, 1e-3 and 1e-4 (relative) of the minimum, which is
the best that either has found. One field evaluation is the network applied to one state of one environment; a gradient's way
back is counted as two more (it takes two products for every one of the way there).

Writes benchmarks/results/adaptation_work.json.
"""

from __future__ import annotations

import argparse
import copy
import json
import shlex
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

import leads
from leads.experiment import provenance
from leads.trajectories.cache import write_whole
from leads.trajectories.segments import whole

ROOT = Path(__file__).resolve().parent.parent.parent
#: Backbone, its settings, rollout and training of each family.
PLANS: dict[str, tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "gray_scott": (
        "conv", {"width": 48}, {"method": "midpoint"},
        {"steps": 1500, "lr": 3e-3, "average": 0.99, "validate_every": 100, "horizons": [1, 3, 0]},
    ),
    "navier_stokes": (
        "fno", {"modes": 12}, {"method": "euler"},
        {"steps": 300, "lr": 3e-3, "average": 0.98, "validate_every": 50, "batch": 4},
    ),
}  # fmt: skip
MODEL = {"spread": 0.1, "context_penalty": 1e-6, "l1": 1e-6}
RATES = (1e-3, 1e-2)
LEVELS = (1e-2, 1e-3, 1e-4)


class Count:
    """Field evaluations so far."""

    def __init__(self) -> None:
        self.evaluations = 0


@contextmanager
def counted(adapter: Any) -> Iterator[Count]:
    """Counts the states that adapters of this class evaluate, whichever copy of the model does it."""
    kind, count = type(adapter), Count()
    original = kind.forward_all

    def forward_all(self: Any, t: torch.Tensor, x: torch.Tensor, prepared: Any) -> torch.Tensor:
        count.evaluations += x.shape[0] * x.shape[1]
        return original(self, t, x, prepared)

    kind.forward_all = forward_all
    try:
        yield count
    finally:
        kind.forward_all = original


def model_of(name: str) -> tuple[Any, Any]:
    family = leads.make(name, split="coda")
    data = leads.generate(family, seed=0)
    backbone, settings, rollout, trainer = PLANS[name]
    model = leads.build("coda", family, backbone, settings, seed=0, **rollout, **MODEL)
    leads.fit(model, data.train, data.valid, run_dir=ROOT / "runs" / "adaptation" / "work" / name, seed=0, **trainer)
    return model, data


def adam(model: Any, support: leads.Trajectories, steps: int, rate: float) -> dict[str, Any]:
    """Losses of every environment before each step from zero, until they stand still for 50, and the work of one step."""
    segments = whole(support.to(dtype=torch.float64))
    start = model.source.new_contexts(model, support)
    contexts = {k: v.detach().double().requires_grad_() for k, v in start.items()}
    leaves, losses = list(contexts.values()), []
    optimizer = torch.optim.Adam(leaves, lr=rate)
    began = time.perf_counter()
    with counted(model.adapter) as count:
        while len(losses) < steps and not _stands_still(losses):
            loss = model.loss_per_environment(segments, contexts)
            losses.append(loss.tolist())
            for leaf, g in zip(leaves, torch.autograd.grad(loss.sum(), leaves), strict=True):
                leaf.grad = g
            optimizer.step()
    each = count.evaluations / len(losses)
    return {"rate": rate, "losses": losses, "evaluations_a_step": 3 * each, "seconds": time.perf_counter() - began}


def _stands_still(losses: list[list[float]]) -> bool:
    return len(losses) > 50 and all(abs(a / b - 1) < 1e-5 for a, b in zip(losses[-1], losses[-51], strict=True))


def until(losses: list[list[float]], goal: list[float], level: float) -> int | None:
    """The first row in which every loss is within ``level`` of the goal."""
    near = (k for k, row in enumerate(losses) if all(a <= g * (1 + level) for a, g in zip(row, goal, strict=True)))
    return next(near, None)


def measure(name: str, steps: int) -> dict[str, Any]:
    model, data = model_of(name)
    model.requires_grad_(False)
    support = data.adapt
    began = time.perf_counter()
    with counted(model.adapter) as count:
        adapted = leads.adapt(model, support)
    seconds = time.perf_counter() - began
    losses, work = [], []
    for iterations in range(1, adapted.info["iterations"] + 1):
        with counted(model.adapter) as part, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            losses.append(leads.adapt(model, support, iterations=iterations).info["loss"])
        work.append(part.evaluations)
    runs = [adam(copy.deepcopy(model).double(), support, steps, rate) for rate in RATES]
    columns = zip(*losses, *(row for run in runs for row in run["losses"]), strict=True)
    goal = [min(column) for column in columns]
    horizon = float(support.times[-1])
    row: dict[str, Any] = {
        "family": name,
        "in_domain_mse": leads.evaluate(leads.trained(model, data=data.train), data.test, horizon).scores["all"]["mse"],
        "adaptation_mse": leads.evaluate(adapted, data.adapt_test, horizon).scores["all"]["mse"],
        "iterations": adapted.info["iterations"], "converged": adapted.info["converged"],
        "evaluations_until_converged": count.evaluations, "seconds": seconds,
        "above_the_best": [a / g - 1 for a, g in zip(adapted.info["loss"], goal, strict=True)], "levels": [],
    }  # fmt: skip
    for level in LEVELS:
        mine = until(losses, goal, level)
        entry: dict[str, Any] = {"level": level, "ours": None if mine is None else work[mine]}
        for run in runs:
            k = until(run["losses"], goal, level)
            theirs = None if k is None else (k + 1) * run["evaluations_a_step"]
            entry[f"adam_{run['rate']:g}"] = {
                "steps": k, "evaluations": theirs, "steps_tried": len(run["losses"]),
                "times_less_work": None if theirs is None or mine is None else theirs / work[mine],
            }  # fmt: skip
        row["levels"].append(entry)
    return row


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="+", default=list(PLANS))
    parser.add_argument("--steps", type=int, default=4000, help="of Adam, at most")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows = []
    for name in args.families:
        rows.append(measure(name, args.steps))
        print(json.dumps(rows[-1], indent=1), flush=True)
    origin = provenance(command="OMP_NUM_THREADS=1 python benchmarks/adaptation/work.py " + shlex.join(arguments))
    out = ROOT / "benchmarks" / "results" / "adaptation_work.json"
    write_whole(out, json.dumps({"provenance": origin, "rows": rows}, indent=1).encode())
    print(out)


if __name__ == "__main__":
    main(sys.argv[1:])

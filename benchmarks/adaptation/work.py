"""Work to adapt to fields at published size: field evaluations of `leads.adapt` against the reference codes' procedure.

    OMP_NUM_THREADS=1 python benchmarks/adaptation/work.py [--families gray_scott navier_stokes] [--steps 4000]

CoDA is trained for some minutes on Gray-Scott (the network of the README's table) and on Navier-Stokes (FNO of the
published 12 modes, Euler), CoDA's splits at published size, exact data, seed 0, and kept in runs/adaptation/work. It is then
adapted to the four unseen environments, one trajectory each, from a code of zero:

- by `leads.adapt` with its default settings, until it has converged, and until every environment's support loss is within
  1 % of that;
- by Adam at 1e-3 on the codes, the reference procedure (CoDA's adaptation.py, which always takes 120,000 such steps), and
  at 1e-2, GEPS' rate, until every environment's support loss is within 1 % of what `leads.adapt` converged to.

One field evaluation is the network applied to one state of one environment; a gradient's way back is counted as two more
(it takes two products for every one of the way there) and, in a second figure, as nothing.

Writes benchmarks/results/adaptation_work.json.
"""

from __future__ import annotations

import argparse
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


def adam(model: Any, support: leads.Trajectories, goal: torch.Tensor, steps: int, rate: float) -> dict[str, Any]:
    """Steps until every loss is within 1 % of ``goal``, or ``steps``, and the ratio to it then."""
    segments = whole(support.to(dtype=next(model.parameters()).dtype))
    contexts = {k: v.detach().clone().requires_grad_() for k, v in model.source.new_contexts(model, support).items()}
    leaves = list(contexts.values())
    optimizer = torch.optim.Adam(leaves, lr=rate)
    began, taken, worst = time.perf_counter(), 0, float("inf")
    with counted(model.adapter) as count:
        while taken < steps:
            loss = model.loss_per_environment(segments, contexts)
            worst = float((loss.detach().double() / goal).max())
            if worst <= 1.01:
                break
            for leaf, g in zip(leaves, torch.autograd.grad(loss.sum(), leaves), strict=True):
                leaf.grad = g
            optimizer.step()
            taken += 1
    return {
        "rate": rate, "steps": taken, "reached": worst <= 1.01, "loss_over_ours": worst,
        "forward_evaluations": count.evaluations, "seconds": time.perf_counter() - began,
    }  # fmt: skip


def within(model: Any, support: leads.Trajectories, goal: torch.Tensor, most: int) -> int:
    """Field evaluations of the first iterations that bring every loss within 1 % of ``goal``."""
    for iterations in range(1, most + 1):
        with counted(model.adapter) as count, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loss = leads.adapt(model, support, iterations=iterations).info["loss"]
        if float((torch.tensor(loss, dtype=torch.float64) / goal).max()) <= 1.01:
            return count.evaluations
    return count.evaluations


def measure(name: str, steps: int) -> dict[str, Any]:
    model, data = model_of(name)
    model.requires_grad_(False)
    support = data.adapt
    began = time.perf_counter()
    with counted(model.adapter) as count:
        adapted = leads.adapt(model, support)
    seconds = time.perf_counter() - began
    horizon = float(support.times[-1])
    goal = torch.tensor(adapted.info["loss"], dtype=torch.float64)
    near = within(model, support, goal, adapted.info["iterations"])
    row: dict[str, Any] = {
        "family": name,
        "in_domain_mse": leads.evaluate(leads.trained(model, data=data.train), data.test, horizon).scores["all"]["mse"],
        "adaptation_mse": leads.evaluate(adapted, data.adapt_test, horizon).scores["all"]["mse"],
        "loss": adapted.info["loss"], "iterations": adapted.info["iterations"], "converged": adapted.info["converged"],
        "evaluations": count.evaluations, "evaluations_within_1_percent": near, "seconds": seconds, "adam": [],
    }  # fmt: skip
    for rate in RATES:
        found = adam(model, support, goal, steps, rate)
        forward = found["forward_evaluations"]
        found["times_less_work"] = 3 * forward / near
        found["times_less_work_backward_free"] = forward / near
        found["times_less_work_until_converged"] = 3 * forward / count.evaluations
        row["adam"].append(found)
        print(json.dumps(found), flush=True)
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

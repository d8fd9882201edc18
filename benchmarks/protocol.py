"""What the reference codes' habits of scoring are worth: checkpoints chosen on test data, teacher-forced test losses.

    OMP_NUM_THREADS=1 python benchmarks/protocol.py [--seeds 0 1 2] [--steps 8000]

CoDA on published-fidelity Lotka-Volterra, three seeds. Four numbers of every seed:

1. In-domain test error of the weights that validation chooses, and of those that the test data themselves choose (among
   the same checkpoints of the same run: validation data do not enter training, so the run is made once for each).
2. The contexts of the unseen environments are fitted as in CoDA's public code after its fix: Adam at 1e-3 from zero, all
   four together, the support trajectory restarted at random frames with probability epsilon = 0.95, 0.95^2, ... (a power
   every 30 steps, cut off at 1e-3). Every 30 steps the test loss is taken as that code takes it, with the test rollout
   restarted from test data by the same epsilon, and as a free rollout. Compared are the smallest logged loss, the
   smallest free one, and the free one at the end, which alone is a forecast's error.
3. As there, weights trained without any restart (the released code's sampling never ran until its fix) against scheduled
   sampling and against windows of growing length.

Writes benchmarks/results/protocol.json.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from statistics import fmean, stdev
from typing import Any

import torch
from study import ROOT

import leads
from leads.experiment import provenance
from leads.training.episodes import sampled
from leads.training.settings import ScheduledSampling
from leads.trajectories.cache import write_whole
from leads.trajectories.segments import whole

TRAINER = {"lr": 3e-3, "average": 0.999, "validate_every": 100}
MODEL = {"spread": 0.1, "context_penalty": 1e-6, "l1": 1e-6}
REGIMES: dict[str, dict[str, Any]] = {
    "windows of growing length": {},
    "free rollouts only": {"horizons": (0,)},
    "scheduled sampling": {"scheduled_sampling": ScheduledSampling()},
}


def train(family: Any, data: Any, seed: int, steps: int, regime: str, chooser: str) -> Any:
    """A model whose weights ``chooser`` (``"valid"`` or ``"test"``) chose, and the run's history."""
    folder = ROOT / "runs" / "protocol" / f"{steps}" / regime.replace(" ", "_") / f"{chooser}{seed}"
    model = leads.build("coda", family, seed=seed, **MODEL)
    settings = TRAINER | {"steps": steps, "seed": seed} | REGIMES[regime]
    result = leads.fit(model, data.train, getattr(data, chooser), run_dir=folder, **settings)
    return model, result


def error(which: leads.Adapted, test: leads.Trajectories) -> float:
    """Mean square error without the given first frame, as training takes it."""
    return float((which.forecast(test.initial, test.times) - test.states)[:, :, 1:].square().mean())


def adapt_as_published(model: Any, data: Any, steps: int, seed: int) -> dict[str, float]:
    """Contexts by Adam under scheduled sampling; the test losses that are logged on the way, both ways."""
    generator, schedule = torch.Generator().manual_seed(seed), ScheduledSampling(start=0.95, decay=0.95, every=30)
    support, test = data.adapt, data.adapt_test
    start = model.source.new_contexts(model, support)
    contexts = {k: v.detach().clone().requires_grad_() for k, v in start.items()}
    optimizer = torch.optim.Adam(list(contexts.values()), lr=1e-3)
    logged, free = [], []
    for step in range(steps + 1):
        if step % 30 == 0:
            with torch.no_grad():
                seen = sampled(test, schedule, step, generator)
                logged.append(float(model.loss_per_environment(seen, contexts).mean()))
                free.append(float(model.loss_per_environment(whole(test), contexts).mean()))
        if step == steps:
            break
        loss = model.loss_per_environment(sampled(support, schedule, step, generator), contexts).sum()
        gradients = torch.autograd.grad(loss, list(contexts.values()))
        for leaf, g in zip(contexts.values(), gradients, strict=True):
            leaf.grad = g
        optimizer.step()
    return {"smallest logged": min(logged), "smallest free": min(free), "free at the end": free[-1]}


def run_seed(family: Any, data: Any, seed: int, args: argparse.Namespace) -> dict[str, float]:
    path = ROOT / "runs" / "protocol" / f"{args.steps}" / f"seed{seed}.json"
    if path.exists():
        return json.loads(path.read_text())
    row: dict[str, float] = {}
    model, by_valid = train(family, data, seed, args.steps, "windows of growing length", "valid")
    _, by_test = train(family, data, seed, args.steps, "windows of growing length", "test")
    at = next(h["valid"] for h in by_test.history if h["step"] == by_valid.best_step)
    row["in-domain, chosen on validation"], row["in-domain, chosen on test"] = at, by_test.best_valid
    for name, value in adapt_as_published(model, data, args.adaptation, seed).items():
        row[f"adaptation, {name}"] = value
    row["adaptation, Levenberg-Marquardt"] = error(leads.adapt(model, data.adapt), data.adapt_test)
    for regime in REGIMES:
        model, _ = train(family, data, seed, args.steps, regime, "valid")
        row[f"in-domain, {regime}"] = error(leads.trained(model), data.test)
        row[f"adaptation, {regime}"] = error(leads.adapt(model, data.adapt), data.adapt_test)
    write_whole(path, json.dumps(row).encode())
    return row


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=8000, help="of training")
    parser.add_argument("--adaptation", type=int, default=6000, help="steps of Adam")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    family = leads.make("lotka_volterra")
    data = leads.generate(family, seed=0, fidelity="published")
    rows = {seed: run_seed(family, data, seed, args) for seed in args.seeds}
    names = list(next(iter(rows.values())))
    summary = {n: {"mean": fmean(r[n] for r in rows.values())} for n in names}
    for n in names:
        spread = stdev(r[n] for r in rows.values()) if len(rows) > 1 else float("nan")
        summary[n]["std"] = spread
        print(f"{n:45s} {summary[n]['mean']:.3e} +- {spread:.1e}")
    origin = provenance(command="python benchmarks/protocol.py " + shlex.join(arguments))
    out = ROOT / "benchmarks" / "results" / "protocol.json"
    write_whole(out, json.dumps({"provenance": origin, "summary": summary, "rows": rows}, indent=1).encode())
    print(out)


if __name__ == "__main__":
    main(sys.argv[1:])

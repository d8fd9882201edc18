"""Choose the training length of a study by held-out seen environments; unseen environments are never touched.

    OMP_NUM_THREADS=1 python benchmarks/select_steps.py lotka_volterra coda --fidelity published --steps 8000 24000 \
        --name lotka_volterra_coda_published_steps --model spread=0.1 context_penalty=1e-6 l1=1e-6 --trainer average=0.999

The seen environments are split into folds. For every length and fold a model is trained without the fold, adapted to
each of its environments from one training trajectory, and scored on their validation trajectories. The length with the
smallest mean is the one to train with on all seen environments. Finished parts are skipped. Results go to
benchmarks/results/NAME.json.
"""

from __future__ import annotations

import json
import shlex
import sys
import time
from statistics import fmean
from typing import Any

from study import ROOT, make_parser, pairs

import leads
from leads.evaluation.held_out import environment_folds, score_held_out
from leads.experiment import provenance


def main(arguments: list[str]) -> None:
    parser = make_parser(__doc__, "network", "model", "trainer")
    parser.add_argument("--steps", type=int, nargs="+", required=True)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    family = leads.make(args.family, split=args.split)
    data = leads.generate(family, seed=0, fidelity=args.fidelity)
    folds = environment_folds(len(family.seen), args.folds)

    def build(train: leads.Trajectories) -> Any:
        return leads.build(args.method, train, args.backbone, pairs(args.network), seed=args.seed, **pairs(args.model))

    rows = []
    for steps in args.steps:
        for i, fold in enumerate(folds):
            path = ROOT / "runs" / args.name / f"steps{steps}_fold{i}.json"
            if not path.exists():
                began = time.perf_counter()
                score = score_held_out(
                    build, data.train, data.valid, fold, steps=steps, seed=args.seed, **pairs(args.trainer)
                )
                row = {"steps": steps, "held_out": fold, "mse": score.scores["all"]["mse"]}
                row["per_environment"] = score.per_environment["all"]["mse"]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(row | {"seconds": time.perf_counter() - began}))
            rows.append(json.loads(path.read_text()))
            print(f"{steps} steps, without {fold}: {rows[-1]['mse']:.3e} ({rows[-1]['seconds']:.0f} s)", flush=True)
    means = {s: fmean(v for r in rows if r["steps"] == s for v in r["per_environment"]) for s in args.steps}
    best = min(means, key=lambda s: means[s])
    origin = provenance(command="python benchmarks/select_steps.py " + shlex.join(arguments))
    out = ROOT / "benchmarks" / "results" / f"{args.name}.json"
    out.write_text(json.dumps({"provenance": origin, "mean": means, "chosen": best, "rows": rows}, indent=1))
    print({s: f"{m:.3e}" for s, m in means.items()}, "chosen:", best)


if __name__ == "__main__":
    main(sys.argv[1:])

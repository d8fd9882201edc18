"""APHYNITY's table: known physics with and without a network, and the physical parameters that come out.

    OMP_NUM_THREADS=1 python benchmarks/studies/hybrids.py [pendulum ...] [--seeds 0 1 2] [--rows incomplete ...]

hybrids.yaml beside this file says which parts of the equations are known. Weights are chosen on validation trajectories;
test sets are read once. For every row: log10 of the test error, the learned physical parameters, those of the least-norm
split of the same field (leads.adapters.least_norm), their errors against the truth, and the size of the learned part.
Finished parts are skipped, killed ones resume. Writes benchmarks/results/studies/hybrids.json.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import sys
from pathlib import Path
from typing import Any

import torch
import yaml

import leads
from leads.adapters.least_norm import least_norm
from leads.experiment import provenance
from leads.trajectories.cache import write_whole

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
#: How many training trajectories are read, where the published set has more than one core can use.
MOST = 200


def rows_of(plan: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Settings of the method for every row of the table."""
    family = {"family": plan["family"]["name"], "arguments": {"split": plan["family"]["split"]}}
    rows: dict[str, dict[str, Any]] = {"network alone": {"physics": None, "size": 0.0}}
    for name, known in plan["physics"].items():
        physics = {"physics": family | known}
        if name != "true":
            rows[f"{name} alone"] = physics | {"network": False}
        rows[f"{name} + network"] = physics
    return rows


def errors_of(parameters: dict[str, float], truth: dict[str, float]) -> dict[str, float]:
    """Relative errors in percent."""
    return {k: 100 * abs(parameters[k] / v - 1) for k, v in truth.items() if k in parameters}


def run(name: str, plan: dict[str, Any], row: str, seed: int) -> dict[str, Any]:
    folder = ROOT / "runs" / "studies" / "hybrids" / name / row.replace(" ", "_") / f"seed{seed}"
    done = folder / "result.json"
    if done.exists():
        return json.loads(done.read_text())
    family = leads.make(plan["family"]["name"], split=plan["family"]["split"])
    data = leads.generate(family, seed=0, fidelity="published")
    train = data.train.select(trajectories=slice(0, MOST))
    settings = plan["model"] | plan["rollout"] | rows_of(plan)[row]
    network = plan["backbone"]
    model = leads.build("aphynity", family, network["name"], network["settings"], seed=seed, **settings)
    fitted = leads.fit(model, train, data.valid, run_dir=folder, seed=seed, **plan["trainer"])
    seen = leads.trained(model, data=train)
    error = leads.evaluate(seen, data.test, float(family.times[-1])).per_environment["all"]["mse"][0]
    hybrid: Any = model.adapter
    learned = {k: float(v.detach()) for k, v in hybrid.physical(seen.contexts).items()}
    result: dict[str, Any] = {
        "family": name, "row": row, "seed": seed, "log10_mse": math.log10(error), "valid": fitted.best_valid,
        "parameters": learned, "errors_percent": errors_of(learned, plan["truth"]), "seconds": fitted.seconds,
        "best_step": fitted.best_step, "steps": plan["trainer"]["steps"],
        "multiplier": float(hybrid.multiplier),
    }  # fmt: skip
    if hybrid.learned is not None and hybrid.physics is not None:
        few = train.select(trajectories=slice(0, 25))
        result["learned_size"] = float(hybrid.learned_size(seen.contexts, few).detach().mean())
        if hybrid.physics.shared_start:
            split = least_norm(hybrid, seen.contexts, few)
            least = {k: float(v) for k, v in split.parameters.items()}
            result |= {
                "least_norm": least, "least_norm_errors_percent": errors_of(least, plan["truth"]),
                "least_norm_size": split.size,
            }  # fmt: skip
    write_whole(done, json.dumps(result).encode())
    return result


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    plans = yaml.safe_load((HERE / "hybrids.yaml").read_text())
    parser.add_argument("families", nargs="*", default=list(plans))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", nargs="+", help="rows whose names start with one of these; all by default")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for seed in args.seeds:
        for name in args.families:
            for row in rows_of(plans[name]):
                if args.rows and not row.startswith(tuple(args.rows)):
                    continue
                try:
                    r = run(name, plans[name], row, seed)
                except leads.LeadsError as reason:
                    print(f"{name} {row} seed {seed}: {reason}", flush=True)
                    continue
                found = {k: round(v, 2) for k, v in r["errors_percent"].items()}
                least = {k: round(v, 2) for k, v in r.get("least_norm_errors_percent", {}).items()}
                print(f"{name:20s} {row:22s} seed {seed}: log10 MSE {r['log10_mse']:.2f}, errors {found} %", end="")
                print(
                    f", least norm {least} % ({r['seconds']:.0f} s)" if least else f" ({r['seconds']:.0f} s)",
                    flush=True,
                )
    results = [json.loads(p.read_text()) for p in sorted((ROOT / "runs/studies/hybrids").glob("*/*/seed*/result.json"))]
    origin = provenance(command="python benchmarks/studies/hybrids.py " + shlex.join(arguments))
    out = ROOT / "benchmarks" / "results" / "studies" / "hybrids.json"
    write_whole(out, json.dumps({"provenance": origin, "rows": results}, indent=1).encode())
    print(out)


if __name__ == "__main__":
    main(sys.argv[1:])

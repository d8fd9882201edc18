"""Forecasts of two-layer turbulence in regions never seen: what physics, networks and hybrids of both make of it.

    OMP_NUM_THREADS=1 python benchmarks/ocean/simulation.py [--seeds 0 1] [--rows CoDA hybrid ...] [--finished]

simulation.yaml beside this file says what is simulated, what the physics knows and how every row is trained. Weights are
chosen on validation trajectories of the seen regions; each new region is adapted to on its one support trajectory; test
trajectories are read once. Finished parts are skipped, killed ones resume (runs/ocean). Writes
benchmarks/results/ocean/simulation.json; figure.py makes the page's table and figure of it.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from data import coarse_system, make_data
from references import references
from torch import Tensor

import leads
from leads.adapters import adapters
from leads.adapters.hybrid import Hybrid
from leads.adapters.physics import Physics
from leads.backbones import backbones
from leads.contexts import Table
from leads.dynamics import DecomposedDynamics
from leads.experiment import provenance
from leads.trajectories import Trajectories
from leads.trajectories.cache import write_whole

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RUNS = ROOT / "runs" / "ocean"


def known_half(plan: dict[str, Any], role: str) -> Physics:
    """The physics that a forecaster has; the two parameters that differ between regions are ``own`` or ``shared``."""
    known = plan["physics"]
    settings: dict[str, Any] = {role: known["mean"]}
    return Physics(coarse_system(plan), known["terms"], known["fixed"], **settings)


def build(row: dict[str, Any], plan: dict[str, Any], data: Trajectories, seed: int) -> DecomposedDynamics:
    """An untrained model of one row."""
    network, settings = plan["correction" if "physics" in row else "network"], row.get("settings", {})
    if "physics" not in row:
        return leads.build(
            row["algorithm"], data, network["name"], network["settings"], seed=seed, **plan["rollout"], **settings
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        make = lambda: backbones[network["name"]](data.state_shape, **network["settings"])
        hybrid = Hybrid(known_half(plan, row["physics"]), adapters[row["adapter"]](make, **settings))
        return DecomposedDynamics(hybrid, Table(hybrid, data.n_environments, start="mean"), **plan["rollout"])


def physics_alone(plan: dict[str, Any], environments: int, role: str = "own") -> DecomposedDynamics:
    hybrid = Hybrid(known_half(plan, role), None)
    return DecomposedDynamics(hybrid, Table(hybrid, environments), **plan["rollout"])


def rmse(forecast: Tensor, data: Trajectories, plan: dict[str, Any]) -> list[list[list[float]]]:
    """Root mean square error in cm, ``[channel][environment][frame]``, over trajectories and the grid."""
    square = (forecast - data.states).square().mean((1, 4, 5))
    return (square.sqrt() * plan["unit"] * 100).permute(2, 0, 1).tolist()


def scored(model: DecomposedDynamics, data: dict[str, Trajectories], plan: dict[str, Any], **settings: Any) -> Any:
    """Adapt to the new regions and forecast their test trajectories."""
    began, worked = time.perf_counter(), time.process_time()
    adapted = leads.adapt(model, data["adapt"], **settings)
    seconds, work = time.perf_counter() - began, time.process_time() - worked
    test = data["test"]
    result = {"rmse_cm": rmse(adapted.forecast(test.initial, test.times), test, plan), "adaptation_seconds": seconds}
    # What one core needs by itself; the seconds also hold what others took of a shared one.
    result["adaptation_core_seconds"] = work
    adapter = model.adapter
    if isinstance(adapter, Hybrid) and adapter.physics is not None and adapter.physics.own_start:
        found = adapter.physical(adapted.contexts)
        result["parameters"] = {k: found[k].tolist() for k in adapter.physics.own_start}
    return result


def place(name: str, seed: int) -> Path:
    return RUNS / "simulation" / name.replace(" ", "_").replace(",", "") / f"seed{seed}"


def run(name: str, plan: dict[str, Any], data: dict[str, Trajectories], seed: int) -> dict[str, Any]:
    row = plan["rows"][name]
    folder = place(name, seed)
    done = folder / "result.json"
    if done.exists():
        return json.loads(done.read_text())
    model = build(row, plan, data["train"], seed)
    trainer = plan["trainer"] | plan["hybrids" if "physics" in row else "networks"] | row.get("trainer", {})
    fitted = leads.fit(model, data["train"], data["valid"], run_dir=folder, seed=seed, **trainer)
    result = scored(model, data, plan, seed=seed, **row.get("adapt", {}))
    torch.save(model.state_dict(), folder / "weights.pt")
    result |= {
        "row": name, "seed": seed, "valid": fitted.best_valid, "best_step": fitted.best_step,
        "training_seconds": fitted.seconds, "weights": sum(w.numel() for w in model.parameters()),
    }  # fmt: skip
    write_whole(done, json.dumps(result).encode())
    return result


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    plan = yaml.safe_load((HERE / "simulation.yaml").read_text())
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--rows", nargs="*", default=list(plan["rows"]))
    parser.add_argument("--finished", action="store_true", help="report what is there, train nothing")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    data = make_data(plan, RUNS / "data")
    rows = [
        {"row": name, **made} for name, made in references(data, lambda f: rmse(f, data["test"], plan), plan).items()
    ]
    rows.append({"row": "physics, adapted", **scored(physics_alone(plan, 6), data, plan)})
    for seed in args.seeds:
        for name in args.rows:
            if args.finished and not (place(name, seed) / "result.json").exists():
                continue
            try:
                r = run(name, plan, data, seed)
            except leads.LeadsError as reason:
                print(f"{name} seed {seed}: {reason}", flush=True)
                continue
            rows.append(r)
    for r in rows:
        errors = torch.tensor(r["rmse_cm"][0]).mean(0)
        shown = " ".join(f"{float(errors[k]):6.2f}" for k in (1, 2, 5, 10, 15, 20))
        seconds = r.get("adaptation_core_seconds", r.get("adaptation_seconds"))
        more = "" if seconds is None else f"{seconds:5.1f} s to adapt"
        print(f"{r['row']:28s} {r.get('seed', ''):>2} {shown}  {more}", flush=True)
    out = ROOT / "benchmarks" / "results" / "ocean" / "simulation.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    origin = provenance(command="python benchmarks/ocean/simulation.py " + shlex.join(arguments))
    kept = {"provenance": origin, "plan": plan, "environments": data["test"].parameters.tolist(), "rows": rows}
    write_whole(out, json.dumps(kept, indent=1).encode())
    print(out)


if __name__ == "__main__":
    main(sys.argv[1:])

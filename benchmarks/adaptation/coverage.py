"""Do error bars hold on environments never seen, and do alarms ring outside the seen range?

    OMP_NUM_THREADS=1 python benchmarks/adaptation/coverage.py --model model.safetensors
    OMP_NUM_THREADS=1 python benchmarks/adaptation/coverage.py --train steps=3000 average=0.998 \
        --settings spread=0.1 context_penalty=1e-6

Bands and alarms are calibrated on fresh environments of the seen range and tried on others, inside and outside it; one
trajectory to adapt to each, others to forecast. Without --model one is trained and kept in runs/NAME. Results go to
benchmarks/results/NAME.json, figures to runs/NAME.
"""

from __future__ import annotations

import argparse
import ast
import json
import shlex
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

import leads
from leads.adaptation import Calibration
from leads.evaluation import crps_ensemble, reliability
from leads.evaluation.uncertainty_figures import alarm_curve, bands, coverage_by_lead_time, reliability_curve
from leads.experiment import provenance

ROOT = Path(__file__).resolve().parents[2]
EDGES = (-0.5, -0.1, -0.02, -0.01, 0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.36)


def pairs(items: list[str]) -> dict[str, Any]:
    """``["a=1"]`` as a dict."""
    return {k: ast.literal_eval(v) for k, _, v in (item.partition("=") for item in items)}


def load_or_train(args: argparse.Namespace, family: leads.EnvironmentFamily, folder: Path) -> Any:
    path = Path(args.model) if args.model else folder / "model.safetensors"
    if path.exists():
        return leads.load_model(path)
    if args.model:
        raise SystemExit(f"There is no file {path}.")
    data = leads.generate(family, seed=0)
    model = leads.build(args.method, family, backbone=args.backbone, **pairs(args.settings))
    leads.fit(model, data.train, data.valid, **pairs(args.train))
    leads.save_model(model, path)
    return model


def distance_outside(family: leads.EnvironmentFamily, parameters: torch.Tensor) -> list[float]:
    """Distance from the edge of the seen box, negative inside; each parameter that varies in units of its seen range."""
    low, high = (torch.tensor(v, dtype=torch.float64) for v in (family.distribution.low, family.distribution.high))
    varies = high > low
    beyond = (torch.maximum(low - parameters, parameters - high) / (high - low))[:, varies]
    return torch.where((beyond > 0).any(1), beyond.clamp_min(0).norm(dim=1), beyond.amax(1)).tolist()


def alarms(calibration: Calibration, adapted: leads.Adapted, rate: float) -> dict[str, Any]:
    check = calibration.check(adapted, rate, warn=False)
    # Each score on its own, by the same rule.
    alone = lambda r: float(
        ((r * calibration.environments + 1) / (calibration.environments + 1) <= rate).double().mean()
    )
    return {
        "rate": float(check.alarm.double().mean()),
        "context_alone": alone(check.distance_rank),
        "residual_alone": alone(check.residual_rank),
        "alarm": check.alarm.tolist(),
    }


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a file of leads.save_model; trained if not given")
    parser.add_argument("--family", default="lotka_volterra")
    parser.add_argument("--method", default="coda")
    parser.add_argument("--backbone", default="mlp")
    parser.add_argument("--settings", nargs="*", default=[], metavar="NAME=VALUE")
    parser.add_argument("--train", nargs="*", default=[], metavar="NAME=VALUE")
    parser.add_argument("--name", default="adaptation_coverage")
    parser.add_argument("--calibration", type=int, default=400, help="environments to calibrate on")
    parser.add_argument("--environments", type=int, default=200, help="fresh ones to try, inside and outside")
    parser.add_argument("--noise", type=float, default=0.0, help="standard deviation of noise on the support")
    parser.add_argument("--level", type=float, default=0.9)
    parser.add_argument("--rate", type=float, default=0.05, help="of false alarms")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    folder = ROOT / "runs" / args.name
    folder.mkdir(parents=True, exist_ok=True)
    family = leads.make(args.family)
    model = load_or_train(args, family, folder)
    draw = lambda n, split, k: leads.held_out_environments(
        family, n, split, support=1, truth=4, noise=args.noise, seed=10 * args.seed + k
    )
    began = time.perf_counter()
    calibration = leads.calibrate(model, *draw(args.calibration, "inside", 1))
    calibration.save(folder / "calibration.safetensors")
    result: dict[str, Any] = {"calibration_seconds": time.perf_counter() - began}
    curves, distances, rung = {}, [], []
    for k, split in ((2, "inside"), (3, "outside")):
        support, truth = draw(args.environments, split, k)
        adapted = leads.adapt(model, support)
        for name, use in (("posterior alone", None), ("calibrated", calibration)):
            curves[f"{name}, {split}"] = reliability(adapted, truth, use, level=args.level)
        sampled = adapted.ensemble(truth.initial, truth.times, 64).double()[:, :, :, 1:]
        found = alarms(calibration, adapted, args.rate)
        ring = found.pop("alarm")
        result[split] = {
            "uncalibrated": curves[f"posterior alone, {split}"].to_dict(),
            "calibrated": curves[f"calibrated, {split}"].to_dict(),
            "crps_of_draws_without_noise": float(crps_ensemble(sampled, truth.states.double()[:, :, 1:]).mean()),
            "alarms": found,
        }
        distances += distance_outside(family, support.parameters)
        rung += ring
        if split == "inside":
            shown = adapted.bands(truth.initial, truth.times, args.level, calibration=calibration)
            bands(shown, truth).savefig(folder / "bands.png", dpi=130)
        for name in ("uncalibrated", "calibrated"):
            r = result[split][name]
            held = r["coverage"][r["levels"].index(args.level)] if args.level in r["levels"] else float("nan")
            print(f"{split}, {name}: {args.level:.0%} bands hold {held:.1%}, mean width {r['width']:.4f}", flush=True)
        print(f"{split}: {found['rate']:.1%} alarm (context alone {found['context_alone']:.1%}, residual alone "
              f"{found['residual_alone']:.1%})", flush=True)  # fmt: skip
    result["alarms_by_distance"] = []
    for low, high in pairwise(EDGES):
        hits = [r for d, r in zip(distances, rung, strict=True) if low <= d < high]
        row = {"from": low, "to": high, "environments": len(hits), "rate": sum(hits) / len(hits) if hits else None}
        result["alarms_by_distance"].append(row)
        print(f"  {low:g} to {high:g} of the range from its edge: {sum(hits)} of {len(hits)} environments alarm")
    reliability_curve(curves).savefig(folder / "reliability.png", dpi=130)
    coverage_by_lead_time(curves).savefig(folder / "coverage_by_lead_time.png", dpi=130)
    alarm_curve(distances, rung, EDGES, args.rate).savefig(folder / "alarms.png", dpi=130)
    origin = provenance(
        command="python benchmarks/adaptation/coverage.py " + shlex.join(arguments), recipe=model.recipe
    )
    settings = {
        k: getattr(args, k) for k in ("family", "calibration", "environments", "noise", "level", "rate", "seed")
    }
    out = ROOT / "benchmarks" / "results" / f"{args.name}.json"
    out.write_text(json.dumps({"provenance": origin, "settings": settings, **result}, indent=1))
    print(out)


if __name__ == "__main__":
    main(sys.argv[1:])
